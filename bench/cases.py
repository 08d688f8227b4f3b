"""The vocabulary of the harness: ops, cases, workloads and contenders.

A case is one line of a result: an op in one mode at one shape, dtype and kind of
temperature. Its workload holds the inputs, the truth, and the contenders, which all do
the same work: ours, its peers, and the limit, which only streams the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

Mode = Literal["forward", "value_and_grad"]
Temperature = Literal["row", "scalar"]
Role = Literal["ours", "peer", "limit"]


@dataclass(frozen=True)
class Case:
    """One line of a result.

    `temperature` is `"row"` for one τ per row, an array `[rows]`, and `"scalar"` for
    one τ of shape `[]`; in both it is float32 and an argument of the program.
    """

    mode: Mode
    rows: int
    classes: int
    dtype: str
    temperature: Temperature = "row"

    @property
    def label(self) -> str:
        shape = f"{self.rows}x{self.classes}"
        return f"{self.mode} {shape} {self.dtype} {self.temperature} τ"


class AbsentError(Exception):
    """A contender cannot run here because something it needs is not installed."""


@dataclass(frozen=True)
class Ready:
    """A contender compiled for its case and bound to the inputs.

    Attributes:
        call: Does the work once and returns its outputs, perhaps unfinished.
        fence: Returns when the given outputs, and all work before them, are finished.
        fetch: The outputs as a flat list of NumPy arrays.
        poison: Fills memory the size of the given outputs with NaN and frees it, so
            that an element which the next call leaves unwritten is likely to show.
        temp_bytes: Scratch memory of the compiled program, where it is known.
    """

    call: Callable[[], Any]
    fence: Callable[[Any], object]
    fetch: Callable[[Any], list[np.ndarray]]
    poison: Callable[[Any], None]
    temp_bytes: int | None = None


@dataclass(frozen=True)
class Contender:
    """Something that is timed; `prepare` may raise, which is recorded, not hidden."""

    name: str
    role: Role
    expression: str
    prepare: Callable[[], Ready]


@dataclass(frozen=True)
class Workload:
    """A case with its inputs made.

    Attributes:
        case: The case.
        bytes_moved: Bytes that any contender must at least read and write.
        contenders: Exactly one of role `ours` and one of role `limit`, and peers.
        error: Largest error of a contender's outputs, relative to their scale; infinite
            where an output has the wrong shape or is not finite.
        tolerance: Largest error that still counts as right.
    """

    case: Case
    bytes_moved: int
    contenders: Sequence[Contender]
    error: Callable[[list[np.ndarray]], float]
    tolerance: float


class Op(Protocol):
    """What a file of ops offers for each of its ops."""

    @property
    def name(self) -> str:
        """The name on the command line and in the result's file name."""
        ...

    @property
    def peers(self) -> Sequence[str]:
        """The names of the peers, in the order of the table's columns."""
        ...

    def cases(self, platform: str, *, quick: bool) -> list[Case]:
        """The cases to run on a platform (`"cpu"`, `"gpu"` or `"tpu"`)."""
        ...

    def workload(self, case: Case, device: Any, rng: np.random.Generator) -> Workload:
        """The work of a case, with fresh random inputs on a JAX device."""
        ...
