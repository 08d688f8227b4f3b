"""The example of the docs: it trains, prints and writes what the page reads."""

import importlib.util
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
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
    module.KEYS = module.COMMON_KEYS = 8
    module.TRUTH_KEYS, module.SOME = 300, 8
    yield module
    del sys.modules[spec.name]


def test_a_run_lowers_the_bound_prints_and_writes(vae, tmp_path, capsys):
    out = tmp_path / "vae.json"
    arguments = ["--epochs", "3", "--seeds", "1", "--only", "reinmax"]
    vae.main([*arguments, "--out", str(out)])
    result = json.loads(out.read_text("utf-8"))
    found = result["estimators"]["reinmax"]
    assert "reinmax" in capsys.readouterr().out
    (_, untrained), *_, (last, trained) = found["curves"][0]
    assert last == 3
    assert trained < untrained - 3  # nats
    assert trained == pytest.approx(found["held_out"][0], abs=0.5)
    assert np.isfinite(found["common_log_variance"])


def test_every_estimator_has_a_gradient_for_the_whole_model(vae):
    params = vae.init(0)
    images = vae.digits()[0][:3]
    for estimator in vae.ESTIMATORS.values():

        def loss(params, key, estimator=estimator):
            logits = vae.encode(params, images)
            return vae.losses(params, images, logits, key, 0.5, estimator).mean()

        gradient = jax.eval_shape(jax.grad(loss), params, jax.random.key(0))
        assert jax.tree.map(jnp.shape, gradient) == jax.tree.map(jnp.shape, params)


def test_enumerating_one_variable_at_a_time_gives_the_true_gradient(vae):
    params = vae.init(0)
    images = vae.digits()[0][: vae.SOME]
    p = np.float64(jax.nn.softmax(vae.encode(params, images)))
    corners = np.indices((vae.CLASSES,) * vae.LATENTS).reshape(vae.LATENTS, -1).T
    z = np.eye(vae.CLASSES, dtype=np.float32)[corners]  # [4^8, 8, 4], all there are
    joint = np.exp(np.log(p).reshape(len(p), -1) @ z.reshape(len(z), -1).T)
    np.testing.assert_allclose(joint.sum(-1), 1, rtol=1e-6)

    # A cross entropy is linear in the pixels.
    black = np.zeros((len(z), 64), np.float32)
    pixels = np.float64(vae.decode(params, z))
    surprise = np.float64(vae.surprise(params, black, z)) - images @ pixels.T

    def slope(weights):
        """Of the mean of `weights` in the logits: their covariance with z."""
        mean = (weights @ z.reshape(len(z), -1)).reshape(p.shape)
        return mean - p * weights.sum(-1)[:, None, None]

    log_p = np.log(p) + (p * -np.log(p)).sum(-1, keepdims=True)
    want = slope(joint * surprise) + p * log_p
    got, error = vae.true_gradient(params, images, vae.TRUTH_KEYS)
    away = np.square(np.asarray(got, np.float64) - want).sum((-2, -1))
    assert 0.5 * error.mean() < away.mean() < 2 * error.mean()
    assert error.mean() < 0.01 * np.square(want).sum((-2, -1)).mean()
