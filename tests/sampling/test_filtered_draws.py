"""A million draws from what each filter leaves have the reference's distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxtemp
from jaxtemp.sampling import chain, filters, steps
from tests.random.test_categorical import g_test
from tests.sampling.filter_truth import Truth

KEY = jax.random.key(13)
DRAWS = 1_000_000
LOGITS = (np.random.default_rng(6).normal(size=16) * 2).astype(np.float32)
NUMBERS = {
    "top_k": 5,
    "top_p": 0.8,
    "min_p": 0.05,
    "typical_p": 0.7,
    "top_h": 0.6,
    "epsilon_cutoff": 0.01,
    "eta_cutoff": 0.02,
    "top_n_sigma": 1.5,
}


draw = jax.jit(lambda logits: jaxtemp.categorical(KEY, logits, shape=(DRAWS,)))


def softmax(z):
    p = np.exp(z - z.max())
    return p / p.sum()


def counted(ids):
    return np.bincount(np.asarray(ids), minlength=LOGITS.size).astype(float)


@pytest.mark.parametrize("name", NUMBERS)
def test_draws_after_a_filter(name):
    number = NUMBERS[name]
    kept = getattr(Truth(LOGITS[None]), name)(np.array([number])).must[0]
    truth = softmax(np.where(kept, LOGITS.astype(np.float64), -np.inf))
    assert 1 < kept.sum() < LOGITS.size
    ids = draw(jax.jit(getattr(filters, name))(LOGITS, number))
    assert g_test(counted(ids), truth) > 1e-4


def test_draws_after_dynamic_temperature():
    p = softmax(LOGITS.astype(np.float64))
    heat = 0.5 + 1.5 * (-(p * np.log(p)).sum() / np.log(LOGITS.size)) ** 1.2
    ids = draw(jax.jit(filters.dynamic_temperature)(LOGITS, 0.5, 2.0, 1.2))
    assert g_test(counted(ids), softmax(LOGITS / heat)) > 1e-4


def test_draws_after_mirostat():
    p = softmax(LOGITS.astype(np.float64))
    kept = -np.log2(p) <= 4.0
    state = filters.Mirostat(np.float32(4.0))
    ids = draw(jax.jit(filters.mirostat)(LOGITS, state))
    assert g_test(counted(ids), np.where(kept, p, 0) / p[kept].sum()) > 1e-4


def test_draws_after_xtc_mix_rows_with_and_without_the_likely():
    p = softmax(LOGITS.astype(np.float64))
    likely = p >= 0.05
    assert likely.sum() > 2
    least = np.where(likely, p, 2).argmin()
    stays = ~likely | (np.arange(LOGITS.size) == least)
    truth = 0.6 * p + 0.4 * np.where(stays, p, 0) / p[stays].sum()
    sample = chain(steps.xtc(0.05, 0.4))

    @jax.jit
    def some(key):
        keys = jax.random.split(key, 50_000)
        return sample(keys, jnp.broadcast_to(LOGITS, (50_000, LOGITS.size)))

    ids = np.concatenate([some(key) for key in jax.random.split(KEY, DRAWS // 50_000)])
    assert g_test(counted(ids), truth) > 1e-4
