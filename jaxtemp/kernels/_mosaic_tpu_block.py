"""How rows are cut into blocks on a TPU, and a block seen from inside a kernel."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

LANES = 128
# A core of TPU v7x has 64 MiB of vector memory, those of v5e, v5p and v6e 128. One
# size serves all of them, as a program may be lowered without the chip at hand.
LIMIT = 60 * 2**20
# What may hold blocks, two of each so that one is moved while the other is computed.
BLOCKS = 48 * 2**20
# A step costs a third of a microsecond, in which HBM moves about 1 MiB.
STEP = 4 * 2**20
# Numbers of rows lie in three tables 128 lanes wide: what is given, known and found.
TABLES = 3
# So many numbers at once fill half of the 64 registers. Where one piece is a whole row,
# they are eight rows or more, whose reductions across lanes then overlap.
PIECE = 2**15
CHUNK = 1024
# So many chunks are summed one after the other; the sums of those then are.
RUN = 16


class Plan(NamedTuple):
    """How `[R, V]` is cut.

    Attributes:
        rows: Rows of a block.
        width: Classes of a block.
        splits: Blocks that a row is cut into.
        group: Rows of a piece.
        chunk: Classes of a piece.
    """

    rows: int
    width: int
    splits: int
    group: int
    chunk: int


def plan(rows: int, classes: int, itemsizes: Sequence[int], unit: int = 1) -> Plan:
    """Cut rows into blocks: a pure function of shapes and types.

    Args:
        rows: R.
        classes: V.
        itemsizes: The bytes of a class in each operand and result that has classes.
        unit: Blocks that are wider are a multiple of it.
    """
    # A tile has 8 rows of 32-bit numbers, and 16 of 16-bit ones.
    tile = 32 // min(itemsizes)
    chunk = min(CHUNK, _up(classes, LANES))
    unit = chunk if classes <= unit else max(chunk, unit)
    width, splits = _up(classes, unit), 1
    narrowest = 2 * tile * sum(itemsizes)
    if narrowest * width > BLOCKS:
        most = max(BLOCKS // narrowest // unit * unit, unit)
        splits = pl.cdiv(classes, most)
        width = _up(pl.cdiv(classes, splits), unit)
        splits = pl.cdiv(classes, width)
    beside = TABLES * LANES * 4
    fitting = STEP // (width * sum(itemsizes) + beside) // tile * tile
    # Two blocks at least, where there are rows for them: some chips have two cores.
    block = max(tile, min(fitting, _up(pl.cdiv(rows, 2), tile)))
    group = min(block, max(tile, PIECE // chunk // tile * tile))
    return Plan(block // group * group, width, splits, group, chunk)


def cost(
    cut: Plan, rows, classes, phases, operands, stored, results, columns: int
) -> pl.CostEstimate:
    """What a kernel does, the bytes exactly.

    Operands are read once, and once more but for the last block where there is a second
    phase; results are written once. Numbers of rows lie in tables, which HBM holds and
    moves 128 lanes wide.
    """
    last = classes - (cut.splits - 1) * cut.width
    read = classes + (phases - 1) * (classes - last)
    tables = 2 if columns else 1
    moved = (
        read * sum(jnp.dtype(x).itemsize for x in operands)
        + max(stored, LANES) * sum(jnp.dtype(x).itemsize for x in results)
        + tables * LANES * 4
    )
    return pl.CostEstimate(
        flops=rows * classes * 8 * len(operands),
        transcendentals=rows * classes * (1 + len(results)),
        bytes_accessed=rows * moved,
    )


@dataclasses.dataclass(frozen=True)
class Block:
    """Some rows of a block that is in vector memory, seen chunk by chunk."""

    plan: Plan
    shape: tuple[int, int]
    start: tuple[jax.Array, jax.Array]  # its first row, and the block's first class
    rows: pl.Slice | slice
    operands: Sequence
    results: Sequence
    placed: bool

    @property
    def classes(self) -> int:
        """How many classes a row has."""
        return self.shape[1]

    @property
    def beyond(self) -> jax.Array:
        """Which rows, `[G, 1]`, only fill the last block, with anything."""
        row = lax.broadcasted_iota(jnp.int32, (self.plan.group, 1), dimension=0)
        return row >= self.shape[0] - self.start[0]

    @property
    def chunks(self) -> int:
        """How many chunks there are, less those at the end of a row that are empty."""
        if self.plan.splits == 1:
            return pl.cdiv(self.classes, self.plan.chunk)
        return self.plan.width // self.plan.chunk

    def max(self, term: Callable[..., jax.Array] | None = None) -> jax.Array:
        """The largest of each row of `term(*chunks)`, or of the first operand."""

        def larger(j, top):
            x = self._operand(0, j) if term is None else term(*self.chunk(j))
            return jnp.maximum(top, _fold(jnp.maximum, x))

        nothing = jnp.full((self.plan.group, LANES), -jnp.inf, jnp.float32)
        largest = lax.fori_loop(0, self.chunks, larger, nothing)
        return jnp.max(largest, axis=1, keepdims=True)

    def sums(self, term: Callable[..., tuple], count: int) -> tuple[jax.Array, ...]:
        """The sums along rows of the `count` terms of `term(*chunks)`."""
        return self._sweep(lambda j: term(*self.chunk(j)), count)

    def write(
        self, term: Callable[..., tuple[tuple, tuple]], count: int = 0
    ) -> tuple[jax.Array, ...]:
        """Store the results that `term(*chunks)` gives first, and sum the others."""

        def store(j):
            results, terms = term(*self.chunk(j))
            for ref, result in zip(self.results, results, strict=True):
                ref[self.rows, self._span(j)] = result.astype(ref.dtype)
            return terms

        return self._sweep(store, count)

    def chunk(self, j) -> list[jax.Array]:
        """Chunk `j` of every operand."""
        found = [self._operand(k, j) for k in range(len(self.operands))]
        return [*found, self._places(j)] if self.placed else found

    def _operand(self, k: int, j) -> jax.Array:
        """Chunk `j` of one operand; where there are no more classes, nothing counts."""
        x = self.operands[k][self.rows, self._span(j)].astype(jnp.float32)
        if self.classes % self.plan.chunk == 0:
            return x
        return jnp.where(self._places(j) < self.classes, x, 0.0 if k else -jnp.inf)

    def _places(self, j) -> jax.Array:
        """The classes of chunk `j`."""
        shape = self.plan.group, self.plan.chunk
        lane = lax.broadcasted_iota(jnp.int32, shape, dimension=1)
        return lane + (self.start[1] + j * self.plan.chunk)

    def _span(self, j):
        chunk = self.plan.chunk
        return pl.ds(pl.multiple_of(j * chunk, chunk), chunk)

    def _sweep(self, body, count: int):
        """Sum what `body(j)` returns, in runs, whose rounding errors do not add up."""
        chunks = self.chunks
        zeros = tuple(jnp.zeros((self.plan.group, LANES)) for _ in range(count))

        def add(j, totals):
            terms = [_fold(operator.add, x) for x in body(j)]
            return tuple(a + b for a, b in zip(totals, terms, strict=True))

        def run(k, totals):
            last = jnp.minimum((k + 1) * RUN, chunks)
            found = lax.fori_loop(k * RUN, last, add, zeros)
            return tuple(a + b for a, b in zip(totals, found, strict=True))

        totals = lax.fori_loop(0, pl.cdiv(chunks, RUN), run, zeros)
        return tuple(jnp.sum(x, axis=1, keepdims=True) for x in totals)


def _fold(combine: Callable, x: jax.Array) -> jax.Array:
    """A chunk's tiles combined into one: `[G, 128]`."""
    tiles = [x[:, k : k + LANES] for k in range(0, x.shape[1], LANES)]
    return functools.reduce(combine, tiles)


def _up(n: int, unit: int) -> int:
    return pl.cdiv(n, unit) * unit
