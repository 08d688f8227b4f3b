"""The relaxed k-hot against bisection in float64, with the noise that it drew."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtemp._rows import fold
from jaxtemp.random import gumbel_top_k, relaxed_top_k
from jaxtemp.random._noise import row_gumbel

KEY = jax.random.key(3)
TAUS = np.array([0, 1e-45, 1e-30, 1e-3, 0.1, 0.5, 1, 10, 1e3, 1e30, np.inf])


def truth(score, tau, k):
    """Sigmoids with a threshold that makes them sum to k, by bisection."""
    score, tau = np.asarray(score, np.float64), np.asarray(tau, np.float64)[:, None]
    finite = np.where(np.isfinite(score), score, np.nan)
    low = np.nanmin(finite, -1, keepdims=True) - 50 * tau
    high = np.nanmax(finite, -1, keepdims=True) + 50 * tau
    with np.errstate(over="ignore"):
        for _ in range(90):
            middle = (low + high) / 2
            total = (1 / (1 + np.exp(-(score - middle) / tau))).sum(-1, keepdims=True)
            low, high = (
                np.where(total > k, middle, low),
                np.where(total > k, high, middle),
            )
        return 1 / (1 + np.exp(-(score - low) / tau))


def noise(z):
    return np.asarray(row_gumbel(KEY, fold(z, 1.0, axis=-1, where=None)), np.float64)


@functools.cache
def drawn():
    """Rows at all temperatures, and what was drawn of them."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(1100, 9)) * rng.choice([1, 10, 1000], (1100, 1))
    z[::3, :4] = -np.inf
    z[::7, 2] = -np.inf
    z, tau = z.astype(np.float32), np.resize(TAUS, 1100).astype(np.float32)
    return (
        z,
        tau,
        np.asarray(jax.jit(lambda *x: relaxed_top_k(KEY, x[0], 3, x[1]))(z, tau)),
    )


def test_coordinates_stay_between_0_and_1_and_sum_to_k():
    z, tau, y = drawn()
    assert ((y >= 0) & (y <= 1)).all()
    np.testing.assert_allclose(y.sum(-1), 3, rtol=3e-7)
    assert (y[np.isinf(z)] == 0).all()
    flat, count = tau >= 1e30, np.isfinite(z).sum(-1, keepdims=True)
    np.testing.assert_allclose(y[flat], ((3 / count) * np.isfinite(z))[flat], rtol=1e-6)
    assert set(np.unique(y[tau < 1e-20])) == {0, 1}


def test_it_is_the_projection_of_the_perturbed_logits():
    z, tau, y = drawn()
    fair = (
        (tau > 0.01)
        & (tau < 1e4)
        & (np.nanmax(np.abs(z), -1, where=z > -np.inf, initial=0) < 50)
    )
    want = truth((z + noise(z))[fair], tau[fair], 3)
    np.testing.assert_allclose(y[fair], want, atol=2e-5)


def test_the_hard_set_is_that_of_gumbel_top_k_with_the_relaxed_derivative():
    z = np.random.default_rng(2).normal(size=(200, 30)).astype(np.float32)
    g = jnp.arange(30.0)

    @jax.jit
    def both(z):
        def drawn(hard):
            y, pull = jax.vjp(lambda z: relaxed_top_k(KEY, z, 5, 0.7, hard=hard), z)
            return y, pull(jnp.broadcast_to(g, z.shape))[0]

        return drawn(True), drawn(False), gumbel_top_k(KEY, z, 5).ids

    (hard, hard_slope), (soft, soft_slope), ids = both(z)
    assert set(np.unique(hard)) == {0, 1}
    members = np.sort(np.argsort(-np.asarray(hard), axis=-1, kind="stable")[:, :5])
    np.testing.assert_array_equal(members, np.sort(ids))
    np.testing.assert_array_equal(np.sort(jax.lax.top_k(soft, 5)[1]), members)
    np.testing.assert_array_equal(hard_slope, soft_slope)
    assert (np.abs(soft_slope).max(-1) > 0).all()


