"""The example of the docs: it trains, prints and writes what the page reads."""

import importlib.util
import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

PATH = Path(__file__).parents[2] / "docs" / "examples" / "vae.py"


@pytest.fixture(scope="module")
def vae():
    spec = importlib.util.spec_from_file_location("vae_example", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    # A smaller version of the same.
    module.HIDDEN, module.BATCH, module.DRAWS = 32, 250, 2
    module.KEYS = module.COMMON_KEYS = module.TRUTH_KEYS = 8
    yield module
    del sys.modules[spec.name]


def test_an_epoch_of_two_estimators_lowers_the_bound_and_is_written(
    vae, tmp_path, capsys
):
    names = ["straight_through", "reinforce, 2 draws"]
    out = tmp_path / "vae.json"
    vae.main(["--epochs", "3", "--seeds", "1", "--only", *names, "--out", str(out)])
    result = json.loads(out.read_text("utf-8"))
    assert list(result["estimators"]) == names
    printed = capsys.readouterr().out
    for name, found in result["estimators"].items():
        assert name in printed
        (_, untrained), *_, (last, trained) = found["curves"][0]
        assert last == 3
        assert trained < untrained - 3  # nats
        assert trained == pytest.approx(found["held_out"][0], abs=0.5)
        assert np.isfinite(found["common_log_variance"])


def test_enumerating_one_variable_at_a_time_gives_the_true_gradient(vae, monkeypatch):
    monkeypatch.setattr(vae, "LATENTS", 2)
    monkeypatch.setattr(vae, "CLASSES", 3)
    params = vae.init(jax.random.key(0))
    images = vae.digits()[0][:4]
    corners = np.eye(3, dtype=np.float32)
    pairs = [np.tile(corners[[a, b]], (4, 1, 1)) for a in range(3) for b in range(3)]
    surprises = np.stack([vae.surprise(params, images, z) for z in pairs], -1)

    def expected(logits):
        p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)  # [4, 2, 3]
        joint = (p[:, 0, :, None] * p[:, 1, None, :]).reshape(4, 9)
        return (joint * surprises).sum() + (p * np.log(p)).sum()

    logits = np.asarray(vae.encode(params, images), np.float64)
    moves = 1e-5 * np.eye(24).reshape(24, *logits.shape)
    want = [(expected(logits + m) - expected(logits - m)) / 2e-5 for m in moves]
    got, error = vae.true_gradient(params, images, 4000)
    away = np.asarray(got, np.float64) - np.reshape(want, logits.shape)
    assert np.square(away).sum((-2, -1)).mean() < 9 * error
    assert error < 1e-3
