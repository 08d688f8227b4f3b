"""What a compiler may know: temperatures written into the program, and equal rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxtemp
from tests.truth import OPS, Truth

LOGITS = np.array([[0, 0, 0], [2, 1, 0.5], [-3, -3, -np.inf], [0, 4, 4]], np.float32)
TEMPERATURES = (0.0, 1e-45, 1e-30, 0.5, 1.0, 1e30, np.inf)
ROWS = 20_000


@pytest.mark.parametrize("op", OPS)
def test_a_literal_temperature_has_the_true_values(op):
    function = getattr(jaxtemp, op)
    found = jax.jit(lambda z: [function(z, t) for t in TEMPERATURES])(LOGITS)
    for got, tau in zip(found, TEMPERATURES, strict=True):
        rows = np.full(len(LOGITS), np.float32(tau))
        value, scale, *_ = Truth(LOGITS, rows).value(op)
        got, value = np.asarray(got, np.float64), value.astype(np.float64)
        infinite = np.isinf(value) | (np.abs(value) > np.finfo(np.float32).max)
        np.testing.assert_array_equal(got[infinite], np.sign(value[infinite]) * np.inf)
        error = np.abs(got[~infinite] - value[~infinite])
        size = np.broadcast_to(scale.astype(np.float64), value.shape)[~infinite]
        assert (error <= 2e-6 * size).all(), (tau, got, value)


@pytest.mark.parametrize("classes", [2, 8, 16, 200])
@pytest.mark.parametrize("op", OPS)
def test_a_row_repeated_inside_a_program_is_worth_what_one_row_is(op, classes):
    # Then XLA's CPU compiler may see one row, and has made a wrong kernel of it.
    function = getattr(jaxtemp, op)
    z = np.random.default_rng(classes).normal(size=classes).astype(np.float32) * 2
    g = np.random.default_rng(1).normal(size=classes).astype(np.float32)

    def value_and_gradients(z, tau):
        value, pull = jax.vjp(function, z, tau)
        weights = g if value.ndim == z.ndim else jnp.ones_like(value)
        return value, pull(jnp.broadcast_to(weights, value.shape))

    value, (dz, dtau) = value_and_gradients(z, np.float32(1.2))

    def many(z, tau):
        return value_and_gradients(jnp.broadcast_to(z, (ROWS, classes)), tau)

    literal = jax.jit(lambda z: many(z, jnp.float32(1.2)))(z)
    one = jax.jit(many)(z, np.float32(1.2))
    each = jax.jit(many)(z, np.full(ROWS, 1.2, np.float32))
    constant = jax.jit(lambda tau: many(z, tau))(np.float32(1.2))
    for values, (rows, temperatures) in (literal, one, each, constant):
        np.testing.assert_allclose(
            values, np.broadcast_to(value, values.shape), 2e-5, 1e-6
        )
        np.testing.assert_allclose(rows, np.broadcast_to(dz, rows.shape), 2e-5, 1e-6)
        total = dtau if temperatures.ndim else ROWS * dtau
        total = np.broadcast_to(total, temperatures.shape)
        np.testing.assert_allclose(temperatures, total, 2e-4, 1e-5)
