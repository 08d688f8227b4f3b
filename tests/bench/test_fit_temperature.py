"""The bench of a fitted temperature: complete, and right about what is wrong."""

import json

import numpy as np
from scipy.optimize import minimize_scalar

from bench import cli, fit_temperature

OP = fit_temperature.OPS[0]


def test_quick_run_is_complete_and_right(tmp_path):
    argv = [OP.name, "--quick", "--device", "cpu", "--out", str(tmp_path)]
    assert cli.main(argv) == 0
    (path,) = tmp_path.iterdir()
    for case in json.loads(path.read_text(encoding="utf-8"))["cases"]:
        entries = {entry["name"]: entry["status"] for entry in case["contenders"]}
        peer = entries.pop("LBFGS recipe")
        assert entries == {"jaxtemp": "ok", "limit": "ok"}
        assert peer in ("ok", "absent")


def test_a_temperature_is_judged_by_its_likelihood():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(300, 7)).astype(np.float32) * 3
    labels = fit_temperature.draw_labels(z, rng)

    def nll(log_tau):
        u = z.astype(float) / np.exp(log_tau)
        return np.mean(np.log(np.exp(u).sum(-1)) - u[np.arange(300), labels])

    best = minimize_scalar(
        nll, bounds=(-3, 3), method="bounded", options={"xatol": 1e-9}
    )
    excess = fit_temperature.Excess(z, labels)
    for shift in (0, 0.01, -0.03):
        tau = np.array(np.exp(best.x + shift))
        assert np.isclose(excess([tau]), nll(best.x + shift) - best.fun, 0.1, 1e-9)
    for tau in (0.0, -1.0, np.inf, np.nan):
        assert excess([np.array(tau)]) == np.inf
