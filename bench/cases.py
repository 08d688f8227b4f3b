"""The vocabulary of the harness: ops, cases, workloads and contenders.

A case is one line of a result: an op in one mode at one shape, dtype and kind of
temperature. Its workload holds the inputs, the truth, and the contenders, which all do
the same work: ours, its peers, and the limit, which only streams the same bytes. What
an op promises stands beside the contender that it is measured by: `required`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

Temperature = Literal["row", "scalar", "zero"]
Role = Literal["ours", "peer", "limit"]

EVERYWHERE = ("cpu", "gpu", "tpu")
ACCELERATORS = ("gpu", "tpu")
GPU = ("gpu",)

# Least ratio of the time of XLA's form to ours that is no loss: times of one program
# differ by so much.
NEVER_SLOWER = 0.97


@dataclass(frozen=True)
class Case:
    """One line of a result.

    `mode` is what is done, in a word of the op's own. `temperature` is `"row"` for one
    τ per row, an array `[rows]`, and `"scalar"` for one τ of shape `[]`; in both it is
    float32 and an argument of the program. `"zero"` is the number 0, written in it.
    """

    mode: str
    rows: int
    classes: int
    dtype: str
    temperature: Temperature = "row"

    @property
    def label(self) -> str:
        shape = f"{self.rows}x{self.classes}"
        return f"{self.mode} {shape} {self.dtype} {self.temperature} τ"


class AbsentError(Exception):
    """A contender cannot run here because something it needs is missing."""


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
class Check:
    """What is right.

    Attributes:
        error: Largest error of a contender's outputs, relative to their scale; infinite
            where an output has the wrong shape or cannot be.
        tolerance: Largest error that still counts as right.
    """

    error: Callable[[list[np.ndarray]], float]
    tolerance: float


@dataclass(frozen=True)
class Contender:
    """Something that is timed.

    Attributes:
        name: Its column.
        role: What it is to ours.
        expression: What it computes.
        prepare: Makes it ready; may raise, which is recorded, not hidden.
        required: Least ratio of its time to ours that keeps a promise, if one is made.
        check: Its own where it computes something else than ours does.
        platforms: Where it is timed.
    """

    name: str
    role: Role
    expression: str
    prepare: Callable[[], Ready]
    required: float | None = None
    check: Check | None = None
    platforms: tuple[str, ...] = EVERYWHERE


def timed_on(platform: str, contenders: Iterable[Contender]) -> tuple[Contender, ...]:
    """The contenders that are timed on a platform."""
    return tuple(c for c in contenders if platform in c.platforms)


@dataclass(frozen=True)
class Workload:
    """A case with its inputs made.

    Attributes:
        case: The case.
        bytes_moved: Bytes that any contender must at least read and write.
        contenders: Exactly one of role `ours` and one of role `limit`, and peers.
        check: What is right.
        temp_limit: Most scratch memory that ours promises to take, if it does.
    """

    case: Case
    bytes_moved: int
    contenders: Sequence[Contender]
    check: Check
    temp_limit: int | None = None


class Op(Protocol):
    """What a file of ops offers for each of its ops."""

    @property
    def name(self) -> str:
        """The name on the command line and in the result's file name."""
        ...

    def cases(self, platform: str, *, quick: bool) -> list[Case]:
        """The cases to run on a platform (`"cpu"`, `"gpu"` or `"tpu"`)."""
        ...

    def workload(self, case: Case, device: Any, rng: np.random.Generator) -> Workload:
        """The work of a case, with fresh random inputs on a JAX device."""
        ...
