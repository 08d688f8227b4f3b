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


def _reduce(x: jax.Array, initial: float, combine: Callable) -> jax.Array:
    window = (1,) * (x.ndim - 1) + (WIDTH,)
    padding = [(0, 0)] * (x.ndim - 1) + [(0, -x.shape[-1] % WIDTH)]
    return lax.reduce_window(x, initial, combine, window, window, padding)
