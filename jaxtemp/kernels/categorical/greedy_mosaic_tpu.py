"""Draws at τ = 0 on a TPU: the largest logit and its class in one read.

Only where a row is tied and ties are broken at random are all rows drawn as at any
other temperature: the ids are those of a zero τ that is not known beforehand.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from .._mosaic_tpu import RowOp, over_rows, supported
from .._mosaic_tpu_block import Block
from . import greedy, mosaic_tpu


def forward(z, tau, key0, key1, *, first: bool) -> tuple[jax.Array]:
    """One id for every key: `[..., n]` for keys `[..., n]`, -1 where none can be."""
    if not supported(z) or z.shape[-1] > greedy.EXACT:
        return greedy.forward(z, tau, key0, key1, first=first)
    start = -jnp.inf, 0.0, 0.0, 0.0
    op = RowOp(start, _read, finish=lambda numbers, state: state, placed=True)
    _, found = over_rows(
        op, (z,), (tau,), columns=len(start), shared=True, name="greedy"
    )

    def draw():
        return mosaic_tpu.forward(z, tau, key0, key1, first=first)[0]

    return (greedy.settle(found, key0, draw, first=first),)


def _read(block: Block, numbers, state):
    """The largest logit so far, its first class, how many have it; and NaNs."""
    del numbers
    old, place, ties, bad = state
    top = jnp.maximum(old, block.max())

    def terms(z, place):
        del place
        return jnp.where(z == top, 1.0, 0), jnp.where(z != z, 1.0, 0)

    here, nans = block.sums(terms, 2)
    last = block.max(lambda z, k: jnp.where(z == top, -k.astype(z.dtype), -jnp.inf))
    kept = old == top
    return (
        top,
        jnp.where(kept, place, -last),
        jnp.where(kept, ties, 0) + here,
        bad + nans,
    )
