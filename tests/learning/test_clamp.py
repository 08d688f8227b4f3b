"""The projection as a step of an optax chain."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxtemp import learning

BOUNDED = [
    learning.Log(0.5, 2.0),
    learning.Softplus(0.5, 2.0),
    learning.LogScale(0.5, 2.0),
    learning.Bounded(0.5, 2.0),
]


def follow(optimizer, raw, gradients):
    """The parameter after each step along the given gradients."""

    def step(carry, gradient):
        raw, state = carry
        update, state = optimizer.update(gradient, state, raw)
        raw = optax.apply_updates(raw, update)
        return (raw, state), raw

    return jax.lax.scan(step, (raw, optimizer.init(raw)), gradients)[1]


@pytest.mark.parametrize("parametrization", BOUNDED)
def test_the_bounds_hold_after_every_step(parametrization):
    rng = np.random.default_rng(1)
    gradients = jnp.asarray(rng.standard_cauchy(500) * 3.0, jnp.float32)
    optimizer = optax.chain(optax.sgd(1.0), learning.clamp(parametrization))
    raws = follow(optimizer, parametrization.init(1.0), gradients)
    values = np.asarray(parametrization.value(raws))
    assert values.min() >= 0.5
    assert values.max() <= 2.0
    # The parameter itself stays, up to the rounding of `parameter + update`.
    np.testing.assert_allclose(raws, parametrization.project(raws), rtol=3e-7)
    # Both bounds were reached, or nothing has been tested.
    assert values.min() < 0.501
    assert values.max() > 1.999


@pytest.mark.parametrize("parametrization", BOUNDED[:3])
def test_one_step_leaves_the_bound_that_a_forward_clip_never_leaves(parametrization):
    sign = -1.0 if isinstance(parametrization, learning.LogScale) else 1.0
    # Twenty steps towards a low temperature, then steps back.
    gradients = sign * jnp.concatenate([jnp.ones(20), -jnp.ones(25)])
    raw = parametrization.init(1.0)

    clamped = follow(
        optax.chain(optax.sgd(0.5), learning.clamp(parametrization)), raw, gradients
    )
    values = parametrization.value(clamped)
    assert values[19] == 0.5
    assert values[20] > 0.5

    # Without the clamp the value keeps to its bounds, but the parameter winds up.
    free = parametrization.value(follow(optax.sgd(0.5), raw, gradients))
    assert free[19] == free[30] == 0.5
    assert free[-1] > 0.5

    # A clip in the forward pass has no gradient out there.
    def clipped(raw):
        low, high = (parametrization.project(limit) for limit in (-1e9, 1e9))
        return jnp.exp(jnp.clip(raw, low, high))

    assert jax.grad(clipped)(-9.0 * sign) == 0.0
    assert jax.grad(parametrization.value)(-9.0 * sign) != 0.0


def test_inside_the_bounds_the_update_is_untouched():
    clamp = learning.clamp(learning.Log(1e-3, 1e3))
    raws = jnp.linspace(-6.0, 6.0, 13)
    updates = jnp.full(13, 1e-7)
    got, state = clamp.update(updates, clamp.init(raws), raws)
    np.testing.assert_array_equal(got, updates)
    assert state == optax.EmptyState()


def test_masked_it_acts_on_the_temperature_alone():
    scale = learning.LogScale(lower=0.01, upper=1.0)
    params = {"weights": jnp.zeros(3), "logit_scale": scale.init(0.07)}
    mask = {"weights": False, "logit_scale": True}
    optimizer = optax.chain(optax.sgd(1.0), optax.masked(learning.clamp(scale), mask))
    gradients = jax.tree.map(lambda leaf: jnp.full_like(leaf, -100.0), params)
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    params = optax.apply_updates(params, updates)
    np.testing.assert_array_equal(params["weights"], np.full(3, 100.0))
    np.testing.assert_allclose(params["logit_scale"], np.log(100.0), rtol=1e-6)


def test_it_matches_clip():
    """The reference: `logit_scale.clamp_(0, log(100))` after each step of Adam."""
    scale = learning.LogScale(lower=0.01, upper=1.0)
    rng = np.random.default_rng(2)
    gradients = rng.normal(-0.5, 1.0, 200).astype(np.float32)
    adam = optax.adam(0.3)
    expected, state = np.float32(np.log(1 / 0.07)), adam.init(jnp.float32(0.0))
    reference = []
    for gradient in gradients:
        update, state = adam.update(jnp.asarray(gradient), state)
        expected = np.clip(expected + np.asarray(update), 0.0, np.log(100.0))
        reference.append(expected)
    optimizer = optax.chain(adam, learning.clamp(scale))
    got = follow(optimizer, scale.init(0.07), jnp.asarray(gradients))
    np.testing.assert_allclose(got, reference, rtol=1e-5, atol=1e-6)
    assert np.isclose(max(reference), np.log(100.0))
