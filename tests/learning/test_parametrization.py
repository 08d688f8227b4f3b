"""Parametrisations against their textbook formulas in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtemp import learning

# Each with the formula it promises, written independently in float64.
CASES = {
    "log": (learning.Log(), np.exp),
    "log_bounds": (learning.Log(lower=0.05, upper=20.0), np.exp),
    "softplus": (learning.Softplus(), lambda raw: np.logaddexp(0.0, raw)),
    "bounded": (
        learning.Bounded(0.01, 100.0),
        lambda raw: 10.0 ** (4.0 / (1.0 + np.exp(-raw)) - 2.0),
    ),
    "log_scale": (learning.LogScale(), lambda raw: 1.0 / np.exp(raw)),
    "clip": (learning.LogScale(lower=0.01, upper=1.0), lambda raw: 1 / np.exp(raw)),
}
INITIAL = {
    "log": [1e-30, 1e-3, 0.5, 1.0, 7.0, 1e30],
    "log_bounds": [0.05, 0.3, 1.0, 20.0],
    "softplus": [1e-30, 1e-3, 0.5, 1.0, 7.0, 1e30],
    "bounded": [0.0101, 0.3, 1.0, 99.0],
    "log_scale": [1e-30, 1e-3, 0.5, 1.0, 7.0, 1e30],
    "clip": [0.01, 0.07, 0.5, 1.0],
}
PAIRS = [(name, initial) for name in CASES for initial in INITIAL[name]]
DTYPES = (jnp.float32, jnp.bfloat16, jnp.float16)
HUGE = (-np.inf, -3e38, -1e4, -100.0, -88.0, 88.0, 89.0, 100.0, 1e4, 3e38, np.inf)


@pytest.mark.parametrize(("name", "initial"), PAIRS)
def test_the_initial_temperature_comes_back(name, initial):
    parametrization, formula = CASES[name]
    raw = parametrization.init(initial)
    assert raw.dtype == jnp.float32
    assert raw.shape == ()
    # The parameter is rounded once: its own rounding error, seen through the map.
    tolerance = 2e-7 * (2.0 + abs(np.log(initial)) * (3.0 if name == "bounded" else 1))
    np.testing.assert_allclose(formula(np.float64(raw)), initial, rtol=tolerance)
    np.testing.assert_allclose(parametrization.value(raw), initial, rtol=tolerance)


@pytest.mark.parametrize("name", CASES)
def test_value_is_the_formula(name):
    parametrization, formula = CASES[name]
    raw = np.linspace(-2.9, 2.9, 101).astype(np.float32)
    bounds = (parametrization.lower, parametrization.upper)
    expected = np.clip(formula(raw.astype(np.float64)), *bounds)
    np.testing.assert_allclose(parametrization.value(raw), expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_huge_parameters_stay_positive_finite_and_within_the_bounds(name, dtype):
    parametrization, _ = CASES[name]
    with np.errstate(over="ignore"):
        raw = np.asarray(HUGE).astype(dtype)
    value = parametrization.value(raw)
    assert value.dtype == dtype
    value = np.asarray(value, np.float64)
    assert np.all(value > 0.0)
    assert np.all(np.isfinite(value))
    assert np.all(value >= float(np.asarray(parametrization.lower, dtype)))
    assert np.all(value <= float(np.asarray(parametrization.upper, dtype)))


def test_a_nan_parameter_is_not_hidden():
    for parametrization, _ in CASES.values():
        assert np.isnan(parametrization.value(np.nan))
        assert np.isnan(parametrization.project(np.nan))


@pytest.mark.parametrize("name", CASES)
def test_derivatives_match_finite_differences(name):
    parametrization, formula = CASES[name]
    first = jax.vmap(jax.grad(parametrization.value))
    second = jax.vmap(jax.grad(jax.grad(parametrization.value)))
    forward = jax.vmap(jax.jacfwd(parametrization.value))
    low, high = (0.1, 4.5) if name == "clip" else (-2.9, 2.9)
    raw = np.linspace(low, high, 23)
    step = 1e-4
    below, at, above = (formula(raw + shift) for shift in (-step, 0.0, step))
    slope = (above - below) / (2 * step)
    curvature = (above - 2 * at + below) / step**2
    raw = jnp.asarray(raw, jnp.float32)
    scale = np.abs(slope).max()
    np.testing.assert_allclose(first(raw), slope, rtol=2e-6, atol=2e-6 * scale)
    np.testing.assert_allclose(forward(raw), slope, rtol=2e-6, atol=2e-6 * scale)
    np.testing.assert_allclose(second(raw), curvature, rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.parametrize(
    ("parametrization", "outside", "at_the_bound"),
    [
        (learning.Log(0.5, 2.0), -9.0, 0.5),
        (learning.Log(0.5, 2.0), 9.0, 2.0),
        (learning.Softplus(0.5, 2.0), -9.0, 1.0 - np.exp(-0.5)),
        (learning.Softplus(0.5, 2.0), 9.0, 1.0 - np.exp(-2.0)),
        (learning.LogScale(0.5, 2.0), -9.0, -2.0),
        (learning.LogScale(0.5, 2.0), 9.0, -0.5),
    ],
)
def test_beyond_a_bound_the_gradient_is_that_of_the_bound(
    parametrization, outside, at_the_bound
):
    slope = jax.grad(parametrization.value)
    np.testing.assert_allclose(slope(outside), at_the_bound, rtol=1e-6)
    inside = parametrization.project(outside)
    np.testing.assert_allclose(slope(inside), at_the_bound, rtol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_projection_keeps_the_value_and_is_idempotent(name):
    parametrization, _ = CASES[name]
    raw = jnp.asarray(HUGE, jnp.float32)
    projected = parametrization.project(raw)
    np.testing.assert_array_equal(projected, parametrization.project(projected))
    np.testing.assert_array_equal(
        parametrization.value(projected), parametrization.value(raw)
    )


def test_one_temperature_per_head():
    initial = [[0.5], [1.0], [2.0]]
    raw = learning.Log().init(initial, shape=(3, 1))
    assert raw.shape == (3, 1)
    np.testing.assert_allclose(learning.Log().value(raw), initial, rtol=1e-6)
    assert learning.Log().init(1.0, shape=4).shape == (4,)
    assert learning.Log().init(1.0, shape=(0, 2)).shape == (0, 2)


def test_dtypes():
    for dtype in DTYPES:
        assert learning.Log().init(0.5, dtype=dtype).dtype == dtype
    with jax.enable_x64(True):
        raw = learning.Softplus().init(1e-9)
        assert raw.dtype == jnp.float64
        np.testing.assert_allclose(learning.Softplus().value(raw), 1e-9, rtol=1e-13)
        assert learning.Softplus().init(1.0, dtype=jnp.float32).dtype == jnp.float32


def test_transformations():
    parametrization = learning.Log(0.1, 10.0)
    raw = jnp.linspace(-4.0, 4.0, 9)
    expected = parametrization.value(raw)
    np.testing.assert_array_equal(jax.jit(parametrization.value)(raw), expected)
    np.testing.assert_array_equal(jax.vmap(parametrization.value)(raw), expected)
    scanned = jax.lax.scan(lambda c, r: (c, parametrization.value(r)), 0, raw)[1]
    np.testing.assert_array_equal(scanned, expected)
    # A constant: equal and hashable by value, so `jit` compiles once for it.
    static = jax.jit(lambda p, raw: p.value(raw), static_argnums=0)
    np.testing.assert_array_equal(static(learning.Log(0.1, 10.0), raw), expected)
    assert hash(parametrization) == hash(learning.Log(0.1, 10.0))
    assert parametrization != learning.LogScale(0.1, 10.0)
    # Made inside of a traced function, from a concrete number.
    assert jax.jit(lambda: learning.Log().init(1.0))() == 0.0
