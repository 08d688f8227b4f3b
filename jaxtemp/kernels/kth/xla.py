"""The bound of the first k classes, in plain JAX, by counting.

Nothing is sorted and nothing as large as the rows is stored: every pass counts which
classes reach each of a few trial numbers, and narrows a bracket about the last class
kept. Several numbers a pass cost little more than one. The search starts from the k-th
largest maximum of a block: k classes reach it, and hardly more.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ..._blocks import WIDTH, block_maxima, sums_by_part
from ..._order import decode, encode
from ..._rows import upcast
from ..categorical.xla import children

_PIVOTS = 8


def forward(z, k, *, first: bool) -> tuple[jax.Array, jax.Array]:
    """The bound `(value, own)` of each row's first k classes; all for a k of 0.

    Classes are ordered by `z`, the largest first, and by index where equal. One is kept
    if it is larger than `value`, or equal and its index is below `own`. `first` says
    that of equal classes those of the smallest index are kept; otherwise all that equal
    the last one kept are. `-inf` is never kept. Nothing is promised of rows with a NaN.
    """
    classes = z.shape[-1]
    k = jnp.where((k == 0) | (k > classes), classes, k)
    maxima = block_maxima(z)
    every = _everything(maxima)
    found = _search(z, k, every._replace(low=_search(maxima, k, every).low))
    none = found.low == found.high
    value = jnp.where(none, -jnp.inf, decode(found.low, z.dtype))
    own = jnp.where(none, 0, classes).astype(jnp.int32)
    if not first:
        return value, own
    cut = (found.reached != k) & ~none

    def divide():
        return jnp.where(cut, _behind(z, value, k - found.short), own)

    return value, lax.cond(jnp.any(cut), divide, lambda: own)


class _Bracket(NamedTuple):
    """Where the last class kept is: among the codes in [low, high).

    `reached` classes are at `low` or above, and `short` at `high` or above: fewer than
    k. If `low` equals `high`, fewer than k are finite.
    """

    low: jax.Array
    high: jax.Array
    reached: jax.Array
    short: jax.Array


def _everything(maxima) -> _Bracket:
    """The bracket of all finite numbers up to a row's largest."""
    top = encode(jnp.max(maxima, axis=-1))
    low = jnp.full_like(top, encode(jnp.finfo(maxima.dtype).min.astype(maxima.dtype)))
    none = jnp.zeros_like(top, jnp.int32)
    return _Bracket(low, jnp.maximum(top, low) + 1, none, none)


def _search(z, k, bracket: _Bracket) -> _Bracket:
    """Narrow a bracket until it is one number, or exactly k classes reach `low`."""

    def undecided(state):
        passes, (low, high, reached, _) = state
        return (passes == 0) | jnp.any((high - low > 1) & (reached != k))

    def narrow(state):
        passes, (low, high, _, short) = state
        # What did not depend on the loop, as z in another type, would be kept for it.
        row, low = lax.optimization_barrier((z, low))
        pivots = _pivots(low, high, passes, z.dtype)
        counts = _reaching(row, decode(pivots, z.dtype))
        enough = counts >= k[..., None]
        most = jnp.iinfo(counts.dtype).max
        return passes + 1, _Bracket(
            low=jnp.max(jnp.where(enough, pivots, low[..., None]), axis=-1),
            high=jnp.min(jnp.where(enough, high[..., None], pivots), axis=-1),
            reached=jnp.min(jnp.where(enough, counts, most), axis=-1),
            short=jnp.max(jnp.where(enough, short[..., None], counts), axis=-1),
        )

    return lax.while_loop(undecided, narrow, (jnp.uint32(0), bracket))[1]


def _pivots(low, high, passes, dtype) -> jax.Array:
    """`low` and codes between it and `high`, rising: `[..., _PIVOTS]`.

    By turns by the numbers, closer to `low`, where classes are denser, and by the
    codes, which ends in a few passes whatever the numbers are.
    """
    low, last = low[..., None], jnp.maximum(high - 1, low)[..., None]
    index = jnp.arange(_PIVOTS, dtype=low.dtype)
    by_code = low + index * ((last - low) // _PIVOTS + 1)
    share = (jnp.arange(_PIVOTS) / _PIVOTS) ** 2
    number = (1 - share) * decode(low, dtype) + share * decode(last, dtype)
    by_number = encode(number.astype(dtype))
    return jnp.clip(jnp.where(passes % 2 == 0, by_number, by_code), low, last)


def _reaching(z, numbers) -> jax.Array:
    """How many classes are at each number or above, in one reduction."""
    reach = [
        (upcast(z) >= numbers[..., i, None]).astype(jnp.int32) for i in range(_PIVOTS)
    ]

    def add(a, b):
        return [x + y for x, y in zip(a, b, strict=True)]

    counts = lax.reduce(reach, [jnp.int32(0)] * _PIVOTS, add, (z.ndim - 1,))
    return jnp.stack(counts, axis=-1)


def _behind(z, value, count) -> jax.Array:
    """The index that follows the `count`-th class of those that equal `value`."""

    def equal(x):
        return upcast(x) == value[..., None]

    sums = sums_by_part(z, lambda x, place: equal(x).astype(value.dtype))
    up_to = jnp.cumsum(sums.astype(jnp.int32), axis=-1)
    before = up_to < count[..., None]
    block = jnp.sum(before, axis=-1, dtype=jnp.int32)
    count = count - jnp.max(jnp.where(before, up_to, 0), axis=-1)
    inside = equal(children(z, block[..., None], -jnp.inf)[..., 0, :])
    inside = jnp.cumsum(inside, axis=-1, dtype=jnp.int32)
    place = jnp.sum(inside < count[..., None], axis=-1, dtype=jnp.int32)
    return block * WIDTH + place + 1
