"""Checks of what a metric is given, and their messages.

Values are checked where they are concrete. Under `jit` only shapes and dtypes can be:
there an impossible label makes the result NaN.
"""

import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from .._checks import floating_array, one_of
from ._binned import BINNINGS

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


def check_forecast(probs: ArrayLike, labels: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Returns probabilities and the label of each row, or raises."""
    result = check_probabilities(probs)
    return result, check_labels(labels, result, "probs")


def check_binning(binning: str) -> str:
    """Returns the way to make bins, or raises unless it is a known one."""
    one_of("binning", binning, BINNINGS)
    return binning


def check_columns(arrays: Sequence[ArrayLike]) -> list[jax.Array]:
    """Returns arrays with one first axis of the same length, or raises."""
    result = [jnp.asarray(array) for array in arrays]
    shapes = [array.shape for array in result]
    rows = {shape[:1] for shape in shapes}
    if len(rows) != 1 or rows <= {(), (0,)}:
        raise ValueError(
            "`arrays` must be one or more, with the same number of rows, at least one, "
            f"on the first axis, got shapes {shapes}; pass what `metric` takes."
        )
    return result


def check_samples(samples: Any) -> int:
    """Returns the number of resamples, or raises unless it is an integer above 1."""
    return _check_integer("samples", samples, 2, "1000")


def check_level(level: Any) -> float:
    """Returns the level of an interval, or raises unless it is between 0 and 1."""
    if not (isinstance(level, float | int) and 0 < level < 1):
        raise ValueError(
            f"`level` must be a number between 0 and 1, got {level!r}; "
            "pass for example `level=0.95`."
        )
    return float(level)


def check_bins(bins: Any) -> int:
    """Returns the number of bins, or raises unless it is a positive integer."""
    return _check_integer("bins", bins, 1, "15")


def check_folds(folds: Any) -> int:
    """Returns the number of folds, or raises unless it is an integer above 1."""
    return _check_integer("folds", folds, 2, "5")


def check_groups(
    groups: ArrayLike, num_groups: Any, rows: tuple[int, ...]
) -> tuple[jax.Array, int]:
    """Returns the group of each row and the number of groups, or raises."""
    number = _check_integer("num_groups", num_groups, 1, "10")
    result = jnp.asarray(groups)
    if not jnp.issubdtype(result.dtype, jnp.integer):
        raise TypeError(
            f"`groups` must be integers, got dtype {result.dtype}; "
            "pass the index of each row's group."
        )
    if result.shape != rows:
        raise ValueError(
            f"`groups` must have the labels' shape {rows}, got shape {result.shape}; "
            "pass one group per row."
        )
    if isinstance(result, Tracer):
        return result, number
    values = np.asarray(result)
    wrong = (values < 0) | (values >= number)
    if wrong.any():
        raise ValueError(
            f"`groups` must lie in [0, {number}) for {number} groups, got "
            f"{int(values[wrong][0])}; give such rows weight 0 and any group."
        )
    return result, number


def _check_integer(name: str, value: Any, least: int, example: str) -> int:
    try:
        result = operator.index(value)
    except TypeError:
        result = least - 1
    if result < least:
        kind = "a positive integer" if least == 1 else f"an integer >= {least}"
        raise ValueError(
            f"`{name}` must be {kind}, known when traced, got {value!r}; "
            f"pass for example `{name}={example}`."
        )
    return result
