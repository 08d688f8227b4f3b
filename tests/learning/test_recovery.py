"""Temperatures learned from data whose temperature is known."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from jaxtemp import learning
from jaxtemp.calibration import negative_log_likelihood

PARAMETRIZATIONS = [
    learning.Log(),
    learning.Log(lower=0.05, upper=20.0),
    learning.Softplus(),
    learning.Bounded(0.01, 100.0),
    learning.LogScale(),
    learning.LogScale(lower=0.01, upper=10.0),
]


def draw(planted, rows, seed):
    """Logits, and labels drawn from their softmax at the planted temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0.0, 2.0, (rows, 6)).astype(np.float32)
    noise = rng.gumbel(size=logits.shape)
    labels = np.argmax(logits.astype(np.float64) / planted + noise, axis=-1)
    return logits, labels.astype(np.int32)


def optimum(logits, labels):
    """The temperature of the greatest likelihood, and its standard error."""
    rows = logits.astype(np.float64)

    def loss(log_temperature):
        log_probs = log_softmax(rows / np.exp(log_temperature), axis=-1)
        return -log_probs[np.arange(len(labels)), labels].mean()

    found = minimize_scalar(
        loss, bounds=(-7.0, 7.0), method="bounded", options={"xatol": 1e-10}
    )
    temperature = np.exp(found.x)
    probs = np.exp(log_softmax(rows / temperature, axis=-1))
    mean = (probs * rows).sum(-1, keepdims=True)
    variance = (probs * (rows - mean) ** 2).sum()
    return temperature, temperature**2 / np.sqrt(variance)


def learn(parametrization, loss, raw, steps=400):
    """The temperature after Adam has minimised `loss(temperature)`."""
    optimizer = optax.chain(
        optax.adam(optax.cosine_decay_schedule(0.2, steps)),
        learning.clamp(parametrization),
    )

    def step(carry, _):
        raw, state = carry
        gradient = jax.grad(lambda raw: loss(parametrization.value(raw)))(raw)
        update, state = optimizer.update(gradient, state, raw)
        return (optax.apply_updates(raw, update), state), None

    (raw, _), _ = jax.lax.scan(step, (raw, optimizer.init(raw)), length=steps)
    return parametrization.value(raw)


@pytest.mark.parametrize("planted", [0.3, 2.5])
@pytest.mark.parametrize("parametrization", PARAMETRIZATIONS)
def test_a_planted_temperature_is_found(parametrization, planted):
    logits, labels = draw(planted, rows=2000, seed=3)
    best, error = optimum(logits, labels)
    # The data know it to within their standard error: 4 of them, 1 in 16 000.
    assert abs(best - planted) < 4 * error

    got = learn(
        parametrization,
        lambda temperature: negative_log_likelihood(logits, labels, temperature),
        parametrization.init(1.0),
    )
    # The gradient of a float32 mean over 2000 rows vanishes to about 1e-6.
    np.testing.assert_allclose(got, best, rtol=1e-4)


def test_a_bound_that_excludes_the_optimum_is_where_it_ends():
    logits, labels = draw(2.5, rows=500, seed=4)
    for parametrization in (learning.Log(upper=2.0), learning.LogScale(upper=2.0)):
        got = learn(
            parametrization,
            lambda t: negative_log_likelihood(logits, labels, t),
            parametrization.init(1.0),
            steps=100,
        )
        np.testing.assert_allclose(got, 2.0, rtol=3e-7)
        assert got <= 2.0


def test_one_temperature_per_head():
    planted = (0.4, 1.0, 3.0)
    data = [draw(tau, rows=1500, seed=i) for i, tau in enumerate(planted)]
    logits, labels = (jnp.stack(part) for part in zip(*data, strict=True))
    parametrization = learning.Log()
    got = learn(
        parametrization,
        lambda temperature: negative_log_likelihood(logits, labels, temperature),
        parametrization.init(1.0, shape=(3, 1)),
    )
    assert got.shape == (3, 1)
    expected = [optimum(*part)[0] for part in data]
    np.testing.assert_allclose(got[:, 0], expected, rtol=1e-4)


def test_one_temperature_per_group_of_rows():
    planted = np.asarray([0.5, 2.0])
    rng = np.random.default_rng(5)
    group = rng.integers(0, 2, 3000)
    logits, labels = draw(planted[group][:, None], rows=3000, seed=6)
    parametrization = learning.Softplus()
    got = learn(
        parametrization,
        lambda t: negative_log_likelihood(logits, labels, t[group]),
        parametrization.init(1.0, shape=(2,)),
    )
    expected = [optimum(logits[group == g], labels[group == g])[0] for g in (0, 1)]
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_many_temperatures_are_learned_at_once_under_vmap():
    planted = (0.5, 1.0, 2.0)
    data = [draw(tau, rows=400, seed=10 + i) for i, tau in enumerate(planted)]
    logits, labels = (jnp.stack(part) for part in zip(*data, strict=True))
    parametrization = learning.Log()

    def fit(logits, labels):
        return learn(
            parametrization,
            lambda t: negative_log_likelihood(logits, labels, t),
            parametrization.init(1.0),
        )

    got = jax.jit(jax.vmap(fit))(logits, labels)
    expected = [optimum(*part)[0] for part in data]
    np.testing.assert_allclose(got, expected, rtol=1e-4)
