"""Policies of a given entropy, and mixtures with the uniform policy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxtemp.policies import Boltzmann, mix, with_entropy
from tests.cases import enable_x64

KEY = jax.random.key(6)
DRAWS = 2**20


def probabilities(z, tau):
    """Of rows at a temperature, in float64."""
    x = np.float64(z) - np.float64(z).max(-1, keepdims=True)
    tau = np.float64(tau)[..., None]
    u = np.where(x == 0, 0, x / np.where(tau == 0, 1e-300, tau))
    u = np.where(x == -np.inf, -np.inf, u)
    p = np.exp(u)
    return p / p.sum(-1, keepdims=True)


def entropies(p):
    return -(p * np.log(np.where(p > 0, p, 1))).sum(-1)


def masked_rows(count, classes, dtype=np.float32):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(count, classes)) * 10 ** rng.uniform(-3, 3, (count, 1))
    where = rng.uniform(size=z.shape) < 0.7
    where[:, :2] = True
    return z.astype(dtype), where


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_the_entropy_is_reached(dtype):
    z, where = masked_rows(1000, 12)
    share = np.random.default_rng(1).uniform(0.01, 0.99, size=len(z))
    target = share * np.log(where.sum(-1))

    @jax.jit
    def run(z, target):
        policy = with_entropy(z, target, where=where)
        return policy, policy.mode(), policy.entropy()

    with enable_x64(dtype):
        policy, best, entropy = run(jnp.asarray(z, dtype), target.astype(np.float32))
    logits = np.float64(policy.logits)
    p = probabilities(logits, policy.temperature)
    # Rounded values may tie, and then no temperature gives less.
    ties = (logits == logits.max(-1, keepdims=True)).sum(-1)
    target = np.maximum(target, np.log(ties))
    np.testing.assert_allclose(entropies(p), target, atol=1e-5)
    assert (p[~where] == 0).all()
    assert policy.logits.dtype == entropy.dtype == dtype
    np.testing.assert_array_equal(best, logits.argmax(-1))


def test_beyond_the_entropies_of_a_row_its_temperature_is_an_end():
    q = np.array([[1, 1, 0], [0, 3, 1], [0, 3, 1], [np.nan, 1, 2]], np.float32)
    policy = jax.jit(with_entropy)(q, np.array([0.5, 0, 2, 1], np.float32))
    np.testing.assert_array_equal(policy.temperature[:3], [0, 0, np.inf])
    np.testing.assert_allclose(
        policy.probs(),
        [[0.5, 0.5, 0], [0, 1, 0], [1 / 3] * 3, [np.nan] * 3],
        rtol=1e-6,
    )
    assert jnp.isnan(with_entropy(q[3], 1.0).entropy())


def test_the_target_has_its_derivative():
    q = np.array([1.0, 0.3, -0.5, 2.0], np.float32)

    @jax.jit
    def run(target):
        def log_prob(target):
            return with_entropy(q, target).log_prob(1)

        return with_entropy(q, target).temperature, jax.grad(log_prob)(target)

    tau, slope = run(0.8)
    # By enumeration, dτ/dS = τ / C and d log p/dτ = -(u - <u>) / τ.
    p, u = probabilities(q, tau), np.float64(q) / np.float64(tau)
    capacity = (p * u**2).sum() - (p * u).sum() ** 2
    np.testing.assert_allclose(slope, -(u[1] - (p * u).sum()) / capacity, rtol=1e-4)


def test_a_row_may_have_its_actions_on_any_axis():
    z, where = masked_rows(6, 5)
    z, where = z.T.reshape(5, 2, 3), where.T.reshape(5, 2, 3)

    @jax.jit
    def run():
        policy = with_entropy(z, np.float32(0.4), axis=0, where=where)
        return policy.temperature, policy.entropy(), mix(policy, 0.25).probs()

    tau, entropy, p = run()
    assert tau.shape == entropy.shape == (2, 3)
    np.testing.assert_allclose(entropy, 0.4, atol=1e-5)
    np.testing.assert_allclose(p.sum(0), 1, rtol=1e-6)
    assert (p[~where] == 0).all()
    assert p[where].min() > 0.04


TAUS = np.array([0, 1e-30, 0.1, 1, 10, np.inf])
EPSILONS = np.array([0, 1e-4, 0.1, 0.5, 1])


def test_mixtures_and_their_slopes():
    with jax.enable_x64(True):
        z, where = masked_rows(600, 5, np.float64)
        tau, epsilon = np.resize(TAUS, 600), np.repeat(EPSILONS, 120)
        g = np.random.default_rng(2).normal(size=z.shape)

        def value(z, tau, epsilon):
            policy = mix(Boltzmann(z, tau, where=where), epsilon)
            actions = jnp.arange(5)[:, None]
            return policy.probs(), policy.log_prob(actions).T

        @jax.jit
        def run(z, tau, epsilon):
            def weighed(*args):
                return (g * value(*args)[0]).sum()

            def logs(*args):
                log_p = value(*args)[1]
                return jnp.where(log_p > -jnp.inf, g * log_p, 0).sum()

            every = (0, 1, 2)
            found = value(z, tau, epsilon)
            return found, *(
                jax.grad(f, every)(z, tau, epsilon) for f in (weighed, logs)
            )

        (p, log_p), slopes, log_slopes = run(z, tau, epsilon)
    clean = np.where(where, z, -np.inf)
    even = where / where.sum(-1, keepdims=True)
    plain = np.where(
        (tau == np.inf)[:, None], even, probabilities(clean, np.clip(tau, 0, 1e9))
    )
    share = (1 - epsilon)[:, None] * plain + epsilon[:, None] * even
    np.testing.assert_allclose(p, share, rtol=1e-9, atol=1e-300)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(
            np.where(share > 1e-290, log_p, 0),
            np.where(share > 1e-290, np.log(share), 0),
            rtol=1e-9,
            atol=1e-12,
        )
    assert (np.isneginf(log_p) == (~where | ((share == 0) & (tau == 0)[:, None]))).all()

    weight = (1 - epsilon)[:, None] * g
    u = np.where(where, z - np.max(clean, -1, keepdims=True), 0)
    flat = (tau == 0) | np.isinf(tau)
    inverse = np.where(flat, 0, 1 / np.where(flat, 1, tau))[:, None]
    centred = plain * (weight - (plain * weight).sum(-1, keepdims=True))
    np.testing.assert_allclose(slopes[0], centred * inverse, rtol=1e-6, atol=1e-9)
    to_tau = -(centred * u).sum(-1) * inverse[:, 0] ** 2
    np.testing.assert_allclose(slopes[1], to_tau, rtol=1e-6, atol=1e-9)
    # Where an action is never taken, what ε would make of it is left out.
    whole = ((share > 0) | ~where).all(-1)
    assert whole[120:].all()
    to_epsilon = (g * (even - plain)).sum(-1)
    np.testing.assert_allclose(slopes[2][whole], to_epsilon[whole], rtol=1e-9)
    to_epsilon = (g * (even - plain) / np.where(share > 0, share, 1)).sum(-1)
    np.testing.assert_allclose(log_slopes[2][whole], to_epsilon[whole], rtol=1e-6)
    for slope in log_slopes:
        assert np.isfinite(slope).all()
    assert (np.asarray(log_slopes[0])[~where] == 0).all()


def test_nothing_mixed_in_leaves_even_the_rarest_action():
    q = np.array([0.0, -300.0], np.float32)

    @jax.jit
    def run(epsilon):
        def log_prob(q):
            return mix(Boltzmann(q), epsilon).log_prob(1)

        return jax.value_and_grad(log_prob)(q)

    value, slope = run(0.0)
    assert value == -300
    np.testing.assert_allclose(slope, [-1, 1])


def test_draws_of_epsilon_greedy():
    q = np.array([1.0, 4.0, 2.0, 4.0, 9.0, 0.0], np.float32)
    where = np.arange(6) != 4

    @jax.jit
    def counts(key):
        policy = mix(Boltzmann(q, 0.0, where=where), 0.3)
        return jnp.bincount(policy.sample(key, (DRAWS,)), length=6)

    p = np.array([0.06, 0.41, 0.06, 0.41, 0, 0.06])
    found = np.asarray(counts(KEY))
    assert found[4] == 0
    assert scipy.stats.chisquare(found[where], p[where] * DRAWS).pvalue > 1e-4


def test_half_precision_is_mixed_in_float32():
    q = np.linspace(0, 12, 7)
    policy = jax.jit(lambda q: mix(Boltzmann(q, 2.0), 0.1))(
        jnp.asarray(q, jnp.bfloat16)
    )
    assert policy.logits.dtype == jnp.float32
    assert policy.value() == pytest.approx(0, abs=1e-6)
    want = 0.9 * probabilities(q, np.array(2.0)) + 0.1 / 7
    np.testing.assert_allclose(policy.probs(), want, rtol=1e-5)


def test_a_bad_traced_share_makes_its_row_nan():
    p = jax.jit(lambda epsilon: mix(Boltzmann(np.zeros((4, 2))), epsilon).probs())(
        np.array([-0.1, 1.1, np.nan, 0.5], np.float32)
    )
    np.testing.assert_allclose(p, [[np.nan] * 2] * 3 + [[0.5] * 2])
