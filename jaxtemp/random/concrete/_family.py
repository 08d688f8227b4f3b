"""What the distributions of the family share: their pytree, their checks, estimates."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from ... import _checks
from ..._rows import beside
from .._keys import row_words
from .._noise import gumbel

_C = TypeVar("_C", bound=type)


class Estimate(NamedTuple):
    r"""A Monte-Carlo estimate.

    Attributes:
        value: The mean over the draws, plus what is known exactly.
        standard_error: How far off that is: the standard deviation of a draw over the
            square root of their number.
    """

    value: jax.Array
    standard_error: jax.Array


def estimate(exact: jax.Array, draws: jax.Array, dtype) -> Estimate:
    """`exact` plus the mean of `draws` over their first axis."""
    error = jnp.std(draws, axis=0, ddof=1) / math.sqrt(draws.shape[0])
    return Estimate(
        (exact + jnp.mean(draws, axis=0)).astype(dtype), error.astype(dtype)
    )


def pytree(cls: _C) -> _C:
    """Register a dataclass whose constructor checks: JAX rebuilds it without."""
    fields = dataclasses.fields(cls)
    leaves = [field.name for field in fields if not field.metadata.get("static")]
    static = [field.name for field in fields if field.metadata.get("static")]

    def flatten(instance):
        keyed = [
            (jax.tree_util.GetAttrKey(name), getattr(instance, name)) for name in leaves
        ]
        return keyed, tuple(getattr(instance, name) for name in static)

    def unflatten(constants, children):
        instance = object.__new__(cls)
        names = zip((*leaves, *static), (*children, *constants), strict=True)
        instance.__dict__.update(names)
        return instance

    jax.tree_util.register_pytree_with_keys(cls, flatten, unflatten)
    return cls


def temperature(value, batch_shape: tuple[int, ...], dtype) -> jax.Array:
    """The temperature of every row; a traced one without a density becomes NaN."""
    info = jnp.finfo(dtype)
    rule = _checks.Rule(
        float(info.tiny),
        float(info.max),
        "a density needs 0 < τ < inf, so for τ = 0 draw with `jaxtemp.categorical`",
    )
    tau = _checks.per_row("temperature", value, batch_shape, dtype, rule)
    return jnp.where((tau >= rule.low) & (tau <= rule.high), tau, jnp.nan)


def draws(shape) -> tuple[int, ...]:
    """The axes of independent draws, before the distribution's own."""
    try:
        sizes = tuple(size.__index__() for size in shape)
    except (AttributeError, TypeError):
        sizes = (-1,)
    if min(sizes, default=0) < 0:
        raise ValueError(
            f"`shape` must be a tuple of ints >= 0, got {shape!r}; "
            "pass `(n,)` for n draws from every row."
        )
    return sizes


def samples(number) -> tuple[int]:
    """The axis of so many draws, enough for a standard error."""
    try:
        size = number.__index__()
    except AttributeError:
        size = 0
    if size < 2:
        raise ValueError(
            f"`samples` must be an int >= 2, got {number!r}; "
            "a standard error needs more than one draw."
        )
    return (size,)


def point(x, shape: tuple[int, ...], axis: int | None = None) -> jax.Array:
    """A point, whose shape broadcasts with `shape` and has its classes on `axis`."""
    x = _checks.floating_array("x", x)
    try:
        joint = np.broadcast_shapes(x.shape, shape)
        fits = axis is None or x.shape[axis] == joint[axis]
    except (ValueError, IndexError):
        fits = False
    if not fits:
        classes = "" if axis is None else f" and have all {shape[axis]} classes"
        raise ValueError(
            f"`x` must broadcast with the logits' shape {shape}{classes}, "
            f"got shape {x.shape}; pass what `sample` returns."
        )
    return x


def wide(x: jax.Array, dtype) -> jax.Array:
    """A point in `dtype`; a probability that its half type had to flush is as small."""
    if x.dtype == dtype:
        return x
    least = float(jnp.finfo(x.dtype).smallest_subnormal)
    return jnp.where(x == 0, least, x.astype(dtype))


def row_noise(key, shape: tuple[int, ...], z: jax.Array) -> jax.Array:
    """Gumbel noise `[*shape, *z.shape]`: the draws of a row from its own words."""
    batch = z.shape[:-1]
    left, right = (
        jnp.moveaxis(beside(word, z), -1, 0).reshape(shape + batch)
        for word in row_words(key, batch, math.prod(shape))
    )
    return gumbel((left, right), z.shape[-1], z.dtype)
