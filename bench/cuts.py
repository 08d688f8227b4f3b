"""The ways in which a kernel may cut its rows, and the resources that bound them.

A kernel asks a pure function how to cut: `_tiles.choose` or `_tiles.blocks` on a GPU,
`_mosaic_tpu_block.plan` on a TPU. What it asks is recorded while it is traced, so that
nothing here knows what a kernel reads; and while it is traced, another cut can be put
in the place of the function's choice.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest import mock

from jaxtemp.kernels import _tiles

_THREADS = 128  # of a warpgroup
_REGISTERS = 65536  # of a multiprocessor, 255 for a thread at most
_SLOTS = 8 * 5  # numbers that each warpgroup of a block exchanges
_NUMBERS = (16, 32, 64)  # that a thread may hold of a row
_ROWS = (0.25, 0.5, 1, 2, 4)  # of a TPU's block, relative to the choice
_CHUNKS = (512, 1024, 2048)


class Chip(NamedTuple):
    """A chip: its platform, a part of JAX's name for it, and what a block may take.

    `memory` is the shared memory of a block, or the vector memory of a core.
    """

    platform: str
    kind: str
    memory: int


CHIPS = {
    "h100": Chip("gpu", "h100", 232_448),
    "h200": Chip("gpu", "h200", 232_448),
    "b200": Chip("gpu", "b200", 232_448),
    "v5e": Chip("tpu", "v5 lite", 128 << 20),
    "v5p": Chip("tpu", "v5", 128 << 20),
    "v6e": Chip("tpu", "v6 lite", 128 << 20),
    "7x": Chip("tpu", "7x", 64 << 20),
}


def chip_of(device: Any) -> Chip:
    """The chip of a JAX device; one that is not known gets the least memory."""
    own = [chip for chip in CHIPS.values() if chip.platform == device.platform]
    least = min(own, key=lambda chip: chip.memory)
    kind = device.device_kind.lower()
    return next((chip for chip in own if chip.kind in kind), least)


class Asked(NamedTuple):
    """What a kernel asked: where, of which function, with what, and its answer."""

    place: tuple[str, str]
    given: dict[str, Any]
    choice: Any


_PLACES = {
    "gpu": (
        ("jaxtemp.kernels._row_program", "choose"),
        ("jaxtemp.kernels.categorical.mosaic_gpu", "blocks"),
    ),
    "tpu": (("jaxtemp.kernels._mosaic_tpu", "plan"),),
}


@contextlib.contextmanager
def recorded(platform: str) -> Iterator[list[Asked]]:
    """What kernels ask that are traced here.

    On a GPU they get no answer and are not built, which needs no JAX that can.
    """
    found: list[Asked] = []

    def record(place: tuple[str, str], function: Callable) -> Callable:
        signature = inspect.signature(function)

        def answer(*args: Any, **options: Any) -> Any:
            bound = signature.bind(*args, **options)
            bound.apply_defaults()
            choice = function(*args, **options)
            if choice is not None:
                found.append(Asked(place, dict(bound.arguments), choice))
            return None if platform == "gpu" else choice

        return answer

    with contextlib.ExitStack() as stack:
        for place in _PLACES[platform]:
            module = importlib.import_module(place[0])
            answer = record(place, getattr(module, place[1]))
            stack.enter_context(mock.patch.object(module, place[1], answer))
        yield found


@contextlib.contextmanager
def cut_by_hand(asked: Asked, cut: Any) -> Iterator[None]:
    """Kernels that are traced here and ask the same are cut so."""
    module = importlib.import_module(asked.place[0])
    function = getattr(module, asked.place[1])
    signature = inspect.signature(function)

    @functools.wraps(function)
    def answer(*args: Any, **options: Any) -> Any:
        bound = signature.bind(*args, **options)
        bound.apply_defaults()
        same = dict(bound.arguments) == asked.given
        return cut if same else function(*args, **options)

    with mock.patch.object(module, asked.place[1], answer):
        yield


def candidates(asked: Asked, chip: Chip) -> list[Any]:
    """The choice, then others that fit the chip."""
    make = {"choose": _tiled, "blocks": _blocked, "plan": _planned}[asked.place[1]]
    others = [cut for cut in make(asked) if fits(asked, cut, chip)]
    return list(dict.fromkeys([asked.choice, *others]))


def fits(asked: Asked, cut: Any, chip: Chip) -> bool:
    """Whether a chip has the memory and the registers."""
    uses = resources(asked, cut)
    return (
        uses["memory"] <= chip.memory and uses.get("numbers", 0) < uses["registers"]
        if chip.platform == "gpu"
        else uses["memory"] <= min(chip.memory, _tpu().LIMIT)
    )


def resources(asked: Asked, cut: Any) -> dict[str, int]:
    """What a cut takes.

    On a GPU: float32 numbers that a thread holds, of at most so many registers; bytes
    of shared memory; how often a row is read. On a TPU: bytes of vector memory, two
    blocks of each array and the tables of rows; blocks that a row is cut into.
    """
    if asked.place[1] == "plan":
        tables = _tpu().TABLES * _tpu().LANES * 4
        row = cut.width * sum(asked.given["itemsizes"]) + tables
        return {"memory": 2 * cut.rows * row, "splits": cut.splits}
    arrays = asked.given.get("arrays", 1)
    once = asked.given.get("once", True)
    several = cut.warpgroups > 1
    return {
        "numbers": arrays * cut.rows * cut.columns // _THREADS,
        "registers": min(255, _REGISTERS // (_THREADS * cut.warpgroups)),
        "memory": several * _SLOTS * cut.warpgroups * 4,
        "reads": 1 if cut.held or once else 2,
    }


def _tiled(asked: Asked) -> Iterator[_tiles.Tiles]:
    """Tiles by lanes of a row, warpgroups of a block, and numbers of a thread."""
    rows, classes, itemsize, arrays = (
        asked.given[name] for name in ("rows", "classes", "itemsize", "arrays")
    )
    several = asked.given["several_warpgroups"]
    for lanes in dict.fromkeys((asked.choice.lanes, 32, _THREADS)):
        counts = (1, 2, 4) if several and lanes == _THREADS else (1,)
        vector = math.gcd(classes, 16 // itemsize)
        if lanes == _THREADS:
            vector = min(vector, _power_of_two(classes // lanes))
        width = lanes * vector
        if not 0 < width <= classes or rows < _THREADS // lanes:
            continue
        for numbers in _NUMBERS:
            tiles = -(-classes // (width * max(1, numbers // (arrays * vector))))
            for warpgroups in dict.fromkeys(min(tiles, count) for count in counts):
                steps = -(-tiles // warpgroups)
                columns = -(-classes // (steps * warpgroups * width)) * width
                if not (steps * warpgroups - 1) * columns < classes >= columns:
                    continue
                if asked.given["whole"] and steps > 1:
                    continue
                each = arrays * columns // lanes
                stacked = min(max(1, numbers // each), rows * lanes // _THREADS)
                stacked = stacked if warpgroups == 1 else 1
                yield _tiles.Tiles(
                    rows=_THREADS // lanes * _power_of_two(stacked),
                    lanes=lanes,
                    vector=vector,
                    columns=columns,
                    warpgroups=warpgroups,
                    steps=steps,
                    held=steps == 1,
                    exact=columns * steps * warpgroups == classes,
                )


def _blocked(asked: Asked) -> Iterator[_tiles.Tiles]:
    """Blocks of more and of fewer rows; their width is the kernel's."""
    least = _THREADS // asked.choice.lanes
    for stacked in (1, 2, 4, 8, 16):
        if least * stacked <= asked.given["rows"]:
            yield dataclasses.replace(asked.choice, rows=least * stacked)


def _planned(asked: Asked) -> Iterator[Any]:
    """Blocks of other rows, of other widths, in other pieces: one of them at a time."""
    choice, tile = asked.choice, 32 // min(asked.given["itemsizes"])
    for factor in _ROWS:
        rows = max(tile, int(choice.rows * factor) // tile * tile)
        group = math.gcd(choice.group, rows)
        yield choice._replace(rows=rows, group=group)
    classes, unit = asked.given["classes"], max(choice.chunk, asked.given["unit"])
    for splits in (choice.splits // 2, 2 * choice.splits):
        if splits and classes > unit * splits:
            width = -(-classes // (splits * unit)) * unit
            splits = -(-classes // width)
            yield choice._replace(width=width, splits=splits)
    for chunk in _CHUNKS:
        if choice.width % chunk == 0:
            yield choice._replace(chunk=chunk)
    for group in (choice.group // 2, 2 * choice.group):
        if group >= tile and group % tile == 0 and choice.rows % group == 0:
            yield choice._replace(group=group)


def _tpu() -> Any:
    return importlib.import_module("jaxtemp.kernels._mosaic_tpu_block")


def _power_of_two(x: int) -> int:
    return 1 << (x.bit_length() - 1) if x else 0
