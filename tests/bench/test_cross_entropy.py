import json

import jax
import numpy as np

from bench import cli, cross_entropy
from bench.cases import Case

OP = cross_entropy.OPS[0]


def test_quick_run_is_complete_and_right(tmp_path):
    argv = ["cross_entropy", "--quick", "--device", "cpu", "--out", str(tmp_path)]
    assert cli.main(argv) == 0
    (path,) = tmp_path.iterdir()
    result = json.loads(path.read_text(encoding="utf-8"))
    assert len(result["cases"]) == 8
    for case in result["cases"]:
        entries = {entry["name"]: entry for entry in case["contenders"]}
        assert list(entries) == ["jaxtemp", "optax", "F.cross_entropy", "limit"]
        for entry in entries.values():
            absent = entry["role"] == "peer" and entry["status"] == "absent"
            assert entry["status"] == "ok" or absent, entry


def test_gradients_promise_to_be_as_fast_as_optax_everywhere():
    device = jax.devices("cpu")[0]
    shapes = {(c.rows, c.classes, c.dtype) for c in OP.cases("cpu", quick=False)}
    assert len(shapes) == 6
    for mode, least in (("forward", None), ("value_and_grad", 1.0)):
        case = Case(mode, 4, 1000, "float32")
        work = OP.workload(case, device, np.random.default_rng(0))
        assert [c.required for c in work.contenders] == [None, least, None, None]


def test_what_is_wrong_is_called_wrong():
    inputs = cross_entropy.draw(
        Case("forward", 50, 6, "float32"), np.random.default_rng(1)
    )
    z, tau = inputs.logits.astype(float), inputs.temperature.astype(float)
    u = z / tau[:, None]
    p = np.exp(u) / np.exp(u).sum(-1, keepdims=True)
    rows = np.arange(50)
    loss = -np.log(p[rows, inputs.labels])
    assert cross_entropy.error(inputs, [loss]) < 1e-12
    assert cross_entropy.error(inputs, [loss * 1.01]) > 1e-3
    assert cross_entropy.error(inputs, [loss[:, None]]) == np.inf
    assert cross_entropy.error(inputs, [np.where(rows == 7, np.nan, loss)]) == np.inf
    p[rows, inputs.labels] -= 1
    g = p * inputs.weights[:, None]
    right = [
        np.asarray((inputs.weights * loss).sum()),
        g / tau[:, None],
        -(g * u).sum(-1) / tau,
    ]
    assert cross_entropy.error(inputs, right) < 1e-12
    for i in range(3):
        wrong = [x * 1.01 if i == k else x for k, x in enumerate(right)]
        assert cross_entropy.error(inputs, wrong) > 1e-3
