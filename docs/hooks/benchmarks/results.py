"""The newest full result of each op and platform, and where it comes from.

A result is a JSON file in `bench/results`; `bench/results.py` documents its keys. The
files that the page shows are copied into the site for download.
"""

import json
from pathlib import Path

from mkdocs.structure.files import File

FOLDER = Path(__file__).resolve().parents[3] / "bench" / "results"
CHIPS = {"gpu": "NVIDIA GPU", "tpu": "TPU"}
NONE = "No result of this op is committed yet."
UNMEASURED = "not measured yet"
SOFTWARE = ("python", "jax", "jaxlib", "numpy", "torch", "jaxtemp")
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


def cases(op, platform="cpu"):
    """The cases of the newest result, none without one."""
    _, result = newest().get((op, platform), (None, {"cases": []}))
    return result["cases"]


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


def sources(ops, platform="cpu"):
    """Where the results of several ops come from, a line each, as Markdown."""
    found = [(op, *newest()[op, platform]) for op in ops]
    return "\n".join(
        f"- `{op}`: {result['device']['chip']}, {result['date'][:10]}, "
        f"`{result['command']}`, [all numbers]({path.name})"
        for op, path, result in found
    )


def chips():
    """Where each op has been measured on accelerators, as a Markdown table."""
    head = " | ".join(CHIPS.values())
    lines = [f"| op | {head} |", "|---|" + "---|" * len(CHIPS)]
    for op in sorted({op for op, _ in newest()}):
        cells = " | ".join(_measured(op, platform) for platform in CHIPS)
        lines.append(f"| `{op}` | {cells} |")
    return "\n".join(lines)


def where(platform):
    """What is said behind the name of an op."""
    return f", {CHIPS[platform]}" if platform in CHIPS else ""


def size(case):
    """A case's shape, dtype and kind of temperature, in words."""
    tau = {"row": "", "scalar": ", one τ", "zero": ""}[case["temperature"]]
    return f"{case['rows']}×{case['classes']} {case['dtype']}{tau}"


def _measured(op, platform):
    if (op, platform) not in newest():
        return UNMEASURED
    path, result = newest()[op, platform]
    return f"[{result['device']['chip']}, {result['date'][:10]}]({path.name})"
