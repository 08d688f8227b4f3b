"""How rows are cut into the tiles that a GPU's warpgroup holds in registers.

A warpgroup is 128 threads in four warps of 32 lanes. A tile is `rows` by `columns`, and
every row of it belongs to `lanes` threads: so a reduction along a row stays inside a
warp, or inside the warpgroup where a row has all of it. Where several warpgroups share
a row, each cuts its tile of it in `parts`, one for each warp.

Of the chip only the number of multiprocessors counts: Hopper and Blackwell have the
same registers, threads and widest load. The limits below come from what ptxas makes of
the kernels, not from timings.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from . import _mosaic_gpu

_THREADS = 128
_WARP = 32
_WARPS = _THREADS // _WARP
_WIDEST_LOAD = 16  # bytes that one thread loads at once

# Float32 numbers of all arrays that a thread holds at most. With 512 threads each has
# 128 registers, of which the rest is for exponentials and addresses; ptxas spills few.
_HELD = 64

# What is read once only need not be held: a quarter leaves room for several blocks on a
# multiprocessor, of which some load while others compute.
_ONCE = 4

# A warp needs no barrier to reduce a row, but with more than half as much for each of
# its lanes, ptxas takes 255 registers, and few warps fit.
_WARP_ROW = 2

# What a thread should have to do, as far as rows suffice for so many blocks: a few for
# each multiprocessor.
_WORTH = 16
_BLOCKS = 512

# Of an H100 and an H200; a B200 has 148. Each takes a few blocks of rows that need not
# be held: two at least, of which one loads while the other computes.
_MULTIPROCESSORS = 132
_EACH = 2

# To merge the parts of a row takes another program or two, and so a few microseconds. A
# block that reads about so many tiles of all its warpgroups takes as long.
_ALONE = 8

# 4 · 128 threads with at most 128 registers fill a multiprocessor: more warpgroups to a
# row would leave each too few registers to hold what it read.
_WARPGROUPS = 4


@dataclasses.dataclass(frozen=True)
class Tiles:
    """The tiles of rows of V classes.

    Attributes:
        rows: Rows of a tile.
        lanes: Threads that share a row.
        vector: Neighbouring classes that a thread loads at once.
        columns: Classes of a tile.
        warpgroups: Warpgroups of a block, each with tiles of its own; several
            share one row.
        steps: Tiles that a warpgroup reads, one after the other.
        held: Whether they stay in registers, so that a row is read once.
        exact: Whether the tiles of a row cover no class twice.
        splits: Blocks that share a row, each with `steps` tiles of a warpgroup.
    """

    rows: int
    lanes: int
    vector: int
    columns: int
    warpgroups: int
    steps: int
    held: bool
    exact: bool
    splits: int = 1

    @property
    def parts(self) -> int:
        """In how many parts a tile's one row is cut, so that each is a row of its own.

        Pallas gives all warpgroups of a block the same memory to reduce across warps,
        and nothing keeps one from writing while another reads.
        """
        return _WARPS if self.warpgroups > 1 else 1

    def layout(self) -> Any:
        """Where the numbers of a tile are, by warp, lane and register."""
        plgpu = _mosaic_gpu.plgpu()
        lanes = self.lanes // self.parts
        width = lanes * self.vector
        rows = _THREADS // lanes
        if lanes == _THREADS:
            tiles, warp, lane = ((1, width), (width // 4,), (self.vector,)), -3, (-2,)
        elif lanes == _WARP:
            tiles, warp, lane = ((4, width), (self.vector,)), -3, (-2,)
        elif lanes > 1:
            tile = (rows, width), (rows // 4, width), (self.vector,)
            tiles, warp, lane = tile, -5, (-3, -2)
        else:
            tiles, warp, lane = ((rows, width), (rows // 4, width)), -4, (-2,)
        return plgpu.Layout.TILED(
            plgpu.Tiling(tiles), warp_dims=(warp,), lane_dims=lane, vector_dim=-1
        )


def choose(
    rows: int,
    classes: int,
    itemsize: int,
    *,
    arrays: int = 1,
    once: bool = False,
    whole: bool = False,
    several_warpgroups: bool = True,
) -> Tiles | None:
    """Cut `rows` by `classes` into tiles; `None` where there is less than one.

    Args:
        rows: How many rows there are.
        classes: How long they are.
        itemsize: Bytes of a number of the widest array.
        arrays: How many arrays of that shape are read.
        once: Whether a row is done with as soon as it is read.
        whole: Whether a block must hold its rows: `None` where it cannot.
        several_warpgroups: Whether more than one can work on a row.

    A row that is no multiple of the tile's width ends with a tile that begins earlier
    and covers some classes again, so nothing is padded and nothing is read outside.
    """
    # A load must begin at a multiple of its size, in every row.
    vector = math.gcd(classes, _WIDEST_LOAD // itemsize)
    lanes = min(_WARP, _power_of_two(classes // vector))
    most = max(1, _HELD // (_ONCE if once else 1) // arrays)
    if classes > _WARP * most // _WARP_ROW or rows < _THREADS // lanes:
        lanes, vector = _THREADS, min(vector, _power_of_two(classes // _THREADS))
    if vector == 0 or rows < _THREADS // lanes:
        return None
    width = lanes * vector
    tiles = -(-classes // (width * max(1, most // vector)))
    warpgroups = min(tiles, _WARPGROUPS) if several_warpgroups else 1
    steps = -(-tiles // warpgroups)
    held = steps == 1
    if whole and not held:
        return None
    columns = _columns(classes, steps * warpgroups, width)
    if columns > classes:
        steps, columns = 2, _columns(classes, 2, width)
    each = arrays * steps * columns // lanes
    stacked = _stacked(rows * lanes // _THREADS, each) if warpgroups == 1 else 1
    return Tiles(
        rows=_THREADS // lanes * stacked,
        lanes=lanes,
        vector=vector,
        columns=columns,
        warpgroups=warpgroups,
        steps=steps,
        held=held,
        exact=columns * steps * warpgroups == classes,
    )


def split(
    tiles: Tiles, rows: int, classes: int, multiprocessors: int = _MULTIPROCESSORS
) -> Tiles:
    """Split rows between blocks where they are long and leave much of the chip idle.

    Args:
        tiles: The tiles of rows that are done with as soon as they are read.
        rows: How many rows there are.
        classes: How long they are.
        multiprocessors: How many the chip has.
    """
    alone = -(-rows // tiles.rows)
    if tiles.steps < _ALONE or 2 * alone > multiprocessors:
        return tiles
    steps = -(-tiles.steps // (_EACH * multiprocessors // alone))
    splits = -(-tiles.steps // steps)
    covered = tiles.columns * tiles.warpgroups * steps * splits
    return dataclasses.replace(
        tiles, steps=steps, splits=splits, held=False, exact=covered == classes
    )


def blocks(rows: int, classes: int, itemsize: int, width: int) -> Tiles | None:
    """Cut rows into tiles of `width` classes, each for a block of its own.

    `None` where there is less than one.
    """
    vector = math.gcd(classes, width, _WIDEST_LOAD // itemsize)
    lanes = min(_WARP, width // vector)
    if rows < _THREADS // lanes or classes < width:
        return None
    steps = -(-classes // width)
    worth = _stacked(rows * steps * lanes // _THREADS, width // lanes)
    return Tiles(
        rows=_THREADS // lanes * min(worth, _power_of_two(rows * lanes // _THREADS)),
        lanes=lanes,
        vector=vector,
        columns=width,
        warpgroups=1,
        steps=steps,
        held=False,
        exact=classes % width == 0,
    )


def _stacked(tiles: int, each: int) -> int:
    """How many tiles, of `each` numbers a thread, one block should take."""
    return min(
        _power_of_two(max(1, _WORTH // each)), _power_of_two(max(1, tiles // _BLOCKS))
    )


def _columns(classes: int, tiles: int, width: int) -> int:
    return -(-classes // (tiles * width)) * width


def _power_of_two(x: int) -> int:
    """The largest power of two that is at most `x`; 0 for 0."""
    return 1 << (x.bit_length() - 1) if x else 0
