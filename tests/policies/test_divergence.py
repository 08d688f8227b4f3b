"""KL of two policies against its definition in mpmath, and its derivatives."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from jaxtemp.policies import Boltzmann, kl_divergence
from tests.cases import enable_x64

CLASSES = 6
GAPS = (1.0, 1e-1, 1e-2, 1e-4, 1e-6)

compiled = jax.jit(
    lambda *args: kl_divergence(Boltzmann(*args[:2]), Boltzmann(*args[2:]))
)


@jax.jit
def derivatives(*args):
    """Values, slopes in all arguments, and what a tangent along them is pushed to."""
    slopes = jax.grad(lambda *args: compiled(*args).sum(), (0, 1, 2, 3))(*args)
    tangents = tuple(jnp.where(jnp.isfinite(x), x, 0) for x in args)
    return compiled(*args), slopes, jax.jvp(compiled, args, tangents)[1]


def mp_log_softmax(z, tau):
    z = [mpmath.mpf(float(x)) for x in z]
    u = [x / mpmath.mpf(float(tau)) for x in z]
    total = mpmath.fsum(mpmath.exp(x - max(u)) for x in u)
    return [x - max(u) - mpmath.log(total) for x in u]


def exact(z, tau, w, sigma):
    """The definition for rows, and its derivatives in all four arguments."""
    found = []
    with mpmath.workdps(60):
        for row in zip(z, tau, w, sigma, strict=True):
            keep = row[0] > -np.inf
            log_p, log_q = (mp_log_softmax(x[keep], t) for x, t in (row[:2], row[2:]))
            p, q = ([mpmath.exp(x) for x in log] for log in (log_p, log_q))
            d = [a - b for a, b in zip(log_p, log_q, strict=True)]
            kl = mpmath.fdot(p, d)
            to_u = [a * (b - kl) for a, b in zip(p, d, strict=True)]
            to_v = [b - a for a, b in zip(p, q, strict=True)]
            parts = [kl]
            for slope, (x, t) in zip((to_u, to_v), (row[:2], row[2:]), strict=True):
                t = mpmath.mpf(float(t))
                wide = np.zeros(len(x))
                wide[keep] = [float(a / t) for a in slope]
                along = [mpmath.mpf(float(a)) for a in x[keep]]
                parts += [wide, -mpmath.fdot(slope, along) / t**2]
            found.append(parts)
    return [np.array([np.float64(x[i]) for x in found]) for i in range(5)]


def nearby(dtype, offset):
    """Pairs of rows as far apart as each of the gaps, some masked."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(20 * len(GAPS), CLASSES)) * 3
    gap = np.repeat(GAPS, 20)[:, None]
    w = z + gap * rng.normal(size=z.shape)
    tau = rng.uniform(0.3, 3, size=len(z))
    sigma = tau * (1 + gap[:, 0] * rng.normal(size=len(z)) / 10)
    masked = rng.uniform(size=z.shape) < 0.2
    masked[:, :2] = False
    z[masked] = w[masked] = -np.inf
    return tuple(x.astype(dtype) for x in (z + offset, tau, w, sigma))


@pytest.mark.parametrize(
    ("dtype", "offset"), [("float32", 0), ("float32", 1000), ("float64", 0)]
)
def test_close_policies_lose_nothing_to_cancellation(dtype, offset):
    args = nearby(dtype, offset)

    with enable_x64(dtype):
        kl, slopes, along = derivatives(*args)
    true_kl, *true_slopes = exact(*args)
    within = 1e-10 if dtype == "float64" else 2e-5
    assert true_kl.min() < 1e-9
    np.testing.assert_allclose(kl, true_kl, rtol=within)
    pushed, size = 0, 0
    for got, want, x in zip(slopes, true_slopes, args, strict=True):
        got = np.asarray(got, np.float64)
        if got.ndim == 2:
            scale = np.abs(want).max(-1, keepdims=True)
            assert (got[x == -np.inf] == 0).all()
            terms = (want * np.where(x > -np.inf, x, 0)).sum(-1)
            size = size + scale[:, 0] * np.abs(np.where(x > -np.inf, x, 0)).sum(-1)
        else:
            # In a temperature terms cancel, of the size of those in the logits.
            scale = size / x
            terms = want * x
        assert (np.abs(got - want) <= 5 * within * scale).all()
        pushed = pushed + terms
    assert (np.abs(np.asarray(along) - pushed) <= 5 * within * size).all()


def random_pairs(count):
    """Any rows, near and far, cold and hot, of the same and of other classes."""
    rng = np.random.default_rng(1)
    z, w = rng.normal(size=(2, count, CLASSES)) * 10 ** rng.uniform(
        -3, 2, (2, count, 1)
    )
    w = np.where(rng.uniform(size=(count, 1)) < 0.3, z + 1e-4 * w, w)
    masked = rng.uniform(size=(count, CLASSES)) < 0.2
    masked[:, 0] = False
    z[masked] = w[masked] = -np.inf
    taus = 10 ** rng.uniform(-2, 2, (2, count))
    return tuple(x.astype(np.float32) for x in (z, taus[0], w, taus[1]))


