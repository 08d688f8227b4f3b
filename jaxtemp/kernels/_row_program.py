"""A GPU kernel over rows: tiles are read, reduced to a few numbers a row, and written.

The numbers of two parts of a row merge into those of both. So it makes no difference
whether a row's tiles are held in registers, follow each other, are shared out among
warpgroups, which exchange their numbers through shared memory, or among blocks.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from . import _mosaic_gpu
from ._row_block import Block, Numbers, exchange
from ._row_parts import in_parts
from ._tiles import Tiles, choose, split


@dataclasses.dataclass(frozen=True)
class Program:
    """What is computed of rows; its functions see tiles in float32.

    Attributes:
        partial: `partial(tile, numbers)`, the statistics of a tile, `[rows]` each. In
            its first array, -inf stands for what belongs to another tile.
        merge: `merge(a, b, numbers)`, the statistics of two parts together.
        emit: `emit(tile, place, numbers, statistics)`, with the number of every class:
            the results `[rows, columns]`, and terms of the same shape, whose sums
            along the row are wanted.
        finish: `finish(numbers, statistics, sums)`, the results `[rows]`.
        search: `search(count, numbers)`, the results `[rows]` instead, for rows that
            are held: `count(where)` counts the classes where `where(*tile)` is true.
        placed: Whether a tile comes with the number of every class, as the last, when
            its statistics are taken or it is searched.
    """

    partial: Callable[..., Numbers] | None = None
    merge: Callable[..., Numbers] | None = None
    emit: Callable[..., tuple[Numbers, Numbers]] | None = None
    finish: Callable[..., Numbers] | None = None
    search: Callable[..., Numbers] | None = None
    placed: bool = False

    @property
    def once(self) -> bool:
        """Whether a row is done with as soon as it is read."""
        return not (self.search or (self.partial and self.emit))

    def reads(self, tiles: Tiles) -> int:
        """How often a row is read from memory."""
        return 1 if tiles.held or self.once else 2


def cut(program: Program, *wide: jax.Array) -> Tiles | None:
    """The tiles of rows `[..., V]`; `None` where there is none to work with."""
    classes = wide[0].shape[-1]
    rows = wide[0].size // classes

    def tiles(*, once: bool) -> Tiles | None:
        return choose(
            rows,
            classes,
            max(x.dtype.itemsize for x in wide),
            arrays=len(wide),
            once=once,
            whole=program.search is not None,
            several_warpgroups=_mosaic_gpu.several_warpgroups(),
        )

    alone = tiles(once=program.once)
    if alone is None or alone.held:
        return alone
    shared = split(tiles(once=True) or alone, rows, classes)
    return shared if shared.splits > 1 else alone


def run(
    program: Program,
    tiles: Tiles,
    wide: tuple[jax.Array, ...],
    numbers: Numbers,
    *,
    name: str,
    out: tuple[Any, ...] = (),
    row_results: int = 0,
    row_type: Any = jnp.float32,
    exponentials: int = 1,
) -> tuple[jax.Array, ...]:
    """Run it on arrays `[..., V]` and `[...]`.

    Args:
        program: What is computed.
        tiles: How the rows are cut.
        wide: Arrays of rows.
        numbers: Numbers of rows, of four bytes.
        name: What a profile calls it.
        out: The types of the results `[..., V]`.
        row_results: How many results `[...]` follow them.
        row_type: The type of these, of four bytes.
        exponentials: How many are taken for each logit, each time it is read.
    """
    batch, classes = wide[0].shape[:-1], wide[0].shape[-1]
    rows = math.prod(batch)
    given = tuple(x.reshape(rows, classes) for x in wide)
    numbers = tuple(x.reshape(rows) for x in numbers)
    call = functools.partial(_call, tiles, given, name, exponentials)
    if tiles.splits == 1:
        results = call(program, numbers, out, (row_type,) * row_results)
    else:
        results = in_parts(program, call, len(wide), numbers, out)
    wide_results = (x.reshape(*batch, classes) for x in results[: len(out)])
    return *wide_results, *(x.reshape(batch) for x in results[len(out) :])


def _call(
    tiles: Tiles,
    wide: Numbers,
    name: str,
    exponentials: int,
    program: Program,
    numbers: Numbers,
    out: tuple[Any, ...],
    row_types: tuple[Any, ...],
) -> tuple[jax.Array, ...]:
    """The results `[R, V]`, then those `[R]`, or `[splits, R]` where rows are split."""
    rows, classes = wide[0].shape
    splits = (tiles.splits,) if tiles.splits > 1 else ()
    reads = program.reads(tiles)
    cost = _mosaic_gpu.cost(
        rows * classes,
        reads * sum(x.dtype.itemsize for x in wide)
        + sum(jnp.dtype(dtype).itemsize for dtype in out),
        rows * (len(numbers) + tiles.splits * len(row_types)),
        exponentials * reads,
    )
    body = functools.partial(
        _body, program, tiles, (rows, classes), (len(wide), len(numbers), len(out))
    )
    return _mosaic_gpu.kernel(
        body,
        out_type=(
            *(jax.ShapeDtypeStruct((rows, classes), dtype) for dtype in out),
            *(jax.ShapeDtypeStruct((*splits, rows), dtype) for dtype in row_types),
        ),
        cost=cost,
        grid=(-(-rows // tiles.rows), *splits),
        grid_names=("block", "split")[: 1 + len(splits)],
        kernel_name=f"jaxtemp_{name}",
        **exchange(tiles),
    )(*wide, *numbers)


def run_apart(
    partial: Callable[..., Numbers],
    tiles: Tiles,
    z: jax.Array,
    numbers: Numbers,
    *,
    name: str,
    results: int,
    placed: bool = False,
) -> tuple[jax.Array, ...]:
    """The statistics of each tile of `[R, V]`, never merged: `[tiles, R]` each.

    With `placed`, a tile comes with the number of every class, as the last.
    """
    rows, _ = z.shape
    cost = _mosaic_gpu.cost(
        z.size, z.dtype.itemsize, rows * (len(numbers) + results * tiles.steps), 1
    )

    def body(z_ref, *refs):
        block = Block(tiles, z.shape, (z_ref,), (), (), placed)
        k = lax.axis_index("tile")
        known = tuple(block.load_row(ref) for ref in refs[: len(numbers)])
        found = partial(block.own_tile(k), known)
        for ref, value in zip(refs[len(numbers) :], found, strict=True):
            block.store_row(ref.at[k], value)

    out_type = (jax.ShapeDtypeStruct((tiles.steps, rows), jnp.float32),) * results
    return _mosaic_gpu.kernel(
        body,
        out_type=out_type,
        cost=cost,
        grid=(-(-rows // tiles.rows), tiles.steps),
        grid_names=("block", "tile"),
        kernel_name=f"jaxtemp_{name}",
    )(z, *numbers)


def _body(program, tiles, shape, counts, *refs):
    wide, numbers, out = counts
    exchanged = refs[-2:] if tiles.warpgroups > 1 else ()
    refs = refs[: len(refs) - len(exchanged)]
    given, results = refs[: wide + numbers], refs[wide + numbers :]
    block = Block(tiles, shape, given[:wide], results[:out], exchanged, program.placed)
    known = tuple(block.load_row(ref) for ref in given[wide:])
    if program.search:
        held = [block.own_tile(k) for k in range(tiles.steps)]
        values = program.search(functools.partial(_count, block, held), known)
    else:
        values = _in_turn(block, program, known)
    for ref, value in zip(results[out:], values, strict=True):
        own = ref.at[lax.axis_index("split")] if tiles.splits > 1 else ref
        block.store_row(own, value)


def _in_turn(block, program, known) -> Numbers:
    statistics = _reduce(block, program, known) if program.partial else ()
    sums = _write(block, program.emit, known, statistics) if program.emit else ()
    return program.finish(known, statistics, sums) if program.finish else ()


def _reduce(block, program, known) -> Numbers:
    def merge(a, b):
        return program.merge(a, b, known)

    def step(k, so_far):
        return merge(so_far, program.partial(block.own_tile(k), known))

    first = program.partial(block.own_tile(0), known)
    return block.together(block.loop(1, step, first), merge)


def _count(block, held, where) -> jax.Array:
    own = [jnp.sum(jnp.where(where(*tile), 1.0, 0.0), axis=1) for tile in held]
    return block.together((sum(own),), _add)[0]


def _add(a: Numbers, b: Numbers) -> Numbers:
    return tuple(x + y for x, y in zip(a, b, strict=True))


def _write(block, emit, known, statistics) -> Numbers:
    def write(k):
        results, terms = emit(block.tile(k), block.place(k), known, statistics)
        block.store_tile(k, results)
        return tuple(jnp.sum(block.own(k, term, 0.0), axis=1) for term in terms)

    sums = block.loop(1, lambda k, so_far: _add(so_far, write(k)), write(0))
    return block.together(sums, _add) if sums else sums
