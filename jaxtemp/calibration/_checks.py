"""Checks of what a metric is given, and their messages.

Values are checked where they are concrete. Under `jit` only shapes and dtypes can be:
there an impossible label makes the result NaN.
"""

import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from .._checks import floating_array

# How far the probabilities of a row may be from a sum of 1: rounding, also that of
# bfloat16, stays well below; logits and unnormalised scores do not.
_SUM_TOLERANCE = 0.02


def check_scores(scores: ArrayLike, name: str) -> jax.Array:
    """Returns logits or probabilities as an array, or raises."""
    result = floating_array(name, scores)
    if result.ndim == 0 or result.size == 0:
        raise ValueError(
            f"`{name}` must hold at least one row of at least one class, got shape "
            f"{result.shape}; its last axis is the class axis."
        )
    return result


def check_probabilities(probs: ArrayLike) -> jax.Array:
    """Returns probabilities as an array, or raises."""
    result = check_scores(probs, "probs")
    if isinstance(result, Tracer):
        return result
    values = np.asarray(result).astype(np.float64)
    wrong = ~((values >= 0.0) & (values <= 1.0 + _SUM_TOLERANCE))
    if wrong.any():
        raise ValueError(
            f"`probs` must lie in [0, 1], got {float(values[wrong][0]):g}; "
            "for logits pass `jaxtemp.softmax(logits)`."
        )
    sums = values.sum(-1)
    wrong = np.abs(sums - 1.0) > _SUM_TOLERANCE
    if wrong.any():
        raise ValueError(
            f"`probs` must sum to 1 over the last axis, got {float(sums[wrong][0]):g}; "
            "the last axis must hold every class."
        )
    return result


def check_labels(labels: ArrayLike, scores: jax.Array, name: str) -> jax.Array:
    """Returns the labels as an array of the batch shape, or raises."""
    try:
        result = jnp.asarray(labels)
        got = f"dtype {result.dtype}"
    except (TypeError, ValueError):
        result, got = None, type(labels).__name__
    if result is None or not jnp.issubdtype(result.dtype, jnp.integer):
        raise TypeError(
            f"`labels` must be integers, got {got}; pass the index of each row's class."
        )
    if result.shape != scores.shape[:-1]:
        raise ValueError(
            f"`labels` has shape {result.shape}, but `{name}` has shape "
            f"{scores.shape}; pass one label per row, shape {scores.shape[:-1]}."
        )
    if isinstance(result, Tracer):
        return result
    values, classes = np.asarray(result), scores.shape[-1]
    wrong = (values < 0) | (values >= classes)
    if wrong.any():
        raise ValueError(
            f"`labels` must lie in [0, {classes}) for {classes} classes, got "
            f"{int(values[wrong][0])}; leave out rows without a class."
        )
    return result


def check_bins(bins: Any) -> int:
    """Returns the number of bins, or raises unless it is a positive integer."""
    try:
        result = operator.index(bins)
    except TypeError:
        result = 0
    if result < 1:
        raise ValueError(
            f"`bins` must be a positive integer, known when traced, got {bins!r}; "
            "pass for example `bins=15`."
        )
    return result
