"""The terminal's view of a run: one aligned line a case, then a summary."""

from __future__ import annotations

from typing import Any

Record = dict[str, Any]

MANY, FEWER = 1_000_000, 131072  # classes
_MET = {True: " pass", False: " short", None: ""}

_LABELS = (
    ("mode", 14, "<"),
    ("shape", 14, ">"),
    ("dtype", 8, "<"),
    ("τ", 6, "<"),
    ("ours", 9, ">"),
    ("GB/s", 7, ">"),
    ("limit", 7, ">"),
    ("of limit", 10, ">"),
    ("scratch", 14, "<"),
)
_PEER_WIDTH = 28


def heading(document: Record, path: object) -> str:
    """Lines above the cases of an op."""
    into = f", result in {path}" if path else ""
    streams = document["bandwidth"]
    return (
        f"{document['op']} on {document['device']['chip']}{into}\n"
        f"memory: copy {streams['copy_gb_per_s']:.0f} GB/s, "
        f"read {streams['read_gb_per_s']:.0f} GB/s\n"
        "limit: GB/s of streaming the same bytes. Under a peer stands its time over "
        "ours, paired by\nround, median (quartiles): 1 or more if ours is as fast. "
        "Where a least ratio or a most\nscratch memory is promised, pass or short says "
        "whether it is kept."
    )


def checks(found: list[Record]) -> str:
    """How many of the small cases ours is right in, and what is wrong in the others."""
    right = sum(check["status"] == "ok" for check in found)
    wrong = [
        f"    {check['mode']} {check['rows']}x{check['classes']} {check['dtype']} "
        f"{check['status']}: {check['note']}"
        for check in found
        if check["status"] != "ok"
    ]
    return "\n".join([f"right in {right} of {len(found)} small cases", *wrong])


def peers(case: Record) -> list[str]:
    """The names of a case's peers, in order."""
    return [e["name"] for e in case["contenders"] if e["role"] == "peer"]


def columns(names: list[str]) -> str:
    """The line above cases that have these peers."""
    cells = [_cell(name, width, side) for name, width, side in _LABELS]
    cells += [_cell(name, _PEER_WIDTH, "<") for name in names]
    return "  ".join(cells).rstrip()


def line(case: Record) -> str:
    """One case, and below it what kept a contender from being timed."""
    entries = {entry["name"]: entry for entry in case["contenders"]}
    ours = next(e for e in entries.values() if e["role"] == "ours")
    limit = next(e for e in entries.values() if e["role"] == "limit")
    values = (
        case["mode"],
        f"{case['rows']}x{case['classes']}",
        case["dtype"],
        case["temperature"],
        seconds(ours),
        _gb_per_s(ours),
        _gb_per_s(limit),
        _of_limit(limit),
        scratch(ours),
    )
    cells = [
        _cell(value, width, side)
        for value, (_, width, side) in zip(values, _LABELS, strict=True)
    ]
    cells += [_cell(ratio(entries[name]), _PEER_WIDTH, "<") for name in peers(case)]
    notes = [
        f"    {entry['name']} {entry['status']}: {entry['note']}"
        for entry in entries.values()
        if entry["status"] in ("wrong", "failed")
    ]
    return "\n".join(["  ".join(cells).rstrip(), *notes])


def closing(document: Record) -> str:
    """The median and the worst ratio per mode and contender, and the time per class."""
    lines = []
    for entry in document["summary"]:
        of_limit = entry["role"] == "limit"
        what = "of the limit" if of_limit else f"{entry['name']} / ours"
        median, worst = (
            f"{entry[key]:.0%}" if of_limit else times(entry[key])
            for key in ("median", "worst")
        )
        kept = f", {entry['met']} of {entry['promised']} promises kept"
        lines.append(
            f"{entry['mode']}: {what}: median {median}, worst {worst} "
            f"({entry['worst_case']}), {entry['cases']} cases"
            f"{kept if entry['promised'] else ''}"
        )
    lines += [
        f"{case['mode']}: a class at {case['rows']}x{case['classes']} takes "
        f"{times(factor)} times as long as at {first['rows']}x{first['classes']}"
        for case, first, factor in linearity(document["cases"])
    ]
    return "\n".join(lines) or "nothing was timed"


def linearity(cases: list[Record]) -> list[tuple[Record, Record, float]]:
    """Our time per class at `MANY`, relative to that at `FEWER`, if timed at both."""
    timed = {
        (c["mode"], c["rows"], c["classes"], c["dtype"]): (c, ours["seconds"]["median"])
        for c in cases
        for ours in c["contenders"]
        if ours["role"] == "ours" and ours["seconds"] is not None
    }
    found = []
    for (mode, rows, classes, dtype), (case, time) in timed.items():
        few = timed.get((mode, rows, FEWER, dtype))
        if classes == MANY and few is not None:
            found.append((case, few[0], time / few[1] * FEWER / MANY))
    return found


def seconds(entry: Record) -> str:
    """The median time of a call, or why there is none."""
    if entry["seconds"] is None:
        return entry["status"]
    median = entry["seconds"]["median"]
    return f"{median * 1e3:.2f} ms" if median >= 1e-3 else f"{median * 1e6:.1f} µs"


def scratch(entry: Record) -> str:
    """Scratch memory, and whether a promise of it is kept."""
    count = entry["temp_bytes"]
    return "-" if count is None else size(count) + _MET[entry["met"]]


def size(count: int) -> str:
    """Bytes, in the unit that suits."""
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def ratio(entry: Record | None) -> str:
    """Median and quartiles of a contender's time over ours, and what is promised."""
    if entry is None:
        return "-"
    found = entry["ratio"]
    if found is None:
        return entry["status"]
    told = f"{times(found['median'])} ({times(found['q1'])}-{times(found['q3'])})"
    if entry["met"] is None:
        return told
    return f"{told} ≥{times(entry['required'])}{_MET[entry['met']]}"


def times(factor: float) -> str:
    """A factor, to about three digits."""
    return f"{factor:.2f}" if factor < 9.995 else f"{factor:.3g}"


def _cell(text: str, width: int, side: str) -> str:
    return f"{text:{side}{width}}"


def _of_limit(entry: Record) -> str:
    if entry["ratio"] is None:
        return "-"
    return f"{entry['ratio']['median']:.0%}{_MET[entry['met']]}"


def _gb_per_s(entry: Record) -> str:
    return "-" if entry["gb_per_s"] is None else f"{entry['gb_per_s']:.1f}"
