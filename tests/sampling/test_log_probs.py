import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtemp.sampling import sample_with_log_probs
from tests.random.test_categorical import g_test
from tests.sampling.test_sample import kept

KEY = jax.random.key(11)
draw = jax.jit(sample_with_log_probs, static_argnames=("axis", "top_n"))


def log_softmax(z):
    z = np.asarray(z, np.float64)
    return z - z.max() - np.log(np.exp(z - z.max()).sum())


def test_each_stage_is_its_own_distribution():
    rng = np.random.default_rng(0)
    z = (rng.normal(size=(200, 30)) * 3).astype(np.float32)
    tau = rng.uniform(0.3, 2, 200).astype(np.float32)
    k, p = rng.integers(0, 31, 200), rng.uniform(0, 1, 200).astype(np.float32)
    least = rng.choice([0, 0.1], 200).astype(np.float32)
    drawn = draw(KEY, z, tau, top_k=k, top_p=p, min_p=least, top_n=4)
    drawn = jax.tree.map(np.asarray, drawn)
    for row in range(200):
        stages = (
            log_softmax(z[row]),
            log_softmax(z[row] / tau[row].astype(np.float64)),
            np.log(
                np.maximum(kept(z[row], tau[row], k[row], p[row], least[row]), 1e-300)
            ),
        )
        top = np.argsort(-z[row], kind="stable")[:4]
        np.testing.assert_array_equal(drawn.top_ids[row], top)
        for got, got_top, want in zip(
            drawn.log_probs, drawn.top_log_probs, stages, strict=True
        ):
            assert np.isclose(got[row], want[drawn.ids[row]], atol=1e-5)
            cut = want[top] < -600
            np.testing.assert_array_equal(np.isneginf(got_top[row]), cut)
            np.testing.assert_allclose(got_top[row][~cut], want[top][~cut], atol=1e-5)


def test_ids_have_the_filtered_distribution():
    z = np.random.default_rng(1).normal(size=16).astype(np.float32) * 2

    @jax.jit
    def some(key):
        rows = jnp.broadcast_to(z, (50_000, 16))
        return sample_with_log_probs(key, rows, 1.2, top_k=9, top_p=0.9).ids

    ids = np.concatenate([some(key) for key in jax.random.split(KEY, 20)])
    counts = np.bincount(ids, minlength=16).astype(float)
    assert g_test(counts, kept(z, 1.2, k=9, p=0.9)) > 1e-4


def test_masks_and_broken_rows_and_axes():
    z = np.zeros((3, 8), np.float32)
    z[1, 2] = np.nan
    where = np.arange(8) < 2
    drawn = draw(KEY, z.T, where=where[:, None], axis=0, top_n=8)
    assert set(np.asarray(drawn.ids).tolist()) <= {0, 1}
    np.testing.assert_allclose(drawn.log_probs.raw, -np.log(2), atol=1e-6)
    assert np.isneginf(drawn.top_log_probs.raw[:, 2:]).all()
    drawn = draw(KEY, z)
    assert drawn.ids[1] == -1
    assert all(np.isnan(stage[1]) for stage in drawn.log_probs)


@pytest.mark.parametrize("n", [-1, 5])
def test_an_impossible_number_of_classes_has_its_own_message(n):
    with pytest.raises(ValueError, match=rf"^`top_n` must be in \[0, 4\].* got {n}; "):
        sample_with_log_probs(KEY, np.zeros(4), top_n=n)
