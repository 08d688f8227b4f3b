"""A temperature written into the program: constants that a compiler may fold."""

import jax
import numpy as np
import pytest

import jaxtemp
from tests.truth import OPS, Truth

LOGITS = np.array([[0, 0, 0], [2, 1, 0.5], [-3, -3, -np.inf], [0, 4, 4]], np.float32)
TEMPERATURES = (0.0, 1e-45, 1e-30, 0.5, 1.0, 1e30, np.inf)


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
