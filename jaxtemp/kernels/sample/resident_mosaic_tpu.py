"""Draws from the likeliest classes on a TPU, of rows that stay there: one read in all.

Everything that `xla.draws` does for a row, until its draw is kept, is done in vector
memory: the sums of blocks are stored and the way down the tree is gone there. A child
of a node is found by comparing all, as a gather would be no faster. Random bits and
ids are the same.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

from ..._bits import threefry
from ..._blocks import WIDTH
from .._mosaic_tpu import RowOp, over_rows
from .._mosaic_tpu_block import LANES, Block, plan
from ..categorical.mosaic_tpu import sum_blocks
from ..categorical.xla import COLUMNS, pick, uniform_of
from .limits import Limits
from .xla import ROUND

_HALF = 2**16  # a key travels as four numbers that float32 holds exactly


def fits(z) -> bool:
    """Whether rows are one block wide, and their blocks' blocks a row of lanes."""
    classes = z.shape[-1]
    cut = plan(z.size // classes, classes, [z.dtype.itemsize], unit=WIDTH * LANES)
    return cut.splits == 1 and classes <= WIDTH**3


def draws(
    z, scale, top_p, keys, within: Limits, *, use_p: bool, first: bool
) -> jax.Array:
    """One id a row, -1 where none can be; see `xla.draws`."""
    limits, kind = jax.tree.flatten(within)
    halves = [x.astype(jnp.float32) for w in keys for x in (w // _HALF, w % _HALF)]
    op = RowOp(
        start=(-1.0,),
        read=functools.partial(_read, kind, use_p, first),
        finish=lambda numbers, state: state,
        placed=True,
    )
    _, (ids,) = over_rows(
        op,
        (z,),
        (scale, top_p, *halves, *(x.astype(jnp.float32) for x in limits)),
        (jnp.float32,),
        columns=1,
        per=WIDTH,
        shared=True,
        name="sample",
    )
    return ids.astype(jnp.int32)


class _State(NamedTuple):
    """What is known of rows after some draws: columns `[G, 1]`."""

    attempt: jax.Array
    ids: jax.Array
    done: jax.Array
    bound: tuple[jax.Array, jax.Array]


def _read(kind, use_p: bool, first: bool, block: Block, numbers, state):
    """Draw until all rows of a block have an id that is kept."""
    scale, top_p, *halves = numbers[:6]
    within = jax.tree.unflatten(kind, numbers[6:])
    row = _Rows(block, scale, block.max(), _keys(halves))
    if not use_p:
        row.weigh(within)
        return (row.draw(within, jnp.uint32(0))[0].astype(jnp.float32),)
    mass = row.weigh(within._replace(reach=None))
    if within.reach is not None:
        row.weigh(within)
    target = jnp.where(top_p >= 1, jnp.inf, top_p * mass)

    def attempt(state):
        limits = within._replace(bound=state.bound)
        drawn, logit = row.draw(limits, state.attempt)
        ids = jnp.where(state.done > 0, state.ids, drawn)
        bound = logit, ids if first else jnp.zeros_like(ids)
        mass = row.weigh(Limits(bound, None))
        enough = (ids < 0) | (mass < target) | (mass == 0)
        done = jnp.where(enough, 1.0, state.done)
        return _State(state.attempt + 1, ids, done, bound)

    done = jnp.where(block.beyond | (target != target), 1.0, 0.0)
    nothing = jnp.full(done.shape, -1, jnp.int32)
    value, own = within.bound or (jnp.full_like(scale, -jnp.inf), 0 * done)
    bound = value, own.astype(jnp.int32)
    start = _State(jnp.uint32(0), nothing, done, bound)
    found = lax.while_loop(lambda state: jnp.min(state.done) == 0, attempt, start)
    return (found.ids.astype(jnp.float32),)


def _keys(halves) -> tuple[jax.Array, jax.Array]:
    a, b, c, d = (x.astype(jnp.int32) for x in halves)
    words = jnp.left_shift(a, 16) | b, jnp.left_shift(c, 16) | d
    first, second = (lax.bitcast_convert_type(word, jnp.uint32) for word in words)
    return first, second


@dataclasses.dataclass(frozen=True)
class _Rows:
    """Rows of a block, of which the sums of blocks of classes are stored."""

    block: Block
    scale: jax.Array
    top: jax.Array
    keys: tuple[jax.Array, jax.Array]

    @property
    def sums(self):
        """The stored sums."""
        return self.block.results[0]

    def weigh(self, limits: Limits) -> jax.Array:
        """Store the sums of what the limits let through; return the rows' masses."""
        numbers, kind = jax.tree.flatten(limits)

        def kept(weight, z, place, below, *numbers):
            own = jax.tree.unflatten(kind, numbers)
            return (own.within(weight, 0, z, place, below),)

        sum_blocks(self.block, kept, self.scale, self.top, numbers)

        def add(j, mass):
            return mass + _sum(self._part(j))

        return lax.fori_loop(0, self._parts(), add, jnp.zeros_like(self.top))

    def draw(self, limits: Limits, attempt) -> tuple[jax.Array, jax.Array]:
        """A class of each row and its logit; -1 where none can be."""
        words = threefry(self.keys, (attempt, jnp.uint32(ROUND)))
        blocks = pl.cdiv(self.block.classes, WIDTH)
        node, mass = self._block(words, blocks)
        z = self._classes(node)
        place = node * WIDTH + _lane(z)
        z = limits.within(z, -jnp.inf, z, place, z - self.top)
        x = z - jnp.max(z, axis=1, keepdims=True)
        child, _ = _choose(jnp.exp(x * self.scale), WIDTH, words, 0)
        ids = jnp.where(mass > 0, node * WIDTH + child, -1)
        return ids, _at(z, child)

    def _block(self, words, blocks: int) -> tuple[jax.Array, jax.Array]:
        """A block by its mass, and the mass of all."""
        parts = self._parts()
        if parts == 1:
            return _choose(self._part(0), blocks, words, 1)
        nothing = jnp.zeros((self.block.plan.group, LANES))
        lane = _lane(nothing)

        def put(j, above):
            return jnp.where(lane == j, _sum(self._part(j)), above)

        above = lax.fori_loop(0, parts, put, nothing)
        node, mass = _choose(above, pl.cdiv(blocks, WIDTH), words, 2)

        def take(j, below):
            return jnp.where(node == j, self._part(j), below)

        below = lax.fori_loop(0, parts, take, nothing)
        child, _ = _choose(below, WIDTH, words, 1)
        return node * WIDTH + child, mass

    def _parts(self) -> int:
        """In how many rows of lanes the sums are."""
        return pl.cdiv(self.sums.shape[1], LANES)

    def _part(self, j) -> jax.Array:
        width = min(LANES, self.sums.shape[1])
        start = pl.multiple_of(j * width, width)
        return self.sums[self.block.rows, pl.ds(start, width)]

    def _classes(self, node) -> jax.Array:
        """The logits of a block of each row, `[G, WIDTH]`."""
        count = self.block.plan.chunk // WIDTH

        def find(j, found):
            z = self.block.chunk(j)[0]
            for k in range(count):
                part = z[:, k * WIDTH : (k + 1) * WIDTH]
                found = jnp.where(node == j * count + k, part, found)
            return found

        nothing = jnp.full((self.block.plan.group, WIDTH), -jnp.inf)
        return lax.fori_loop(0, self.block.chunks, find, nothing)


def _choose(weights, count: int, words, level: int) -> tuple[jax.Array, jax.Array]:
    """What `categorical.xla.choose` gives, of the first `count` lanes."""
    like = weights[:, :1]
    if count <= COLUMNS:
        columns = [_at(weights, i) for i in range(count)]
        return pick(columns, uniform_of(words, level, 0, like), None)
    parts = [_sum(_within(weights, i)) for i in range(pl.cdiv(count, COLUMNS))]
    part, total = pick(parts, uniform_of(words, level, 1, like), None)
    columns = [_at(weights, part * COLUMNS + i) for i in range(COLUMNS)]
    index, _ = pick(columns, uniform_of(words, level, 0, like), None)
    return part * COLUMNS + index, total


def _within(weights, part: int) -> jax.Array:
    lane, first = _lane(weights), part * COLUMNS
    return jnp.where((lane >= first) & (lane < first + COLUMNS), weights, 0)


def _at(x, lane) -> jax.Array:
    return _sum(jnp.where(_lane(x) == lane, x, 0))


def _sum(x) -> jax.Array:
    return jnp.sum(x, axis=1, keepdims=True)


def _lane(x) -> jax.Array:
    return lax.broadcasted_iota(jnp.int32, x.shape, dimension=1)
