"""Gumbel and logistic noise for rows, right in both tails.

Noise is a logarithm of a uniform number, and far out where that number is next to zero
or to one. So each is made of 64 bits and kept as its distance from the nearer end.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax

from .. import _checks
from .._bits import from_nearer_end, threefry
from .._rows import Folded, accumulator, beside
from ._keys import row_words

_NOISE = 2  # what the second counter says: other numbers than those of a draw
_ROUNDS = {"default": 20, "fast": 13}
BITS = tuple(_ROUNDS)
_LOG_2 = 0.6931471805599453

# log(1 + f) / f, interpolated at the Chebyshev nodes of [-1/2, 0]: to 4e-8.
_LOG1P = (
    *(1.0, -0.499993742, 0.333662003),
    *(-0.243437439, 0.264547586, 0.181571648),
    *(1.20501387, 1.63021171, 1.40795672),
)


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def gumbel(
    words: tuple[jax.Array, jax.Array], size: int, dtype, bits: str = "default"
) -> jax.Array:
    """Standard Gumbel noise `[..., size]` for words `[...]`."""
    return gumbel_at(*from_nearer_end(row_bits(words, size, bits), dtype))


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def logistic(
    words: tuple[jax.Array, jax.Array], size: int, dtype, bits: str = "default"
) -> jax.Array:
    """Standard logistic noise `[..., size]` for words `[...]`."""
    return logistic_at(*from_nearer_end(row_bits(words, size, bits), dtype))


def row_gumbel(key, rows: Folded, bits: str = "default") -> jax.Array:
    """Gumbel noise of the logits' shape, in the type in which rows are summed.

    With an array of keys, a row's noise depends on its own key alone.
    """
    _checks.one_of("bits", bits, BITS)
    left, right = row_words(key, rows.temperature.shape)
    words = beside(left[..., 0], rows.logits), beside(right[..., 0], rows.logits)
    return gumbel(words, rows.logits.shape[-1], accumulator(rows.logits.dtype), bits)


def row_bits(
    words: tuple[jax.Array, jax.Array], size: int, bits: str
) -> tuple[jax.Array, jax.Array]:
    """64 bits `[..., size]` for words `[...]`."""
    left, right = (word[..., None] for word in words)
    counter = (lax.iota(jnp.uint32, size), jnp.uint32(_NOISE))
    return threefry((left, right), counter, _ROUNDS[bits])


def gumbel_at(distance: jax.Array, from_one: jax.Array) -> jax.Array:
    """`-log(-log u)` for u at a distance in (0, 1/2] from one or from zero."""
    if distance.dtype == jnp.float64:
        log_u = jnp.where(from_one, jnp.log1p(-distance), jnp.log(distance))
    else:
        # Two logarithms in one: of 1 - distance, or of a power of two times a mantissa.
        mantissa, exponent = _split(distance)
        log_u = _log1p(jnp.where(from_one, -distance, mantissa - 1))
        log_u = log_u + jnp.where(from_one, 0, exponent) * _LOG_2
    # Last a logarithm of XLA's own: where noise is used several times, its compiler
    # computes cheap steps again for each, down to the bits, but no logarithm.
    return -jnp.log(-log_u)


def logistic_at(distance: jax.Array, from_one: jax.Array) -> jax.Array:
    """`log(u / (1 - u))` for u at a distance in (0, 1/2] from one or from zero."""
    if distance.dtype == jnp.float64:
        size = jnp.log1p(-distance) - jnp.log(distance)
    else:
        size = _log1p(-distance) - jnp.log(distance)
    return jnp.where(from_one, size, -size)


def _log1p(f: jax.Array) -> jax.Array:
    """The logarithm of 1 + f for f in [-1/2, 0], to a relative 1e-7.

    That of XLA takes twice as long, for the sake of numbers that are not here.
    """
    total = jnp.full_like(f, _LOG1P[-1])
    for coefficient in _LOG1P[-2::-1]:
        total = total * f + coefficient
    return total * f


def _split(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mantissa in [1/2, 1) and exponent of normal float32 numbers."""
    bits = lax.bitcast_convert_type(x, jnp.int32)
    mantissa = lax.bitcast_convert_type((bits & 0x7FFFFF) | 0x3F000000, jnp.float32)
    return mantissa, ((bits >> 23) - 126).astype(jnp.float32)
