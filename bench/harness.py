"""Runs a case: prepares every contender, checks it, and times those that are right.

A contender that is absent, fails or is wrong is recorded as such and never timed.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

from bench.cases import AbsentError, Check, Contender, Ready, Workload
from bench.stats import Quartiles, paired_ratio, quartiles
from bench.timing import Clock, Plan, Times, measure

Record = dict[str, Any]  # a piece of the JSON result; `bench.results` has the schema


def run_case(
    workload: Workload, plan: Plan, clock: Clock = time.perf_counter
) -> Record:
    """The record of one case."""
    entries: list[Record] = []
    readies: dict[str, Ready] = {}
    for contender in workload.contenders:
        entry, ready = _admit(contender, workload)
        entries.append(entry)
        if ready is not None:
            readies[contender.name] = ready
    times = _timed(readies, entries, plan, clock)
    ours = next(c.name for c in workload.contenders if c.role == "ours")
    for entry in entries:
        entry |= _figures(entry["name"], times, ours, workload.bytes_moved)
        entry["met"] = _met(entry)
    return {
        **dataclasses.asdict(workload.case),
        "bytes": workload.bytes_moved,
        "rounds": max((len(t.seconds) for t in times.values()), default=0),
        "contenders": entries,
    }


def _timed(
    readies: dict[str, Ready], entries: list[Record], plan: Plan, clock: Clock
) -> dict[str, Times]:
    """Times of all that are ready; one that fails is recorded and left out."""
    while True:
        named = [_named(name, ready) for name, ready in readies.items()]
        try:
            return dict(zip(readies, measure(named, plan, clock), strict=True))
        except _FailedError as failure:
            name, reason = failure.args
            entry = next(entry for entry in entries if entry["name"] == name)
            entry |= {"status": "failed", "note": _told(reason)}
            readies = {key: r for key, r in readies.items() if key != name}


class _FailedError(Exception):
    """A contender's name, and what it raised."""


def _named(name: str, ready: Ready) -> Ready:
    """The same contender, whose errors say that they are its own."""

    def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            try:
                return function(*args)
            except Exception as reason:
                raise _FailedError(name, reason) from reason

        return run

    return dataclasses.replace(
        ready, call=guarded(ready.call), fence=guarded(ready.fence)
    )


def _told(reason: Exception) -> str:
    first_line = str(reason).strip().partition("\n")[0]
    return f"{type(reason).__name__}: {first_line}"


def check_case(workload: Workload) -> Record:
    """The record of one case of which ours is checked and nothing is timed."""
    ours = next(c for c in workload.contenders if c.role == "ours")
    entry, _ = _admit(ours, workload)
    told = {key: entry[key] for key in ("status", "note", "error")}
    return {**dataclasses.asdict(workload.case), **told}


def _admit(contender: Contender, workload: Workload) -> tuple[Record, Ready | None]:
    """Prepares and checks a contender; it is ready only if it is right."""
    entry: Record = {
        "name": contender.name,
        "role": contender.role,
        "expression": contender.expression,
        "status": "ok",
        "note": None,
        "error": None,
        "temp_bytes": None,
        "temp_limit": workload.temp_limit if contender.role == "ours" else None,
        "required": contender.required,
    }
    check = contender.check or workload.check
    try:
        ready = contender.prepare()
        error = None if contender.role == "limit" else _checked(ready, check)
    except AbsentError as reason:
        return entry | {"status": "absent", "note": str(reason)}, None
    except Exception as reason:  # a contender may raise anything; the others go on
        return entry | {"status": "failed", "note": _told(reason)}, None
    entry |= {"error": error, "temp_bytes": ready.temp_bytes}
    if error is not None and not error <= check.tolerance:
        note = f"error {error:.1e} of the scale, above {check.tolerance:.0e}"
        finite = error if error < float("inf") else None  # JSON has no infinity
        return entry | {"status": "wrong", "note": note, "error": finite}, None
    return entry, ready


def _checked(ready: Ready, check: Check) -> float:
    first = ready.call()
    ready.poison(first)
    # The first outputs are kept: freed, their memory would offer the second ones the
    # right numbers where a poisoned one shows what is not written.
    second = ready.call()
    return check.error(ready.fetch(second))


def _figures(name: str, times: dict[str, Times], ours: str, bytes_moved: int) -> Record:
    if name not in times:
        return {"repeats": None, "seconds": None, "gb_per_s": None, "ratio": None}
    mine = times[name].seconds
    seconds = quartiles(mine)
    compared = name != ours and ours in times
    # A slow one took part in the first rounds only.
    both = min(len(mine), len(times[ours].seconds)) if compared else 0
    ratio = paired_ratio(mine[:both], times[ours].seconds[:both]) if compared else None
    return {
        "repeats": times[name].repeats,
        "seconds": _as_record(seconds),
        "gb_per_s": _rounded(bytes_moved / seconds.median / 1e9),
        "ratio": None if ratio is None else _as_record(ratio),
    }


def _met(entry: Record) -> bool | None:
    """Whether what is promised holds; None where nothing is, or nothing is known."""
    if entry["required"] is not None and entry["ratio"] is not None:
        return entry["ratio"]["median"] >= entry["required"]
    if entry["temp_limit"] is not None and entry["temp_bytes"] is not None:
        return entry["temp_bytes"] <= entry["temp_limit"]
    return None


def _as_record(values: Quartiles) -> Record:
    return {key: _rounded(value) for key, value in values._asdict().items()}


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")
