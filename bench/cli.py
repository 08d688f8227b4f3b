"""`python -m bench`: arguments, the loop over ops and cases, and one line per error."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import gc
import math
import secrets
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np

from bench import (
    categorical,
    concrete,
    cross_entropy,
    fit_temperature,
    gumbel_softmax,
    harness,
    jax_side,
    linear_cross_entropy,
    machine,
    report,
    results,
    sample,
    scaling,
    softmax,
)
from bench.bandwidth import bandwidth
from bench.cases import Op
from bench.sizes import SIZES
from bench.timing import Plan

MODULES = (
    *(softmax, categorical, sample, gumbel_softmax, concrete),
    *(cross_entropy, linear_cross_entropy, fit_temperature, scaling),
)
OPS: dict[str, Op] = {op.name: op for module in MODULES for op in module.OPS}
RESULTS = Path(__file__).resolve().parent / "results"
_ACCELERATOR = Plan(case_seconds=1.0, fence_each=False)
PLANS = {"cpu": Plan(), "gpu": _ACCELERATOR, "tpu": _ACCELERATOR}
QUICK = Plan(sample_seconds=2e-4, case_seconds=0.0, min_rounds=3, max_rounds=3)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"bench: {message}\n")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = _Parser(
        prog="python -m bench",
        description="Times jaxtemp against its peers and the limit of the machine.",
    )
    made.add_argument("ops", nargs="*", metavar="op", help="ops to run; none: all")
    made.add_argument(
        "--device", choices=("cpu", "gpu", "tpu"), help="default: the one JAX chooses"
    )
    made.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder of the JSON results (default: bench/results; with --quick: none)",
    )
    made.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the result of the same op, chip and day; default: number the new",
    )
    made.add_argument(
        "--quick", action="store_true", help="tiny cases: does the harness work?"
    )
    made.add_argument(
        "--minutes",
        type=float,
        default=math.inf,
        metavar="M",
        help="begin no case later than this; a result that lacks some is not complete",
    )
    made.add_argument(
        "--list", action="store_true", help="list ops and cases, run none"
    )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Runs it: returns 0 if ours was right everywhere, 1 if not, 2 on misuse."""
    argv = sys.argv[1:] if argv is None else list(argv)
    args = parser().parse_args(argv)
    unknown = [name for name in args.ops if name not in OPS]
    if unknown:
        return _fail(f"unknown op `{unknown[0]}`; the ops are {', '.join(OPS)}")
    names = list(dict.fromkeys(args.ops)) or list(OPS)
    if args.list:
        print(_listing(names, args.device or jax.default_backend(), args.quick))
        return 0
    try:
        device = jax_side.device(args.device)
    except RuntimeError as error:
        return _fail(f"`--device`: {error}")
    end = time.monotonic() + 60 * args.minutes
    folder = args.out or (None if args.quick else RESULTS)
    head = _head(argv, args.quick, device)
    right = True
    for name in names:
        date = datetime.datetime.now(datetime.UTC)
        document = {"op": name, "date": f"{date:%Y-%m-%dT%H:%M:%SZ}", **head}
        try:
            result = results.start(document, folder, overwrite=args.overwrite)
        except OSError as error:
            return _fail(f"`--out`: cannot write there: {error}")
        right &= _run(OPS[name], device, result, end)
    return 0 if right else 1


def _run(op: Op, device: Any, result: results.Result, end: float) -> bool:
    """Runs and prints one op case by case; whether ours was right in all of them.

    No case begins after `end`.
    """
    document = result.document
    plan = Plan(**document["plan"])
    rng = np.random.default_rng(document["seed"])
    result.begin(
        bandwidth(device, plan, quick=document["quick"]),
        _check_first(op, device, rng, document["quick"]),
    )
    print(report.heading(document, result.path), flush=True)
    if document["checks"]:
        print(report.checks(document["checks"]), flush=True)
    right = all(check["status"] == "ok" for check in document["checks"])
    peers = None
    cases = op.cases(device.platform, quick=document["quick"])
    for left, case in zip(range(len(cases), 0, -1), cases, strict=True):
        if time.monotonic() > end:
            print(f"{left} cases are left out: `--minutes` is over\n", flush=True)
            return right
        record = harness.run_case(op.workload(case, device, rng), plan)
        _forget()
        result.add(record)
        if peers != (peers := report.peers(record)):
            print(report.columns(peers))
        print(report.line(record), flush=True)
        ours = (e for e in record["contenders"] if e["role"] == "ours")
        right &= next(ours)["status"] == "ok"
    result.finish()
    print(report.closing(document) + "\n", flush=True)
    return right


def _check_first(
    op: Op, device: Any, rng: np.random.Generator, quick: bool
) -> list[harness.Record]:
    """Whether ours is right at small, awkward sizes, where that is asked for."""
    if quick or not SIZES[device.platform].check_first:
        return []
    found = []
    for case in op.cases(device.platform, quick=True):
        found.append(harness.check_case(op.workload(case, device, rng)))
        _forget()
    return found


def _forget() -> None:
    """Give back what a case has compiled and, where tensors are in cycles, holds."""
    jax.clear_caches()
    gc.collect()


def _head(argv: list[str], quick: bool, device: Any) -> dict[str, Any]:
    """What every result of a run has in common."""
    plan = QUICK if quick else PLANS[device.platform]
    return {
        "quick": quick,
        "command": shlex.join(["python", "-m", "bench", *argv]),
        "seed": secrets.randbits(32),
        "device": machine.device_facts(device),
        "machine": machine.machine_facts(),
        "versions": machine.versions(),
        "plan": dataclasses.asdict(plan),
    }


def _listing(names: list[str], platform: str, quick: bool) -> str:
    lines = []
    for name in names:
        cases = OPS[name].cases(platform, quick=quick)
        lines.append(f"{name}: {len(cases)} cases on {platform}")
        lines += [f"    {case.label}" for case in cases]
    return "\n".join(lines)


def _fail(message: str) -> int:
    print(f"bench: {message}", file=sys.stderr)
    return 2
