"""The Benchmarks page: what it says of chips that nothing has been measured on."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("mkdocs")
pytest.importorskip("matplotlib")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def page(monkeypatch, tmp_path):
    """The page's functions, with results in a folder of the test's own."""
    monkeypatch.setattr(sys, "path", [*sys.path])  # the page adds to it
    spec = importlib.util.spec_from_file_location(
        "benchmarks_page", ROOT / "docs/hooks/benchmarks.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    return module


def put(folder, platform, date, op="softmax"):
    """A result with one case."""
    seconds = {"q1": 1e-3, "median": 1e-3, "q3": 1e-3}
    ratio = {"q1": 2.0, "median": 2.0, "q3": 2.0}
    entry = {"status": "ok", "seconds": seconds, "temp_bytes": None}
    case = {"mode": "forward", "rows": 2, "classes": 3, "dtype": "float32"}
    contenders = [
        entry | {"name": "jaxtemp", "role": "ours", "ratio": None},
        entry | {"name": "xla", "role": "peer", "ratio": ratio},
        entry | {"name": "limit", "role": "limit", "ratio": ratio},
    ]
    result = {
        "op": op,
        "quick": False,
        "complete": True,
        "date": f"{date}T00:00:00Z",
        "device": {"platform": platform, "chip": f"A {platform}"},
        "cases": [case | {"temperature": "row", "contenders": contenders}],
    }
    path = folder / f"{op}-{platform}-{date}.json"
    path.write_text(json.dumps(result), encoding="utf-8")


def test_no_chip_has_been_measured(page, tmp_path):
    put(tmp_path, "cpu", "2026-01-01")
    assert page.chips().splitlines()[2:] == [
        "| `softmax` | not measured yet | not measured yet |"
    ]
    assert page.of_chips() == ""


def test_a_result_from_a_chip_is_shown_beside_that_from_a_cpu(page, tmp_path):
    for platform, date in (("cpu", "2026-01-01"), ("gpu", "2026-02-01")):
        put(tmp_path, platform, date)
    put(tmp_path, "gpu", "2026-01-31")
    assert page.chips().splitlines()[2:] == [
        "| `softmax` | [A gpu, 2026-02-01](softmax-gpu-2026-02-01.json) "
        "| not measured yet |"
    ]
    assert "Table of softmax, NVIDIA GPU, forward: 1 cases" in page.of_chips()
    assert "Table of softmax, forward: 1 cases" in page.tables("softmax")
    assert page.newest()["softmax", "cpu"][1]["date"].startswith("2026-01-01")


def test_a_result_that_is_not_complete_is_no_measurement(page, tmp_path):
    put(tmp_path, "cpu", "2026-01-01")
    put(tmp_path, "tpu", "2026-01-02")
    (path,) = tmp_path.glob("*-tpu-*")
    text = path.read_text(encoding="utf-8").replace(
        '"complete": true', '"complete": false'
    )
    path.write_text(text, encoding="utf-8")
    assert "| `softmax` | not measured yet | not measured yet |" in page.chips()
