"""Entropies and divergences against Monte Carlo, quadrature and closed forms."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import scipy.integrate

from jaxtemp.random.concrete import (
    BinaryConcrete,
    Concrete,
    ExpConcrete,
    LogitBinaryConcrete,
    kl_divergence,
)

KEY = jax.random.key(11)


def test_closed_entropies_are_those_of_ten_million_draws():
    z = np.array([1.5, -0.5, 0.0, 0.7], np.float32)
    row, bit = ExpConcrete(z, 0.3), LogitBinaryConcrete(z[0], 0.3)

    @jax.jit
    def moments(keys):
        def chunk(total, key):
            x = row.sample(key, (100_000,))
            logit = bit.sample(key, (100_000,))
            surprise = jnp.stack([-row.log_prob(x), -bit.log_prob(logit)])
            mean = surprise.mean(-1)
            return total, (mean, jnp.square(surprise - mean[:, None]).mean(-1))

        return jax.lax.scan(chunk, 0, keys)[1]

    means, variances = moments(jax.random.split(KEY, 100))
    mean = np.asarray(means, np.float64).mean(0)
    error = np.sqrt(np.asarray(variances, np.float64).mean(0) / 1e7)
    assert (error < 1e-3).all()
    closed = np.array([row.entropy(), bit.entropy()])
    assert (np.abs(mean - closed) < 4 * error).all()


def test_entropy_counts_the_allowed_classes_only():
    z = np.zeros((4, 1000), np.float32)
    where = np.arange(1000) < np.array([1, 2, 10, 1000])[:, None]
    tau = np.array([0.5, 0.1, 2.0, 1e-3], np.float32)
    expected = [
        k * (mpmath.euler + mpmath.digamma(k))
        - mpmath.loggamma(k)
        - (k - 1) * mpmath.log(float(t))
        for k, t in zip([1, 2, 10, 1000], tau, strict=True)
    ]
    found = jax.jit(lambda: ExpConcrete(z, tau, where=where).entropy())()
    np.testing.assert_allclose(found, np.array(expected, float), rtol=1e-6, atol=1e-5)


@pytest.fixture(scope="module")
def estimates():
    """Estimates with 400 keys each, at the cases below."""

    def run(key):
        bit = BinaryConcrete(np.array([0.8, -2.0], np.float32), np.array([0.4, 3.0]))
        simplex = bit.estimate_entropy(key, 500)
        other = BinaryConcrete(np.array([-0.3, 1.0], np.float32), np.array([0.7, 0.6]))
        crossed = kl_divergence(key, bit, other, 500)
        p = ExpConcrete(np.array(THREE[0], np.float32), 0.6)
        q = ExpConcrete(np.array(THREE[1], np.float32), 0.6)
        equal = kl_divergence(key, p, q, 500)
        return simplex, crossed, equal

    found = jax.jit(jax.vmap(run))(jax.random.split(KEY, 400))
    return jax.tree.map(lambda x: np.asarray(x, np.float64), found)


THREE = [0.5, -1.0, 0.2], [1.0, 0.6, -0.7]


def assert_unbiased(estimate, expected):
    """The mean of all is right, and their spread what the standard errors say."""
    number = len(estimate.value)
    z = (estimate.value - expected) / estimate.standard_error
    assert (np.abs(z.mean(0)) < 4 / np.sqrt(number)).all()
    assert (np.abs(z.std(0) - 1) < 0.2).all()


def test_entropy_on_the_interval_is_that_of_quadrature(estimates):
    def entropy(z, tau):
        def integrand(x):
            w = z - tau * x
            density = tau / (2 + 2 * np.cosh(w))
            log_y = -np.logaddexp(0, -x) - np.logaddexp(0, x)
            log_p = np.log(tau) - np.logaddexp(0, w) - np.logaddexp(0, -w)
            return -density * (log_p - log_y)

        middle, reach = z / tau, 60 / tau
        ends = middle - reach, middle + reach
        return scipy.integrate.quad(integrand, *ends, points=[0, middle], limit=500)[0]

    assert_unbiased(estimates[0], [entropy(0.8, 0.4), entropy(-2.0, 3.0)])


def test_divergence_of_bits_is_that_of_quadrature(estimates):
    def divergence(z, tau, other, sigma):
        def log_p(x, z, tau):
            w = z - tau * x
            return np.log(tau) - np.logaddexp(0, w) - np.logaddexp(0, -w)

        def integrand(x):
            own = log_p(x, z, tau)
            return np.exp(own) * (own - log_p(x, other, sigma))

        middle, reach = z / tau, 60 / tau
        return scipy.integrate.quad(integrand, middle - reach, middle + reach)[0]

    expected = [divergence(0.8, 0.4, -0.3, 0.7), divergence(-2.0, 3.0, 1.0, 0.6)]
    assert_unbiased(estimates[1], expected)


def test_divergence_at_equal_temperatures_is_a_divided_difference(estimates):
    # E log Σ w_i e_i for exponential e is that of w^(K-1) log w at all w, less γ.
    with mpmath.workdps(30):
        d = [mpmath.mpf(b) - mpmath.mpf(a) for a, b in zip(*THREE, strict=True)]
        w = [mpmath.exp(v) for v in d]
        total = mpmath.fsum(
            w[i] ** 2
            * mpmath.log(w[i])
            / mpmath.fprod(w[i] - w[j] for j in range(3) if j != i)
            for i in range(3)
        )
        harmonic = mpmath.euler + mpmath.digamma(3)
        expected = float(3 * (total - harmonic) - mpmath.fsum(d))
    assert_unbiased(estimates[2], expected)


@jax.jit
def divergence_of_bits(key, p, q):
    return kl_divergence(key, p, q, 200_000)


def test_divergence_of_bits_at_equal_temperatures_is_exact_and_without_them():
    delta = np.array([0.5, 1.0, 3.0, -2.0], np.float32)
    zero = np.zeros(4, np.float32)
    exact = delta / np.tanh(delta / 2) - 2
    for tau in (1e-3, 1.0):
        for family in (LogitBinaryConcrete, BinaryConcrete):
            p, q = family(zero, tau), family(delta, tau)
            value, error = divergence_of_bits(KEY, p, q)
            assert (np.abs(value - exact) < 4 * error).all()
            assert (error < 0.01).all()


def test_estimates_of_the_edges():
    z = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    where = np.ones((4, 6), bool)
    where[1, 2] = where[2] = False
    broken = z.copy()
    broken[3, 1] = np.nan

    @jax.jit
    def run(key):
        p, masked = ExpConcrete(z, 0.5), ExpConcrete(z, 0.5, where=where)
        return (
            kl_divergence(key, p, p, 100),
            kl_divergence(key, masked, p, 100),
            kl_divergence(key, p, ExpConcrete(broken[3], 2.0), 100),
            kl_divergence(key, masked, ExpConcrete(-z, 2.0, where=where), 100),
            Concrete(z, 1e-4).estimate_entropy(key, 100),
        )

    same, less, nan, alike, cold = run(KEY)
    # Of equal distributions it is zero, and so is the error.
    np.testing.assert_allclose(same.value, 0, atol=1e-5)
    np.testing.assert_allclose(same.standard_error, 0, atol=1e-5)
    np.testing.assert_array_equal(np.isinf(less.value), [False, True, False, False])
    assert np.isnan(less.value[2])
    assert np.isnan(nan.value).all()
    np.testing.assert_array_equal(np.isfinite(alike.value), [True, True, False, True])
    # As τ -> 0 the entropy on the simplex is exact: its estimated part is gone.
    w = z.astype(float)
    log_p = w - np.log(np.exp(w).sum(-1, keepdims=True))
    exact = 6 * (1 + 1 / 2 + 1 / 3 + 1 / 4 + 1 / 5) - np.log(120) - 5 * np.log(1e-4)
    np.testing.assert_allclose(cold.value, exact + log_p.sum(-1) / 1e-4, rtol=1e-5)
    assert (cold.standard_error < 0.2).all()


def test_a_thousand_draws_of_the_entropy_on_the_simplex_have_its_mean():
    z = np.array([0.5, -1.0, 0.2, 1.1], np.float32)
    row = Concrete(z, 0.7)

    @jax.jit
    def run(key):
        _, density = row.sample_and_log_prob(key, (500_000,))
        return row.estimate_entropy(key, 100_000), density

    estimate, density = run(KEY)
    density = np.asarray(density, np.float64)
    error = np.hypot(density.std() / np.sqrt(density.size), estimate.standard_error)
    assert abs(estimate.value + density.mean()) < 4 * error
    assert estimate.standard_error < 0.01
