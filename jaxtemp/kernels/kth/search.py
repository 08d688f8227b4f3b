"""The bound of the first k classes of rows that a chip holds, found by halving.

A bracket about the last class kept is halved: of all the numbers that a type has, in
order. Where classes equal to it are cut through, so is then the range of their indices.
A number is known by its code, of as many bits as tell the numbers of the type apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..._order import decode


class Bracket(NamedTuple):
    """Where a code is: the highest, in [low, high), that enough classes reach.

    `reached` classes are at `low` or above, and `short` at `high` or above.
    """

    low: jax.Array
    high: jax.Array
    reached: jax.Array
    short: jax.Array


def limit(k, classes: int) -> jax.Array:
    """How many classes to keep at most, as the search counts them."""
    return jnp.where((k == 0) | (k > classes), classes, k).astype(jnp.float32)


def find(
    k: jax.Array,
    classes: int,
    dtype: Any,
    reaching: Callable[[jax.Array], jax.Array],
    before: Callable[[jax.Array, jax.Array], jax.Array] | None,
) -> tuple[jax.Array, jax.Array]:
    """The code of the bound, and `own`, which is 0 where fewer than k are finite.

    Args:
        k: How many classes of each row to keep, float32.
        classes: How many there are.
        dtype: Their type.
        reaching: How many classes of each row are at a code or above.
        before: How many that equal a code come before an index; `None` keeps them all.
    """
    every = _everything(k, dtype, reaching)
    found = _halve(every, k, reaching)
    own = jnp.full_like(k, classes)
    if before is not None:
        own = _behind(found, k, classes, before)
    return found.low, jnp.where(every.reached < k, 0.0, own)


def number(code: jax.Array, dtype: Any) -> jax.Array:
    """The number of a code, as float32: of all that have it, the nearest to zero."""
    lower = 2 ** _unused(dtype) - 1
    negative = code >> (31 - _unused(dtype)) == 0
    code = (code << _unused(dtype)) | jnp.where(negative, lower, 0).astype(code.dtype)
    return decode(code, jnp.float32)


def _everything(k, dtype, reaching) -> Bracket:
    """The bracket of all finite numbers, and of infinity."""
    least = ~_bits(float(jnp.finfo(dtype).min)) & 0xFFFFFFFF
    most = _bits(float("inf")) | 0x80000000
    low = jnp.full_like(k, least >> _unused(dtype), jnp.uint32)
    high = jnp.full_like(k, (most >> _unused(dtype)) + 1, jnp.uint32)
    return Bracket(low, high, reaching(low), jnp.zeros_like(k))


def _bits(number: float) -> int:
    """Those of float32."""
    return int(np.float32(number).view(np.uint32))


def _unused(dtype) -> int:
    """The lower bits of float32, which are zero in every number of the type."""
    return 23 - jnp.finfo(dtype).nmant


def _behind(found: Bracket, k, classes: int, before) -> jax.Array:
    """The index that follows the last class kept of those that equal the bound."""
    cut = found.reached > k

    def reaching(code):
        return before(found.low, classes - code.astype(jnp.int32))

    low = jnp.zeros_like(found.low)
    high = jnp.where(cut, classes, 1).astype(low.dtype)
    equal = Bracket(low, high, found.reached - found.short, jnp.zeros_like(k))
    low = _halve(equal, k - found.short, reaching).low
    return classes - low.astype(jnp.int32).astype(k.dtype)


def _halve(bracket: Bracket, k, reaching) -> Bracket:
    """Halve brackets until each is one code, or exactly k classes reach `low`."""

    def open_(bracket):
        low, high, reached, _ = bracket
        return (high - low > 1) & (reached > k)

    def undecided(bracket):
        some = jnp.where(open_(bracket), 1.0, 0.0)
        return (jnp.max(some) if some.ndim else some) > 0

    def narrow(bracket):
        low, high, reached, short = bracket
        middle = low + ((high - low) >> 1)
        count = reaching(middle)
        up = open_(bracket) & (count >= k)
        down = open_(bracket) & (count < k)
        return Bracket(
            jnp.where(up, middle, low),
            jnp.where(down, middle, high),
            jnp.where(up, count, reached),
            jnp.where(down, count, short),
        )

    return lax.while_loop(undecided, narrow, bracket)
