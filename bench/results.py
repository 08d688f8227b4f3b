"""Results: one JSON file per op, chip and day, `<op>-<chip>-<YYYY-MM-DD>.json`.

A run never overwrites another's file: the second run of a day gets `…-2.json`, the
third `…-3.json`, unless it was told to overwrite the first. The file is replaced as a
whole after every case, so that at any moment it is valid JSON; `complete` is false
until the last case is in.

Schema 3, every key always present, those with a * since schema 2, those with two since
schema 3, times in seconds, sizes in bytes, UTC:

    schema      3
    op          "softmax"
    quick       true if the run only proved that the harness works
    complete    true if every case is in
    date        "2026-01-31T12:00:00Z", the start
    command     "python -m bench softmax"
    seed        of the inputs, drawn anew for each run
    device      platform "cpu" | "gpu" | "tpu", chip, count
    machine     cpu, cores (usable), memory_bytes, os, load_1min (at the start),
                environment (variables that change JAX, XLA, OpenMP or malloc)
    versions    python, jax, jaxlib, numpy, torch, jaxtemp, commit, dirty, or null
    plan        sample_seconds, case_seconds, min_rounds, max_rounds, fence_each
    bandwidth   of the memory, measured before the cases: bytes of the array,
                copy_gb_per_s (both ways counted), read_gb_per_s **
    checks      of ours at small sizes, before anything was timed; empty on a CPU: a
                list of mode, rows, classes, dtype, temperature, status, note, error **
    cases       a list of
        mode          "forward" | "value_and_grad" | "backward" (the gradient alone) |
                      of a sampler "draw" | "greedy" | "top_p" | "top_k" |
                      "all" (top_k, top_p, min_p) | "all_per_row" |
                      of `scaling` the op
        rows, classes
        dtype         of the logits
        temperature   "row" (float32 [rows]) | "scalar" (float32 []) | "zero"
        bytes         that must at least be read and written: arrays of the logits' size
        rounds        in which each contender was timed once, a slow one in the first
        contenders    a list of
            name        "jaxtemp" | "jax.nn" | "torch" | "limit" | …
            role        "ours" | "peer" | "limit"
            expression  what was computed
            status      "ok" | "wrong" | "failed" | "absent"; only "ok" was timed
            note        the reason for another status, else null
            error       largest error relative to its scale (`bench.truth`), or how far
                        draws are from expected, in standard deviations
                        (`bench.drawn`), or null
            temp_bytes  scratch memory of the compiled program, or null
            temp_limit  most of it that ours promises, or null *
            required    least median ratio that ours promises, or null *
            met         whether that is kept; null if nothing is promised or known *
            repeats     calls in a sample, or null
            seconds     {q1, median, q3} per call, or null
            gb_per_s    bytes / median seconds / 1e9, or null
            ratio       {q1, median, q3} of its time over ours, paired by round, or
                        null; at least 1 where ours is as fast; the limit's is ours'
                        fraction of the limit
    summary     a list of, per mode and per contender that is not ours,
        mode, name, role
        cases       in which both were timed
        median      of the cases' median ratios
        worst       the least of them
        worst_case  its case, in words
        promised    cases in which a ratio is promised *
        met         those in which it is kept *
"""

from __future__ import annotations

import json
import os
import re
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.cases import Case

Document = dict[str, Any]


@dataclass(frozen=True)
class Result:
    """A result as it grows, and its file, if it has one."""

    document: Document
    path: Path | None

    def begin(self, bandwidth: Document, checks: list[Document]) -> None:
        """Takes in what is found out before the first case."""
        self.document.update(bandwidth=bandwidth, checks=checks)
        self._write()

    def add(self, case: Document) -> None:
        """Takes in one more case."""
        self.document["cases"].append(case)
        self.document["summary"] = summary(self.document["cases"])
        self._write()

    def finish(self) -> None:
        """Says that every case is in."""
        self.document["complete"] = True
        self._write()

    def _write(self) -> None:
        if self.path is not None:
            write(self.path, self.document)


def start(head: Document, folder: Path | None, *, overwrite: bool) -> Result:
    """A new result without cases, in a file of its own if there is a folder.

    Raises:
        OSError: The folder cannot be made or written.
    """
    document = {"schema": 3, **head, "complete": False}
    document |= {"bandwidth": None, "checks": [], "cases": [], "summary": []}
    if folder is None:
        return Result(document, None)
    stem = f"{head['op']}-{slug(head['device']['chip'])}-{head['date'][:10]}"
    path = _reserve(folder, stem, overwrite=overwrite)
    write(path, document)
    return Result(document, path)


def summary(cases: list[Document]) -> list[Document]:
    """The median and the least median ratio, per mode and contender beside ours."""
    groups: dict[tuple[str, str, str], list[tuple[float, str, bool | None]]] = {}
    for case in cases:
        label = _label(case)
        for entry in case["contenders"]:
            if entry["role"] == "ours":
                continue
            key = (case["mode"], entry["name"], entry["role"])
            ratios = groups.setdefault(key, [])
            if entry["ratio"] is not None:
                ratios.append((entry["ratio"]["median"], label, entry["met"]))
    return [
        {
            "mode": mode,
            "name": name,
            "role": role,
            "cases": len(ratios),
            "median": statistics.median(r for r, *_ in ratios),
            "worst": min(ratios)[0],
            "worst_case": min(ratios)[1],
            "promised": sum(met is not None for *_, met in ratios),
            "met": sum(met is True for *_, met in ratios),
        }
        for (mode, name, role), ratios in groups.items()
        if ratios
    ]


def write(path: Path, document: Document) -> None:
    """Replaces the file's content as a whole."""
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def slug(name: str) -> str:
    """A chip's name as part of a file's."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "unknown"


def _reserve(folder: Path, stem: str, *, overwrite: bool) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        path = folder / (f"{stem}.json" if number == 1 else f"{stem}-{number}.json")
        try:
            # An overwritten result stays whole until the first write replaces it.
            path.open("a" if overwrite else "x").close()
        except FileExistsError:
            number += 1
        else:
            return path


def _label(case: Document) -> str:
    return Case(
        **{k: case[k] for k in ("mode", "rows", "classes", "dtype", "temperature")}
    ).label
