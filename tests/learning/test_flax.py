"""The Flax modules in real training loops."""

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

import jaxtemp
from jaxtemp import learning
from jaxtemp.calibration import negative_log_likelihood

rng = np.random.default_rng(7)
LOGITS = rng.normal(0.0, 2.0, (1000, 5)).astype(np.float32)
LABELS = np.argmax(LOGITS / 2.5 + rng.gumbel(size=LOGITS.shape), -1).astype(np.int32)
STEPS = 300
SCHEDULE = optax.cosine_decay_schedule(0.2, STEPS)


@pytest.fixture(scope="module")
def best():
    def loss(log_temperature):
        log_probs = log_softmax(LOGITS.astype(float) / np.exp(log_temperature), -1)
        return -log_probs[np.arange(len(LABELS)), LABELS].mean()

    return np.exp(minimize_scalar(loss, bounds=(-5, 5), method="bounded").x)


def test_nnx_learns_the_temperature(best):
    temperature = learning.nnx.Temperature(0.5)
    optimizer = nnx.Optimizer(temperature, optax.adam(SCHEDULE), wrt=nnx.Param)

    @nnx.jit
    def step(temperature, optimizer):
        gradient = nnx.grad(lambda t: negative_log_likelihood(LOGITS, LABELS, t()))
        optimizer.update(temperature, gradient(temperature))

    for _ in range(STEPS):
        step(temperature, optimizer)
    np.testing.assert_allclose(temperature(), best, rtol=1e-4)


def test_linen_learns_the_temperature(best):
    temperature = learning.linen.Temperature(0.5)
    params = temperature.init(jax.random.key(0))
    optimizer = optax.adam(SCHEDULE)

    def step(carry, _):
        params, state = carry
        gradient = jax.grad(
            lambda p: negative_log_likelihood(LOGITS, LABELS, temperature.apply(p))
        )(params)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), length=STEPS)
    np.testing.assert_allclose(temperature.apply(params), best, rtol=1e-4)


class Attention(nnx.Module):
    """Attention weights with a temperature for each of three heads."""

    def __init__(self, rngs):
        self.project = nnx.Linear(8, 12, rngs=rngs)
        self.temperature = learning.nnx.Temperature(
            2.0, shape=(3, 1), parametrization=learning.Log(lower=0.1, upper=4.0)
        )

    def __call__(self, x):
        heads = self.project(x).reshape(-1, 3, 4).swapaxes(0, 1)
        return jaxtemp.softmax(heads @ heads.mT, self.temperature())


def test_temperatures_can_be_trained_alone():
    model = Attention(nnx.Rngs(0))
    kernel = np.asarray(model.project.kernel[...])
    kind = learning.nnx.TemperatureParam
    optimizer = nnx.Optimizer(model, optax.sgd(100.0), wrt=kind)
    x = jax.random.normal(jax.random.key(1), (6, 8))
    loss = lambda model: jnp.sum(model(x) ** 2)  # noqa: E731
    assert model(x).shape == (3, 6, 6)
    gradient = nnx.grad(loss, argnums=nnx.DiffState(0, kind))
    for _ in range(3):
        optimizer.update(model, gradient(model))
        # Far out of bounds by now, but the temperature is not.
        assert jnp.all(model.temperature() <= 4.0)
        model.temperature.project()
    np.testing.assert_array_equal(model.project.kernel[...], kernel)
    np.testing.assert_allclose(model.temperature(), np.full((3, 1), 4.0), rtol=3e-7)
    np.testing.assert_allclose(model.temperature.raw[...], np.log(4.0), rtol=1e-6)


def test_clamp_works_in_an_nnx_optimizer():
    temperature = learning.nnx.Temperature(
        0.07, parametrization=learning.LogScale(lower=0.01, upper=1.0)
    )
    chain = optax.chain(optax.adam(1.0), learning.clamp(temperature.parametrization))
    optimizer = nnx.Optimizer(temperature, chain, wrt=nnx.Param)
    for _ in range(5):
        optimizer.update(temperature, nnx.grad(lambda t: t())(temperature))
    np.testing.assert_allclose(temperature.raw[...], np.log(100.0), rtol=1e-6)


def test_nnx_state_survives_bytes_and_transformations():
    trained = learning.nnx.Temperature([0.3, 3.0], shape=(2,))
    state = nnx.to_pure_dict(nnx.state(trained))
    saved = flax.serialization.msgpack_serialize(jax.tree.map(np.asarray, state))

    fresh = learning.nnx.Temperature(shape=(2,))
    abstract = nnx.state(fresh)
    nnx.replace_by_pure_dict(abstract, flax.serialization.msgpack_restore(saved))
    nnx.update(fresh, abstract)
    np.testing.assert_array_equal(fresh(), trained())

    graph, state = nnx.split(trained)
    merged = jax.jit(lambda state: nnx.merge(graph, state)())(state)
    np.testing.assert_array_equal(merged, trained())
    one = jax.vmap(lambda state: nnx.merge(graph, state)())(state)
    np.testing.assert_array_equal(one, trained())


def test_linen_state_survives_bytes():
    module = learning.linen.Temperature((0.3, 3.0), shape=(2,))
    params = module.init(jax.random.key(0))
    saved = flax.serialization.to_bytes(params)
    other = learning.linen.Temperature(1.0, shape=(2,)).init(jax.random.key(0))
    loaded = flax.serialization.from_bytes(other, saved)
    np.testing.assert_array_equal(module.apply(loaded), module.apply(params))
    np.testing.assert_allclose(module.apply(loaded), [0.3, 3.0], rtol=1e-6)


def test_arguments_reach_the_parametrization():
    bounded = learning.Bounded(0.5, 2.0)
    nnx_module = learning.nnx.Temperature(
        1.5, shape=(3,), parametrization=bounded, dtype=jnp.bfloat16
    )
    assert nnx_module.raw[...].dtype == jnp.bfloat16
    linen_module = learning.linen.Temperature(
        1.5, shape=(3,), parametrization=bounded, dtype=jnp.bfloat16
    )
    params = linen_module.init(jax.random.key(0))
    np.testing.assert_array_equal(params["params"]["raw"], nnx_module.raw[...])
    np.testing.assert_array_equal(linen_module.apply(params), nnx_module())
