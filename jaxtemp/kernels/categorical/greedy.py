"""Draws at τ = 0, in plain JAX: two fast passes over the logits, then one block.

A row with one largest logit leaves nothing to draw. Where a row is tied and ties are
broken at random, or where it may hold a NaN, all rows are drawn from the tree of
`xla.py`: the ids are those of a zero τ that is not known beforehand.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from ..._blocks import WIDTH, block_maxima, row_sum
from ..._rows import upcast
from . import xla


def forward(z, tau, key0, key1, *, first: bool) -> tuple[jax.Array]:
    """One id for every key: `[..., n]` for keys `[..., n]`, -1 where none can be."""
    ids, tied = _largest(z)
    # XLA's CPU compiler may leave a NaN out of a maximum, but not out of a sum.
    doubtful = jnp.isnan(row_sum(upcast(z))[..., 0])
    doubtful = doubtful if first else doubtful | tied

    def draw():
        return xla.forward(z, tau, key0, key1, first=first)[0]

    def take():
        return jnp.broadcast_to(ids[..., None], key0.shape)

    return (lax.cond(jnp.any(doubtful), draw, take),)


def _largest(z) -> tuple[jax.Array, jax.Array]:
    """The first largest class of each row, and whether there are more."""
    if z.shape[-1] <= WIDTH:
        top = jnp.max(z, axis=-1)
        ids, tied = _first(z, top)
    else:
        maxima = block_maxima(z)
        top = jnp.max(maxima, axis=-1)
        block, tied = _first(maxima, top)
        inside = xla.children(z, block[..., None], -jnp.inf)[..., 0, :]
        place, more = _first(inside, top)
        ids, tied = block * WIDTH + place, tied | more
    some = jnp.isfinite(top)
    return jnp.where(some, ids, -1), tied & some


def _first(x, top) -> tuple[jax.Array, jax.Array]:
    """Where a row first equals its maximum, and whether it does so again."""
    equal = x == top[..., None]
    place = lax.broadcasted_iota(jnp.int32, x.shape, x.ndim - 1)
    ids = jnp.min(jnp.where(equal, place, x.shape[-1] - 1), axis=-1)
    return ids, jnp.sum(equal, axis=-1, dtype=jnp.int32) > 1
