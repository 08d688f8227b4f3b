"""Checks of what only losses are given, and their messages."""

from __future__ import annotations

import math
import operator

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from .._checks import Rule, floating_array

SMOOTHING = Rule(0, 1, "pass the share that goes to all classes alike, for example 0.1")
Z_LOSS = Rule(
    0, math.inf, "pass the weight of the squared log-sum-exp, for example 1e-4"
)


def labels(
    value: ArrayLike,
    shape: tuple[int, ...],
    axis: int,
    classes: int,
    ignore: int | None,
) -> jax.Array:
    """Integers of the batch shape, or numbers of the logits' shape.

    Args:
        value: What the caller gave.
        shape: The shape of the logits.
        axis: The class axis of `shape`, not negative.
        classes: How many there are, on all devices together.
        ignore: An integer that stands for no class.
    """
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError):
        raise TypeError(
            f"`labels` must be an array, got {type(value).__name__}; "
            "pass the index of each row's class, or a number for each class."
        ) from None
    if jnp.issubdtype(array.dtype, jnp.floating):
        return _soft_labels(array, shape, ignore)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(
            f"`labels` must be integers or real floating point, got dtype "
            f"{array.dtype}; pass the index of each row's class, or a number for "
            "each class."
        )
    batch_shape = shape[:axis] + shape[axis + 1 :]
    if array.shape != batch_shape:
        raise ValueError(_label_shape_message(array.shape, shape, batch_shape))
    _check_range(array, classes, ignore)
    return array


def ignored(index) -> int | None:
    """The label of rows that do not count, a Python integer, if there is one."""
    if index is None:
        return None
    try:
        return operator.index(index)
    except TypeError:
        raise TypeError(
            f"`ignore_index` must be an integer known when traced, got {index!r}; "
            "pass for example `ignore_index=-100`."
        ) from None


def class_weights(value: ArrayLike, classes: int) -> jax.Array:
    """One number for each class."""
    array = floating_array("class_weights", value)
    if array.shape != (classes,):
        raise ValueError(
            f"`class_weights` must have shape ({classes},), one number for each class, "
            f"got shape {array.shape}; to weigh rows multiply the result."
        )
    return array


def logit_soft_cap(cap) -> float | None:
    """The bound of capped logits, a Python number, if there is one."""
    if cap is None:
        return None
    try:
        number = float(cap)
    except (TypeError, ValueError):
        raise TypeError(
            f"`logit_soft_cap` must be one number known when traced, got {cap!r}; "
            "pass for example `logit_soft_cap=30.0`."
        ) from None
    if not 0 < number < math.inf:
        raise ValueError(
            f"`logit_soft_cap` must be positive and finite, got {number}; "
            "pass None for logits as they are."
        )
    return number


def _soft_labels(array: jax.Array, shape, ignore: int | None) -> jax.Array:
    if array.shape != shape:
        raise ValueError(
            f"`labels` of a number for each class must have the logits' shape {shape}, "
            f"got shape {array.shape}; for one class a row pass integers."
        )
    if ignore is not None:
        raise ValueError(
            f"`ignore_index` must be None where `labels` has a number for each class, "
            f"got {ignore}; make the labels of a row that does not count zero."
        )
    return array


def _check_range(array: jax.Array, classes: int, ignore: int | None) -> None:
    if isinstance(array, Tracer):
        return
    values = np.asarray(array)
    wrong = (values < 0) | (values >= classes)
    if ignore is not None:
        wrong &= values != ignore
    if wrong.any():
        raise ValueError(
            f"`labels` must lie in [0, {classes}) for {classes} classes, got "
            f"{int(values[wrong][0])}; mark a row that does not count with "
            "`ignore_index`."
        )


def _label_shape_message(got, shape, batch_shape) -> str:
    message = (
        f"`labels` of integers must have the batch shape {batch_shape} "
        f"(the logits' shape without the class axis), got shape {got}; "
    )
    if got == shape:
        return message + "convert one-hot labels with `labels.astype(logits.dtype)`."
    return message + "pass one integer for each row."
