"""The rows of a GPU block: their tiles in memory, and what warpgroups exchange."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from . import _mosaic_gpu
from ._tiles import Tiles

Numbers = tuple[jax.Array, ...]

# Statistics, or sums, that a program has at most: a slot for each.
_SLOTS = 8


def exchange(tiles: Tiles) -> dict[str, Any]:
    """What the warpgroups of a block need to exchange their numbers."""
    warpgroups = tiles.warpgroups
    if warpgroups == 1:
        return {}
    # One for each part of a warpgroup's tiles, and one for all of them.
    slots = _mosaic_gpu.plgpu().SMEM((_SLOTS, warpgroups, tiles.parts + 1), jnp.float32)
    # Slots are read after the first barrier, and may be written after the second.
    barriers = _mosaic_gpu.plgpu().Barrier(num_arrivals=warpgroups, num_barriers=2)
    return {
        "num_threads": warpgroups,
        "thread_name": "warpgroup",
        "scratch_types": (slots, barriers),
    }


class Block:
    """The rows of one block, as one of its warpgroups sees them.

    Several warpgroups have one row: its numbers are scalars, and a tile has a row for
    each of its parts, whose numbers `together` merges.
    """

    def __init__(self, tiles: Tiles, shape, wide, results, exchanged, placed: bool):
        self.tiles, self.placed = tiles, placed
        self.layout = tiles.layout()
        self.wide, self.results, self.exchanged = wide, results, exchanged
        rows, self.classes = shape
        self.shape = (
            (tiles.parts, tiles.columns // tiles.parts)
            if self.exchanged
            else (tiles.rows, tiles.columns)
        )
        # The last block begins earlier and computes some rows again.
        self.row = jnp.minimum(lax.axis_index("block") * tiles.rows, rows - tiles.rows)
        self.held: dict[int, Numbers] = {}

    def load_row(self, ref) -> jax.Array:
        if self.exchanged:
            return ref[self.row]
        return _mosaic_gpu.load(ref.at[self._rows()], self.layout.reduce(1))

    def store_row(self, ref, value: jax.Array) -> None:
        if self.exchanged:
            ref[self.row] = value
        else:
            _mosaic_gpu.store(ref, (self._rows(),), value)

    def tile(self, k) -> Numbers:
        """A tile of each array, in float32; read once where tiles are held."""
        if not self.tiles.held:
            return self._read(k)
        if k not in self.held:
            self.held[k] = self._read(k)
        return self.held[k]

    def own_tile(self, k) -> Numbers:
        """The same with -inf, in the first array, where another tile covers it.

        And with the number of every class, as the last, where that is wanted.
        """
        first, *rest = self.tile(k)
        rest = (*rest, self.place(k)) if self.placed else rest
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
            value = value.astype(ref.dtype)
            if self.exchanged:
                _mosaic_gpu.store_parts(ref.at[self.row, self._columns(k)], value)
            else:
                _mosaic_gpu.store(ref, (self._rows(), self._columns(k)), value)

    def loop(self, first: int, step: Callable, state: Numbers) -> Numbers:
        """Go through the tiles; those that are held are in registers with a name."""
        if not self.tiles.held and self.tiles.steps > 1:
            return lax.fori_loop(first, self.tiles.steps, step, state)
        for k in range(first, self.tiles.steps):
            state = step(k, state)
        return state

    def together(self, own: Numbers, merge: Callable) -> Numbers:
        """Merge the numbers of all warpgroups, in the same order in each of them."""
        if not self.exchanged:
            return own
        slots, barriers = self.exchanged
        me = lax.axis_index("warpgroup")
        parts = self.tiles.parts

        def merged(places) -> Numbers:
            each = [tuple(slots[i, *at] for i in range(len(own))) for at in places]
            return functools.reduce(merge, each)

        for i, value in enumerate(own):
            _mosaic_gpu.store(slots, (i, me, _mosaic_gpu.ds(0, parts)), value)
        for i, value in enumerate(merged((me, part) for part in range(parts))):
            slots[i, me, parts] = value
        self._wait(barriers.at[0])
        found = merged((w, parts) for w in range(self.tiles.warpgroups))
        self._wait(barriers.at[1])
        return found

    def _wait(self, barrier) -> None:
        """Until all warpgroups are here."""
        _mosaic_gpu.plgpu().barrier_arrive(barrier)
        _mosaic_gpu.plgpu().barrier_wait(barrier)

    def _read(self, k) -> Numbers:
        return tuple(self._load(ref, k).astype(jnp.float32) for ref in self.wide)

    def _load(self, ref, k) -> jax.Array:
        if self.exchanged:
            ref = ref.at[self.row, self._columns(k)]
            return _mosaic_gpu.load_parts(ref, self.layout, self.shape)
        return _mosaic_gpu.load(ref.at[self._rows(), self._columns(k)], self.layout)

    def _start(self, k):
        """Where tile `k` of this warpgroup begins, and what was covered before it."""
        if self.tiles.splits > 1:
            k = k + lax.axis_index("split") * self.tiles.steps
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
        """The place of every class in its tile."""
        place = lax.broadcasted_iota(jnp.int32, self.shape, 1)
        if self.exchanged:
            part = lax.broadcasted_iota(jnp.int32, self.shape, 0)
            place += part * self.shape[1]
        return _mosaic_gpu.plgpu().layout_cast(place, self.layout)
