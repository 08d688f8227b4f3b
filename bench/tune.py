"""`python -m bench.tune`: how good the kernels' choice of tiles and blocks is.

For each kernel, size and dtype it lists the function's choice and its neighbours, with
the resources that bound them. On a chip it times all of them, and prints the best and
what the choice loses beside it; with `--chip` it only lists, and needs none.
"""

from __future__ import annotations

import argparse
import datetime
import math
import shlex
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np

from bench import cuts, jax_side, machine, results
from bench.cases import Ready
from bench.timing import Plan, measure
from bench.tunable import KERNELS, Task, tasks

RESULTS = Path(__file__).resolve().parent / "results" / "tune"
PLAN = Plan(case_seconds=1.0, max_rounds=31, fence_each=False)
TOLERANCE = {"float32": 1e-3, "bfloat16": 5e-2}  # between the results of two cuts

Record = dict[str, Any]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"bench.tune: {message}\n")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = _Parser(
        prog="python -m bench.tune",
        description="Times the kernels' choice of tiles beside its neighbours.",
    )
    made.add_argument(
        "kernels", nargs="*", metavar="kernel", help=f"of {', '.join(KERNELS)}"
    )
    made.add_argument(
        "--chip", choices=tuple(cuts.CHIPS), help="list for this chip, time nothing"
    )
    made.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder of the JSON result (default: bench/results/tune; a list: none)",
    )
    made.add_argument(
        "--minutes",
        type=float,
        default=math.inf,
        metavar="M",
        help="begin nothing later than this",
    )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Runs it: returns 0, or 2 on misuse and where there is no chip to time on."""
    argv = sys.argv[1:] if argv is None else list(argv)
    args = parser().parse_args(argv)
    unknown = [name for name in args.kernels if name not in KERNELS]
    if unknown:
        known = ", ".join(KERNELS)
        return _fail(f"unknown kernel `{unknown[0]}`; the kernels are {known}")
    device = None if args.chip else jax.devices()[0]
    if device is not None and device.platform not in ("gpu", "tpu"):
        return _fail(
            f"nothing can be timed: JAX's device is a {device.platform}, and the "
            f"kernels run on GPUs and TPUs; `--chip` lists for {', '.join(cuts.CHIPS)}"
        )
    chip = cuts.CHIPS[args.chip] if device is None else cuts.chip_of(device)
    document = _head(argv, args.chip or device.device_kind, chip, device)
    folder = args.out or (RESULTS if device is not None else None)
    path = folder and _path(folder, document)
    end = time.monotonic() + 60 * args.minutes
    for task in tasks(list(dict.fromkeys(args.kernels)) or list(KERNELS)):
        if time.monotonic() > end:
            print("the rest is left out: `--minutes` is over")
            return 0
        record = _record(task, chip, device)
        document["tasks"].append(record)
        print(_text(task, record), flush=True)
        if path is not None:
            results.write(path, document)
    return 0


def _record(task: Task, chip: cuts.Chip, device: Any) -> Record:
    """A task's candidates, timed if there is a device."""
    asked, found = listed(task, chip)
    if asked is not None and device is not None:
        told = timed(task, asked, chip, device, PLAN)
        found = [entry | own for entry, own in zip(found, told, strict=True)]
        jax.clear_caches()
    return {**task._asdict(), "candidates": found, **verdict(found)}


def listed(task: Task, chip: cuts.Chip) -> tuple[cuts.Asked | None, list[Record]]:
    """What the kernel asks first, and a record of each candidate, the choice first."""
    with cuts.recorded(chip.platform) as found:
        jax.eval_shape(task.function(chip.platform), *task.shapes())
    if not found:
        return None, []
    asked = found[0]
    return asked, [
        {
            "cut": _fields(cut),
            **cuts.resources(asked, cut),
            "chosen": cut == asked.choice,
            "status": "not timed",
            "note": None,
            "seconds": None,
        }
        for cut in cuts.candidates(asked, chip)
    ]


