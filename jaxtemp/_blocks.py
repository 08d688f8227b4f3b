"""Reductions of blocks of classes, block by block along the last axis.

XLA's CPU compiler reduces long rows that come from memory several times faster by
windows than at once, so a row's maximum or sum is taken as that of its blocks'.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

WIDTH = 128
_PART = 2**17  # so many numbers stay in cache
_LONG = 2**14  # classes of a row that is never taken at once


def block_sums(x: jax.Array) -> jax.Array:
    """The sums of blocks of WIDTH, of which the last may be shorter."""
    return _reduce(x, 0.0, lax.add)


def block_maxima(x: jax.Array) -> jax.Array:
    """The largest entries of blocks of WIDTH, of which the last may be shorter."""
    return _reduce(x, -jnp.inf, lax.max)


def row_maximum(x: jax.Array) -> jax.Array:
    """The largest entry of each row, which keeps its axis."""
    blocks = block_maxima(x) if x.shape[-1] > WIDTH else x
    return jnp.max(blocks, axis=-1, keepdims=True)


def row_sum(x: jax.Array) -> jax.Array:
    """The sum of each row, which keeps its axis."""
    blocks = block_sums(x) if x.shape[-1] > WIDTH else x
    return jnp.sum(blocks, axis=-1, keepdims=True)


def sums_by_part(
    z: jax.Array, weigh: Callable[[jax.Array, jax.Array], jax.Array]
) -> jax.Array:
    """The sums of blocks of what `weigh` makes of classes and their places.

    Part by part, as what it makes of all of them fits no cache and may be larger than
    the classes themselves.
    """
    size = z.shape[-1]
    parts = max(-(-z.size // _PART), 2 if size >= _LONG else 1)
    part = -(-size // parts // WIDTH) * WIDTH
    count = size // part if parts > 1 else 0

    def sums(start, length: int):
        # All of a half type would be converted beforehand, and kept.
        row, start = lax.optimization_barrier((z, start))
        x = lax.dynamic_slice_in_dim(row, start, length, axis=-1)
        return block_sums(weigh(x, start + jnp.arange(length)))

    found = []
    if count:
        starts = jnp.arange(count) * part
        inside = jnp.moveaxis(lax.map(lambda start: sums(start, part), starts), 0, -2)
        found.append(inside.reshape(*inside.shape[:-2], count * (part // WIDTH)))
    if size - count * part:
        found.append(sums(count * part, size - count * part))
    return jnp.concatenate(found, axis=-1)


def _reduce(x: jax.Array, initial: float, combine: Callable) -> jax.Array:
    window = (1,) * (x.ndim - 1) + (WIDTH,)
    padding = [(0, 0)] * (x.ndim - 1) + [(0, -x.shape[-1] % WIDTH)]
    return lax.reduce_window(x, initial, combine, window, window, padding)
