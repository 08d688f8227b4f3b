"""Memory and errors in the timed cases: a line an op and mode, a mark a contender."""

import jax.numpy as jnp
import matplotlib.pyplot as plt
from blocks import INK, svg

from bench import report

from . import scaling
from .figures import MARKERS, WIDTH, side_by_side, table
from .results import cases, newest, size, where

# Ops that have a true number. The errors of draws are standard deviations.
EXACT = ("softmax", "concrete", "cross_entropy", "linear_cross_entropy")
KINDS = ("ours", "peer in JAX", "peer in PyTorch")
ROUNDING = 2**-24  # of a float32 number
PLACE = ("axes fraction", "data")


def memory(platform="cpu"):
    """Scratch of each mode's largest case over the size of its logits."""
    ops = [op for op, at in newest() if at == platform and op != scaling.OP]
    lines = _lines(ops, platform, scratch)
    title = "scratch memory / logits"
    head = ("op and mode", "contender", "of the logits", "scratch", "case", "logits")
    axis = {"xlabel": title, "xlim": (-0.3, None)}
    return _picture(lines, axis, 1) + _table(title + where(platform), head, lines)


def errors(platform="cpu"):
    """The largest error of each mode that has a true number, in float32."""
    lines = _lines(EXACT, platform, worst)
    title = "largest error / its scale"
    head = ("op and mode", "contender", "error", "cases")
    axis = {"xlabel": title, "xscale": "log"}
    return _picture(lines, axis, ROUNDING) + _table(
        title + where(platform), head, lines
    )


def scratch(found):
    """Of the largest case, of those with as many contenders whose memory is known."""
    case = max(found, key=lambda case: (len(_known(case)), _logits(case)))
    logits = _logits(case)
    return [
        (
            _kind(entry),
            entry["temp_bytes"] / logits,
            entry["name"],
            f"{entry['temp_bytes'] / logits:.2g}",
            report.size(entry["temp_bytes"]),
            size(case),
            report.size(logits),
        )
        for entry in _known(case)
    ]


def worst(found):
    """Of all float32 cases, also those in which the error was too large to be timed."""
    entries = [
        entry
        for case in found
        for entry in case["contenders"].values()
        if case["dtype"] == "float32" and entry["error"] is not None
    ]
    marks = []
    for name in dict.fromkeys(entry["name"] for entry in entries):
        own = [entry for entry in entries if entry["name"] == name]
        largest = max(own, key=lambda entry: entry["error"])
        wrong = ", too large" if largest["status"] == "wrong" else ""
        number = largest["error"]
        text = f"{number:.1e}{wrong}"
        marks.append((_kind(largest), number, name, text, str(len(own))))
    return marks


def _lines(ops, platform, of):
    """By the name of each op's modes: its contenders' kind, number and table cells."""
    lines = {}
    for op in ops:
        found = cases(op, platform)
        for mode in dict.fromkeys(case["mode"] for case in found):
            lines[f"{op}, {mode}"] = of([c for c in found if c["mode"] == mode])
    return {name: marks for name, marks in lines.items() if marks}


def _picture(lines, axis, at):
    if not lines:
        return ""
    return side_by_side(_dots(*one) for one in [(lines, axis, at)])


def _dots(lines, axis, at):
    figure, panel = plt.subplots(figsize=(WIDTH, 0.9 + 0.32 * len(lines)))
    panel.axvline(at, linewidth=1, linestyle=":", color=INK)
    for k, kind in enumerate(KINDS):
        points = [
            (number, height)
            for height, marks in enumerate(lines.values())
            for found, number, *_ in marks
            if found == kind
        ]
        if points:
            x, y = zip(*points, strict=True)
            panel.plot(x, y, MARKERS[k], color=f"C{k}", label=kind, zorder=3 - k / 10)
    for height, name in enumerate(
        lines
    ):  # above its marks: beside them there is no room
        panel.annotate(name, (0, height), (2, 5), PLACE, "offset points", fontsize=8)
    panel.set(**axis)
    panel.grid(axis="y")
    panel.set_yticks(range(len(lines)), [])
    panel.set_ylim(len(lines) - 0.5, -0.9)
    figure.legend(loc="outside upper left", ncols=3)
    return svg(f"{axis['xlabel']} of ours and the peers; as a table below")


def _table(title, head, lines):
    if not lines:
        return ""
    rows = [(name, *cells) for name, marks in lines.items() for _, _, *cells in marks]
    return table(f"{title}: {len(lines)} modes", head, rows)


def _known(case):
    return [
        entry
        for entry in case["contenders"].values()
        if entry["role"] != "limit" and entry["temp_bytes"] is not None
    ]


def _logits(case):
    return case["rows"] * case["classes"] * jnp.dtype(case["dtype"]).itemsize


def _kind(entry):
    """Of what runs in PyTorch the memory is not known."""
    if entry["role"] == "ours":
        return KINDS[0]
    return KINDS[2 if entry["temp_bytes"] is None else 1]
