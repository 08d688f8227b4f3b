"""Probabilities of drawn orders and sets against enumeration in float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxtemp.random import (
    gumbel_top_k,
    ordered_log_prob,
    relaxed_top_k,
    subset_log_prob,
)

KEY = jax.random.key(1)
FOUR = np.log([0.1, 0.2, 0.3, 0.4])
PAIRS = {
    (0, 1): 0.047222,
    (0, 2): 0.076190,
    (0, 3): 0.111111,
    (1, 2): 0.160714,
    (1, 3): 0.233333,
    (2, 3): 0.371429,
}


def enumerated(z, tau, ids):
    """The log-probability of an order, and of its classes in any order."""
    u = np.asarray(z, np.float64) / np.float64(tau)
    ids = [i for i in ids if i >= 0]
    orders = list(itertools.permutations(ids))
    logs = np.zeros(len(orders))
    for n, order in enumerate(orders):
        left = u.copy()
        for i in order:
            logs[n] += u[i] - np.logaddexp.reduce(left)
            left[i] = -np.inf
    return logs[0], np.logaddexp.reduce(logs)


def random_cases(rng, rows, k, dtype):
    z = rng.normal(size=(rows, 7)) * rng.choice([1, 5, 30], (rows, 1))
    z[::4, 1] = -np.inf
    tau = rng.choice([0.2, 1.0, 7.0], rows)
    allowed = np.where(np.isinf(z[:, 1:2]), [0, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 5])
    ids = rng.permuted(allowed, axis=-1)[:, :k]
    ids[::5, -1] = -1
    return z.astype(dtype), tau.astype(dtype), ids.astype(np.int32)


def both(z, ids, tau):
    return ordered_log_prob(z, ids, tau), subset_log_prob(z, ids, tau)


@pytest.mark.parametrize(
    ("dtype", "k", "tolerance"),
    [("float32", 5, 1e-6), ("float64", 3, 1e-14)],
)
def test_orders_and_sets_have_their_enumerated_probabilities(dtype, k, tolerance):
    z, tau, ids = random_cases(np.random.default_rng(k), 60, k, dtype)
    want = np.array([enumerated(*row) for row in zip(z, tau, ids, strict=True)])
    with jax.enable_x64(dtype == "float64"):
        found = np.stack(jax.jit(both)(z, ids, tau), axis=-1)
    np.testing.assert_allclose(found, want, atol=tolerance, rtol=tolerance)


def test_large_sets_are_exact_however_likely_their_members():
    odds = np.array([-80.0, -30, -3, 0, 3, 12, 80])
    k = 150
    z = np.repeat(odds[:, None], k + 1, axis=1)
    z[:, -1] = 0
    # Equal members: the integral is a beta function, and P = Π rj / (1 + rj).
    rj = np.exp(odds)[:, None] * np.arange(1, k + 1)
    want = -np.log1p(1 / rj).sum(-1)
    ids = np.broadcast_to(np.arange(k), (len(odds), k))
    found = jax.jit(subset_log_prob)(z.astype(np.float32), ids)
    np.testing.assert_allclose(found, want, rtol=5e-7, atol=5e-7)


def test_the_sets_of_two_of_four_are_as_published_and_drawn_so():
    sets, want = np.array(list(PAIRS)), np.array(list(PAIRS.values()))
    z = FOUR.astype(np.float32)

    @jax.jit
    def draws(keys):
        ids = jax.vmap(lambda key: gumbel_top_k(key, z, 2).ids)(keys)
        some = keys[:50_000]
        hot = jax.vmap(lambda key: relaxed_top_k(key, z, 2, 0.7, hard=True))(some)
        codes = (2**ids).sum(-1), (hot.astype(int) * 2 ** jnp.arange(4)).sum(-1)
        return subset_log_prob(jnp.tile(z, (6, 1)), sets), *codes

    log_p, codes, relaxed = map(np.asarray, draws(jax.random.split(KEY, 1_000_000)))
    np.testing.assert_allclose(np.exp(log_p), want, atol=1e-6)
    # With the same keys, the relaxed draw has the same sets.
    np.testing.assert_array_equal(relaxed, codes[:50_000])
    counts = np.bincount(codes)[(2**sets).sum(-1)]
    assert counts.sum() == 1_000_000
    # Chance alone gives a distance of 0.8e-3 on average: the key is one of less.
    assert np.abs(counts / 1e6 - want).sum() / 2 < 1e-3
    expected = want / want.sum() * 1e6
    assert scipy.stats.chisquare(counts, expected).pvalue > 1e-3


def test_derivatives_are_those_of_differences_forward_and_reverse():
    z, tau, ids = random_cases(np.random.default_rng(9), 20, 3, np.float64)
    z = np.where(np.isinf(z), z, z / 5)
    rng, step = np.random.default_rng(1), 1e-4
    dz, g = rng.normal(size=z.shape), rng.normal(size=(2, len(z)))

    def truth(h, g=0):
        rows = zip(z + h * dz, tau + g, ids, strict=True)
        return np.array([enumerated(*row) for row in rows]).T

    first = (truth(step) - truth(-step)) / (2 * step)
    in_tau = (truth(0, step) - truth(0, -step)) / (2 * step)
    second = (truth(0, step) - 2 * truth(0) + truth(0, -step)) / step**2

    @jax.jit
    def derivatives(z, tau):
        ones, nil = jnp.ones_like(tau), jnp.zeros_like(tau)

        def stacked(z, tau):
            return jnp.stack(both(z, ids, tau))

        def slope(tau):
            return jax.jvp(lambda tau: subset_log_prob(z, ids, tau), (tau,), (ones,))[1]

        pushed = jax.jvp(stacked, (z, tau), (jnp.asarray(dz, z.dtype), nil))[1]
        _, pull = jax.vjp(stacked, z, tau)
        return pushed, pull(jnp.asarray(g, z.dtype)), *jax.jvp(slope, (tau,), (ones,))

    arguments = z.astype(np.float32), tau.astype(np.float32)
    pushed, (to_z, to_tau), slope, bend = derivatives(*arguments)
    np.testing.assert_allclose(pushed, first, rtol=1e-4, atol=1e-4)
    pulled = (to_z * dz).sum(-1)
    np.testing.assert_allclose(pulled, (g * first).sum(0), rtol=1e-4, atol=1e-4)
    pairs = (to_tau, (g * in_tau).sum(0)), (slope, in_tau[1]), (bend, second[1])
    for found, want in pairs:
        scale = np.maximum(1, np.abs(want))
        np.testing.assert_allclose(found / scale, want / scale, atol=1e-4)
    assert (np.asarray(to_z)[np.isinf(z)] == 0).all()


def test_limits_ties_and_impossible_sets():
    tied = [1.0, 1.0, 1.0, 0.0]
    inf, nan = np.inf, np.nan
    cases = [
        (tied, 0.0, [0, 1], 1 / 6, 1 / 3),
        (tied, 0.0, [0, 3], 0, 0),
        ([1.0, 0.5, 0.5, 0.0], 0.0, [0, 2], 1 / 2, 1 / 2),
        (tied, inf, [0, 3], 1 / 12, 1 / 6),
        (tied, 1e-45, [3, 0], 0, 0),
        (tied, 1.0, [0, 0], 0, 0),
        ([0.0, -inf, 0.0, 0.0], 1.0, [0, 1], 0, 0),
        ([0.0, -inf, -inf, 0.0], 1.0, [0, 3], 1 / 2, 1),
        (tied, 1.0, [-1, -1], 1, 1),
        ([nan, 1.0, 1.0, 1.0], 1.0, [1, 2], nan, nan),
    ]
    z, tau, ids, ordered, unordered = (np.array(x) for x in zip(*cases, strict=True))

    def found(z, tau):
        values, pull = jax.vjp(lambda z, tau: both(z, ids, tau), z, tau)
        return values, pull((jnp.ones(len(z)), jnp.ones(len(z))))

    (first, second), slopes = jax.jit(found)(z.astype(np.float32), tau.astype("f4"))
    np.testing.assert_allclose(np.exp(first), ordered, rtol=1e-6)
    np.testing.assert_allclose(np.exp(second), unordered, rtol=1e-6)
    for slope in slopes:
        assert np.isfinite(np.asarray(slope)[:-1]).all()


def test_another_axis_a_mask_and_half_precision():
    z = np.log([[0.1, 0.5], [0.2, 0.5], [0.3, 0.5], [0.4, 0.5]])
    ids = np.array([[3, 2], [3, 2]])
    where = np.array([[True, True], [True, False], [True, True], [True, True]])

    @jax.jit
    def several(z):
        return subset_log_prob(z, ids, axis=0, where=where), subset_log_prob(
            z.astype(jnp.bfloat16), ids, axis=0
        )

    found, half = several(z.astype(np.float32))
    np.testing.assert_allclose(np.exp(found), [0.371429, 1 / 3], atol=1e-6)
    assert half.dtype == jnp.bfloat16


BAD = {
    "ids that are real": (
        [0.0, 1.0],
        TypeError,
        "`ids` must be integers, got dtype float32; pass class ids, -1 for none.",
    ),
    "ids of several draws": (
        [[0, 1]],
        ValueError,
        (
            "`ids` must have the shape (k,) for logits of batch shape (), got (1, 2); "
            "put a row's ids along the last axis, and `jax.vmap` over several draws of "
            "it."
        ),
    ),
    "an id that is no class": (
        [0, 4],
        ValueError,
        "`ids` must be in [0, 4), or -1 for none, got 4; use -1 for padding.",
    ),
}


@pytest.mark.parametrize("function", [ordered_log_prob, subset_log_prob])
@pytest.mark.parametrize("case", BAD)
def test_bad_ids_have_their_own_message(function, case):
    ids, error, message = BAD[case]
    with pytest.raises(error) as raised:
        function(np.zeros(4, np.float32), jnp.array(ids))
    assert str(raised.value) == message
