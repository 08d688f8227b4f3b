"""The smooth calibration error: its definition, evaluated at what it returns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtemp import calibration
from tests.calibration import reference

smooth = calibration.smooth_calibration_error
CASES = 130


def draw(rng, rows, classes):
    """Rows from confident to timid, many of them all on one class or tied."""
    probs = rng.dirichlet(np.full(classes, rng.choice([0.1, 1.0, 10.0])), rows)
    kind = rng.integers(0, 4, rows)
    probs[kind == 0] = np.eye(classes)[rng.integers(classes)]
    probs[kind == 1] = 1.0 / classes
    return probs.astype(np.float32), rng.integers(0, classes, rows)


@pytest.mark.parametrize("classes", [1, 2, 3, 10])
@pytest.mark.parametrize("rows", [1, 12])
def test_it_is_the_width_at_which_the_error_equals_the_width(rows, classes):
    """The error falls as the width grows, so the gap bounds how far either is off."""
    rng = np.random.default_rng([rows, classes])
    probs, labels = map(
        np.stack, zip(*(draw(rng, rows, classes) for _ in range(CASES)), strict=True)
    )
    for value, *case in zip(
        jax.vmap(smooth)(probs, labels), probs, labels, strict=True
    ):
        forecasts, events = reference.top_label(*case)
        residuals = np.subtract(events, forecasts)
        if (residuals >= 0).all() or (residuals <= 0).all():
            # Nothing cancels, whatever the width.
            want = np.abs(residuals.mean())
        else:
            want = reference.smooth_error_at(float(value), forecasts, events)
        np.testing.assert_allclose(value, want, atol=2e-6)


def test_by_hand():
    """One confidence only: the Gaussian integrates to 1 at every width."""
    probs = jnp.tile(jnp.array([[0.75, 0.25]]), (8, 1))
    labels = jnp.array([0, 0, 0, 0, 0, 0, 1, 1])
    np.testing.assert_allclose(smooth(probs, labels), 0.0, atol=1e-7)
    np.testing.assert_allclose(smooth(probs, 0 * labels), 0.25, rtol=1e-6)
    certain = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_allclose(smooth(certain, jnp.array([0, 1])), 0.0, atol=1e-7)
    np.testing.assert_allclose(smooth(certain, jnp.array([1, 0])), 1.0, rtol=1e-6)


def test_what_is_off_by_little_is_found():
    probs = jnp.tile(jnp.array([[1 - 1e-6, 1e-6]]), (100, 1))
    labels = jnp.zeros(100, int)
    np.testing.assert_allclose(smooth(probs, labels), 1 - probs[0, 0], rtol=1e-3)


def test_it_moves_little_where_a_binned_error_jumps():
    """Half the rows just below an edge and right, half just above it and wrong."""
    labels = jnp.array([0] * 50 + [1] * 50)

    def both(step):
        top = jnp.where(labels == 0, 0.6 - step, 0.6 + step)
        probs = jnp.stack([top, 1 - top], axis=-1)
        binned = calibration.calibration_error(probs, labels, bins=5)
        return np.array([binned, smooth(probs, labels)])

    binned, smoothed = np.abs(both(1e-4) - both(0.0))
    assert binned > 0.3
    assert smoothed < 1e-3


def test_dtypes_batches_and_transformations():
    rng = np.random.default_rng(3)
    probs = rng.dirichlet(np.ones(3), (4, 20))
    labels = rng.integers(0, 3, (4, 20))
    single = probs.astype(np.float32)
    each = [smooth(p, y) for p, y in zip(single, labels, strict=True)]
    np.testing.assert_allclose(jax.vmap(smooth)(single, labels), each, rtol=1e-5)
    flat = smooth(single.reshape(80, 3), labels.ravel())
    np.testing.assert_allclose(jax.jit(smooth)(single, labels), flat, rtol=1e-6)
    half = smooth(jnp.asarray(single, jnp.bfloat16), labels)
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, flat, atol=2e-3)
    with jax.enable_x64(True):
        wide = smooth(probs, labels)
    assert wide.dtype == jnp.float64
    np.testing.assert_allclose(wide, flat, atol=1e-6)
