import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxtemp
from bench import categorical, cli, drawn, report, sample, sampler
from bench.cases import Case
from tests.bench.fakes import quick_sizes

OPS = {op.name: op for op in (*categorical.OPS, *sample.OPS)}
MODES = [(name, mode) for name, op in OPS.items() for mode in op.tasks]
FIRST = {"categorical": "jax.random.categorical", "sample": "sort, jax"}


def contenders(name, case):
    work = OPS[name].workload(case, jax.devices("cpu")[0], np.random.default_rng(3))
    return work, {c.name: c for c in work.contenders}


@pytest.mark.parametrize(("name", "mode"), MODES)
def test_the_peers_are_right_on_the_inputs_that_are_timed(name, mode):
    temperature = OPS[name].tasks[mode].temperature
    work, found = contenders(name, Case(mode, 3000, 50, "float32", temperature))
    for peer in OPS[name].tasks[mode].peers:
        if peer.torch or "cpu" not in peer.platforms:
            continue
        ready = found[peer.name].prepare()
        check = found[peer.name].check or work.check
        outs = [ready.fetch(ready.call()) for _ in range(3)]
        assert all(check.error(out) <= check.tolerance / 2 for out in outs)
        drawn_ids = mode != "greedy" and peer.check is None
        # Another key in every call.
        assert (outs[0][0] != outs[1][0]).any() == drawn_ids


def test_every_promise_of_the_issue_is_made_where_it_is_made():
    promised = {}
    for name, mode in MODES:
        for case in OPS[name].cases("cpu", quick=False):
            if case.mode != mode:
                continue
            for peer in OPS[name].tasks[mode].peers:
                key = (mode, peer.name, peer.promised(case, "cpu"))
                promised[key] = promised.get(key, 0) + 1
    promised = {key: n for key, n in promised.items() if key[2] is not None}
    assert promised == {
        ("draw", "jax.random.categorical", 20.0): 4,
        ("draw", "jax.random.categorical", 1.0): 7,
        ("draw", "jax.nn.logsumexp", 1 / 1.5): 4,
        ("greedy", "jnp.argmax", 4.0): 4,
        ("top_p", "sort, jax", 60.0): 4,
        ("top_p", "sort, torch", 10.0): 4,
        ("all", "sort, jax", 40.0): 4,
        ("all_per_row", "sort, jax", 40.0): 4,
    }


def test_filters_of_rows_differ_and_are_in_range():
    k, p, m = OPS["sample"].tasks["all_per_row"].filters(64)
    assert (k.dtype, p.dtype, m.dtype) == (np.int32, np.float32, np.float32)
    assert all(len(np.unique(values)) > 50 for values in (k, p, m))
    assert k.min() >= 1
    assert 0 < p.min() <= p.max() < 1
    assert 0 < m.min() <= m.max() < 1


@pytest.mark.parametrize(
    ("name", "modes"),
    [("categorical", {"draw", "greedy"}), ("sample", {"top_p"})],
)
def test_quick_run_is_complete_and_right(name, modes, monkeypatch, tmp_path, capsys):
    op = OPS[name]
    tasks = {mode: op.tasks[mode] for mode in modes}
    monkeypatch.setitem(cli.OPS, name, sampler.SamplerOp(name, tasks))
    quick_sizes(monkeypatch, (64, 8), (8, 32_000))
    argv = [name, "--quick", "--device", "cpu", "--out", str(tmp_path)]
    assert cli.main(argv) == 0
    (path,) = tmp_path.iterdir()
    result = json.loads(path.read_text(encoding="utf-8"))
    assert {case["mode"] for case in result["cases"]} == modes
    for case in result["cases"]:
        entries = {entry["name"]: entry for entry in case["contenders"]}
        large = case["classes"] == 32_000  # where memory is promised
        ours = entries["jaxtemp"]
        assert ours["temp_limit"] == (4 * 8 * 32_000 if large else None)
        assert isinstance(ours["met"], bool if large else type(None))
        assert entries["limit"]["seconds"]["median"] > 0
        for entry in entries.values():
            assert entry["status"] == "ok" or entry["name"] == "sort, torch", entry
    assert " pass" in capsys.readouterr().out


def test_a_sampler_of_ours_that_does_not_sample_is_caught(monkeypatch, tmp_path):
    def first(key, z, tau):
        return jnp.zeros(z.shape[:1], jnp.int32)

    monkeypatch.setattr(jaxtemp, "categorical", first)
    quick_sizes(monkeypatch, (640, 8))
    assert cli.main(["categorical", "--quick", "--out", str(tmp_path)]) == 1
    (path,) = tmp_path.iterdir()
    cases = json.loads(path.read_text(encoding="utf-8"))["cases"]
    assert {c["contenders"][0]["status"] for c in cases} == {"wrong"}


def timed(mode, classes, seconds):
    ours = {"role": "ours", "seconds": {"median": seconds}}
    case = {"mode": mode, "rows": 8, "classes": classes, "dtype": "float32"}
    return {**case, "contenders": [ours]}


def test_time_per_class_by_hand():
    cases = [
        timed("draw", report.FEWER, 1e-3),
        timed("draw", report.MANY, 2e-3 * report.MANY / report.FEWER),
        timed("greedy", report.MANY, 1.0),
        timed("draw", 8, 1.0),
    ]
    ((case, few, ratio),) = report.linearity(cases)
    assert (case["classes"], few["classes"]) == (report.MANY, report.FEWER)
    assert ratio == pytest.approx(2.0)


def test_the_draws_of_one_row_are_not_called_wrong():
    z = (3 * np.random.default_rng(5).standard_normal((1, 32000))).astype(np.float32)
    expected = drawn.draws(z, np.ones(1), drawn.Filters())
    keys = jax.random.split(jax.random.key(1), 200)
    ids = np.asarray(jaxtemp.categorical(keys, jnp.broadcast_to(z, (200, 32000))))
    errors = [drawn.draw_error(expected, [ids[k : k + 1]]) for k in range(200)]
    assert max(errors) < drawn.TOLERANCE
