"""The Benchmarks page: the newest full result of each op as facts, picture and tables.

A result is a JSON file in `bench/results`; `bench/results.py` documents its keys. The
files that the page shows are copied into the site for download.
"""

import json
import sys
from html import escape
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "bench" / "results"
sys.path += [str(ROOT), str(Path(__file__).parent)]

from blocks import svg  # noqa: E402

from bench import report  # noqa: E402  (found through the line above)

NONE = "No result of this op is committed yet."
UNMEASURED = "not measured yet"
CHIPS = {"gpu": "NVIDIA GPU", "tpu": "TPU"}
MARKERS = "oD^s"
LATER_KEYS = {"temp_limit": None, "required": None, "met": None}  # not in schema 1


def on_files(files, config):
    """Adds the results that the page shows to the site."""
    for path, _ in newest().values():
        source = f"benchmarks/{path.name}"
        files.append(File.generated(config, source, abs_src_path=str(path)))
    return files


def newest():
    """The newest complete result by op and platform: its file and its content."""
    found = {}
    for path in sorted(FOLDER.glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        if result["quick"] or not result["complete"]:
            continue
        key = result["op"], result["device"]["platform"]
        _, other = found.get(key, (None, {"date": ""}))
        if result["date"] > other["date"]:
            found[key] = path, result
    for _, result in found.values():
        for case in result["cases"]:
            case["contenders"] = {
                entry["name"]: LATER_KEYS | entry for entry in case["contenders"]
            }
    return found


def facts(op, platform="cpu"):
    """Where a result comes from, as Markdown."""
    if (op, platform) not in newest():
        return NONE
    path, result = newest()[op, platform]
    machine, versions = result["machine"], result["versions"]
    software = (f"{name} {versions[name]}" for name in SOFTWARE if versions[name])
    commit = (versions["commit"] or "unknown")[:7] + (
        ", changed" if versions["dirty"] else ""
    )
    environment = " ".join(f"{k}={v}" for k, v in machine["environment"].items())
    lines = {
        "Machine": f"{result['device']['chip']} ({result['device']['platform']}), "
        f"{machine['cores']} cores, {machine['memory_bytes'] / 2**30:.0f} GiB, "
        f"{machine['os']}, load {machine['load_1min']} at the start",
        "Environment": f"`{environment}`"
        if environment
        else "nothing that matters set",
        "Versions": f"{', '.join(software)} (commit {commit})",
        "Date": result["date"].replace("T", " ").replace("Z", " UTC"),
        "Command": f"`{result['command']}`",
        "All numbers": f"[{path.name}]({path.name})",
    }
    return "\n".join(f"- **{name}**: {value}" for name, value in lines.items())


SOFTWARE = ("python", "jax", "jaxlib", "numpy", "torch", "jaxtemp")


def picture(op, platform="cpu"):
    """Ratios of all cases with their quartiles, a panel a mode, as a figure."""
    if (op, platform) not in newest():
        return ""
    _, result = newest()[op, platform]
    modes = list(dict.fromkeys(case["mode"] for case in result["cases"]))
    sizes = list(dict.fromkeys(_size(case) for case in result["cases"]))
    peers = _peers(result["cases"])
    height = 1.3 + 0.21 * len(sizes)
    figure, panels = plt.subplots(
        1, len(modes), sharey=True, squeeze=False, figsize=(7, height)
    )
    for panel, mode in zip(panels[0], modes, strict=True):
        panel.axvline(1, linewidth=1, linestyle=":", color="#888888")
        panel.set(xscale="log", title=mode)
        panel.grid(axis="y")
        for k, peer in enumerate(peers):
            _points(panel, result["cases"], mode, peer, sizes, k)
        low, high = panel.get_xlim()
        subs = (1, 2, 5) if high < 50 * low else (1,)
        panel.xaxis.set_major_locator(LogLocator(subs=subs))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter("")
        panel.margins(x=0.1)
    panels[0][0].set_yticks(range(len(sizes)), sizes, fontsize=9)
    panels[0][0].invert_yaxis()
    figure.supxlabel(
        "their time / ours, right of the dotted line ours is faster", fontsize=11
    )
    handles = {
        label: handle
        for panel in panels[0]
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(), handles, loc="outside upper left", ncols=len(handles)
    )
    return svg(f"{op}: time of {', '.join(peers)} over ours; the tables below say all")


def tables(op, platform="cpu"):
    """All cases as HTML, a table a mode, each behind its title."""
    if (op, platform) not in newest():
        return ""
    _, result = newest()[op, platform]
    modes = dict.fromkeys(case["mode"] for case in result["cases"])
    title = f"{op}{_where(platform)}"
    return "\n".join(
        _table(title, mode, [case for case in result["cases"] if case["mode"] == mode])
        for mode in modes
    )


def chips():
    """Where each op has been measured on accelerators, as a Markdown table."""
    head = " | ".join(CHIPS.values())
    lines = [f"| op | {head} |", "|---|" + "---|" * len(CHIPS)]
    for op in sorted({op for op, _ in newest()}):
        cells = " | ".join(_measured(op, platform) for platform in CHIPS)
        lines.append(f"| `{op}` | {cells} |")
    return "\n".join(lines)


def of_chips():
    """The tables of all results from accelerators, as HTML."""
    return "\n".join(tables(*key) for key in newest() if key[1] in CHIPS)


def _measured(op, platform):
    if (op, platform) not in newest():
        return UNMEASURED
    path, result = newest()[op, platform]
    return f"[{result['device']['chip']}, {result['date'][:10]}]({path.name})"


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
        f"- `{op}`{_where(platform)}, {case['mode']}: a class at {_size(case)} takes "
        f"{report.times(factor)} times as long as at {_size(few)}"
        for (op, platform), (_, result) in newest().items()
        for case, few, factor in report.linearity(_as_listed(result["cases"]))
    ]
    return "\n".join(lines) or NONE


