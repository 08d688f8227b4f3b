"""The bound of the first k classes on a TPU: one read, and a search on the chip.

Rows that fit the chip's memory stay there while a bracket about the last class kept is
halved: of all the numbers that a type has, in order. Where classes equal to it are cut
through, so is then the range of their indices.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ..._order import decode, encode
from .._mosaic_tpu import RowOp, over_rows, supported
from .._mosaic_tpu_block import Block, plan
from . import xla


def forward(z, k, *, first: bool) -> tuple[jax.Array, jax.Array]:
    """The bound `(value, own)` of each row's first k classes; see `xla.forward`."""
    if not (supported(z) and _one_block(z)):
        return xla.forward(z, k, first=first)
    classes = z.shape[-1]
    k = jnp.where((k == 0) | (k > classes), classes, k).astype(jnp.float32)
    op = RowOp(
        (-jnp.inf, 0.0),
        functools.partial(_find, jnp.finfo(z.dtype), first),
        finish=lambda numbers, state: state,
        placed=first,
    )
    _, (value, own) = over_rows(op, (z,), (k,), columns=2, shared=True, name="kth")
    return value, own.astype(jnp.int32)


def _one_block(z) -> bool:
    rows, classes = z.size // z.shape[-1], z.shape[-1]
    return plan(rows, classes, [z.dtype.itemsize]).splits == 1


class _Bracket(NamedTuple):
    """Where a code is: the highest, in [low, high), that enough classes reach.

    `reached` classes are at `low` or above, and `short` at `high` or above.
    """

    low: jax.Array
    high: jax.Array
    reached: jax.Array
    short: jax.Array


def _find(info, first: bool, block: Block, numbers, state):
    """The bound of a whole row."""
    del state
    (k,) = numbers

    def reaching(code):
        number = _decode(code, info.bits)
        return _count(block, lambda z, *place: z >= number)

    least = float(info.min)
    low = _encode(jnp.full_like(k, least), info.bits)
    high = _encode(jnp.maximum(block.max(), least), info.bits) + 1
    every = _Bracket(low, high, reaching(low), jnp.zeros_like(k))
    fewer = every.reached < k  # are finite
    found = _halve(every, k, reaching)
    value = _decode(found.low, info.bits)
    behind = jnp.full_like(k, block.classes)
    if first:
        behind = _behind(block, value, k, found)
    return jnp.where(fewer, -jnp.inf, value), jnp.where(fewer, 0.0, behind)


def _behind(block: Block, value, k, found: _Bracket):
    """The index that follows the last class kept of those that equal the value."""
    cut = found.reached > k

    def reaching(code):
        index = block.classes - code.astype(jnp.int32)
        return _count(block, lambda z, place: (z == value) & (place < index))

    low = jnp.zeros_like(found.low)
    high = jnp.where(cut, block.classes, 1).astype(low.dtype)
    equal = _Bracket(low, high, found.reached - found.short, jnp.zeros_like(k))
    low = _halve(equal, k - found.short, reaching).low
    return block.classes - low.astype(jnp.int32).astype(jnp.float32)


def _halve(bracket: _Bracket, k, reaching) -> _Bracket:
    """Halve brackets until each is one code, or exactly k classes reach `low`."""

    def open_(bracket):
        low, high, reached, _ = bracket
        return (high - low > 1) & (reached > k)

    def undecided(bracket):
        return jnp.max(jnp.where(open_(bracket), 1.0, 0.0)) > 0

    def narrow(bracket):
        low, high, reached, short = bracket
        middle = low + ((high - low) >> 1)
        count = reaching(middle)
        up = open_(bracket) & (count >= k)
        down = open_(bracket) & (count < k)
        return _Bracket(
            jnp.where(up, middle, low),
            jnp.where(down, middle, high),
            jnp.where(up, count, reached),
            jnp.where(down, count, short),
        )

    return lax.while_loop(undecided, narrow, bracket)


def _count(block: Block, where) -> jax.Array:
    """How many classes of each row are there."""
    (count,) = block.sums(lambda *chunk: (jnp.where(where(*chunk), 1.0, 0.0),), 1)
    return count


def _encode(number, bits: int) -> jax.Array:
    """Codes of a type of so many bits, of its numbers as float32."""
    return encode(number) >> (32 - bits)


def _decode(code, bits: int) -> jax.Array:
    """The number of a code, whose lower bits are those of the nearest to zero."""
    lower = 2 ** (32 - bits) - 1
    negative = code >> (bits - 1) == 0
    code = (code << (32 - bits)) | jnp.where(negative, lower, 0).astype(code.dtype)
    return decode(code, jnp.float32)
