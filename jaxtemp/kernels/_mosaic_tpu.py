"""Rows on a TPU: how they are cut into blocks, and the kernel that goes over them.

A block is some rows by some classes. Rows that fit the chip's vector memory are one
block wide and are read once. Longer ones are read block by block, gathering what is
known of a row, and, where an op has a result for each class, once more in the opposite
order: the block that ends the first phase begins the second without being read again.
So logits are read 2 - 1/n times for n blocks a row, or once if there is nothing to
write. Inside a block, an op works on pieces of it that fit the registers.
"""

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
from jax.experimental.pallas import tpu as pltpu

LANES = 128
# A core of TPU v7x has 64 MiB of vector memory, those of v5e, v5p and v6e 128. One
# size serves all of them, as a program may be lowered without the chip at hand.
LIMIT = 60 * 2**20
# What may hold blocks, two of each so that one is moved while the other is computed.
BLOCKS = 48 * 2**20
# A step costs a third of a microsecond, in which HBM moves about 1 MiB.
STEP = 4 * 2**20
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
    fitting = STEP // (width * sum(itemsizes)) // tile * tile
    # Two blocks at least, where there are rows for them: some chips have two cores.
    block = max(tile, min(fitting, _up(pl.cdiv(rows, 2), tile)))
    group = min(block, max(tile, PIECE // chunk // tile * tile))
    return Plan(block // group * group, width, splits, group, chunk)


def supported(*wide: jax.Array) -> bool:
    """Whether kernels take these operands: no float16, which vectors here cannot be."""
    return all(x.dtype in (jnp.float32, jnp.bfloat16) for x in wide) and all(
        wide[0].shape
    )


def in_hbm(wide: jax.Array) -> jax.Array:
    """The same array, kept out of vector memory, where it may fit.

    XLA would copy all of it there, once for each operand that it is of some kernel.
    """
    return pltpu.with_memory_space_constraint(wide, pltpu.HBM)


class RowOp(NamedTuple):
    """What to do with every row, given what is known of it: columns `[G, 1]`.

    Attributes:
        start: What is known of a row before it is read.
        read: `read(block, numbers, state) -> state`, for each block of a row.
        write: The same, for each block once all are read; without `read`, at once.
        finish: `finish(numbers, state)`, the row's results.
        placed: Whether chunks come with the places of their classes, as the last.
    """

    start: tuple[float, ...]
    read: Callable[[Block, tuple, tuple], tuple] | None = None
    write: Callable[[Block, tuple, tuple], tuple] | None = None
    finish: Callable[[tuple, tuple], tuple] | None = None
    placed: bool = False


@dataclasses.dataclass(frozen=True)
class Block:
    """Some rows of a block that is in vector memory, seen chunk by chunk."""

    plan: Plan
    classes: int
    start: jax.Array  # the block's first class
    rows: pl.Slice | slice
    operands: Sequence
    results: Sequence
    placed: bool

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
        return lane + (self.start + j * self.plan.chunk)

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


def over_rows(
    op: RowOp,
    wide: Sequence[jax.Array],
    numbers: Sequence[jax.Array],
    results: Sequence[jnp.dtype] = (),
    columns: int = 0,
    per: int = 1,
    name: str = "",
) -> tuple[list[jax.Array], list[jax.Array]]:
    """Run `op` on every row.

    Args:
        op: The op.
        wide: Operands `[..., V]`.
        numbers: Operands `[...]`, float32.
        results: The types of the results `[..., V]`.
        columns: How many results `[...]` there are, float32.
        per: The results `[..., V]` have one number for so many classes.
        name: The kernel's name.

    Returns:
        The results `[..., V]`, and those `[...]`.
    """
    *batch, classes = wide[0].shape
    flat = [x.reshape(-1, classes) for x in wide]
    table = jnp.stack([x.reshape(-1) for x in numbers], axis=-1)
    rows = flat[0].shape[0]
    types = [x.dtype for x in wide]
    if per == 1:
        cut = plan(rows, classes, [jnp.dtype(x).itemsize for x in (*types, *results)])
    else:  # results are small, and their blocks have to fill tiles
        cut = plan(rows, classes, [x.itemsize for x in types], unit=per * LANES)
    phases = 2 if op.read and op.write and cut.splits > 1 else 1
    varying = jax.typeof(wide[0]).manual_axis_type
    shape = functools.partial(jax.ShapeDtypeStruct, manual_axis_type=varying)

    # Sums of blocks fill their last tile, and are cut to size afterwards.
    parts = pl.cdiv(classes, per)
    stored = parts if per == 1 else cut.splits * cut.width // per

    def block(i, phase, j):
        return i, jnp.where(phase == 0, j, cut.splits - 1 - j)

    def written(i, phase, j):
        # Until it is written, the result's first block waits to be.
        return i, j if phases == 1 else cut.splits - 1 - phase * j

    def beside(lanes):
        return pl.BlockSpec((cut.rows, lanes), lambda i, phase, j: (i, 0))

    found = pl.pallas_call(
        functools.partial(_kernel, op, cut, classes, phases, len(wide), len(results)),
        grid=(pl.cdiv(rows, cut.rows), phases, cut.splits),
        in_specs=[
            beside(len(numbers)),
            *(pl.BlockSpec((cut.rows, cut.width), block) for _ in wide),
        ],
        out_specs=[
            *(pl.BlockSpec((cut.rows, cut.width // per), written) for _ in results),
            *([beside(columns)] if columns else []),
        ],
        out_shape=[
            *(shape((rows, stored), dtype) for dtype in results),
            *([shape((rows, columns), jnp.float32)] if columns else []),
        ],
        scratch_shapes=[pltpu.VMEM((cut.rows, LANES), jnp.float32)],
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "arbitrary", "arbitrary"),
            vmem_limit_bytes=LIMIT,
        ),
        cost_estimate=cost(
            cut,
            rows,
            classes,
            phases,
            [x.dtype for x in wide],
            stored,
            results,
            columns,
        ),
        name=name,
    )(table, *flat)
    tables = found[len(results) :]
    return (
        [x[:, :parts].reshape(*batch, parts) for x in found[: len(results)]],
        [table[:, k].reshape(batch) for table in tables for k in range(columns)],
    )


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


def finite(top: jax.Array) -> jax.Array:
    """A row's largest logit, finite where nothing is allowed."""
    return jnp.where(top == -jnp.inf, float(jnp.finfo(jnp.float32).min), top)


def risen(old: jax.Array, top: jax.Array) -> jax.Array:
    """How far a row's largest logit was below what it is now: zero or less."""
    return jnp.where(old == top, 0, old - finite(top))


def _kernel(op: RowOp, cut: Plan, classes, phases, operands, results, *refs):
    table, wide, outs = refs[0], refs[1 : 1 + operands], refs[1 + operands : -1]
    known = refs[-1]
    phase, j = pl.program_id(1), pl.program_id(2)
    first = (phase == 0) & (j == 0)
    last = (phase == phases - 1) & (j == cut.splits - 1)
    place = jnp.where(phase == 0, j, cut.splits - 1 - j)

    def piece(g, _):
        rows = pl.ds(pl.multiple_of(g * cut.group, cut.group), cut.group)
        start = place * cut.width
        block = Block(cut, classes, start, rows, wide, outs[:results], op.placed)
        numbers = _columns(table[rows, :], table.shape[1])

        def advance(step):
            state = _columns(known[rows, :], len(op.start))
            known[rows, :] = _table(step(block, numbers, state), LANES)

        @pl.when(first)
        def _():
            nothing = [jnp.full((cut.group, 1), x, jnp.float32) for x in op.start]
            known[rows, :] = _table(nothing, LANES)

        for step, when in ((op.read, 0), (op.write, phases - 1)):
            if step is not None:
                pl.when(phase == when)(functools.partial(advance, step))

        if (finish := op.finish) is not None:

            @pl.when(last)
            def _():
                state = _columns(known[rows, :], len(op.start))
                out = outs[results]
                out[rows, :] = _table(finish(numbers, state), out.shape[1])

    lax.fori_loop(0, cut.rows // cut.group, piece, None)


def _columns(table, count: int) -> tuple[jax.Array, ...]:
    return tuple(table[:, k : k + 1] for k in range(count))


def _table(columns: Sequence[jax.Array], lanes: int) -> jax.Array:
    """Columns side by side, without concatenation, which lanes are bad at."""
    lane = lax.broadcasted_iota(jnp.int32, (columns[0].shape[0], lanes), 1)
    table = jnp.broadcast_to(columns[0], lane.shape)
    for k, column in enumerate(columns[1:], 1):
        table = jnp.where(lane == k, column, table)
    return table


def _fold(combine: Callable, x: jax.Array) -> jax.Array:
    """A chunk's tiles combined into one: `[G, 128]`."""
    tiles = [x[:, k : k + LANES] for k in range(0, x.shape[1], LANES)]
    return functools.reduce(combine, tiles)


def _up(n: int, unit: int) -> int:
    return pl.cdiv(n, unit) * unit
