"""What `categorical` and `sample` have in common: cases, inputs, contenders, promises.

A mode is a row of a table: what ours does and what its peers do, all as functions of a
key, logits, temperatures and filters that return one id a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import jax
import numpy as np

from bench import drawn, jax_side, limit, ordinary, torch_side
from bench.cases import (
    ACCELERATORS,
    EVERYWHERE,
    NEVER_SLOWER,
    Case,
    Check,
    Contender,
    Ready,
    Role,
    Temperature,
    Workload,
    timed_on,
)
from bench.drawn import Filters
from bench.sizes import DTYPES, HEADLINE, SIZES, fills

KEYS = 16  # taken in turn, as the time of a draw may depend on its luck

Prepare = Callable[[Callable[..., Any]], Ready]


@dataclass(frozen=True)
class Program:
    """A contender of a mode.

    Attributes:
        name: Its column.
        text: What it computes.
        run: Of a key, logits `[R, V]`, τ and filters; a PyTorch program has the module
            `torch` in the place of the key.
        required: Least ratio of its time to ours that is promised at the `HEADLINE`
            shapes in float32, on a CPU.
        elsewhere: The same for all other cases.
        filled: The same on a GPU, for logits that fill it.
        check: Of logits and τ, where it does not return ids.
        torch: Whether it is PyTorch's, and is run eagerly or compiled.
        platforms: Where it is timed.
    """

    name: str
    text: str
    run: Callable[..., Any]
    required: float | None = None
    elsewhere: float | None = None
    filled: float | None = None
    check: Callable[[np.ndarray, np.ndarray], Check] | None = None
    torch: Literal["eager", "compiled"] | None = None
    platforms: tuple[str, ...] = EVERYWHERE

    def promised(self, case: Case, platform: str) -> float | None:
        """The ratio that is promised for a case."""
        if platform != "cpu":
            return self.filled if platform == "gpu" and fills(case) else None
        headline = (case.rows, case.classes) in HEADLINE and case.dtype == "float32"
        return self.required if headline else self.elsewhere


@dataclass(frozen=True)
class Task:
    """A mode: ours, its peers, the filters of as many rows, and the sizes.

    Filters that are numbers are written in the program, arrays are arguments of it.
    `of_limit` is what is promised of the limit on a GPU, for logits that fill it.
    """

    ours: Callable[..., Any]
    text: str
    peers: tuple[Program, ...]
    filters: Callable[[int], Filters] = lambda rows: Filters()
    temperature: Temperature = "row"
    sizes: Literal["draws", "greedy", "top_k", "filters"] = "draws"
    of_limit: float | None = None


@dataclass(frozen=True)
class SamplerOp:
    """A sampler, as the harness sees it."""

    name: str
    tasks: Mapping[str, Task]

    def cases(self, platform: str, *, quick: bool) -> list[Case]:
        """Every mode at its sizes."""
        table = SIZES[platform]
        tiny = [(*size, DTYPES[k % 2]) for k, size in enumerate(table.quick)]
        return [
            Case(mode, *size, task.temperature)
            for mode, task in self.tasks.items()
            for size in (tiny if quick else getattr(table, task.sizes))
        ]

    def workload(self, case: Case, device: Any, rng: np.random.Generator) -> Workload:
        """Draws the inputs and lines up ours, the peers and the limit."""
        task, platform = self.tasks[case.mode], device.platform
        z, tau = ordinary.logits(case, rng), ordinary.temperature(case, rng)
        filters = task.filters(case.rows)
        seed = int(rng.integers(1 << 31))
        in_jax = _in_jax(z, tau, filters, seed, device)
        in_torch = _in_torch(z, tau, filters, platform)

        def contender(role: Role, program: Program) -> Contender:
            torch = program.torch and partial(in_torch, program.torch == "compiled")
            return Contender(
                name=program.name,
                role=role,
                expression=program.text,
                prepare=partial(torch or in_jax, program.run),
                required=program.promised(case, platform),
                check=program.check and program.check(z, tau),
                platforms=program.platforms,
            )

        xla = Contender(
            "xla",
            "peer",
            f'{task.text}, implementation="xla"',
            partial(in_jax, partial(task.ours, implementation="xla")),
            NEVER_SLOWER,
            platforms=ACCELERATORS,
        )
        lined_up = (
            contender("ours", Program("jaxtemp", task.text, task.ours)),
            xla,
            *(contender("peer", peer) for peer in task.peers),
            contender("limit", replace(LIMIT, filled=task.of_limit)),
        )
        return Workload(
            case=case,
            bytes_moved=z.nbytes,
            contenders=timed_on(platform, lined_up),
            check=_check(z, tau, filters),
            # One float32 buffer like the logits, where that is large.
            temp_limit=4 * z.size if z.shape[-1] >= 32_000 else None,
        )


LIMIT = Program(
    "limit",
    "read z, write a number a row",
    lambda key, z, tau, filters: limit.read(z),
)


def _check(z: np.ndarray, tau: np.ndarray, filters: Filters) -> Check:
    if not tau.any():
        return Check(partial(drawn.greedy_error, z), 0.0)
    expected = drawn.draws(z, tau, filters)
    return Check(partial(drawn.draw_error, expected), drawn.TOLERANCE)


def _in_jax(
    z: np.ndarray, tau: np.ndarray, filters: Filters, seed: int, device: Any
) -> Prepare:
    arrays = any(isinstance(f, np.ndarray) for f in filters)
    inputs = jax.device_put((z, tau, filters) if arrays else (z, tau), device)
    keys = jax.device_put(jax.random.split(jax.random.key(seed), KEYS), device)

    def prepare(run: Callable[..., Any]) -> Ready:
        program = run if arrays else partial(run, filters=filters)
        return jax_side.prepare(program, *((key, *inputs) for key in keys))

    return prepare


def _in_torch(
    z: np.ndarray, tau: np.ndarray, filters: Filters, platform: str
) -> Prepare:
    def prepare(compiled: bool, run: Callable[..., Any]) -> Ready:
        torch = torch_side.load(platform)
        inputs = (torch_side.tensor(torch, x, platform) for x in (z, tau))
        there = Filters(
            *(
                torch_side.tensor(torch, f, platform) if np.ndim(f) else f
                for f in filters
            )
        )
        formula = partial(run, torch, filters=there)
        return torch_side.prepare(torch, formula, platform, *inputs, compiled=compiled)

    return prepare
