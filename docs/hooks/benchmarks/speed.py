"""Speed: how long the contenders take beside ours, as pictures, tables and lists."""

import matplotlib.pyplot as plt
import numpy as np
from blocks import INK, svg
from matplotlib.ticker import LogLocator

from bench import report

from .figures import MARKERS, WIDTH, side_by_side, table
from .results import CHIPS, NONE, cases, newest, size, where


def pictures(op, platform="cpu"):
    """Ratios of all cases with their quartiles, a figure a mode."""
    return side_by_side(_picture(op, *mode) for mode in _by_mode(op, platform))


def tables(op, platform="cpu"):
    """All cases as HTML, a table a mode, each behind its title."""
    title = f"{op}{where(platform)}"
    return "\n".join(_table(title, *mode) for mode in _by_mode(op, platform))


def of_chips():
    """The tables of all results from accelerators, as HTML."""
    return "\n".join(tables(*key) for key in newest() if key[1] in CHIPS)


def slower():
    """Each case in which a peer is faster, its third quartile too, as Markdown."""
    return _listed(
        lambda entry: (
            entry["role"] == "peer" and entry["ratio"] and entry["ratio"]["q3"] < 1
        )
    )


def broken():
    """Each promise that is not kept, as Markdown."""
    return _listed(lambda entry: entry["met"] is False)


def per_class():
    """How our time grows with the classes, as Markdown."""
    lines = [
        f"- `{op}`{where(platform)}, {case['mode']}: a class at {size(case)} takes "
        f"{report.times(factor)} times as long as at {size(few)}"
        for (op, platform), (_, result) in newest().items()
        for case, few, factor in report.linearity(_as_listed(result["cases"]))
    ]
    return "\n".join(lines) or NONE


def _as_listed(found):
    return [{**case, "contenders": case["contenders"].values()} for case in found]


def _listed(wanted):
    """The contenders of all cases that are wanted, a line each."""
    lines = [
        f"- `{op}`{where(platform)}, {case['mode']}, {size(case)}: {entry['name']}, "
        + (report.scratch(entry) if entry["role"] == "ours" else report.ratio(entry))
        for (op, platform), (_, result) in newest().items()
        for case in result["cases"]
        for entry in case["contenders"].values()
        if wanted(entry)
    ]
    return "\n".join(lines) or "None."


def _by_mode(op, platform):
    found = cases(op, platform)
    modes = dict.fromkeys(case["mode"] for case in found)
    return [(m, [case for case in found if case["mode"] == m]) for m in modes]


def _picture(op, mode, found):
    peers = _peers(found)
    figure, panel = plt.subplots(figsize=(WIDTH, 1.2 + 0.2 * len(found)))
    panel.axvline(1, linewidth=1, linestyle=":", color=INK)
    panel.set(xscale="log", title=f"{op}, {mode}", xlabel="their time / ours")
    panel.grid(axis="y")
    for k, peer in enumerate(peers, start=1):  # ours is 0 in other pictures
        _points(panel, found, peer, k)
    low, high = panel.get_xlim()
    subs = (1, 2, 5) if high < 50 * low else (1,)
    panel.xaxis.set_major_locator(LogLocator(subs=subs))
    panel.xaxis.set_major_formatter("{x:g}")
    panel.xaxis.set_minor_formatter("")
    panel.margins(x=0.1)
    panel.set_yticks(range(len(found)), [size(case) for case in found])
    panel.invert_yaxis()
    figure.legend(loc="outside upper left", ncols=2)
    return svg(f"{op}, {mode}: time of {', '.join(peers)} over ours; as a table below")


def _points(panel, found, peer, number):
    known = [
        (height, entry["ratio"], entry["required"])
        for height, case in enumerate(found)
        if (entry := case["contenders"].get(peer)) and entry["ratio"]
    ]
    heights, ratios, required = zip(*known, strict=True)
    median, q1, q3 = (
        np.array([ratio[key] for ratio in ratios]) for key in ("median", "q1", "q3")
    )
    colour = f"C{number}"
    panel.errorbar(
        median,
        heights,
        xerr=(median - q1, q3 - median),
        fmt=MARKERS[number % len(MARKERS)],
        elinewidth=1.2,
        color=colour,
        label=peer,
    )
    promised = [(r, y) for r, y in zip(required, heights, strict=True) if r]
    if promised:
        panel.plot(*zip(*promised, strict=True), "|", ms=9, mew=1.5, color=colour)


def _peers(found):
    """Names of the peers that were timed."""
    return list(
        dict.fromkeys(
            entry["name"]
            for case in found
            for entry in case["contenders"].values()
            if entry["role"] == "peer" and entry["ratio"]
        )
    )


def _table(title, mode, found):
    peers = _peers(found)
    head = ("size", "ours", *(f"{peer} / ours" for peer in peers), "limit / ours")
    rows = [
        (
            size(case),
            report.seconds(case["contenders"]["jaxtemp"]),
            *(report.ratio(case["contenders"].get(peer)) for peer in peers),
            report.ratio(case["contenders"]["limit"]),
            report.scratch(case["contenders"]["jaxtemp"]),
        )
        for case in found
    ]
    return table(f"{title}, {mode}: {len(rows)} cases", (*head, "scratch"), rows)