def timed(
    task: Task, asked: cuts.Asked, chip: cuts.Chip, device: Any, plan: Plan
) -> list[Record]:
    """What became of each candidate: its median seconds, or why it has none."""
    arrays = task.arrays(device, np.random.default_rng())
    readies: dict[int, Ready] = {}
    told: list[Record] = []
    first: list[np.ndarray] = []
    for k, cut in enumerate(cuts.candidates(asked, chip)):
        try:
            with cuts.cut_by_hand(asked, cut):
                form = task.function(chip.platform)
                # A new function, as the trace of the same one would be found again.
                ready = jax_side.prepare(lambda *x, form=form: form(*x), arrays)
            out = ready.fetch(ready.call())
        except Exception as error:  # what does not build is told, the others go on
            note = f"{type(error).__name__}: {error}".partition("\n")[0]
            told.append({"status": "failed", "note": note})
            continue
        first = first or out
        if not _alike(out, first, TOLERANCE[task.dtype]):
            told.append({"status": "wrong", "note": "its results are others"})
            continue
        readies[k] = ready
        told.append({"status": "ok"})
    times = measure(list(readies.values()), plan)
    for k, time_of in zip(readies, times, strict=True):
        told[k]["seconds"] = float(f"{statistics.median(time_of.seconds):.5g}")
    return told


def verdict(found: list[Record]) -> Record:
    """The best candidate, and what the choice loses beside it."""
    done = [c for c in found if c["seconds"] is not None]
    if not done or not found[0]["chosen"] or found[0]["seconds"] is None:
        return {"best": None, "loss": None}
    best = min(done, key=lambda c: c["seconds"])
    loss = found[0]["seconds"] / best["seconds"] - 1
    return {"best": best["cut"], "loss": float(f"{loss:.3g}")}


def _alike(out: list[np.ndarray], first: list[np.ndarray], tolerance: float) -> bool:
    return all(
        _close(*pair, tolerance=tolerance) for pair in zip(out, first, strict=True)
    )


def _close(x: np.ndarray, y: np.ndarray, *, tolerance: float) -> bool:
    if np.issubdtype(x.dtype, np.integer):
        # A sum's rounding may decide on another id, in few rows.
        return bool((x == y).mean() > 0.99)
    x, y = x.astype(np.float64), y.astype(np.float64)
    size = float(np.abs(y).max(initial=0.0))
    return np.allclose(x, y, rtol=tolerance, atol=tolerance * size, equal_nan=True)


def _head(argv: list[str], name: str, chip: cuts.Chip, device: Any) -> Record:
    date = datetime.datetime.now(datetime.UTC)
    return {
        "schema": 1,
        "date": f"{date:%Y-%m-%dT%H:%M:%SZ}",
        "command": shlex.join(["python", "-m", "bench.tune", *argv]),
        "chip": name,
        "platform": chip.platform,
        "timed": device is not None,
        "versions": machine.versions(),
        "tasks": [],
    }


def _path(folder: Path, document: Record) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{results.slug(document['chip'])}-{document['date'].replace(':', '')}"
    return folder / f"{name}.json"


def _text(task: Task, record: Record) -> str:
    """A task's candidates, a line each, the choice marked with a star."""
    if not record["candidates"]:
        return f"{task.label}: no kernel"
    lines = [task.label]
    for entry in record["candidates"]:
        known = {"cut", "chosen", "status", "note", "seconds"}
        told = entry["cut"] | {k: v for k, v in entry.items() if k not in known}
        fields = " ".join(f"{key}={value}" for key, value in told.items())
        seconds = entry["seconds"]
        when = entry["note"] or entry["status"]
        when = when if seconds is None else f"{seconds * 1e6:.1f} µs"
        lines.append(f"  {'*' if entry['chosen'] else ' '} {fields}  {when}")
    if record["loss"] is not None:
        lines.append(f"    the choice takes {record['loss']:.1%} more than the best")
    return "\n".join(lines)


def _fail(message: str) -> int:
    print(f"bench.tune: {message}", file=sys.stderr)
    return 2


def _fields(cut: Any) -> Record:
    return cut._asdict() if isinstance(cut, tuple) else dict(vars(cut))


if __name__ == "__main__":
    sys.exit(main())