def _where(platform):
    return f", {CHIPS[platform]}" if platform in CHIPS else ""


def _as_listed(cases):
    return [{**case, "contenders": case["contenders"].values()} for case in cases]


def _listed(wanted):
    """The contenders of all cases that are wanted, a line each."""
    lines = [
        f"- `{op}`{_where(platform)}, {case['mode']}, {_size(case)}: {entry['name']}, "
        + (report.scratch(entry) if entry["role"] == "ours" else report.ratio(entry))
        for (op, platform), (_, result) in newest().items()
        for case in result["cases"]
        for entry in case["contenders"].values()
        if wanted(entry)
    ]
    return "\n".join(lines) or "None."


def _points(panel, cases, mode, peer, sizes, number):
    found = [
        (sizes.index(_size(case)), entry["ratio"], entry["required"])
        for case in cases
        if case["mode"] == mode and (entry := case["contenders"].get(peer))
        if entry["ratio"]
    ]
    if not found:
        return
    heights, ratios, required = zip(*found, strict=True)
    median = [r["median"] for r in ratios]
    colour = f"C{number}"
    panel.errorbar(
        median,
        heights,
        xerr=[
            [r["median"] - r["q1"] for r in ratios],
            [r["q3"] - r["median"] for r in ratios],
        ],
        fmt=MARKERS[number % len(MARKERS)],
        markersize=5,
        elinewidth=1.2,
        color=colour,
        label=peer,
    )
    promised = [(r, y) for r, y in zip(required, heights, strict=True) if r]
    if promised:
        panel.plot(*zip(*promised, strict=True), "|", ms=9, mew=1.5, color=colour)


def _peers(cases):
    """Names of the peers that were timed."""
    return list(
        dict.fromkeys(
            entry["name"]
            for case in cases
            for entry in case["contenders"].values()
            if entry["role"] == "peer" and entry["ratio"]
        )
    )


def _size(case):
    tau = {"row": "", "scalar": ", one τ", "zero": ""}[case["temperature"]]
    return f"{case['rows']}×{case['classes']} {case['dtype']}{tau}"


def _table(title, mode, cases):
    peers = _peers(cases)
    head = ("size", "ours", *(f"{peer} / ours" for peer in peers), "limit / ours")
    head = (*head, "scratch")
    rows = []
    for case in cases:
        entries = case["contenders"]
        cells = (
            report.seconds(entries["jaxtemp"]),
            *(report.ratio(entries.get(peer)) for peer in peers),
            report.ratio(entries["limit"]),
            report.scratch(entries["jaxtemp"]),
        )
        tds = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        rows.append(f'<tr><th scope="row">{_size(case)}</th>{tds}</tr>')
    ths = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    told = f"Table of {title}, {mode}: {len(rows)} cases"
    return (
        f"<details><summary>{told}</summary><table>"
        f"<thead><tr>{ths}</tr></thead><tbody>{''.join(rows)}</tbody></table></details>"
    )
