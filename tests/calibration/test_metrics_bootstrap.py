"""Bootstrap intervals against theory, and how often they hold what they should."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxtemp import calibration
from jaxtemp.calibration import bootstrap

KEY = jax.random.key(0)


def test_the_interval_of_a_mean_is_that_of_the_normal_law():
    values = np.random.default_rng(0).exponential(size=4000).astype(np.float32)
    for level, z in ((0.95, 1.959964), (0.8, 1.281552)):
        got = bootstrap(jnp.mean, KEY, values, samples=4000, level=level)
        error = values.std() / np.sqrt(4000)
        np.testing.assert_allclose(got.value, values.mean(), rtol=1e-6)
        np.testing.assert_allclose(got.standard_error, error, rtol=0.05)
        np.testing.assert_allclose(got.low, values.mean() - z * error, atol=0.1 * error)
        np.testing.assert_allclose(
            got.high, values.mean() + z * error, atol=0.1 * error
        )


def test_it_mirrors_the_quantiles_and_so_takes_off_bias():
    """The greatest of many: resamples only fall short of it, so it is set higher."""
    values = jnp.arange(1.0, 101.0)
    got = bootstrap(jnp.max, KEY, values, samples=4000)
    assert got.value == 100
    # Of the resamples 0.63 have 100 itself; 0.048 have nothing above 97, 0.017
    # nothing above 96. So the quantiles are 100 and 97.
    assert got.low == 100
    assert got.high == 103


def test_rows_stay_together_over_all_arrays():
    left = jnp.arange(50.0)

    def difference(a, b):
        return jnp.max(jnp.abs(a - b[:, 0]))

    got = bootstrap(difference, KEY, left, jnp.stack([left, -left], axis=1))
    assert got == (0, 0, 0, 0)


def test_a_tree_of_results_shares_its_resamples():
    rng = np.random.default_rng(1)
    probs = rng.dirichlet(np.ones(3), 200).astype(np.float32)
    labels = rng.integers(0, 3, 200)

    def both(probs, labels):
        score = calibration.brier_score(probs, labels)
        return {"score": score, "zero": score - score, "twice": jnp.stack([score] * 2)}

    got = bootstrap(both, KEY, probs, labels, samples=100)
    alone = bootstrap(calibration.brier_score, KEY, probs, labels, samples=100)
    for part, want in zip(got, alone, strict=True):
        np.testing.assert_allclose(part["twice"], [want, want], rtol=1e-5)
        assert part["zero"] == 0
    parts = bootstrap(calibration.brier_decomposition, KEY, probs, labels, samples=100)
    assert isinstance(parts.low, calibration.BrierDecomposition)
    np.testing.assert_allclose(parts.value.score, alone.value, rtol=1e-5)


def test_one_key_one_result():
    values = jnp.arange(20.0)
    first, again = (bootstrap(jnp.mean, KEY, values, samples=50) for _ in range(2))
    other = bootstrap(jnp.mean, jax.random.key(1), values, samples=50)
    assert first == again
    assert first.low != other.low


def test_it_is_traceable():
    values = jnp.arange(20.0)
    run = partial(bootstrap, jnp.mean, samples=50)
    want = run(KEY, values)
    np.testing.assert_allclose(jax.jit(run)(KEY, values), want, rtol=1e-6)


def test_coverage_of_the_brier_score_and_of_a_large_calibration_error():
    """Of 95 % intervals about 95 in 100 hold the truth of infinitely many rows.

    Two classes; the confidence is 0.6 or 0.9 and the accuracy 0.5: the calibration
    error is exactly 0.25, the Brier score 2 (0.6² + 0.4² + 0.9² + 0.1²) / 4.
    """
    runs, rows = 200, 200

    def one(key):
        for_top, for_label, for_rows = jax.random.split(key, 3)
        top = jnp.where(jax.random.bernoulli(for_top, shape=(rows,)), 0.6, 0.9)
        labels = jax.random.bernoulli(for_label, shape=(rows,)).astype(int)
        probs = jnp.stack([top, 1 - top], axis=-1)

        def both(probs, labels):
            error = calibration.calibration_error(probs, labels)
            return jnp.stack([calibration.brier_score(probs, labels), error])

        return bootstrap(both, for_rows, probs, labels, samples=200)

    got = jax.jit(lambda keys: jax.lax.map(one, keys))(jax.random.split(KEY, runs))
    truth = np.array([0.67, 0.25])
    share = ((got.low <= truth) & (truth <= got.high)).mean(axis=0)
    # Five standard errors of a share of 0.95 in 200 are 0.077.
    assert (share > 0.87).all()
    assert (share < 1).all()
