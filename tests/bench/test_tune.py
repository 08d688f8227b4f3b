"""The tuner: what it lists, what it puts in the place of a choice, what it refuses."""

import json

import jax
import numpy as np
import pytest

from bench import cuts, tunable, tune
from bench.timing import Plan
from jaxtemp.kernels import _tiles
from tests.kernels import mosaic_gpu, mosaic_tpu

H200, V5E = cuts.CHIPS["h200"], cuts.CHIPS["v5e"]


def listed(kernel, rows, classes, dtype, chip):
    return tune.listed(tunable.Task(kernel, rows, classes, dtype), chip)


@pytest.mark.parametrize("kernel", tunable.KERNELS)
def test_the_choice_for_a_gpu_is_that_of_its_function(kernel):
    classes = 1024 if kernel == "kth" else 131072
    asked, found = listed(kernel, 512, classes, "bfloat16", H200)
    function = getattr(_tiles, asked.place[1])
    assert asked.choice == function(**asked.given)
    assert found[0]["chosen"]
    assert found[0]["cut"] == vars(asked.choice)
    assert sum(entry["chosen"] for entry in found) == 1
    assert len(found) > 1


def test_what_a_kernel_reads_is_what_it_asks():
    forward, _ = listed("softmax", 512, 131072, "float32", H200)
    pull, _ = listed("softmax_pull", 512, 131072, "float32", H200)
    moments, found = listed("moments", 512, 131072, "float32", H200)
    told = [asked.given["arrays"] for asked in (forward, pull, moments)]
    assert told == [1, 2, 1]
    assert [x.given["once"] for x in (forward, moments)] == [False, True]
    assert {entry["reads"] for entry in found} == {1}


@pytest.mark.parametrize("task", tunable.tasks(["softmax", "softmax_pull"]))
def test_every_candidate_for_a_gpu_covers_the_row_and_fits(task):
    asked, found = tune.listed(task, H200)
    for entry in found:
        tiles = _tiles.Tiles(**entry["cut"])
        pieces = tiles.steps * tiles.warpgroups
        assert (pieces - 1) * tiles.columns < task.classes <= pieces * tiles.columns
        assert tiles.columns % (tiles.lanes * tiles.vector) == 0
        assert tiles.columns <= task.classes
        assert tiles.rows * tiles.lanes % 128 == 0
        assert tiles.rows <= task.rows
        assert tiles.exact == (pieces * tiles.columns == task.classes)
        assert entry["numbers"] < entry["registers"]
        assert entry["memory"] <= H200.memory
        assert entry["reads"] == (1 if tiles.held else 2)
    assert asked.given["classes"] == task.classes


@pytest.mark.parametrize("kernel", tunable.KERNELS)
@pytest.mark.parametrize("chip", ["v5e", "7x"])
def test_every_candidate_for_a_tpu_covers_the_rows_and_fits(kernel, chip):
    for dtype in ("float32", "bfloat16"):
        asked, found = listed(kernel, 512, 32000, dtype, cuts.CHIPS[chip])
        assert len(found) > 3
        tile = 32 // min(asked.given["itemsizes"])
        for entry in found:
            cut = entry["cut"]
            assert cut["width"] * cut["splits"] >= 32000
            assert cut["width"] * (cut["splits"] - 1) < 32000
            assert cut["rows"] % cut["group"] == cut["group"] % tile == 0
            assert cut["width"] % cut["chunk"] == 0
            blocks = 2 * cut["rows"] * cut["width"] * sum(asked.given["itemsizes"])
            assert blocks < entry["memory"] <= 60 * 2**20


@pytest.mark.parametrize("task", [("categorical", 1, 100), ("kth", 512, 131072)])
def test_rows_without_a_kernel_have_no_candidates(task):
    task = tunable.Task(*task, "float32")
    assert tune.listed(task, H200) == (None, [])
    record = tune._record(task, H200, None)
    assert (record["best"], record["loss"]) == (None, None)
    assert tune._text(task, record) == f"{task.label}: no kernel"


def test_rows_that_must_be_held_are_held_by_every_candidate():
    found = [tune.listed(task, H200)[1] for task in tunable.tasks(["kth"])]
    assert {entry["cut"]["held"] for entries in found for entry in entries} == {True}
    assert max(map(len, found)) > 1


