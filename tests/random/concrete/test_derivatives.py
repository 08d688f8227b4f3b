"""Derivatives in logits, temperature and points against float64 differences."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from jaxtemp.random.concrete import (
    BinaryConcrete,
    Concrete,
    ExpConcrete,
    LogitBinaryConcrete,
    kl_divergence,
)

from . import truth

KEY = jax.random.key(3)
TAUS = np.array([1e-3, 0.05, 0.5, 2.0])
CLASSES = 6
RELATIVE = 1e-4


def inputs(dtype):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(len(TAUS), CLASSES)).astype(dtype)
    weights = rng.normal(size=(len(TAUS), CLASSES)).astype(dtype)
    return z, TAUS.astype(dtype), weights


def log_density(z, tau, x):
    """In log space, of rows, in float64."""
    k = z.shape[-1]
    ell = truth.log_softmax(z - tau[..., None] * x)
    return scipy.special.gammaln(k) + (k - 1) * np.log(tau) + ell.sum(-1)


def check(function, expected, args, steps):
    """Forward and reverse mode along random directions, one argument at a time."""
    rng = np.random.default_rng(0)
    directions = [
        (rng.normal(size=np.shape(a)) * step).astype(a.dtype)
        for a, step in zip(args, steps, strict=True)
    ]
    turns = range(len(args))
    each = [
        np.stack([d if i == j else 0 * d for j in turns])
        for i, d in enumerate(directions)
    ]

    @jax.jit
    def run(args, each):
        def total(*args):
            return function(*args).sum()

        gradients = jax.grad(total, tuple(range(len(args))))(*args)
        along = jax.vmap(lambda *tangents: jax.jvp(total, args, tangents)[1])(*each)
        return gradients, along

    gradients, pushed = run(tuple(args), each)
    wide = [np.asarray(a, np.float64) for a in args]
    for i, direction in enumerate(directions):
        along = np.asarray(direction, np.float64)

        def moved(value, i=i):
            return expected(*[value if j == i else a for j, a in enumerate(wide)]).sum()

        slope = truth.slope(moved, wide[i], along, 1e-3)
        parts = np.asarray(gradients[i], np.float64) * along
        size = np.abs(parts).sum()
        assert abs(parts.sum() - slope) < RELATIVE * size
        assert abs(pushed[i] - slope) < RELATIVE * size


def test_log_prob_without_a_class():
    z, tau, _ = inputs(np.float32)
    x = truth.gumbel_points(z, tau, np.random.default_rng(1))
    where = np.arange(CLASSES) != 2

    def ours(z, tau, x):
        return ExpConcrete(z, tau, where=where).log_prob(x)

    def expected(z, tau, x):
        return log_density(z[:, where], tau, x[:, where])

    check(ours, expected, (z, tau, x), (1, tau, 1 / tau[:, None]))


def test_log_prob_on_the_simplex():
    z, tau, _ = inputs(np.float32)
    z, tau = z[2:], tau[2:]
    y = np.exp(truth.gumbel_points(z, tau, np.random.default_rng(2)))

    def ours(z, tau, y):
        return Concrete(z, tau).log_prob(y)

    def expected(z, tau, y):
        return log_density(z, tau, np.log(y)) - np.log(y).sum(-1)

    check(ours, expected, (z, tau, y), (1, tau, y))


def test_draws_under_the_same_noise():
    with jax.enable_x64(True):
        z, tau, weights = inputs(np.float64)
        # A draw with equal logits at τ = 1 is the noise, up to a constant.
        noise = jax.jit(lambda: ExpConcrete(np.zeros_like(z), 1.0).sample(KEY))()
        noise = np.asarray(noise, np.float64)

        def perturbed(z, tau):
            return truth.log_softmax((z + noise) / tau[:, None])

        def ours(z, tau):
            x = ExpConcrete(z, tau).sample(KEY)
            y, density = Concrete(z, tau).sample_and_log_prob(KEY)
            return (weights * (tau[:, None] * x + y)).sum(-1) + tau * density

        def expected(z, tau):
            x = perturbed(z, tau)
            scale = (CLASSES - 1) * np.log(tau) + scipy.special.gammaln(CLASSES)
            own = scale + truth.log_softmax(-noise).sum(-1) - x.sum(-1)
            return (weights * (tau[:, None] * x + np.exp(x))).sum(-1) + tau * own

        check(ours, expected, (z, tau), (0.1 * tau[:, None], tau))


def test_bits_under_the_same_noise():
    with jax.enable_x64(True):
        z, tau = np.linspace(-2, 2, len(TAUS)), TAUS
        noise = jax.jit(lambda: LogitBinaryConcrete(0 * z, 1.0).sample(KEY))()
        noise = np.asarray(noise)

        def ours(z, tau):
            logits, bits = LogitBinaryConcrete(z, tau), BinaryConcrete(z, tau)
            x, density = logits.sample_and_log_prob(KEY)
            y, own = bits.sample_and_log_prob(KEY)
            point = logits.log_prob(jax.lax.stop_gradient(noise) / TAUS)
            on_interval = bits.log_prob(1 / (1 + np.exp(-noise)))
            return tau * (x + own) + y + density + point + on_interval

        def logistic(w):
            return -np.logaddexp(0, w) - np.logaddexp(0, -w)

        def expected(z, tau):
            x = (z + noise) / tau
            own = np.log(tau) + logistic(noise)
            total = tau * (x + own - logistic(x)) + scipy.special.expit(x) + own
            total = total + np.log(tau) + logistic(z - tau * noise / TAUS)
            interval = np.log(tau) + logistic(z - tau * noise) - logistic(noise)
            return total + interval

        check(ours, expected, (z, tau), (0.1 * tau, 0.1 * tau))


def test_the_score_of_a_draw_does_not_depend_on_the_parameters():
    z, tau, _ = inputs(np.float32)

    @jax.jit
    def run(z, tau):
        x = ExpConcrete(z, tau).sample(KEY)
        noise = ExpConcrete(jnp.zeros_like(z), 1.0).sample(KEY)
        at = jax.grad(lambda z: ExpConcrete(z, tau).log_prob(x).sum())
        path = jax.grad(
            lambda z, tau: ExpConcrete(z, tau).sample_and_log_prob(KEY)[1].sum(), (0, 1)
        )
        return at(z), noise, path(z, tau)

    score, noise, path = run(z, tau)
    uniform = np.exp(truth.log_softmax(-np.asarray(noise, np.float64)))
    np.testing.assert_allclose(score, 1 - CLASSES * uniform, rtol=1e-3, atol=1e-4)
    # Along the draw the density changes with τ alone.
    np.testing.assert_allclose(path[0], 0, atol=1e-5)
    np.testing.assert_allclose(path[1], (CLASSES - 1) / tau, rtol=1e-5)


def test_estimates_under_the_same_noise():
    with jax.enable_x64(True):
        z, tau, _ = inputs(np.float64)
        other, sigma = z[::-1].copy(), np.sqrt(tau * tau[::-1])
        noise = jax.jit(lambda: ExpConcrete(0 * z, 1.0).sample(KEY, (40,)))()
        noise = np.asarray(noise)

        def ours(z, tau, other, sigma):
            entropy = Concrete(z, tau).estimate_entropy(KEY, 40)
            pair = ExpConcrete(z, tau), ExpConcrete(other, sigma)
            exact = ExpConcrete(z, tau).entropy()
            return tau * (entropy.value + exact) + kl_divergence(KEY, *pair, 40).value

        def expected(z, tau, other, sigma):
            k = CLASSES
            harmonic = sum(1 / i for i in range(1, k))
            exact = k * harmonic - scipy.special.gammaln(k) - (k - 1) * np.log(tau)
            x = truth.log_softmax((z + noise) / tau[:, None])
            top = truth.log_softmax(z).sum(-1) / tau + k * x.max(-1).mean(0)
            rho = sigma / tau
            d = other - rho[:, None] * z
            u = truth.log_softmax(-noise)
            sums = scipy.special.logsumexp(d + rho[:, None] * u, axis=-1).mean(0)
            kl = k * sums - d.sum(-1) - k * (1 - rho) * harmonic
            return tau * (2 * exact + top) + kl - (k - 1) * np.log(rho)

        steps = 0.1 * tau[:, None], 0.1 * tau, np.ones((4, 1)), 0.1 * sigma
        check(ours, expected, (z, tau, other, sigma), steps)


def test_second_derivatives():
    with jax.enable_x64(True):
        z, tau, _ = inputs(np.float64)
        x = truth.gumbel_points(z, tau, np.random.default_rng(1))
        z, tau, x = z[1:], tau[1:], x[1:]

        def first(z, tau, x):
            """The slopes in temperature, in float64."""
            s = np.exp(truth.log_softmax(z - tau[:, None] * x))
            weight = 1 - CLASSES * s
            return (CLASSES - 1) / tau - (weight * x).sum(-1)

        def ours(z, tau, x):
            def total(tau):
                return ExpConcrete(z, tau).log_prob(x).sum()

            return jax.grad(total)(tau)

        check(ours, first, (z, tau, x), (1, tau, 1 / tau[:, None]))


def test_masked_classes_and_zeros_have_derivative_zero():
    z, tau, _ = inputs(np.float32)
    x = truth.gumbel_points(z, tau, np.random.default_rng(1))
    where = np.ones(z.shape, bool)
    where[:, 2] = False
    z[:, 2] = x[:, 2] = np.nan
    x = truth.log_softmax(np.where(where, x, -np.inf)).astype(np.float32)

    @jax.jit
    def run(z, tau, x):
        def densities(z, tau, x):
            row, soft = ExpConcrete(z, tau, where=where), Concrete(z, tau, where=where)
            total = row.log_prob(x) + soft.log_prob(jnp.exp(x)) + row.entropy()
            other = ExpConcrete(-z, 2 * tau, where=where)
            total = total + kl_divergence(KEY, row, other, 4).value
            point = jnp.where(where, row.sample(KEY), 0).sum(-1)
            return (total + point + soft.estimate_entropy(KEY, 4).value).sum()

        return jax.value_and_grad(densities, (0, 1, 2))(z, tau, x)

    value, (to_z, to_tau, to_x) = run(z, tau, x)
    assert np.isfinite(value)
    assert np.isfinite(to_tau).all()
    for slope in (to_z, to_x):
        assert np.isfinite(slope).all()
        np.testing.assert_array_equal(slope[:, 2], 0)