def test_random_pairs():
    args = random_pairs(10_000)
    kl = np.asarray(compiled(*args))
    assert (kl >= 0).all()
    some = [x[:500] for x in args]
    np.testing.assert_allclose(kl[:500], exact(*some)[0], rtol=2e-5, atol=1e-30)


def test_a_policy_is_at_no_distance_from_itself():
    z, tau, *_ = random_pairs(300)
    z[0], tau[:8] = -np.inf, [1, 0, np.inf, 1e-30, 1e30, 1e-45, 0, 1]
    same = np.asarray(compiled(z, tau, z, tau))
    assert np.isnan(same[0])
    assert (same[1:] == 0).all()


N, INF = -np.inf, np.inf
ENDS = [
    # z, τ, w, σ and the divergence
    ([1, 1, 0], 0, [1, 1, 1], 1, np.log(3 / 2)),
    ([1, 1, 0], 0, [2, 2, 2], 0, np.log(3 / 2)),
    ([2, 2, 2], 0, [1, 1, 0], 0, INF),
    ([2, 2, N], 0, [1, 1, 0], 0, 0),
    ([5, 1, 0], INF, [1, 1, 1], 1, 0),
    ([0, 0, 0], 1, [5, 1, N], 1, INF),
    ([0, 0, N], 1, [0, 0, 0], 1, np.log(3 / 2)),
    ([0, 0, N], INF, [7, 0, N], INF, 0),
    ([1, 0, N], 1e-30, [1, 1, N], 1, np.log(2)),
    ([1, 1, N], 1, [1, 0, N], 1e-30, 5e29),
    ([0, N, N], 2, [0, N, N], 3, 0),
    ([N, N, N], 1, [0, 0, 0], 1, np.nan),
    ([0, 0, 0], 1, [N, N, N], 1, np.nan),
    ([np.nan, 0, 0], 1, [0, 0, 0], 1, np.nan),
    ([0, 0, 0], 1, [INF, 0, 0], 1, np.nan),
    ([0, 0, 0], -1, [0, 0, 0], 1, np.nan),
]


def test_the_ends():
    *args, want = (np.array(x, np.float32) for x in zip(*ENDS, strict=True))
    # As many rows and classes as have been compiled for the close policies.
    for i in (0, 2):
        args[i] = np.pad(args[i], [(0, 0), (0, CLASSES - 3)], constant_values=N)
    want, *args = (np.resize(x, (100, *x.shape[1:])) for x in (want, *args))
    kl, slopes, _ = derivatives(*args)
    np.testing.assert_allclose(kl, want, rtol=1e-6, atol=1e-7)
    sound = ~np.isnan(want)
    for slope in slopes:
        assert not np.isnan(slope[sound]).any()
    cold = args[1] == 0
    assert (slopes[0][cold] == 0).all()
    assert (slopes[1][cold] == 0).all()


def test_the_curvature_at_equality_is_fishers():
    z = np.random.default_rng(2).normal(size=4).astype(np.float32)

    @jax.jit
    def curvature(z, tau):
        p = Boltzmann(z, tau)
        return (
            jax.hessian(lambda w: kl_divergence(p, Boltzmann(w, tau)))(z),
            jax.hessian(lambda sigma: kl_divergence(p, Boltzmann(z, sigma)))(tau),
        )

    tau = 0.7
    p = np.exp(np.float64(z) / tau)
    p /= p.sum()
    fisher = (np.diag(p) - np.outer(p, p)) / tau**2
    found = curvature(z, tau)
    np.testing.assert_allclose(found[0], fisher, atol=2e-6)
    along = np.float64(z) @ fisher @ np.float64(z) / tau**2
    np.testing.assert_allclose(found[1], along, rtol=1e-5)


def test_shapes_axes_and_dtypes():
    rng = np.random.default_rng(3)
    z = rng.normal(size=(4, 3)).astype(np.float32)
    w = rng.normal(size=4).astype(np.float16)

    @jax.jit
    def run(z, w):
        p, q = Boltzmann(z, 0.5, axis=0), Boltzmann(w, 2.0)
        return (
            kl_divergence(p, q),
            jax.vmap(kl_divergence, (0, None))(Boltzmann(z.T, 0.5), q),
            kl_divergence(q, Boltzmann(w)),
        )

    found, mapped, half = run(z, w)
    assert found.shape == (3,)
    assert (found.dtype, half.dtype) == (jnp.float32, jnp.float16)
    ones = np.ones(3)
    want = exact(z.T, 0.5 * ones, np.tile(w, (3, 1)), 2 * ones)[0]
    np.testing.assert_allclose(found, want, rtol=1e-5)
    np.testing.assert_allclose(mapped, want, rtol=1e-5)
