"""`scaling`: one mode of several ops along the classes, and along the rows.

A case's mode is the name of the op; the work is the op's own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench import categorical, cross_entropy, gumbel_softmax, sample, softmax
from bench.cases import Case, Op, Workload
from bench.sizes import SIZES

_OPS: dict[str, Op] = {
    op.name: op
    for module in (softmax, categorical, sample, gumbel_softmax, cross_entropy)
    for op in module.OPS
}
MODES = {
    "softmax": "forward",
    "categorical": "draw",
    "sample": "top_p",
    "gumbel_softmax": "forward",
    "cross_entropy": "forward",
}


@dataclass(frozen=True)
class ScalingOp:
    """The series, as the harness sees them."""

    name: str = "scaling"

    def cases(self, platform: str, *, quick: bool) -> list[Case]:
        """Every op at every size."""
        table = SIZES[platform]
        sizes = table.quick if quick else table.scaling
        return [Case(op, *size, "float32") for op in MODES for size in sizes]

    def workload(self, case: Case, device: Any, rng: np.random.Generator) -> Workload:
        """The work of the op in its mode."""
        own = replace(case, mode=MODES[case.mode])
        work = _OPS[case.mode].workload(own, device, rng)
        return replace(work, case=case)


OPS = (ScalingOp(),)
