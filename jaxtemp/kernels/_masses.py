"""Sums of exponentials of parts of rows, each about the part's own largest logit.

Tiles are `[rows, columns]`, numbers of rows `[rows]`, or `[]` where all rows of a tile
are parts of one. A part in which nothing is allowed has the largest logit -inf and the
mass 0; a NaN makes both NaN, and all that they are merged with.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

Numbers = tuple[jax.Array, ...]

LOWEST = float(jnp.finfo(jnp.float32).min)
TINY = float(jnp.finfo(jnp.float32).tiny)
# Far enough from overflow to be weighed and summed.
FAR = LOWEST * 2.0**-20
GONE = -1e4  # an exponent of which exp is zero


def spread(number: jax.Array, tile: jax.Array) -> jax.Array:
    """One number a row, or one for all of them, at every place of a row."""
    return lax.broadcast_in_dim(number, tile.shape, tuple(range(number.ndim)))


def total(tile: jax.Array) -> jax.Array:
    """The sum of each row."""
    return jnp.sum(tile, axis=1)


def largest(tile: jax.Array) -> jax.Array:
    """The largest logit of each row."""
    return jnp.max(tile, axis=1)


def below(tile: jax.Array, top: jax.Array) -> jax.Array:
    """The logits less their row's largest, -inf where nothing is allowed."""
    return tile - spread(jnp.maximum(top, LOWEST), tile)


def over_tau(x: jax.Array, scales: Numbers) -> jax.Array:
    """`x / τ`, by one factor after the other; of a tile or of numbers of rows."""
    for scale in scales:
        x = x * (spread(scale, x) if x.ndim == 2 else scale)
    return x


def shift(top: jax.Array, other: jax.Array, scales: Numbers) -> jax.Array:
    """The exponent of `top` about the larger of the two."""
    most = jnp.maximum(jnp.maximum(top, other), LOWEST)
    return over_tau(top - most, scales)


def mass(z: jax.Array, scales: Numbers) -> Numbers:
    """The largest logit, and Σ exp of the exponents about it."""
    top = largest(z)
    return top, total(jnp.exp(over_tau(below(z, top), scales)))


def merge_masses(a: Numbers, b: Numbers, scales: Numbers) -> Numbers:
    """The two numbers of `mass`, for both parts together."""
    (top, of_a), (other, of_b) = a, b
    of_a = of_a * jnp.exp(shift(top, other, scales))
    of_b = of_b * jnp.exp(shift(other, top, scales))
    return jnp.maximum(top, other), of_a + of_b


def mass_apart(z: jax.Array, scales: Numbers) -> Numbers:
    """The largest logit, how many equal it, and the mass of all others.

    Beside the maxima's own terms, small ones would be rounded away.
    """
    top = largest(z)
    e = jnp.exp(over_tau(below(z, top), scales))
    lower = z < spread(top, z)
    # A comparison with NaN is false, so what is not lower is counted by its weight.
    rest = total(jnp.where(lower, e, 0.0))
    return top, total(jnp.where(lower, 0.0, e)), rest


def merge_masses_apart(a: Numbers, b: Numbers, scales: Numbers) -> Numbers:
    """The three numbers of `mass_apart`, for both parts together."""
    (top, ties, rest), (other, more, beside) = a, b
    of_a, a_lower = kept(ties, top, other)
    of_b, b_lower = kept(more, other, top)
    rest = (rest + a_lower) * jnp.exp(shift(top, other, scales))
    beside = (beside + b_lower) * jnp.exp(shift(other, top, scales))
    return jnp.maximum(top, other), of_a + of_b, rest + beside


def kept(number: jax.Array, top: jax.Array, other: jax.Array) -> Numbers:
    """What belongs to the maxima of a part, split by whether they stay the maxima."""
    lower = top < other
    return jnp.where(lower, 0.0, number), jnp.where(lower, number, 0.0)
