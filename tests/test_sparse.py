"""Entmax against bisection in float64, its derivatives against differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtemp import entmax, sparsemax
from tests.cases import enable_x64, random_rows

ALPHAS = np.array([1.0, 1.0 + 1e-6, 1.1, 1.5, 1.9, 2.0])


def truth(z, tau, alpha, allowed):
    """Entmax of rows by bisection on the largest probability."""
    z, tau, a = (np.asarray(x, np.float64) for x in (z, tau, np.asarray(alpha) - 1))
    tau, a = tau[:, None], a[:, None]
    z = np.where(allowed, z, -np.inf)
    with np.errstate(all="ignore"):
        x = z - z.max(-1, keepdims=True)
        u = np.where(x == 0, 0, x / tau)
        u = np.where(np.isinf(tau), 0, u)
        u = np.where(allowed, u, -np.inf)

        def terms(top):
            base = np.maximum(top**a + a * u, 0)
            power = np.exp(np.log(base) / a)
            return np.where(a == 0, top * np.exp(u), np.where(base > 0, power, 0))

        low, high = np.zeros_like(tau), np.ones_like(tau)
        for _ in range(60):
            middle = (low + high) / 2
            over = terms(middle).sum(-1, keepdims=True) > 1
            low, high = np.where(over, low, middle), np.where(over, middle, high)
        p = np.where(a < 1e-5, _series(u, a), terms(high))
        p = p / p.sum(-1, keepdims=True)
    return np.where(allowed.any(-1, keepdims=True), p, np.nan)


def _series(u, a):
    """To first order in a: dp/da = -p (log² p - <log² p>) / 2."""
    p = np.exp(u) / np.exp(u).sum(-1, keepdims=True)
    square = np.where(p > 0, np.log(np.where(p > 0, p, 1)) ** 2, 0)
    return p - a * p * (square - (p * square).sum(-1, keepdims=True)) / 2


def generic(rng, rows, alphas):
    """Rows at moderate temperatures, and numbers of theirs."""
    z = rng.normal(size=(rows, 6))
    z[::3, 2] = -np.inf
    tau = rng.uniform(0.3, 2.0, rows)
    return z, tau, np.resize(alphas, rows)


def value(z, tau, alpha):
    return truth(z, tau, alpha, np.isfinite(z))


def differences(z, tau, alpha, dz, dtau, dalpha, step=1e-5):
    """The derivative of the truth along a direction, of second order in the step."""
    move = [
        value(z + h * step * dz, tau + h * step * dtau, alpha + h * step * dalpha)
        for h in (-1, 1)
    ]
    return (move[1] - move[0]) / (2 * step)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_probabilities_are_those_of_bisection(dtype):
    rows = random_rows(dtype, 7, 12_000)
    alpha = np.resize(ALPHAS, len(rows.temperature))[::-1].astype(
        rows.temperature.dtype
    )
    allowed = rows.where & (rows.logits != -np.inf)
    want = truth(rows.logits, rows.temperature, alpha, allowed)
    with enable_x64(dtype):
        p = jax.jit(entmax)(rows.logits, rows.temperature, alpha, where=rows.where)
        p = np.asarray(p)
    # The series that stands for the truth near α = 1 ends at the second order.
    tolerance = (
        2e-6 if dtype == "float32" else np.where(alpha[:, None] > 1.01, 1e-12, 1e-10)
    )
    np.testing.assert_array_equal(np.isnan(p), np.isnan(want))
    assert np.nanmax(np.abs(p - want) / tolerance) < 1
    assert (p[~allowed & allowed.any(-1, keepdims=True)] == 0).all()


def test_sparsemax_is_the_projection_on_the_simplex():
    rng = np.random.default_rng(2)
    z = (rng.normal(size=(2000, 50)) + 1e3).astype(np.float32)
    tau = np.full(2000, 0.7, np.float32)
    # A leader by τ or more has all probability; one by a little less has not.
    z[:3], z[:3, :3], tau[:3] = -np.inf, [3.0, 1.0, 0.0], [1.99, 2.0, 2.01]
    u = z / tau[:, None].astype(np.float64)
    ordered = -np.sort(-u, axis=-1)
    slack = (ordered.cumsum(-1) - 1) / np.arange(1, 51)
    size = (ordered > slack).sum(-1, keepdims=True)
    want = np.maximum(u - np.take_along_axis(slack, size - 1, -1), 0)
    p = np.asarray(jax.jit(sparsemax)(z, tau))
    np.testing.assert_allclose(p, want, atol=1e-6)
    np.testing.assert_array_equal(p > 1e-6, want > 1e-6)
    np.testing.assert_array_equal(p[:2, :3], [[1, 0, 0]] * 2)
    assert 0 < p[2, 1] < 0.01


def test_first_derivatives_are_those_of_differences_forward_and_reverse():
    rng = np.random.default_rng(1)
    z, tau, alpha = generic(rng, 200, ALPHAS[2:5])
    dz, g = rng.normal(size=(2, *z.shape))
    along = [(dz, 0, 0), (0, 1, 0), (0, 0, 1)]
    want = np.stack([differences(z, tau, alpha, *d) for d in along])
    arguments = [jnp.float32(x) for x in (z, tau, alpha)]

    @jax.jit
    def derivatives(z, tau, alpha):
        ones, nil = jnp.ones_like(tau), jnp.zeros_like(tau)
        directions = ((dz, nil, nil), (0 * dz, ones, nil), (0 * dz, nil, ones))
        pushed = [
            jax.jvp(entmax, (z, tau, alpha), tuple(map(jnp.float32, direction)))[1]
            for direction in directions
        ]
        _, pull = jax.vjp(entmax, z, tau, alpha)
        return jnp.stack(pushed), pull(jnp.float32(g))

    pushed, (to_z, to_tau, to_alpha) = derivatives(*arguments)
    np.testing.assert_allclose(pushed, want, atol=1e-4)
    assert np.abs(want).max() > 0.3
    pulled = (g * want).sum(-1)
    np.testing.assert_allclose((to_z * dz).sum(-1), pulled[0], atol=1e-4)
    np.testing.assert_allclose(to_tau, pulled[1], atol=1e-4)
    np.testing.assert_allclose(to_alpha, pulled[2], atol=1e-4)
    assert (np.asarray(to_z)[np.isinf(z)] == 0).all()


def test_second_derivatives_are_those_of_differences():
    rng = np.random.default_rng(3)
    z, tau, alpha = generic(rng, 60, [1.2, 1.5])
    g, step = rng.normal(size=z.shape), 1e-4

    def slope(tau):
        return (g * differences(z, tau, alpha, 0, 1, 0)).sum(-1)

    want = (slope(tau + step) - slope(tau - step)) / (2 * step)
    with jax.enable_x64(True):

        def total(tau):
            return jnp.sum(g * entmax(z, tau, alpha))

        got = jax.jit(jax.grad(lambda t: jnp.sum(jax.grad(total)(t))))(tau)
    np.testing.assert_allclose(got, want, atol=1e-4 * np.abs(want).max())


def test_at_alpha_one_it_is_softmax_with_finite_derivatives_of_both_orders():
    z = np.array([2.0, 1.0, 0.5, -3.0])
    p = np.exp(z / 0.8) / np.exp(z / 0.8).sum()
    log_p, square = np.log(p), np.log(p) ** 2
    bend = p * (square - p @ square) / -2
    bend_in_tau = -p * (log_p - p @ log_p) / 0.8
    alphas = np.array([1.0, 1.0 + 1e-7, 1.0 + 1e-5, 1.2])

    @jax.jit
    @jax.vmap
    def all_of(alpha):
        def slope(tau, alpha):
            return jax.jacfwd(lambda *x: entmax(z, *x), (0, 1))(tau, alpha)

        second = jax.jacfwd(lambda alpha: slope(0.8, alpha)[1])(alpha)
        return entmax(z, 0.8, alpha), *slope(0.8, alpha), second

    with jax.enable_x64(True):
        value, in_tau, in_alpha, second = map(np.asarray, all_of(alphas))
    np.testing.assert_allclose(value[0], p, rtol=1e-13)
    np.testing.assert_allclose(in_tau[0], bend_in_tau, rtol=1e-12)
    np.testing.assert_allclose(in_alpha[0], bend, rtol=1e-12)
    np.testing.assert_allclose(second[0], second[1], rtol=1e-5)
    np.testing.assert_allclose((in_alpha[2] - bend) / 1e-5, second[0], rtol=1e-3)
    rows = z[None], np.array([0.8]), alphas[3:]
    for found, direction in ((in_tau, (0, 1, 0)), (in_alpha, (0, 0, 1))):
        np.testing.assert_allclose(
            found[3], differences(*rows, *direction)[0], atol=1e-8
        )


def test_limits_masks_and_poison_stay_in_their_rows():
    nan, inf = np.nan, np.inf
    extreme = [(t, a) for t in (1e-45, 1e-30, 1e30) for a in (1.0, 1.5, 2.0)]
    tau, alpha = np.array(
        [(0, 1.5), (inf, 1.5), (1, 1), (1, 1.5), (1, 1), (1, 0.5), *extreme * 2], "f4"
    ).T
    z = np.array(
        [[2, 2, 1], [2, 2, 1], [-inf] * 3, [nan, 1, 2], [1, inf, 2], [1, 2, 3]]
        + [[1.0, 1.0, 0.9]] * 9
        + [[1e5, 1e5 - 1, -1e5]] * 9,
        np.float32,
    )

    @jax.jit
    def both(*arguments):
        p, pull = jax.vjp(entmax, *arguments)
        return p, pull(jnp.broadcast_to(jnp.arange(3.0), p.shape))

    p, slopes = both(z, tau, alpha)
    np.testing.assert_array_equal(p[0], [0.5, 0.5, 0])
    np.testing.assert_allclose(p[1], 1 / 3, rtol=1e-6)
    assert np.isnan(p[2:6]).all()
    assert np.isfinite(p[6:]).all()
    for slope in map(np.asarray, slopes[:2]):
        np.testing.assert_array_equal(slope[:3], 0)
    assert all(np.isfinite(slope[6:]).all() for slope in slopes)


def test_axis_dtype_and_vmap():
    z = np.random.default_rng(4).normal(size=(3, 4, 5)).astype(np.float32)
    tau = np.array([0.5, 1.0, 2.0], np.float32)

    @jax.jit
    def several(z, tau):
        mapped = jax.vmap(lambda z, tau: entmax(z.T, tau).T)(z, tau)
        half = sparsemax(z.astype(jnp.bfloat16), tau[:, None], axis=1)
        return entmax(z, tau[:, None], axis=1), mapped, half

    p, mapped, half = several(z, tau)
    np.testing.assert_allclose(np.asarray(p).sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(p, mapped, atol=1e-7)
    assert half.dtype == jnp.bfloat16


@pytest.mark.parametrize("bad", [0.5, 2.5, float("nan")])
def test_an_alpha_out_of_range_has_its_own_message(bad):
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        entmax(np.zeros((2, 3), np.float32), 1.0, bad)
    assert str(raised.value) == (
        f"`alpha` must be in [1, 2], got {bad}; "
        "pass 1 for softmax, 1.5, or 2 for sparsemax."
    )


def test_an_alpha_per_class_has_its_own_message():
    with pytest.raises(ValueError, match=r"^`alpha` must broadcast to the batch shape"):
        entmax(np.zeros((2, 3), np.float32), 1.0, np.ones(3))
