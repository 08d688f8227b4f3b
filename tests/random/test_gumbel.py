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
    z = np.array([0.0, 1.0, -0.5, 0.7], np.float32)
    ids = jax.vmap(lambda key: gumbel_top_k(key, z, k, tau).ids)(
        jax.random.split(KEY, DRAWS)
    )
    truth = plackett_luce(softmax(z, tau), k)
    code = np.asarray(ids) @ 4 ** np.arange(k)
    counts = np.array([(code == np.dot(o, 4 ** np.arange(k))).sum() for o in truth])
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
    ids = jax.vmap(lambda key: gumbel_top_k(key, z, 4, 0.0).ids)(
        jax.random.split(KEY, 60_000)
    )
    ids = np.asarray(ids)
    assert set(ids[:, 3]) == {0, 5}
    orders, counts = np.unique(ids[:, :3], axis=0, return_counts=True)
    assert sorted(map(tuple, orders)) == sorted(itertools.permutations([1, 2, 4]))
    assert scipy.stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("tau", [0.0, 1e-9, 0.5, 1.0, 30.0, np.inf])
def test_all_classes_are_a_permutation_at_every_temperature(tau):
    z = np.random.default_rng(0).normal(size=(5, 300)).astype(np.float32)
    drawn = gumbel_top_k(KEY, z, 300, tau)
    np.testing.assert_array_equal(np.sort(drawn.ids, axis=-1), [range(300)] * 5)
    if tau <= 1e-9:
        np.testing.assert_array_equal(drawn.ids, np.argsort(-z, axis=-1))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_log_probabilities_are_those_of_the_drawn(dtype):
    z = np.random.default_rng(1).normal(size=(3, 50)).astype(jnp.dtype(dtype))
    drawn = gumbel_top_k(KEY, z, 7, 0.5)
    assert drawn.log_probs.dtype == z.dtype
    for row in range(3):
        want = np.log(softmax(z[row].astype(float), 0.5))[np.asarray(drawn.ids[row])]
        tolerance = 1e-5 if dtype == "float32" else 4e-2
        np.testing.assert_allclose(
            drawn.log_probs[row].astype(float), want, atol=tolerance
        )
    assert (np.diff(drawn.perturbed, axis=-1) <= 0).all()


def test_the_largest_perturbed_is_a_standard_gumbel():
    z = np.array([0.3, -1.0, 2.0], np.float32)
    top = jax.vmap(lambda key: gumbel_top_k(key, z, 1, 0.7).perturbed[0])(
        jax.random.split(KEY, 200_000)
    )
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
    drawn = gumbel_top_k(KEY, z, 8, where=where)
    assert set(np.asarray(drawn.ids[0, :5]).tolist()) == set(range(5))
    assert (drawn.ids[0, 5:] == -1).all()
    assert (drawn.log_probs[0, 5:] == -np.inf).all()
    assert (drawn.perturbed[0, 5:] == -np.inf).all()
    assert (drawn.ids[1] == -1).all()


def test_a_row_depends_on_its_own_key_and_logits_alone():
    z = np.random.default_rng(3).normal(size=(6, 200)).astype(np.float32)
    keys = jax.random.split(KEY, 6)
    ids = gumbel_top_k(keys, z, 9).ids
    alone = [gumbel_top_k(k, row, 9).ids for k, row in zip(keys, z, strict=True)]
    padded = np.pad(z, [(0, 0), (0, 30)], constant_values=-np.inf)
    np.testing.assert_array_equal(ids, alone)
    np.testing.assert_array_equal(ids, gumbel_top_k(keys, padded, 9).ids)
    np.testing.assert_array_equal(ids, gumbel_top_k(keys, z.T, 9, axis=0).ids)


def test_categorical_without_replacement_draws_the_same_ids():
    z = np.random.default_rng(5).normal(size=(4, 30)).astype(np.float32)
    ids = jaxtemp.categorical(KEY, z, 0.8, shape=(6, 4), replace=False)
    np.testing.assert_array_equal(ids, gumbel_top_k(KEY, z, 6, 0.8).ids.T)


@pytest.mark.parametrize("k", [0, -1, 5])
def test_an_impossible_number_has_its_own_message(k):
    with pytest.raises(ValueError, match=rf"^`k` must be in \[1, 4\] .*, got {k}; "):
        gumbel_top_k(KEY, np.zeros(4), k)
