"""The policy's numbers and derivatives against enumeration, its draws, its pytree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxtemp.policies import Boltzmann
from tests import cases

OPS = ("softmax", "log_softmax", "entropy", "free_energy")
TAUS = (0.0, 1e-30, 0.1, 1.0, 10.0, np.inf)
GROUPS = [("float32", 5, 900), ("float32", 8, 600), ("float64", 3, 900)]
DRAWS = 2**20
KEY = jax.random.key(5)


def method(op, logits, temperature, where=None):
    """What a method of the policy computes, under the name that its truth has."""
    policy = Boltzmann(logits, temperature, where=where)
    if op == "log_softmax":
        actions = jnp.arange(logits.shape[-1])[:, None]
        return policy.log_prob(actions).T
    if op == "free_energy":
        return -policy.value()
    return policy.probs() if op == "softmax" else policy.entropy()


@pytest.mark.parametrize(("dtype", "classes", "count"), GROUPS)
def test_values_and_derivatives(dtype, classes, count):
    rows, truth = cases.case(dtype, classes, count)
    cotangents = {op: rows.cotangents()[op] for op in OPS}

    @jax.jit
    def run(arguments, cotangents):
        return cases.pull(arguments, cotangents, method)

    with cases.enable_x64(dtype):
        values, gradients = run(rows.arguments, cotangents)
    pairs = {op: (truth.value(op), values[op]) for op in OPS}
    cases.check(rows, cases.tolerance(dtype), pairs)
    pairs = cases.gradient_pairs(truth, cotangents, gradients)
    cases.check(rows, cases.tolerance(dtype, derivative=True), pairs)


def test_half_precision_keeps_its_dtype():
    rows, truth = cases.case("bfloat16", 17, 600)

    @jax.jit
    def run(logits, temperature, where):
        return {op: method(op, logits, temperature, where) for op in OPS}

    found = run(*rows)
    assert {x.dtype.name for x in found.values()} == {"bfloat16"}
    pairs = {op: (truth.value(op), found[op]) for op in OPS}
    cases.check(rows, cases.tolerance("bfloat16"), pairs)


def test_a_cotangent_of_an_illegal_action_goes_nowhere():
    where = np.array([True, False, True])

    @jax.jit
    @jax.grad
    def slope(q):
        policy = Boltzmann(q, 0.5, where=where)
        of_none = policy.log_prob(1) * jnp.nan
        weighed = policy.probs() * jnp.array([1, jnp.inf, 0])
        return policy.log_prob(0) + of_none + weighed.sum()

    q = np.array([1.0, 2.0, 3.0], np.float32)
    p = 1 / (1 + np.exp(4.0))
    along = 2 * (1 - p) + 2 * p * (1 - p)
    np.testing.assert_allclose(slope(q), [along, 0, -along], rtol=1e-6)


def test_greedy_actions():
    q = np.array(
        [
            [1, 3, 3, 2],
            [-np.inf, -5, -7, -np.inf],
            [-np.inf] * 4,
            [1, np.nan, 2, 0],
            [1, np.inf, 2, 0],
        ],
        np.float32,
    )
    where = np.ones(q.shape, bool)
    where[0, 1] = False

    @jax.jit
    def run(q):
        cold = Boltzmann(q, 0.0)
        drawn = cold.sample(KEY, (1000,))
        return cold.mode(), Boltzmann(q, 3.0, where=where).mode(), drawn, cold.probs()

    first, masked, drawn, probs = run(q)
    np.testing.assert_array_equal(probs[:2], [[0, 0.5, 0.5, 0], [0, 1, 0, 0]])
    assert np.isnan(probs[2:]).all()
    assert first.dtype == drawn.dtype == jnp.int32
    np.testing.assert_array_equal(first, [1, 1, -1, -1, -1])
    np.testing.assert_array_equal(masked, [2, 1, -1, -1, -1])
    np.testing.assert_array_equal(drawn[:, 2:], -1)
    assert set(np.unique(drawn[:, 0])) == {1, 2}
    assert set(np.unique(drawn[:, 1])) == {1}


def test_draws_have_the_law_of_the_policy():
    q = np.array([0.3, 2.0, 9.0, 2.0, -1.0, 1.2], np.float32)
    where = np.array([1, 1, 0, 1, 1, 1], bool)

    @jax.jit
    def counts(key):
        rows = jnp.broadcast_to(q, (len(TAUS), len(q)))
        policy = Boltzmann(rows, np.array(TAUS, np.float32), where=where)
        actions = policy.sample(key, (DRAWS,))
        return jnp.stack([jnp.bincount(row, length=len(q)) for row in actions.T])

    for tau, found in zip(TAUS, np.asarray(counts(KEY)), strict=True):
        weight = np.where(where, np.float64(q) - 2.0, -np.inf)
        with np.errstate(divide="ignore", invalid="ignore"):
            u = np.where(weight == 0, 0, weight / tau)
        u = np.where(where, 0, -np.inf) if tau == np.inf else u
        p = np.exp(u) / np.exp(u).sum()
        assert found.sum() == DRAWS
        assert not found[p == 0].any()
        assert not found[2]
        seen = p * DRAWS > 5
        rest = p[~seen].sum() * DRAWS
        assert found[~seen].sum() <= rest + 6 * np.sqrt(rest) + 1
        expected = p[seen] / p[seen].sum() * found[seen].sum()
        assert scipy.stats.chisquare(found[seen], expected).pvalue > 1e-4, tau


def test_actions_of_any_shape():
    q = np.random.default_rng(0).normal(size=(4, 2, 3)).astype(np.float32)
    tau = np.array([[0.5, 1.0, 2.0]] * 2, np.float32)

    @jax.jit
    def run(key):
        policy = Boltzmann(q, tau, axis=0)
        actions = policy.sample(key, (7,))
        outside = policy.log_prob(jnp.array([-1, 4])[:, None, None])
        one = Boltzmann(q[:, 0, 0], 0.5).log_prob(actions[..., 0, 0])
        sizes = policy.mode(), policy.entropy(), policy.value()
        return actions, policy.log_prob(actions), outside, one, sizes, policy.probs()

    actions, log_prob, outside, one, sizes, probs = run(KEY)
    assert actions.shape == log_prob.shape == (7, 2, 3)
    assert probs.shape == q.shape
    assert [x.shape for x in sizes] == [(2, 3)] * 3
    u = np.float64(q) / tau
    table = u - np.log(np.exp(u).sum(0))
    expected = np.take_along_axis(table[None], np.asarray(actions)[:, None], 1)[:, 0]
    np.testing.assert_allclose(log_prob, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(one, log_prob[..., 0, 0], rtol=1e-6)
    assert np.isnan(outside).all()


def test_policies_pass_through_jit_vmap_scan_and_grad():
    rng = np.random.default_rng(1)
    q = jnp.asarray(rng.normal(size=(3, 5)), jnp.float32)
    tau = jnp.array([0.1, 1.0, 5.0])
    keys = jax.random.split(KEY, 3)
    policy = Boltzmann(q, tau)

    @jax.jit
    def run(policy, keys):
        def act(policy, key):
            return policy.sample(key, (50,)), policy.log_prob(2), policy.entropy()

        together = policy.sample(keys, (50,)), policy.log_prob(2), policy.entropy()
        made = jax.vmap(lambda q, tau: act(Boltzmann(q, tau), KEY)[2])(q, tau)
        _, scanned = jax.lax.scan(lambda _, x: (None, act(*x)), None, xs=(policy, keys))
        slopes = jax.grad(lambda policy: policy.value().sum())(policy)
        return together, jax.vmap(act)(policy, keys), scanned, made, slopes, policy

    together, mapped, scanned, made, slopes, back = run(policy, keys)
    np.testing.assert_array_equal(together[0].T, mapped[0])
    np.testing.assert_array_equal(mapped[0], scanned[0])
    for ours, *others in zip(together[1:], mapped[1:], scanned[1:], strict=True):
        for other in others:
            np.testing.assert_allclose(ours, other, rtol=1e-6)
    np.testing.assert_allclose(made, together[2], rtol=1e-6)
    u = np.float64(q) / tau[:, None]
    p = np.exp(u) / np.exp(u).sum(-1, keepdims=True)
    np.testing.assert_allclose(slopes.logits, p, rtol=1e-5)
    np.testing.assert_allclose(slopes.temperature, -(p * np.log(p)).sum(-1), rtol=1e-5)
    assert isinstance(back, Boltzmann)
    assert back.axis == policy.axis == -1
    with pytest.raises(AttributeError):
        policy.logits = q


def test_a_bad_traced_temperature_makes_its_row_nan():
    found = jax.jit(lambda tau: Boltzmann(np.zeros((2, 3)), tau).entropy())(
        np.array([-1.0, 1.0], np.float32)
    )
    np.testing.assert_allclose(found, [np.nan, np.log(3)], rtol=1e-6)
