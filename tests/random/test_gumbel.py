import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import jaxtemp
from jaxtemp.random import gumbel_top_k
from jaxtemp.random._keys import row_words
from jaxtemp.random._noise import gumbel

KEY = jax.random.key(4)
DRAWS = 1_000_000

top_k = jax.jit(gumbel_top_k, static_argnames=("k", "axis"))


@functools.partial(jax.jit, static_argnames="ks")
def drawn(keys, z, tau, ks):
    """Draws of one row for many keys, of each k; their noise is computed once."""
    return jax.vmap(lambda key: {k: gumbel_top_k(key, z, k, tau) for k in ks})(keys)


@functools.cache
def million_orders(tau):
    """Ids of 1, 2, 3 and 4 of four classes."""
    found = drawn(jax.random.split(KEY, DRAWS), FOUR, tau, (1, 2, 3, 4))
    return {k: np.asarray(top.ids) for k, top in found.items()}


FOUR = np.array([0.0, 1.0, -0.5, 0.7], np.float32)


def softmax(z, tau):
    u = np.asarray(z, np.float64) / tau
    p = np.exp(u - u.max())
    return p / p.sum()


def plackett_luce(p, k):
    """The probability of every ordered choice of k classes, enumerated."""
    found = {}
    for order in itertools.permutations(range(len(p)), k):
        left, probability = 1.0, 1.0
        for i in order:
            probability *= p[i] / left
            left -= p[i]
        found[order] = probability
    return found


@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.parametrize("tau", [0.3, 1.0, 5.0])
def test_orders_are_drawn_as_plackett_and_luce_say(k, tau):
    truth = plackett_luce(softmax(FOUR, tau), k)
    base = 4 ** np.arange(k)
    counts = np.bincount(million_orders(tau)[k] @ base, minlength=4**k)
    counts = counts[[np.dot(order, base) for order in truth]]
    assert counts.sum() == DRAWS
    expected = np.array(list(truth.values())) * DRAWS
    keep = expected > 5
    seen = np.r_[counts[keep], counts[~keep].sum()]
    want = np.r_[expected[keep], expected[~keep].sum() + 1e-9]
    assert scipy.stats.power_divergence(seen, want * seen.sum() / want.sum()).pvalue > (
        1e-4
    )


def test_at_zero_temperature_equal_logits_come_in_random_order():
    z = np.array([1.0, 2.0, 2.0, 0.0, 2.0, 1.0], np.float32)
    ids = np.asarray(drawn(jax.random.split(KEY, 60_000), z, 0.0, (4,))[4].ids)
    assert set(ids[:, 3]) == {0, 5}
    orders, counts = np.unique(ids[:, :3], axis=0, return_counts=True)
    assert sorted(map(tuple, orders)) == sorted(itertools.permutations([1, 2, 4]))
    assert scipy.stats.chisquare(counts).pvalue > 1e-4


def test_all_classes_are_a_permutation_at_every_temperature():
    z = np.random.default_rng(0).normal(size=(5, 300)).astype(np.float32)
    tau = np.array([[0.0], [1e-9], [0.5], [1.0], [30.0], [np.inf]], np.float32)
    ids = top_k(KEY, np.broadcast_to(z, (6, 5, 300)), 300, tau).ids
    np.testing.assert_array_equal(np.sort(ids, axis=-1), [[range(300)] * 5] * 6)
    np.testing.assert_array_equal(ids[:2], [np.argsort(-z, axis=-1)] * 2)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_log_probabilities_are_those_of_the_drawn(dtype):
    z = np.random.default_rng(1).normal(size=(3, 50)).astype(jnp.dtype(dtype))
    drawn = top_k(KEY, z, 7, 0.5)
    assert drawn.log_probs.dtype == z.dtype
    want = np.log([softmax(row.astype(float), 0.5) for row in z])
    np.testing.assert_allclose(
        np.asarray(drawn.log_probs, float),
        np.take_along_axis(want, np.asarray(drawn.ids), axis=-1),
        atol=1e-5 if dtype == "float32" else 4e-2,
    )
    assert (np.diff(drawn.perturbed, axis=-1) <= 0).all()


def test_the_largest_perturbed_is_a_standard_gumbel():
    z = np.array([0.3, -1.0, 2.0], np.float32)
    top = drawn(jax.random.split(KEY, 200_000), z, 0.7, (1,))[1].perturbed[:, 0]
    assert scipy.stats.kstest(np.asarray(top, float), "gumbel_r").pvalue > 1e-4


def test_noise_reaches_as_far_as_a_gumbel_does():
    words = row_words(KEY, (16,))
    noise = np.asarray(gumbel(tuple(w[:, 0] for w in words), 2**20, jnp.float32))
    assert np.isfinite(noise).all()
    assert scipy.stats.kstest(noise.ravel()[:200_000], "gumbel_r").pvalue > 1e-4
    for level in (10, 12, 14):
        low, high = scipy.stats.poisson.interval(1 - 1e-4, noise.size * np.exp(-level))
        assert low <= (noise > level).sum() <= high


def test_masked_classes_are_never_drawn_and_missing_ones_are_minus_one():
    z = np.zeros((3, 40), np.float32)
    z[1, 3] = np.nan
    where = np.arange(40) < 5
    drawn = jax.tree.map(np.asarray, top_k(KEY, z, 8, where=where))
    assert set(drawn.ids[0, :5].tolist()) == set(range(5))
    assert (drawn.ids[0, 5:] == -1).all()
    assert (drawn.log_probs[0, 5:] == -np.inf).all()
    assert (drawn.perturbed[0, 5:] == -np.inf).all()
    assert (drawn.ids[1] == -1).all()


def test_a_row_depends_on_its_own_key_and_logits_alone():
    z = np.random.default_rng(3).normal(size=(6, 200)).astype(np.float32)
    keys = jax.random.split(KEY, 6)
    ids = gumbel_top_k(keys, z, 9).ids
    alone = [top_k(k, row, 9).ids for k, row in zip(keys, z, strict=True)]
    padded = np.pad(z, [(0, 0), (0, 30)], constant_values=-np.inf)
    np.testing.assert_array_equal(ids, alone)
    np.testing.assert_array_equal(ids, top_k(keys, padded, 9).ids)
    np.testing.assert_array_equal(ids, gumbel_top_k(keys, z.T, 9, axis=0).ids)


def test_categorical_without_replacement_draws_the_same_ids():
    z = np.random.default_rng(5).normal(size=(4, 30)).astype(np.float32)
    draw = jax.jit(jaxtemp.categorical, static_argnames=("shape", "replace"))
    ids = draw(KEY, z, 0.8, shape=(6, 4), replace=False)
    np.testing.assert_array_equal(ids, top_k(KEY, z, 6, 0.8).ids.T)


@pytest.mark.parametrize("k", [0, -1, 5])
def test_an_impossible_number_has_its_own_message(k):
    with pytest.raises(ValueError, match=rf"^`k` must be in \[1, 4\] .*, got {k}; "):
        gumbel_top_k(KEY, np.zeros(4), k)
