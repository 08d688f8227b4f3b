"""The Benchmarks page: which results it shows, and what it draws of them."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mkdocs")
pytest.importorskip("matplotlib")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def page(monkeypatch, tmp_path):
    """A file of the page by its name, the results being in a folder of the test's."""
    monkeypatch.syspath_prepend(ROOT / "docs" / "hooks")
    results = importlib.import_module("benchmarks.results")
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    return lambda name: importlib.import_module(f"benchmarks.{name}")


SECONDS = {"q1": 1e-3, "median": 1e-3, "q3": 1e-3}
RATIO = {"q1": 2.0, "median": 2.0, "q3": 2.0}
ENTRY = {"status": "ok", "seconds": SECONDS, "temp_bytes": None, "error": None}


def case(rows, classes, mode="forward", **peer):
    """A case of ours, a peer and the limit; `peer` says what is not ordinary of it."""
    sizes = {"rows": rows, "classes": classes, "dtype": "float32", "temperature": "row"}
    contenders = [
        ENTRY | {"name": "jaxtemp", "role": "ours", "ratio": None, "temp_bytes": 0},
        ENTRY | {"name": "xla", "role": "peer", "ratio": RATIO} | peer,
        ENTRY | {"name": "limit", "role": "limit", "ratio": RATIO},
    ]
    return {"mode": mode, **sizes, "contenders": contenders}


def put(folder, platform, date, op="softmax", cases=None):
    """A result, of one case if nothing else is said."""
    result = {
        "op": op,
        "quick": False,
        "complete": True,
        "date": f"{date}T00:00:00Z",
        "command": f"python -m bench {op}",
        "device": {"platform": platform, "chip": f"A {platform}"},
        "cases": cases or [case(2, 3)],
    }
    path = folder / f"{op}-{platform}-{date}.json"
    path.write_text(json.dumps(result), encoding="utf-8")


def by_name(found):
    """Cases as the page reads them, their contenders by name."""
    return [
        one | {"contenders": {entry["name"]: entry for entry in one["contenders"]}}
        for one in found
    ]


def test_no_chip_has_been_measured(page, tmp_path):
    put(tmp_path, "cpu", "2026-01-01")
    assert page("results").chips().splitlines()[2:] == [
        "| `softmax` | not measured yet | not measured yet |"
    ]
    assert page("speed").of_chips() == ""


def test_a_result_from_a_chip_is_shown_beside_that_from_a_cpu(page, tmp_path):
    for platform, date in (("cpu", "2026-01-01"), ("gpu", "2026-02-01")):
        put(tmp_path, platform, date)
    put(tmp_path, "gpu", "2026-01-31")
    assert page("results").chips().splitlines()[2:] == [
        "| `softmax` | [A gpu, 2026-02-01](softmax-gpu-2026-02-01.json) "
        "| not measured yet |"
    ]
    assert "Table of softmax, NVIDIA GPU, forward: 1 cases" in page("speed").of_chips()
    assert "Table of softmax, forward: 1 cases" in page("speed").tables("softmax")
    assert (
        page("results").newest()["softmax", "cpu"][1]["date"].startswith("2026-01-01")
    )


def test_a_result_that_is_not_complete_is_no_measurement(page, tmp_path):
    put(tmp_path, "cpu", "2026-01-01")
    put(tmp_path, "tpu", "2026-01-02")
    (path,) = tmp_path.glob("*-tpu-*")
    text = path.read_text(encoding="utf-8").replace(
        '"complete": true', '"complete": false'
    )
    path.write_text(text, encoding="utf-8")
    assert (
        "| `softmax` | not measured yet | not measured yet |" in page("results").chips()
    )


def test_a_series_varies_one_size_and_is_the_longest(page):
    sizes = [(8, 100), (8, 400), (8, 1600), (1, 100), (2, 100), (4, 100), (32, 400)]
    longer = [(64, 10), (64, 100), (64, 1000), (64, 10000)]
    series = page("scaling").series(by_name(case(*size) for size in sizes))
    assert list(series) == ["forward"]
    assert list(series["forward"]) == ["classes"]  # the rows reach from 1 to 8 only
    assert [one["classes"] for one in series["forward"]["classes"]] == [100, 400, 1600]
    both = page("scaling").series(by_name(case(*size) for size in sizes + longer))
    assert {one["rows"] for one in both["forward"]["classes"]} == {64}
    assert [one["rows"] for one in both["forward"]["rows"]] == [1, 2, 4, 8, 64]


def test_other_dtypes_are_no_series(page):
    found = [case(8, classes) for classes in (10, 100, 1000)]
    found[1]["dtype"] = "bfloat16"
    assert page("scaling").series(by_name(found)) == {}


def test_without_a_result_for_scaling_an_op_serves_itself(page, tmp_path):
    scaling = page("scaling")
    cases = [case(8, classes) for classes in (10, 100, 1000)]
    cases[0]["contenders"][1]["seconds"] = None
    put(tmp_path, "cpu", "2026-01-01", "sample", cases)
    assert scaling.MISSING in scaling.told()
    shown = scaling.pictures()
    assert "sample, forward, 8 rows: time along the classes of jaxtemp, limit" in shown
    assert "Table of sample, forward: time at 3 sizes" in shown
    mine = [case(8, classes, "sample") for classes in (10, 100, 1000)]
    put(tmp_path, "cpu", "2026-01-01", "scaling", mine)
    assert scaling.MISSING not in scaling.told()
    shown = scaling.pictures()
    assert "sample, 8 rows: time along the classes of jaxtemp, xla, limit" in shown
    assert shown.count("<svg") == shown.count("<details>") == 1
    assert scaling.pictures("gpu") == ""


def test_memory_is_that_of_the_largest_case_with_most_contenders(page):
    compared = page("compared")
    known = case(4, 1000, temp_bytes=32_000)
    found = by_name([case(2, 1000, temp_bytes=1), known, case(8, 1000)])
    assert [mark[1:4] for mark in compared.scratch(found)] == [
        (0.0, "jaxtemp", "0"),
        (2.0, "xla", "2"),
    ]


def test_errors_are_the_worst_and_those_of_draws_are_none(page, tmp_path):
    compared = page("compared")
    cases = [case(2, 3, error=2e-7), case(2, 4, error=0.5, status="wrong")]
    assert [mark[1:] for mark in compared.worst(by_name(cases))] == [
        (0.5, "xla", "5.0e-01, too large", "2")
    ]
    put(tmp_path, "cpu", "2026-01-01", "categorical", cases)
    assert compared.errors() == ""
    put(tmp_path, "cpu", "2026-01-01", "softmax", cases)
    assert "too large" in compared.errors()


def test_the_error_of_a_wrong_number_is_seen_where_it_is(page):
    pytest.importorskip("mpmath")
    accuracy = page("accuracy")
    shape = (len(accuracy.DECADES), accuracy.ROWS)
    value = np.full(shape, 2.0)
    got = value.copy()
    got[3, 5], got[4, 0] = 2.5, np.nan
    worst = accuracy.worst(got.ravel(), value.ravel(), value.ravel())
    assert worst[3] == 0.25
    assert np.isnan(worst[4])
    assert np.count_nonzero(worst) == 2
    assert accuracy.told_of(worst) == "NaN at 1e-4"
    assert accuracy.told_of(np.nan_to_num(worst)) == "2.5e-01 at 1e-5"
    assert accuracy.told_of(4 * np.nan_to_num(worst)) == "1 or more at 1e-5"
