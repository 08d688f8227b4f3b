import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxtemp
from bench import cli, drawn, gumbel_softmax
from bench.cases import Case

OP = gumbel_softmax.OPS[0]


def test_quick_run_is_complete_and_right(monkeypatch, tmp_path):
    modes = {k: gumbel_softmax.MODES[k] for k in ("forward", "fast_grad")}
    monkeypatch.setattr(gumbel_softmax, "MODES", modes)
    monkeypatch.setattr(gumbel_softmax, "QUICK_SHAPES", ((64, 8),))
    argv = ["gumbel_softmax", "--quick", "--device", "cpu", "--out", str(tmp_path)]
    assert cli.main(argv) == 0
    (path,) = tmp_path.iterdir()
    result = json.loads(path.read_text(encoding="utf-8"))
    assert [case["mode"] for case in result["cases"]] == list(modes)
    for case in result["cases"]:
        entries = {entry["name"]: entry for entry in case["contenders"]}
        assert list(entries) == ["jaxtemp", *OP.peers, "limit"]
        for name, entry in entries.items():
            absent = name == "F.gumbel_softmax" and entry["status"] == "absent"
            assert entry["status"] == "ok" or absent, entry


def test_every_promise_of_the_issue_is_made_where_it_is_made():
    promised = {}
    for case in OP.cases("cpu", quick=False):
        key = case.mode, *gumbel_softmax.MODES[case.mode].promised(case)
        promised[key] = promised.get(key, 0) + 1
    assert promised == {
        ("forward", 1.0, 3.0): 1,
        ("forward", 1.0, None): 4,
        ("value_and_grad", 1.0, 3.0): 1,
        ("value_and_grad", 1.0, None): 4,
        ("fast", 4.0, 3.0): 1,
        ("fast", 1.0, None): 4,
        ("fast_grad", 4.0, 3.0): 1,
        ("fast_grad", 1.0, None): 4,
    }
    device = jax.devices("cpu")[0]
    case = Case("fast", 32, 131072, "float32")
    work = OP.workload(case, device, np.random.default_rng(0))
    assert [c.required for c in work.contenders] == [None, 4.0, 3.0, None]


def test_what_is_no_sample_and_no_gradient_is_called_wrong():
    z = np.random.default_rng(1).normal(size=(2000, 6)).astype(np.float32)
    expected = drawn.draws(z, np.ones(2000), drawn.Filters())
    key = jax.random.key(0)
    right = np.asarray(jaxtemp.random.gumbel_softmax(key, z, 0.5))
    tolerance = 1.0
    assert gumbel_softmax.error(expected, [right]) < tolerance
    for wrong in (
        np.asarray(jaxtemp.softmax(z)),  # no noise
        right * 1.01,
        np.where(right == right[0, 0], np.nan, right),
        right[:, :5],
    ):
        assert gumbel_softmax.error(expected, [wrong]) > tolerance
    dz = right - right.mean(-1, keepdims=True)
    loss, dtau = np.zeros(()), np.ones(2000)
    assert gumbel_softmax.error(expected, [loss, dz, dtau]) < tolerance
    for wrong in ([loss, right, dtau], [loss, dz * 0, dtau], [loss, dz, dtau * 0]):
        assert gumbel_softmax.error(expected, wrong) > tolerance


def test_an_op_of_ours_that_draws_nothing_is_caught(monkeypatch, tmp_path):
    def mean(key, z, tau, bits):
        return jnp.full_like(z, 1 / z.shape[-1])

    monkeypatch.setattr(jaxtemp, "gumbel_softmax", mean)
    monkeypatch.setattr(gumbel_softmax, "QUICK_SHAPES", ((640, 8),))
    modes = {"forward": gumbel_softmax.MODES["forward"]}
    monkeypatch.setattr(gumbel_softmax, "MODES", modes)
    assert cli.main(["gumbel_softmax", "--quick", "--out", str(tmp_path)]) == 1


@pytest.mark.parametrize("gradient", [False, True])
def test_the_limit_streams_what_the_case_does(gradient):
    case = Case("value_and_grad" if gradient else "forward", 3, 4, "float32")
    work = OP.workload(case, jax.devices("cpu")[0], np.random.default_rng(0))
    assert work.bytes_moved == (3 if gradient else 2) * 3 * 4 * 4
    limit = work.contenders[-1].prepare()
    (out,) = limit.fetch(limit.call())
    assert out.shape == (3, 4)
