"""Scaling: time along the classes at fixed rows, and along the rows at fixed classes.

The result `scaling` is made for it. Where it lacks an op, the op's own result serves,
if it has sizes enough.
"""

from collections import defaultdict

import matplotlib.pyplot as plt
from blocks import INK, svg
from matplotlib.ticker import EngFormatter

from bench import report

from .figures import MARKERS, WIDTH, side_by_side, table
from .results import cases, newest, size, sources, where

OP = "scaling"
ACROSS = {"classes": "rows", "rows": "classes"}
FEWEST = 3  # points of a line
REACH = 16  # the least factor between its ends
MISSING = (
    f"No result of `python -m bench {OP}` is committed yet: drawn are the sizes that "
    "the results above happen to have."
)


def told(platform="cpu"):
    """Where the times come from, as Markdown."""
    missing = [] if cases(OP, platform) else [MISSING]
    drawn = dict.fromkeys(op for op, *_ in _drawn(platform))
    return "\n\n".join([*missing, sources(drawn, platform)])


def pictures(platform="cpu"):
    """The series of all modes, as figures, the numbers of each in a table below."""
    shown = []
    for op, mode, lines in _drawn(platform):
        title = mode if op == OP else f"{op}, {mode}"
        shown.append(
            side_by_side(_picture(title, *line) for line in lines.items())
            + _table(f"{title}{where(platform)}", lines)
        )
    return "\n".join(shown)


def series(found):
    """By mode, and by the size that varies: the cases of its longest series."""
    modes = defaultdict(dict)
    for mode in dict.fromkeys(case["mode"] for case in found):
        for along, across in ACROSS.items():
            groups = defaultdict(dict)
            for case in found:
                if case["mode"] == mode:
                    rest = case[across], case["dtype"], case["temperature"]
                    groups[rest][case[along]] = case
            enough = [group for group in groups.values() if _is_enough(group)]
            if enough:
                longest = max(enough, key=lambda group: (len(group), _reach(group)))
                modes[mode][along] = [longest[key] for key in sorted(longest)]
    return modes


def _is_enough(group):
    return len(group) >= FEWEST and _reach(group) >= REACH


def _reach(group):
    return max(group) / min(group)


def _drawn(platform):
    """Op, mode and series of all that is drawn."""
    covered = {case["mode"] for case in cases(OP, platform)}
    ops = sorted((op for op, at in newest() if at == platform), key=OP.__ne__)
    return [
        (op, mode, lines)
        for op in ops
        if op not in covered
        for mode, lines in series(cases(op, platform)).items()
    ]


def _picture(title, along, line):
    across = ACROSS[along]
    fixed = f"{title}, {line[0][across]} {across}"
    figure, panel = plt.subplots(figsize=(WIDTH, 2.9))
    panel.set(xscale="log", yscale="log", xlabel=along, title=fixed)
    drawn = []
    for name in _names(line):
        entries = [case["contenders"].get(name) for case in line]
        points = [
            (case[along], entry["seconds"]["median"])
            for case, entry in zip(line, entries, strict=True)
            if entry and entry["seconds"]
        ]
        if len(points) < FEWEST:
            continue
        k = len(drawn) % len(MARKERS)
        look = {"color": f"C{k}", "marker": MARKERS[k]}
        if name == "limit":
            look = {"color": INK, "linestyle": ":"}
        panel.plot(*zip(*points, strict=True), label=name, **look)
        drawn.append(name)
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    panel.yaxis.set_major_formatter(EngFormatter(unit="s"))
    panel.minorticks_off()
    panel.grid()
    figure.legend(loc="outside upper left", ncols=2)
    return svg(
        f"{fixed}: time along the {along} of {', '.join(drawn)}; as a table below"
    )


def _names(line):
    return dict.fromkeys(name for case in line for name in case["contenders"])


def _table(title, lines):
    found = {size(case): case["contenders"] for line in lines.values() for case in line}
    names = dict.fromkeys(name for entries in found.values() for name in entries)
    rows = [
        (at, *(report.seconds(e[name]) if name in e else "-" for name in names))
        for at, e in found.items()
    ]
    return table(f"{title}: time at {len(rows)} sizes", ("size", *names), rows)
