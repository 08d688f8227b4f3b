"""The bound of the first k classes on a TPU: one read, and a search on the chip.

Rows that fit the chip's memory stay there while `search.py` counts their classes.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from .._mosaic_tpu import RowOp, over_rows, supported
from .._mosaic_tpu_block import Block, plan
from . import search, xla


def forward(z, k, *, first: bool) -> tuple[jax.Array, jax.Array]:
    """The bound `(value, own)` of each row's first k classes; see `xla.forward`."""
    if not (supported(z) and _one_block(z)):
        return xla.forward(z, k, first=first)
    k = search.limit(k, z.shape[-1])
    op = RowOp(
        (-jnp.inf, 0.0),
        functools.partial(_find, z.dtype, first),
        finish=lambda numbers, state: state,
        placed=first,
    )
    _, (value, own) = over_rows(op, (z,), (k,), columns=2, shared=True, name="kth")
    return value, own.astype(jnp.int32)


def _one_block(z) -> bool:
    rows, classes = z.size // z.shape[-1], z.shape[-1]
    return plan(rows, classes, [z.dtype.itemsize]).splits == 1


def _find(dtype, first: bool, block: Block, numbers, state):
    """The bound of a whole row."""
    del state
    (k,) = numbers

    def reaching(code):
        number = search.number(code, dtype)
        return _count(block, lambda z, *place: z >= number)

    def before(code, index):
        number = search.number(code, dtype)
        return _count(block, lambda z, place: (z == number) & (place < index))

    ordered = before if first else None
    code, own = search.find(k, block.classes, dtype, reaching, ordered)
    return jnp.where(own == 0, -jnp.inf, search.number(code, dtype)), own


def _count(block: Block, where) -> jax.Array:
    """How many classes of each row are there."""
    (count,) = block.sums(lambda *chunk: (jnp.where(where(*chunk), 1.0, 0.0),), 1)
    return count
