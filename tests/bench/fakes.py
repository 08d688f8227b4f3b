"""A clock that only work moves, and contenders that do work on it."""

from __future__ import annotations

import numpy as np

from bench import sizes
from bench.cases import Case, Check, Contender, Ready, Role, Workload

ANSWER = np.array([1.0, 2.0])


class FakeClock:
    """Seconds that pass only when a contender spends them."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[str] = []

    def __call__(self) -> float:
        return self.now

    def ready(self, name: str, seconds: float, answer: np.ndarray = ANSWER) -> Ready:
        def call() -> np.ndarray:
            self.now += seconds
            self.log.append(name)
            return answer

        return Ready(
            call=call,
            fence=lambda out: self.log.append("fence"),
            fetch=lambda out: [out],
            poison=lambda out: None,
            temp_bytes=64,
        )

    def contender(
        self,
        name: str,
        role: Role,
        seconds: float,
        answer: np.ndarray = ANSWER,
    ) -> Contender:
        return Contender(name, role, name, lambda: self.ready(name, seconds, answer))


def quick_sizes(monkeypatch, *wanted: sizes.Size) -> None:
    """Make these the quick sizes on a CPU."""
    table = sizes.SIZES["cpu"]._replace(quick=wanted)
    monkeypatch.setitem(sizes.SIZES, "cpu", table)


def error(outputs: list[np.ndarray]) -> float:
    return float(np.abs(outputs[0] - ANSWER).max())


def workload(*contenders: Contender) -> Workload:
    case = Case("forward", 3, 5, "float32")
    return Workload(case, 1_000_000, contenders, Check(error, tolerance=1e-6))
