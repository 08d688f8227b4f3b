"""A GPU kernel over rows: tiles are read, reduced to a few numbers a row, and written.

The numbers of two parts of a row merge into those of both. So it makes no difference
whether a row's tiles are held in registers, follow each other, or are shared out among
warpgroups, which exchange their numbers through shared memory.
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
from ._tiles import Tiles, choose

Numbers = tuple[jax.Array, ...]


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
    """

    partial: Callable[..., Numbers] | None = None
    merge: Callable[..., Numbers] | None = None
    emit: Callable[..., tuple[Numbers, Numbers]] | None = None
    finish: Callable[..., Numbers] | None = None

    @property
    def once(self) -> bool:
        """Whether nothing is written that depends on the whole row."""
        return not (self.partial and self.emit)

    def reads(self, tiles: Tiles) -> int:
        """How often a row is read from memory."""
        return 1 if tiles.held or self.once else 2


def cut(program: Program, *wide: jax.Array) -> Tiles | None:
    """The tiles of rows `[..., V]`; `None` where there is less than one."""
    classes = wide[0].shape[-1]
    return choose(
        wide[0].size // classes,
        classes,
        max(x.dtype.itemsize for x in wide),
        arrays=len(wide),
        once=program.once,
        several_warpgroups=_mosaic_gpu.several_warpgroups(),
    )


