"""Ops over rows on a TPU: the kernel that goes over them, block by block.

A block is some rows by some classes. Rows that fit the chip's vector memory are one
block wide and are read once. Longer ones are read block by block, gathering what is
known of a row, and, where an op has a result for each class, once more in the opposite
order: the block that ends the first phase begins the second without being read again.
So logits are read 2 - 1/n times for n blocks a row, or once if there is nothing to
write. Inside a block, an op works on pieces of it that fit the registers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from ._mosaic_tpu_block import LANES, LIMIT, Block, Plan, cost, plan

# A row's numbers take up to 2 KiB in tables 128 lanes wide; shorter rows are better off
# with XLA, which stores and moves no lanes that are empty.
FEWEST = 512


def supported(*wide: jax.Array) -> bool:
    """Whether kernels take these operands: long rows, but no float16.

    It has no vectors on these chips.
    """
    has_rows = all(wide[0].shape) and wide[0].shape[-1] >= FEWEST
    return has_rows and all(x.dtype in (jnp.float32, jnp.bfloat16) for x in wide)


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


def over_rows(
    op: RowOp,
    wide: Sequence[jax.Array],
    numbers: Sequence[jax.Array],
    results: Sequence[jnp.dtype] = (),
    columns: int = 0,
    per: int = 1,
    shared: bool = False,
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
        shared: Whether another kernel reads the operands too.
        name: The kernel's name.

    Returns:
        The results `[..., V]`, and those `[...]`.
    """
    *batch, classes = wide[0].shape
    flat = [x.reshape(-1, classes) for x in wide]
    flat = [in_hbm(x) for x in flat] if shared else flat
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
        functools.partial(
            _kernel, op, cut, flat[0].shape, phases, len(wide), len(results)
        ),
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
        cost_estimate=cost(cut, rows, classes, phases, types, stored, results, columns),
        name=name,
    )(table, *flat)
    tables = found[len(results) :]
    return (
        [x[:, :parts].reshape(*batch, parts) for x in found[: len(results)]],
        [table[:, k].reshape(batch) for table in tables for k in range(columns)],
    )


def finite(top: jax.Array) -> jax.Array:
    """A row's largest logit, finite where nothing is allowed."""
    return jnp.where(top == -jnp.inf, float(jnp.finfo(jnp.float32).min), top)


def risen(old: jax.Array, top: jax.Array) -> jax.Array:
    """How far a row's largest logit was below what it is now: zero or less."""
    return jnp.where(old == top, 0, old - finite(top))


def _kernel(op: RowOp, cut: Plan, shape, phases, operands, results, *refs):
    table, wide, outs = refs[0], refs[1 : 1 + operands], refs[1 + operands : -1]
    known = refs[-1]
    top, phase, j = pl.program_id(0) * cut.rows, pl.program_id(1), pl.program_id(2)
    first = (phase == 0) & (j == 0)
    last = (phase == phases - 1) & (j == cut.splits - 1)
    place = jnp.where(phase == 0, j, cut.splits - 1 - j)

    def piece(g, _):
        rows = pl.ds(pl.multiple_of(g * cut.group, cut.group), cut.group)
        corner = top + g * cut.group, place * cut.width
        block = Block(cut, shape, corner, rows, wide, outs[:results], op.placed)
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
