"""Parts that presets are put together from: switches, greedy limits, checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from .. import steps
from .._chain import Chain
from .._step import Step

Steps = tuple[Step | Chain, ...]


def on(value, off, make: Callable[[Any], Step | Chain]) -> Steps:
    """The step of a value, none where it is `None` or the number that is off."""
    if value is None or (not is_array(value) and value == off):
        return ()
    return (make(value),)


def temperature(value: ArrayLike, greedy_below: float) -> Steps:
    """A temperature that means the first of the largest logits where it is too low."""
    made = on(value, 1, steps.temperature)
    low = jnp.asarray(value) < greedy_below
    if is_array(value):
        return (
            steps.top_k(low.astype(jnp.int32)),
            steps.temperature(jnp.where(low, 1, value)),
        )
    return (steps.top_k(1),) if low else made


def minimum(
    name: str, value, over: str, eos_name: str, eos: int | Sequence[int] | None
) -> Steps:
    """No end of the text before so many tokens."""
    if value is not None and eos is None and (is_array(value) or value != 0):
        raise ValueError(
            f"`{eos_name}` must be given with `{name}`, got None; "
            "pass the ids that end a text."
        )
    ends = np.atleast_1d(() if eos is None else eos)
    return on(value, 0, lambda least: steps.min_length(least, ends, over=over))


def bias(values: Mapping[int, float] | None) -> Steps:
    """Numbers added to the logits of some ids."""
    if not values:
        return ()
    ids = jnp.asarray(list(values), jnp.int32)
    return (steps.logit_bias(ids, jnp.asarray(list(values.values()), jnp.float32)),)


def from_zero(value: Any) -> ArrayLike:
    """0, which is off, for every number below it."""
    return jnp.maximum(value, 0) if is_array(value) else max(value, 0)


def to_one(value: Any) -> ArrayLike:
    """1, which is off, for every number above it."""
    return jnp.minimum(value, 1) if is_array(value) else min(value, 1)


def above(p: ArrayLike, dtype) -> jax.Array:
    """The next number, with which "reaches" means "exceeds"."""
    p = jnp.asarray(p, dtype)
    return jnp.minimum(jnp.nextafter(p, jnp.asarray(2, dtype)), 1)


def is_array(value) -> bool:
    """Whether a value is an array, whose numbers may be traced or differ by row."""
    return isinstance(value, jax.Array | np.ndarray)


def require_positive(name: str, value) -> None:
    """Refuse a concrete number that is not above 0."""
    if value is None or isinstance(value, Tracer) or np.all(np.asarray(value) > 0):
        return
    raise ValueError(
        f"`{name}` must be above 0, as in that system, got {value}; "
        "pass a small number, or `top_k=1` for the most likely token."
    )
