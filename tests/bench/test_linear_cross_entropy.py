"""The bench of a vocabulary head: complete, and right about what is wrong."""

import json

import jax
import numpy as np
import pytest

from bench import cli, linear_cross_entropy
from bench.cases import AbsentError, Case

OP = linear_cross_entropy.OPS[0]


def test_quick_run_is_complete_and_right(tmp_path):
    argv = [OP.name, "--quick", "--device", "cpu", "--out", str(tmp_path)]
    assert cli.main(argv) == 0
    (path,) = tmp_path.iterdir()
    for case in json.loads(path.read_text(encoding="utf-8"))["cases"]:
        entries = {entry["name"]: entry for entry in case["contenders"]}
        assert list(entries) == ["jaxtemp", "optax", "limit"]
        assert {entry["status"] for entry in entries.values()} == {"ok"}


def workload(classes, rows=4):
    case = Case("value_and_grad", rows, classes, "float32")
    return OP.workload(case, jax.devices("cpu")[0], np.random.default_rng(0))


def test_promises_are_those_of_the_headline():
    others = {case.classes for case in OP.cases("cpu", quick=False)}
    assert others == {8192, 32768, 131072, 262144}
    ours, peer, _ = workload(8192).contenders
    assert (ours.required, peer.required) == (None, None)
    headline = workload(131072)
    assert headline.contenders[1].required == pytest.approx(1 / 1.2)
    # An eighth of what the plain form holds: logits, and two more of their size.
    assert headline.temp_limit == 3 * 4 * 4 * 131072 // 8


def test_logits_that_fit_no_memory_are_absent():
    with pytest.raises(AbsentError, match="it would hold 12 GiB"):
        workload(32768, 32768).contenders[1].prepare()


def test_what_is_wrong_is_called_wrong():
    work = workload(100, 16)
    outputs = [
        np.asarray(x) for x in jax.tree.leaves(work.contenders[0].prepare().call())
    ]
    assert work.check.error(outputs) < 1e-5
    for i in range(4):
        wrong = [x * 1.01 if i == k else x for k, x in enumerate(outputs)]
        assert work.check.error(wrong) > 1e-3
    short = [outputs[0], outputs[1][:, :5], *outputs[2:]]
    assert work.check.error(short) == np.inf
