"""Draws at τ = 0, in plain JAX: two fast passes over the logits, then one block.

Rows of few classes take one pass. A row with one largest logit leaves nothing to draw.
Where a row is tied and ties are broken at random, or where it may hold a NaN, all rows
are drawn from the tree of `xla.py`: the ids are those of a zero τ that is not known
beforehand.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from ..._blocks import WIDTH, block_maxima, row_sum
from ..._rows import upcast
from . import xla

EXACT = 2**24  # up to here a class has an exact float32


def forward(z, tau, key0, key1, *, first: bool) -> tuple[jax.Array]:
    """One id for every key: `[..., n]` for keys `[..., n]`, -1 where none can be."""
    ids, tied, unordered = _few(z) if z.shape[-1] <= WIDTH else _many(z)
    doubtful = unordered if first else unordered | tied

    def draw():
        return xla.forward(z, tau, key0, key1, first=first)[0]

    def take():
        return jnp.broadcast_to(ids[..., None], key0.shape)

    return (lax.cond(jnp.any(doubtful), draw, take),)


def _few(z) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The first largest class of each row, whether there are more, and if one is NaN.

    Class by class, in one elementwise pass: reducing rows this short takes longer.
    """
    columns = [z[..., k] for k in range(z.shape[-1])]
    top = functools.reduce(jnp.maximum, columns)
    ids = jnp.full(top.shape, -1, jnp.int32)
    count = jnp.zeros(top.shape, jnp.int32)
    for k in reversed(range(len(columns))):
        equal = columns[k] == top
        ids, count = jnp.where(equal, k, ids), count + equal.astype(jnp.int32)
    some = jnp.isfinite(top)
    unordered = jnp.isnan(functools.reduce(jnp.add, map(upcast, columns)))
    return jnp.where(some, ids, -1), (count > 1) & some, unordered


def _many(z) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The same by blocks of classes."""
    maxima = block_maxima(z)
    top = jnp.max(maxima, axis=-1)
    block, tied = _first(maxima, top)
    inside = xla.children(z, block[..., None], -jnp.inf)[..., 0, :]
    place, more = _first(inside, top)
    some = jnp.isfinite(top)
    # XLA's CPU compiler may leave a NaN out of a maximum, but not out of a sum. Behind
    # a barrier a half type is not converted for both at once, and kept.
    unordered = jnp.isnan(row_sum(upcast(lax.optimization_barrier(z)))[..., 0])
    ids = jnp.where(some, block * WIDTH + place, -1)
    return ids, (tied | more) & some, unordered


def _first(x, top) -> tuple[jax.Array, jax.Array]:
    """Where a row first equals its maximum, and whether it does so again."""
    equal = x == top[..., None]
    place = lax.broadcasted_iota(jnp.int32, x.shape, x.ndim - 1)
    ids = jnp.min(jnp.where(equal, place, x.shape[-1] - 1), axis=-1)
    return ids, jnp.sum(equal, axis=-1, dtype=jnp.int32) > 1


def settle(found, key0, draw: Callable[[], jax.Array], *, first: bool) -> jax.Array:
    """One id for every key, of what a kernel found; `draw` where a tie is drawn for.

    What it found of every row: the largest logit, its first class, how many have it,
    and NaNs, all as numbers of one type.
    """
    top, place, ties, bad = found
    some = jnp.isfinite(top) & (bad == 0)
    ids = jnp.where(some, place.astype(jnp.int32), -1)
    ids = jnp.broadcast_to(ids[..., None], key0.shape)
    if first:
        return ids
    return lax.cond(jnp.any(some & (ties > 1)), draw, lambda: ids)
