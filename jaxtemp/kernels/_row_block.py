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

# A statistic or a sum has a slot for every warpgroup; no program has more of them.
_SLOTS = 8


def exchange(tiles: Tiles) -> dict[str, Any]:
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


class Block:
    """The rows of one block, as one of its warpgroups sees them."""

    def __init__(self, tiles: Tiles, shape, wide, results, exchanged, placed: bool):
        self.tiles, self.placed = tiles, placed
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
