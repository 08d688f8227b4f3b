"""XTC, dynamic temperature and Mirostat against float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtemp.sampling import filters
from tests.sampling.filter_truth import Kept, Truth, complaints, random_rows

KEY = jax.random.key(0)
dynamic_temperature = jax.jit(filters.dynamic_temperature)
mirostat = jax.jit(filters.mirostat)
update = jax.jit(filters.mirostat_update)
xtc = jax.jit(filters.xtc)


@jax.jit
def certain_xtc(logits, threshold, least=1):
    return filters.xtc(KEY, logits, threshold, 1.0, min_tokens_to_keep=least)


def xtc_truth(logits, threshold, least=1) -> Kept:
    """What is left of rows that are filtered; rows near a threshold promise nothing."""
    truth = Truth(logits)
    likely = truth.p >= threshold
    near = np.abs(truth.p - threshold) < 1e-5
    order = np.argsort(-truth.z, axis=-1, kind="stable")
    ranks = np.argsort(order, axis=-1)
    cut = likely & (ranks < likely.sum(axis=-1, keepdims=True) - 1)
    left = (truth.allowed & ~cut).sum(axis=-1, keepdims=True)
    kept = truth.allowed & ~(cut & (left >= least) & (threshold <= 0.5))
    doubtful = near.any(axis=-1, keepdims=True)
    return Kept(kept & ~doubtful, (kept | doubtful) & truth.allowed)


@pytest.mark.parametrize("least", [1, 3])
@pytest.mark.parametrize("threshold", [0.02, 0.1, 0.3, 0.5, 0.6])
def test_xtc_leaves_what_the_truth_leaves(threshold, least):
    logits = random_rows("float32", 8, 20_000)
    got = certain_xtc(logits, threshold, least)
    assert not complaints(logits, got, xtc_truth(logits, threshold, least))


def test_xtc_keeps_one_of_equals():
    logits = np.full((20_000, 8), -np.inf, np.float32)
    logits[:, :4] = 0
    kept = np.asarray(certain_xtc(logits, 0.2)) > -np.inf
    assert (kept == (np.arange(8) == 3)).all()


@pytest.mark.parametrize("probability", [0.0, 0.25, 0.9, 1.0])
def test_xtc_happens_as_often_as_asked(probability):
    logits = jnp.broadcast_to(jnp.log(jnp.array([0.6, 0.4])), (100_000, 2))
    got = xtc(jax.random.key(1), logits, 0.1, probability)
    share = float((got[:, 0] == -jnp.inf).mean())
    spread = np.sqrt(probability * (1 - probability) / 100_000)
    assert abs(share - probability) <= 5 * spread


def test_xtc_with_a_key_for_each_row_depends_on_the_row_alone():
    logits = jnp.broadcast_to(jnp.log(jnp.array([0.6, 0.4])), (50, 2))
    keys = jax.random.split(KEY, 50)
    together = xtc(keys, logits, 0.1, 0.5)
    assert 5 < (together[:, 0] == -jnp.inf).sum() < 45
    shuffled = xtc(keys[::-1], logits, 0.1, 0.5)
    np.testing.assert_array_equal(shuffled[::-1], together)
    alone = jax.vmap(xtc, in_axes=(0, 0, None, None))(keys, logits, 0.1, 0.5)
    np.testing.assert_array_equal(alone, together)
    old = jax.random.key_data(keys)
    np.testing.assert_array_equal(xtc(old, logits, 0.1, 0.5), together)


def temperature_truth(logits, low, high, exponent) -> np.ndarray:
    truth = Truth(logits)
    count = truth.allowed.sum(axis=-1, keepdims=True)
    share = np.clip(truth.entropy / np.log(np.maximum(count, 2)), 0, 1)
    tau = low + (high - low) * share**exponent
    return np.where(count > 1, tau, 1)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize(
    ("low", "high", "exponent"),
    [
        (0.5, 2.0, 1.0),
        (2.0, 0.5, 1.0),
        (0.1, 3.0, 2.5),
        (1.0, 1.5, 0.0),
        (0.7, 0.7, 3.0),
    ],
)
def test_dynamic_temperature_divides_by_the_true_temperature(
    dtype, low, high, exponent
):
    with jax.enable_x64(dtype == "float64"):
        logits = random_rows(dtype, 8, 5_000)
        got = dynamic_temperature(logits, low, high, exponent)
        tau = temperature_truth(logits, low, high, exponent)
        want = logits.astype(np.float64) / tau
        close = {"float32": 2e-5, "bfloat16": 8e-3, "float64": 1e-6}[dtype]
        assert got.dtype == logits.dtype
        np.testing.assert_array_equal(np.isinf(got), np.isinf(logits))
        finite = np.isfinite(logits)
        np.testing.assert_allclose(
            np.asarray(got, np.float64)[finite], want[finite], rtol=close, atol=1e-6
        )


def test_dynamic_temperature_at_its_limits():
    one = [-np.inf, 5.0, -np.inf, -np.inf]
    logits = jnp.array([[1.0, 3.0, 3.0, -np.inf], [0.0, 0.0, 0.0, 0.0], one])
    frozen = np.asarray(dynamic_temperature(logits, 0.0, 0.0))
    kept = [[False, True, True, False], [True] * 4, [False, True, False, False]]
    assert (frozen > -np.inf).tolist() == kept
    assert np.ptp(frozen[0, 1:3]) == 0
    hot = dynamic_temperature(logits, np.inf, np.inf)
    assert hot[:2].tolist() == [[0.0, 0.0, 0.0, -np.inf], [0.0] * 4]
    assert dynamic_temperature(logits, 0.5, 2.0)[2].tolist() == one


def test_dynamic_temperature_does_not_overflow():
    logits = jnp.array([1000.0, 999.0, -1000.0, -jnp.inf], jnp.float16)
    got = dynamic_temperature(logits, 1e-3, 1e-3)
    assert jnp.isfinite(got).tolist() == [True, True, True, False]
    np.testing.assert_allclose(got[:2], [0.0, -1000.0], rtol=1e-3)


def test_dynamic_temperature_has_finite_gradients():
    logits = jnp.array([[1.0, 2.0, -jnp.inf], [0.0, 0.0, 0.0], [9.0, -900.0, -900.0]])

    @jax.jit
    def totals(z):
        cooled = filters.dynamic_temperature(z, 0.5, 2.0)
        return jnp.sum(jnp.where(cooled > -jnp.inf, cooled, 0) * jnp.arange(3.0), -1)

    gradient = jax.jit(jax.grad(lambda z: jnp.sum(totals(z))))(logits)
    assert jnp.isfinite(gradient).all()
    step = 1e-2
    up, down = (totals(logits.at[0, 0].add(d))[0] for d in (step, -step))
    np.testing.assert_allclose(gradient[0, 0], (up - down) / (2 * step), rtol=1e-2)


def test_mirostat_follows_its_recurrence():
    rng = np.random.default_rng(0)
    tau, eta = np.array([1.0, 3.0], np.float32), 0.3
    state = filters.mirostat_init(tau, (2,))
    mu = 2.0 * tau.astype(np.float64)
    for _ in range(30):
        logits = rng.normal(size=(2, 50)).astype(np.float32) * 3
        got = mirostat(logits, state)
        assert not complaints(logits, got, Truth(logits).mirostat(mu))
        rows = np.asarray(got)
        ids = np.array([rng.choice(np.flatnonzero(row > -np.inf)) for row in rows])
        state = update(state, got, ids, tau=tau, eta=eta)
        log_p = Truth(rows).log_p[np.arange(2), ids]
        mu = mu - eta * (-log_p / np.log(2) - tau)
        np.testing.assert_allclose(state.mu, mu, rtol=1e-5)


def test_mirostat_keeps_its_state_where_nothing_was_sampled():
    logits = jnp.array([[0.0, -jnp.inf], [0.0, -jnp.inf], [-jnp.inf, -jnp.inf]])
    state = filters.mirostat_init(2.0, (3,))
    moved = update(state, logits, jnp.array([-1, 1, -1]))
    assert moved.mu.tolist() == [4.0, 4.0, 4.0]


def test_mirostat_steers_the_mean_surprise():
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(64, 1000)) * 2)

    def step(state, key):
        kept = filters.mirostat(logits, state)
        ids = jax.random.categorical(key, kept)
        log_p = jnp.take_along_axis(jax.nn.log_softmax(kept), ids[:, None], -1)
        state = filters.mirostat_update(state, kept, ids, tau=4.0, eta=0.1)
        return state, -log_p[:, 0] / jnp.log(2)

    keys = jax.random.split(KEY, 300)
    _, surprise = jax.lax.scan(step, filters.mirostat_init(4.0, (64,)), keys)
    assert abs(float(surprise[100:].mean()) - 4.0) < 0.05
