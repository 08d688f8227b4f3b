"""Which classes a row keeps: the first of an order, until their weights add up.

Classes are ordered by score, the highest first, and by index where scores are equal.
Nothing is sorted: the score of the last class kept is searched for, and every pass
over the row sums what lies above one trial score and moves a bracket to the scores
that it meets there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .._order import decode, encode


# Compiled as one: a loop that is called outside of `jit` is compiled at every call.
@functools.partial(jax.jit, static_argnames=("ties", "last"))
def prefix(
    score: jax.Array,
    target: jax.Array,
    weight: jax.Array | None = None,
    *,
    ties: str = "index",
    last: bool = True,
) -> jax.Array:
    """The shortest prefix of each row's order whose weights sum to the target.

    A class is kept if the weights before it sum to less than the target, so the first
    one always is; all are kept where the target is out of reach. A `-inf` or NaN score
    is never kept. Sums are taken in the weights' type, whose rounding may decide either
    way where a sum comes within it of the target; counts are exact.

    Args:
        score: `[..., V]`, floating point.
        target: `[..., 1]`, in the weights' type, or a count.
        weight: `[..., V]`, floating point and at least 0; every class counts 1 if None.
        ties: `"index"`, or `"all"` to also keep what scores the same as the last.
        last: False leaves out the class that reaches the target.

    Returns:
        A boolean array of the shape of `score`.
    """
    classes = score.shape[-1]
    blocks = functools.partial(_blocks, width=min(classes, _WIDTH))
    key = blocks(jnp.where(score > -jnp.inf, encode(score), 0))
    weight = jnp.int32(1) if weight is None else blocks(weight)
    target = target[..., None]
    bits = 8 * key.dtype.itemsize
    line = _Line(
        lambda value: encode(value.astype(score.dtype)),
        functools.partial(decode, dtype=score.dtype),
    )
    found = _search(_start(key, weight), key, weight, target, line, bits)
    present = key > 0
    if ties == "all":
        return _unblocked(present & (key >= found.low), score)

    tied = present & (key >= found.low) & (key < found.high)
    place = blocks(jnp.arange(classes, 0, -1, dtype=jnp.uint32))
    place = jnp.where(tied, place, 0)
    start = _start(place, weight)._replace(reached=found.reached, short=found.short)
    order = _search(start, place, weight, target, _INTEGERS, classes.bit_length())
    among = place >= order.low if last else place > order.low
    return _unblocked((key >= found.high) | (tied & among), score)


# In how long a block weights are summed one after the other: float32 then sums a row
# to a few units of its last place, however long the row is.
_WIDTH = 512


def _blocks(x: jax.Array, width: int) -> jax.Array:
    """`[..., V]` as `[..., blocks, width]`, with zeros at the end."""
    missing = -x.shape[-1] % width
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)])
    return x.reshape(*x.shape[:-1], -1, width)


def _unblocked(x: jax.Array, like: jax.Array) -> jax.Array:
    """The first entries of blocks, in the shape of `like`."""
    x = x.reshape(*x.shape[:-2], -1)
    return x[..., : like.shape[-1]]


class _Bracket(NamedTuple):
    """Where the last class kept is, `[..., 1, 1]`: among the keys in [low, high).

    `reached` is the sum of the weights from `low` on, which reaches the target, and
    `short` that from `high` on, which does not. `run` counts by how many passes on end
    the low side was moved, and is negative for the high side.
    """

    low: jax.Array
    high: jax.Array
    reached: jax.Array
    short: jax.Array
    run: jax.Array


class _Line(NamedTuple):
    """Numbers between which a bracket interpolates, to keys and back."""

    encode: Callable[[jax.Array], jax.Array]
    decode: Callable[[jax.Array], jax.Array]


def _search(bracket: _Bracket, key, weight, target, line: _Line, bits: int) -> _Bracket:
    """Narrow a bracket down to one key, in at most `bits` passes over the rows."""
    counting = not jnp.issubdtype(jnp.result_type(weight), jnp.floating)
    target = jnp.minimum(target, bracket.reached)
    base = bracket.short

    def undecided(state):
        _, bracket = state
        wide = bracket.high - bracket.low > 1
        # What counts exactly the target is the answer, whatever its lowest key.
        return jnp.any(wide & (bracket.reached != target) if counting else wide)

    def narrow(state):
        passes, bracket = state
        # No bracket may be wider than halving would have left it.
        widest = jnp.left_shift(jnp.ones((), key.dtype), bits - 1 - passes)
        pivot = _pivot(bracket, target, line, widest, counting)
        above = key >= pivot
        mass, lowest, highest = _reduce(key, weight, above, ~above)
        mass = mass + base
        # A row that is done stays: its sum may come out below the target this time.
        reaches = (mass >= target) | (pivot == bracket.low)
        run = bracket.run
        return passes + 1, _Bracket(
            low=jnp.where(reaches, lowest, bracket.low),
            high=jnp.where(reaches, bracket.high, highest + 1),
            reached=jnp.where(reaches, mass, bracket.reached),
            short=jnp.where(reaches, bracket.short, mass),
            run=jnp.where(reaches, jnp.maximum(run, 0) + 1, jnp.minimum(run, 0) - 1),
        )

    return lax.while_loop(undecided, narrow, (jnp.zeros((), key.dtype), bracket))[1]


def _pivot(bracket: _Bracket, target, line: _Line, widest, counting: bool) -> jax.Array:
    """The key to divide a bracket at, above `low` and below `high`."""
    low, last = line.decode(bracket.low), line.decode(bracket.high - 1)
    guess = low + (last - low) * _share(bracket, target, counting, low.dtype)
    width = bracket.high - bracket.low
    offset = jnp.clip(line.encode(guess), bracket.low, bracket.high - 1) - bracket.low
    offset = jnp.where(jnp.isfinite(guess), offset, width // 2)
    least = jnp.where(width > widest, width - widest, 1)
    return bracket.low + jnp.clip(offset, least, jnp.minimum(width - 1, widest))


def _share(bracket: _Bracket, target, counting: bool, dtype) -> jax.Array:
    """How far up a bracket the target may be found, from 0 to 1.

    Sums fall by differences in a dense part of a row and by ratios in its tail, so
    halfway between the two guesses; further on after several moves of the same side.
    """
    reached, short = bracket.reached.astype(dtype), bracket.short.astype(dtype)
    goal = target.astype(dtype) - (0.5 if counting else 0)
    linear = (reached - goal) / (reached - short)
    floor = jnp.maximum(short, 1e-6 * reached)
    ratio = jnp.log(reached / goal) / jnp.log(reached / floor)
    share = jnp.clip((linear + ratio) / 2, 0, 1)
    root = 1 / jnp.maximum(jnp.abs(bracket.run), 1).astype(dtype)
    return jnp.where(bracket.run > 0, share**root, 1 - (1 - share) ** root)


def _start(key: jax.Array, weight) -> _Bracket:
    """The bracket of all of a row's keys that are not 0."""
    present = key > 0
    total, low, high = _reduce(key, weight, present, present)
    low = jnp.minimum(low, high)  # a row without a key
    run = jnp.zeros_like(low, jnp.int32)
    return _Bracket(low, high + 1, total, jnp.zeros_like(total), run)


def _reduce(key, weight, above, below) -> tuple[jax.Array, ...]:
    """The weight of the classes above, their lowest key, and the highest one below.

    One reduction of three operands, so that XLA reads the rows once.
    """
    zero, least = jnp.zeros((), jnp.result_type(weight)), jnp.zeros((), key.dtype)
    most = jnp.full((), jnp.iinfo(key.dtype).max, key.dtype)
    operands = (
        jnp.where(above, weight, zero),
        jnp.where(above, key, most),
        jnp.where(below, key, least),
    )

    def combine(a, b):
        return a[0] + b[0], jnp.minimum(a[1], b[1]), jnp.maximum(a[2], b[2])

    for axis in (key.ndim - 1, key.ndim - 2):
        operands = lax.reduce(operands, (zero, most, least), combine, (axis,))
    return tuple(x[..., None, None] for x in operands)


_INTEGERS = _Line(
    lambda value: value.astype(jnp.uint32), lambda key: key.astype(jnp.float32)
)