def run(
    program: Program,
    tiles: Tiles,
    wide: tuple[jax.Array, ...],
    numbers: Numbers,
    *,
    name: str,
    out: tuple[Any, ...] = (),
    row_results: int = 0,
    exponentials: int = 1,
) -> tuple[jax.Array, ...]:
    """Run it on arrays `[..., V]` and `[...]`.

    Args:
        program: What is computed.
        tiles: How the rows are cut.
        wide: Arrays of rows.
        numbers: Float32 numbers of rows.
        name: What a profile calls it.
        out: The types of the results `[..., V]`.
        row_results: How many results `[...]` follow them.
        exponentials: How many are taken for each logit, each time it is read.
    """
    batch, classes = wide[0].shape[:-1], wide[0].shape[-1]
    rows = math.prod(batch)
    wide_types = [jax.ShapeDtypeStruct((rows, classes), dtype) for dtype in out]
    row_type = jax.ShapeDtypeStruct((rows,), jnp.float32)
    reads = program.reads(tiles)
    cost = _mosaic_gpu.cost(
        rows * classes,
        reads * sum(x.dtype.itemsize for x in wide)
        + sum(x.dtype.itemsize for x in wide_types),
        rows * (len(numbers) + row_results),
        exponentials * reads,
    )
    body = functools.partial(
        _body, program, tiles, (rows, classes), (len(wide), len(numbers), len(out))
    )
    results = _mosaic_gpu.kernel(
        body,
        out_type=(*wide_types, *(row_type,) * row_results),
        cost=cost,
        grid=(-(-rows // tiles.rows),),
        grid_names=("block",),
        kernel_name=f"jaxtemp_{name}",
        **_exchange(tiles),
    )(
        *(x.reshape(rows, classes) for x in wide),
        *(x.reshape(rows) for x in numbers),
    )
    wide_results = (x.reshape(*batch, classes) for x in results[: len(out)])
    return *wide_results, *(x.reshape(batch) for x in results[len(out) :])


def run_apart(
    partial: Callable[..., Numbers],
    tiles: Tiles,
    z: jax.Array,
    numbers: Numbers,
    *,
    name: str,
    results: int,
) -> tuple[jax.Array, ...]:
    """The statistics of each tile of `[R, V]`, never merged: `[tiles, R]` each."""
    rows, _ = z.shape
    cost = _mosaic_gpu.cost(
        z.size, z.dtype.itemsize, rows * (len(numbers) + results * tiles.steps), 1
    )

    def body(z_ref, *refs):
        block = _Block(tiles, z.shape, (z_ref,), (), ())
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


# A statistic or a sum has a slot for every warpgroup; no program has more of them.
_SLOTS = 8


def _exchange(tiles: Tiles) -> dict[str, Any]:
    """What the warpgroups of a block need to exchange their numbers."""
    warpgroups = tiles.warpgroups
    if warpgroups == 1:
        return {}
    shape = 2 * _SLOTS * warpgroups, tiles.rows
    slots = _mosaic_gpu.plgpu().SMEM(shape, jnp.float32)
    # One barrier for statistics and one for sums: neither waits for a second phase.
    barriers = _mosaic_gpu.plgpu().Barrier(num_arrivals=warpgroups, num_barriers=2)
    return {
        "num_threads": warpgroups,
        "thread_name": "warpgroup",
        "scratch_types": (slots, barriers),
    }


def _body(program, tiles, shape, counts, *refs):
    wide, numbers, out = counts
    exchanged = refs[-2:] if tiles.warpgroups > 1 else ()
    refs = refs[: len(refs) - len(exchanged)]
    given, results = refs[: wide + numbers], refs[wide + numbers :]
    block = _Block(tiles, shape, given[:wide], results[:out], exchanged)
    known = tuple(block.load_row(ref) for ref in given[wide:])
    statistics = _reduce(block, program, known) if program.partial else ()
    sums = _write(block, program.emit, known, statistics) if program.emit else ()
    values = program.finish(known, statistics, sums) if program.finish else ()
    for ref, value in zip(results[out:], values, strict=True):
        block.store_row(ref, value)


def _reduce(block, program, known) -> Numbers:
    def merge(a, b):
        return program.merge(a, b, known)

    def step(k, so_far):
        return merge(so_far, program.partial(block.own_tile(k), known))

    first = program.partial(block.own_tile(0), known)
    return block.together(block.loop(1, step, first), merge, slot=0)


def _write(block, emit, known, statistics) -> Numbers:
    def write(k):
        results, terms = emit(block.tile(k), block.place(k), known, statistics)
        block.store_tile(k, results)
        return tuple(jnp.sum(block.own(k, term, 0.0), axis=1) for term in terms)

    def add(a, b):
        return tuple(x + y for x, y in zip(a, b, strict=True))

    sums = block.loop(1, lambda k, so_far: add(so_far, write(k)), write(0))
    return block.together(sums, add, slot=1) if sums else sums


class _Block:
    """The rows of one block, as one of its warpgroups sees them."""

    def __init__(self, tiles: Tiles, shape, wide, results, exchanged):
        self.tiles = tiles
        self.layout = tiles.layout()
        self.wide, self.results, self.exchanged = wide, results, exchanged
        rows, self.classes = shape
        # The last block begins earlier and computes some rows again.
        self.row = jnp.minimum(lax.axis_index("block") * tiles.rows, rows - tiles.rows)
        self.held: dict[int, Numbers] = {}

    def load_row(self, ref) -> jax.Array:
        return _mosaic_gpu.load(ref.at[self._rows()], self.layout.reduce(1))

    def store_row(self, ref, value: jax.Array) -> None:
        _mosaic_gpu.store(ref, (self._rows(),), value)

    def tile(self, k) -> Numbers:
        """A tile of each array, in float32; read once where tiles are held."""
        if not self.tiles.held:
            return self._read(k)
        if k not in self.held:
            self.held[k] = self._read(k)
        return self.held[k]

    def own_tile(self, k) -> Numbers:
        """The same with -inf, in the first array, where another tile covers it."""
        first, *rest = self.tile(k)
        return self.own(k, first, -jnp.inf), *rest

    def own(self, k, tile: jax.Array, other: float) -> jax.Array:
        """A tile with `other` in place of what an earlier tile has covered."""
        if self.tiles.exact:
            return tile
        start, covered = self._start(k)
        if isinstance(start, int) and start == covered:
            return tile
        return jnp.where(self._column() < covered - start, other, tile)

    def place(self, k) -> jax.Array:
        """The number of every class of a tile."""
        return self._column() + self._start(k)[0]

    def store_tile(self, k, values: Numbers) -> None:
        for ref, value in zip(self.results, values, strict=True):
            at = self._rows(), self._columns(k)
            _mosaic_gpu.store(ref, at, value.astype(ref.dtype))

    def loop(self, first: int, step: Callable, state: Numbers) -> Numbers:
        """Go through the tiles; those that are held are in registers with a name."""
        if not self.tiles.held:
            return lax.fori_loop(first, self.tiles.steps, step, state)
        for k in range(first, self.tiles.steps):
            state = step(k, state)
        return state

    def together(self, own: Numbers, merge: Callable, slot: int) -> Numbers:
        """Merge the numbers of all warpgroups, in the same order in each of them."""
        if not self.exchanged:
            return own
        slots, barriers = self.exchanged
        count = self.tiles.warpgroups
        layout = self.layout.reduce(1)

        def place(warpgroup, i):
            return (slot * count + warpgroup) * _SLOTS + i

        me = lax.axis_index("warpgroup")
        for i, value in enumerate(own):
            _mosaic_gpu.store(slots, (place(me, i),), value)
        _mosaic_gpu.plgpu().barrier_arrive(barriers.at[slot])
        _mosaic_gpu.plgpu().barrier_wait(barriers.at[slot])
        each = [
            tuple(
                _mosaic_gpu.load(slots.at[place(w, i)], layout) for i in range(len(own))
            )
            for w in range(count)
        ]
        return functools.reduce(merge, each)

    def _read(self, k) -> Numbers:
        at = self._rows(), self._columns(k)
        return tuple(
            _mosaic_gpu.load(ref.at[at], self.layout).astype(jnp.float32)
            for ref in self.wide
        )

    def _start(self, k):
        """Where tile `k` of this warpgroup begins, and what was covered before it."""
        if self.tiles.warpgroups > 1:
            k = k * self.tiles.warpgroups + lax.axis_index("warpgroup")
        covered = k * self.tiles.columns
        latest = self.classes - self.tiles.columns
        if isinstance(k, int):
            return min(covered, latest), covered
        return jnp.minimum(covered, latest), covered

    def _rows(self):
        return _mosaic_gpu.ds(self.row, self.tiles.rows)

    def _columns(self, k):
        return _mosaic_gpu.ds(self._start(k)[0], self.tiles.columns)

    def _column(self) -> jax.Array:
        column = lax.broadcasted_iota(
            jnp.int32, (self.tiles.rows, self.tiles.columns), 1
        )
        return _mosaic_gpu.plgpu().layout_cast(column, self.layout)