def test_derivatives_are_those_of_differences_forward_reverse_and_second():
    rng = np.random.default_rng(4)
    z = rng.normal(size=(40, 6)).astype(np.float32)
    z[::3, 1] = -np.inf
    tau = rng.uniform(0.3, 2.0, 40).astype(np.float32)
    dz, g = rng.normal(size=(2, *z.shape)).astype(np.float32)
    score, step = z + noise(z), 1e-4
    wide = tau.astype(np.float64)

    def moved(h, in_tau):
        return truth(score + h * step * dz, wide + in_tau * step, 2)

    along_z = (moved(1, 0) - moved(-1, 0)) / (2 * step)
    along_tau = (moved(0, 1) - moved(0, -1)) / (2 * step)
    bend = (moved(0, 1) - 2 * moved(0, 0) + moved(0, -1)) / step**2

    @jax.jit
    def derivatives(z, tau):
        ones, nil = jnp.ones_like(tau), jnp.zeros_like(tau)

        def drawn(z, tau):
            return relaxed_top_k(KEY, z, 2, tau)

        def slope(tau):
            return jax.jvp(lambda tau: drawn(z, tau), (tau,), (ones,))[1]

        pushed = jax.jvp(drawn, (z, tau), (dz, nil))[1]
        return pushed, *jax.jvp(slope, (tau,), (ones,)), jax.vjp(drawn, z, tau)[1](g)

    pushed, slope, second, (to_z, to_tau) = derivatives(z, tau)
    np.testing.assert_allclose(pushed, along_z, atol=1e-4)
    np.testing.assert_allclose(slope, along_tau, atol=1e-4)
    np.testing.assert_allclose(second, bend, atol=1e-4 * np.abs(bend).max())
    np.testing.assert_allclose((to_z * dz).sum(-1), (g * along_z).sum(-1), atol=2e-4)
    np.testing.assert_allclose(to_tau, (g * along_tau).sum(-1), atol=1e-4)
    assert (np.asarray(to_z)[np.isinf(z)] == 0).all()


def test_limits_and_poison_stay_in_their_rows():
    inf, nan = np.inf, np.nan
    z = np.array(
        [
            [1, 2, 3, 4],
            [nan, 1, 2, 3],
            [-inf] * 4,
            [1, inf, 2, 3],
            [1, -inf, -inf, -inf],
        ],
        np.float32,
    )
    z = np.concatenate([z, np.tile(z[:1], (4, 1))])
    tau = np.array([1, 1, 1, 1, 1, 0, 1e-45, 1e-30, inf], np.float32)

    @jax.jit
    def both(z, tau):
        y, pull = jax.vjp(lambda z, tau: relaxed_top_k(KEY, z, 2, tau), z, tau)
        return y, *pull(jnp.broadcast_to(jnp.arange(4.0), z.shape))

    y, to_z, to_tau = both(z, tau)
    assert np.isnan(y[1:4]).all()
    np.testing.assert_array_equal(y[4], [1, 0, 0, 0])
    good = [0, 2, *range(4, 9)]
    assert np.isfinite(np.asarray(to_z)[good]).all()
    assert np.isfinite(np.asarray(to_tau)[good]).all()
    assert (np.asarray(to_z)[[2, 4, 5, 8]] == 0).all()


def test_a_row_depends_on_its_own_key_alone():
    z = np.random.default_rng(3).normal(size=(4, 6)).astype(np.float32)
    keys = jax.random.split(KEY, 4)

    @jax.jit
    def three(z):
        alone = jax.vmap(lambda key, z: relaxed_top_k(key, z, 2, 0.5))(keys, z)
        half = relaxed_top_k(keys, z.T.astype(jnp.float16), 2, 0.5, axis=0)
        return relaxed_top_k(keys, z, 2, 0.5), alone, half

    together, alone, half = three(z)
    np.testing.assert_array_equal(together, alone)
    assert half.dtype == jnp.float16
    np.testing.assert_allclose(half.T, together, atol=5e-3)


@pytest.mark.parametrize(
    ("k", "error", "message"),
    [
        (
            5,
            ValueError,
            "`k` must be in [1, 4] to choose among 4 classes, got 5; ask for fewer.",
        ),
        (
            0,
            ValueError,
            "`k` must be in [1, 4] to choose among 4 classes, got 0; ask for fewer.",
        ),
        (
            2.0,
            TypeError,
            "`k` must be an int, got 2.0; it is a shape, which cannot be traced.",
        ),
    ],
)
def test_a_bad_k_has_its_own_message(k, error, message):
    with pytest.raises(error) as raised:
        relaxed_top_k(KEY, np.zeros(4, np.float32), k)
    assert str(raised.value) == message