def test_the_best_and_the_loss_by_hand():
    def entry(name, seconds):
        return {"cut": name, "chosen": name == "choice", "seconds": seconds}

    found = [entry("choice", 1.1e-3), entry("other", 1e-3), entry("failed", None)]
    assert tune.verdict(found) == {"best": "other", "loss": 0.1}
    assert tune.verdict(found[:1]) == {"best": "choice", "loss": 0.0}
    untimed = [entry("choice", None), entry("other", 1e-3)]
    assert tune.verdict(untimed) == {"best": None, "loss": None}


def test_a_candidate_is_what_runs_on_a_tpu(monkeypatch):
    task = tunable.Task("softmax", 40, 640, "float32")
    device = jax.devices("cpu")[0]
    plan = Plan(sample_seconds=1e-4, case_seconds=0, min_rounds=2, max_rounds=2)
    seen = []
    with mosaic_tpu.interpreted(monkeypatch):
        asked, found = tune.listed(task, V5E)
        wrong = asked.choice._replace(width=128)  # not all of the row
        cut = [asked.choice, asked.choice._replace(rows=8, group=8), wrong, "no cut"]
        monkeypatch.setattr(cuts, "candidates", lambda asked, chip: cut)
        over_rows = cuts._tpu().cost
        monkeypatch.setattr(
            "jaxtemp.kernels._mosaic_tpu.cost",
            lambda plan, *args: seen.append(plan) or over_rows(plan, *args),
        )
        told = tune.timed(task, asked, V5E, device, plan)
    assert len(found) > 1
    assert [entry["status"] for entry in told] == ["ok", "ok", "wrong", "failed"]
    assert all(entry["seconds"] > 0 for entry in told[:2])
    assert seen == cut[:3]


@mosaic_gpu.needed
def test_a_candidate_is_what_runs_on_a_gpu():
    task = tunable.Task("softmax", 8, 640, "float32")
    arrays = task.arrays(jax.devices("cpu")[0], np.random.default_rng(0))
    want = np.asarray(jax.nn.softmax(arrays[0] / arrays[1][:, None], axis=-1))
    asked, found = tune.listed(task, H200)
    assert len(found) > 2
    for cut in cuts.candidates(asked, H200)[:4]:
        with mosaic_gpu.interpreter(), cuts.cut_by_hand(asked, cut):
            (got,) = task.function("gpu")(*arrays)
        np.testing.assert_allclose(np.asarray(got), want, rtol=1e-5, atol=1e-7)


def test_a_list_needs_no_chip_and_is_written_where_asked(monkeypatch, tmp_path, capsys):
    sizes = ((64, 1024), (8, 131072))
    monkeypatch.setattr(tunable, "SIZES", sizes)
    assert tune.main(["softmax", "--chip", "v6e", "--out", str(tmp_path)]) == 0
    (path,) = tmp_path.iterdir()
    result = json.loads(path.read_text(encoding="utf-8"))
    assert (result["chip"], result["platform"], result["timed"]) == (
        "v6e",
        "tpu",
        False,
    )
    assert len(result["tasks"]) == 4
    statuses = {c["status"] for task in result["tasks"] for c in task["candidates"]}
    assert statuses == {"not timed"}
    printed = capsys.readouterr().out
    assert "softmax 64x1024 float32\n  * rows=" in printed
    assert printed.count("\n  * ") == 4


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "bench.tune: nothing can be timed: JAX's device is a cpu, and the "),
        (
            ["softmux"],
            "bench.tune: unknown kernel `softmux`; the kernels are softmax, ",
        ),
        (["--chip", "abacus"], "bench.tune: argument --chip: invalid choice: 'abacus'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(argv, message, capsys):
    try:
        code = tune.main(argv)
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(message)
    assert captured.err.count("\n") == 1


def test_a_device_is_known_by_its_kind():
    class Device:
        platform = "tpu"

    for kind, name in (
        ("TPU v5 lite", "v5e"),
        ("TPU v5", "v5p"),
        ("TPU v6 lite", "v6e"),
        ("TPU7x", "7x"),
        ("TPU v9", "7x"),  # the least memory
    ):
        Device.device_kind = kind
        assert cuts.chip_of(Device) == cuts.CHIPS[name]
