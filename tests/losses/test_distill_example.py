"""The example of the docs: it trains, prints and writes what the page reads."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).parents[2] / "docs" / "examples" / "distill.py"


@pytest.fixture(scope="module")
def distill():
    spec = importlib.util.spec_from_file_location("distill_example", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    # A smaller version of the same.
    module.TEACHER, module.TUNINGS = (64, 64, 10), 3
    for name in ("τ = 1", "τ = 2", "τ = 8", "τ = ∞"):
        del module.FIXED[name], module.RECIPES[name]
    for name in ("τ learned, from 1", "τ learned, on its own loss"):
        del module.RECIPES[name]
    yield module
    del sys.modules[spec.name]


def test_a_run_teaches_prints_and_writes(distill, tmp_path, capsys):
    out = tmp_path / "distill.json"
    steps = ["--teacher-steps", "60", "--steps", "60"]
    distill.main(["--seeds", "2", *steps, "--out", str(out)])
    result = json.loads(out.read_text("utf-8"))
    students = result["students"]
    printed = capsys.readouterr().out
    assert all(name in printed for name in students)
    assert np.mean(result["teacher"]["accuracy"]) > 0.8
    for one in students.values():
        assert np.all(np.array(one["accuracy"]) > 0.5)
    gain, low, high = students["τ = 4"]["gain"]["accuracy"]
    accuracies = [students[name]["accuracy"] for name in ("τ = 4", distill.HARD)]
    assert gain == pytest.approx(np.subtract(*accuracies).mean(), abs=2e-4)
    assert low < gain < high
    taus = np.array(students["τ learned, from 4"]["tau"])
    assert taus.shape == (2, 3)
    assert np.all(np.isfinite(taus))
    assert np.all(taus[:, 0] == 4)
    assert np.all(taus[:, -1] != 4)


def test_each_seed_has_its_own_split(distill):
    data = distill.digits(2)
    for seed in range(2):
        parts = [np.asarray(x[seed]) for x, _ in (data.train, data.held_out)]
        assert [len(part) for part in parts] == [1197, 600]
    assert not np.array_equal(data.train[1][0], data.train[1][1])
