"""The terminal's view of a run: one aligned line a case, then a summary."""

from __future__ import annotations

from typing import Any

Record = dict[str, Any]

_LABELS = (
    ("mode", 14, "<"),
    ("shape", 14, ">"),
    ("dtype", 8, "<"),
    ("τ", 6, "<"),
    ("ours", 9, ">"),
    ("GB/s", 7, ">"),
    ("limit", 7, ">"),
    ("of limit", 8, ">"),
    ("scratch", 8, ">"),
)
_PEER_WIDTH = 20


def heading(op: str, device: Record, path: object, peers: list[str]) -> str:
    """Lines above the table of an op."""
    into = f", result in {path}" if path else ""
    told = (
        f"{op} on {device['chip']}{into}\n"
        "limit: GB/s of streaming the same bytes. Under a peer stands its time over "
        "ours, paired by\nround, median (quartiles): 1 or more if ours is as fast.\n"
    )
    columns = [_cell(name, width, side) for name, width, side in _LABELS]
    columns += [_cell(name, _PEER_WIDTH, "<") for name in peers]
    return told + "  ".join(columns).rstrip()


def line(case: Record, peers: list[str]) -> str:
    """One case, and below it what kept a contender from being timed."""
    entries = {entry["name"]: entry for entry in case["contenders"]}
    ours = next(e for e in entries.values() if e["role"] == "ours")
    limit = next(e for e in entries.values() if e["role"] == "limit")
    values = (
        case["mode"],
        f"{case['rows']}x{case['classes']}",
        case["dtype"],
        case["temperature"],
        _seconds(ours),
        _gb_per_s(ours),
        _gb_per_s(limit),
        f"{limit['ratio']['median']:.0%}" if limit["ratio"] else "-",
        _bytes(ours["temp_bytes"]),
    )
    columns = [
        _cell(value, width, side)
        for value, (_, width, side) in zip(values, _LABELS, strict=True)
    ]
    columns += [_cell(_ratio(entries.get(name)), _PEER_WIDTH, "<") for name in peers]
    notes = [
        f"    {entry['name']} {entry['status']}: {entry['note']}"
        for entry in entries.values()
        if entry["status"] in ("wrong", "failed")
    ]
    return "\n".join(["  ".join(columns).rstrip(), *notes])


def closing(summary: list[Record]) -> str:
    """The summary: the median and the worst ratio per mode and contender."""
    lines = []
    for entry in summary:
        of_limit = entry["role"] == "limit"
        what = "of the limit" if of_limit else f"{entry['name']} / ours"
        median, worst = (
            f"{entry[key]:.0%}" if of_limit else f"{entry[key]:.2f}"
            for key in ("median", "worst")
        )
        lines.append(
            f"{entry['mode']}: {what}: median {median}, worst {worst} "
            f"({entry['worst_case']}), {entry['cases']} cases"
        )
    return "\n".join(lines) or "nothing was timed"


def _cell(text: str, width: int, side: str) -> str:
    return f"{text:{side}{width}}"


def _seconds(entry: Record) -> str:
    if entry["seconds"] is None:
        return entry["status"]
    median = entry["seconds"]["median"]
    return f"{median * 1e3:.2f} ms" if median >= 1e-3 else f"{median * 1e6:.1f} µs"


def _gb_per_s(entry: Record) -> str:
    return "-" if entry["gb_per_s"] is None else f"{entry['gb_per_s']:.1f}"


def _bytes(count: int | None) -> str:
    if count is None:
        return "-"
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _ratio(entry: Record | None) -> str:
    if entry is None:
        return "-"
    ratio = entry["ratio"]
    if ratio is None:
        return entry["status"]
    return f"{ratio['median']:.2f} ({ratio['q1']:.2f}-{ratio['q3']:.2f})"
