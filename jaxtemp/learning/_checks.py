"""Checks of what a learned temperature is made from, and their messages."""

import math
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike, DTypeLike


def check_bounds(lower: float, upper: float) -> None:
    """Raises unless `0 <= lower < upper`, with `lower` finite."""
    if not (_is_number(lower) and 0.0 <= lower < math.inf):
        raise ValueError(
            f"`lower` must be a finite number of at least 0, got {lower!r}; "
            "pass for example `lower=0.01`."
        )
    if not (_is_number(upper) and upper > lower):
        raise ValueError(
            f"`upper` must be a number above `lower={lower!r}`, got {upper!r}; "
            "widen the bounds."
        )


def check_two_sided(lower: float, upper: float) -> None:
    """Raises unless both bounds are positive and finite."""
    if lower == 0.0:
        raise ValueError(
            f"`lower` of a Bounded temperature must be positive, got {lower!r}; "
            "pass for example `lower=0.01`, or use `learning.Log`."
        )
    if math.isinf(upper):
        raise ValueError(
            f"`upper` of a Bounded temperature must be finite, got {upper!r}; "
            "pass for example `upper=100.0`, or use `learning.Log`."
        )


def check_initial(initial: ArrayLike) -> np.ndarray:
    """Returns `initial` in float64, or raises unless it is positive and finite."""
    if isinstance(initial, Tracer):
        raise TypeError(
            "`initial` must be a concrete number, got a traced one; "
            "make the parameter outside of jit, grad and vmap."
        )
    try:
        values = np.asarray(initial, np.float64)
    except (TypeError, ValueError):
        values = np.asarray(np.nan)
    wrong = ~((values > 0.0) & np.isfinite(values))
    if wrong.any():
        got = repr(initial) if values.ndim == 0 else repr(float(values[wrong][0]))
        raise ValueError(
            f"`initial` must be a positive finite number, got {got}; "
            "pass for example `initial=1.0`."
        )
    return values


def check_inside(
    values: np.ndarray, lower: float, upper: float, *, closed: bool
) -> None:
    """Raises unless every initial temperature lies within the bounds."""
    if closed:
        wrong = (values < lower) | (values > upper)
        interval = f"within [{lower:g}, {upper:g}]"
    else:
        wrong = (values <= lower) | (values >= upper)
        interval = f"strictly between {lower:g} and {upper:g}"
    if wrong.any():
        raise ValueError(
            f"`initial` must lie {interval}, got {float(values[wrong][0])!r}; "
            "move it inside or widen the bounds."
        )


def check_shape(shape: Any) -> tuple[int, ...]:
    """Returns `shape` as a tuple of ints, or raises."""
    try:
        lengths = shape if isinstance(shape, tuple | list) else (shape,)
        result = tuple(operator.index(length) for length in lengths)
    except TypeError:
        result = (-1,)
    if min(result, default=0) < 0:
        raise ValueError(
            f"`shape` must be a tuple of non-negative integers, got {shape!r}; "
            "pass for example `shape=(8, 1)`."
        )
    return result


def check_broadcast(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the initial values broadcast to `shape`, or raises."""
    try:
        return np.broadcast_to(values, shape)
    except ValueError:
        raise ValueError(
            f"`initial` of shape {values.shape} does not broadcast to "
            f"`shape={shape}`; pass one number or an array of that shape."
        ) from None


def check_dtype(dtype: DTypeLike | None) -> np.dtype:
    """Returns the parameter's dtype, or raises unless it is floating point."""
    try:
        result = jnp.dtype(jnp.result_type(float) if dtype is None else dtype)
    except TypeError:
        result = None
    if result is None or not jnp.issubdtype(result, jnp.floating):
        got = repr(dtype) if result is None else result
        raise TypeError(
            f"`dtype` must be floating point, got {got}; "
            "pass for example `dtype=jnp.float32`."
        )
    return jax.dtypes.canonicalize_dtype(result)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.floating | np.integer)
