"""`log_prob` against the published density at 60 digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import gammaln, logsumexp

from jaxtemp.random.concrete import (
    BinaryConcrete,
    Concrete,
    ExpConcrete,
    LogitBinaryConcrete,
)

from . import truth

TAUS = np.array([1e-3, 0.05, 0.5, 0.7, 1.0, 2.0, 30.0], np.float32)
CLASSES = 7


@jax.jit
def densities(z, tau, x, where):
    return (
        ExpConcrete(z, tau, where=where).log_prob(x),
        Concrete(z, tau, where=where).log_prob(jnp.exp(x)),
    )


def cases():
    rng = np.random.default_rng(0)
    z = 3 * rng.normal(size=(len(TAUS), CLASSES)).astype(np.float32)
    return z, truth.gumbel_points(z, TAUS, rng)


def assert_right(found, z, x, allowed, scale=1.0):
    """Each row to float32's rounding of the terms that it is a sum of."""
    for row, tau in enumerate(TAUS):
        keep = allowed[row]
        simplex, total = truth.log_density(z[row], tau, x[row], keep)
        w = np.abs(z[row] - z[row].max() - tau * x[row])[keep].sum() + keep.sum()
        ulps = np.finfo(np.float32).eps * scale
        assert abs(found[0][row] - float(simplex + total)) < 4 * ulps * w * keep.sum()
        if x[row][keep].min() > np.log(np.finfo(np.float32).tiny):
            room = w * keep.sum() + np.abs(x[row])[keep].sum()
            # The point itself is rounded, to e^x in float32.
            room += (tau + 1) * np.abs(x[row])[keep].max() * keep.sum()
            assert abs(found[1][row] - float(simplex)) < 8 * ulps * room


def test_density_is_the_published_one():
    z, x = cases()
    everything = np.ones(z.shape, bool)
    assert_right(densities(z, TAUS, x, everything), z, x, everything)


def test_density_of_many_rows_is_that_of_few():
    z, x = cases()
    many = [np.tile(a, (1000, 1)) for a in (z, x, np.ones(z.shape, bool))]
    found = densities(many[0], np.tile(TAUS, 1000), *many[1:])
    few = densities(z, TAUS, x, np.ones(z.shape, bool))
    for a, b in zip(found, few, strict=True):
        np.testing.assert_allclose(a, np.tile(b, 1000), rtol=2e-6, atol=1e-4)


@pytest.mark.parametrize("classes", [4095, 4096, 5001])
def test_density_of_long_rows_is_that_in_float64(classes):
    rng = np.random.default_rng(classes)
    tau = np.array([0.5, 0.7, 1.0, 2.0], np.float32)
    z = 3 * rng.normal(size=(len(tau), classes)).astype(np.float32)
    x = truth.gumbel_points(z, tau, rng)
    y = np.exp(x)
    found = (
        jax.jit(lambda z, tau, x: ExpConcrete(z, tau).log_prob(x))(z, tau, x),
        jax.jit(lambda z, tau, y: Concrete(z, tau).log_prob(y))(z, tau, y),
    )
    points = x, np.log(np.float64(y))
    for density, point, simplex in zip(found, points, (0, 1), strict=True):
        w = z - np.float64(tau)[:, None] * point
        each = w - logsumexp(w, axis=-1, keepdims=True) - simplex * point
        total = gammaln(classes) + (classes - 1) * np.log(np.float64(tau))
        room = 1e-6 * (np.abs(each).sum(-1) + np.abs(point).sum(-1) + total)
        assert (np.abs(density - (total + each.sum(-1))) < room).all()


def test_masked_classes_are_not_there_and_what_is_beneath_is_not_used():
    z, x = cases()
    allowed = np.random.default_rng(1).random(z.shape) < 0.6
    allowed[:, :2] = True
    inside = np.where(allowed, x, -np.inf)
    inside = truth.log_softmax(inside).astype(np.float32)
    dirty = np.where(allowed, z, np.nan), np.where(allowed, inside, np.nan)
    found = densities(dirty[0], TAUS, dirty[1], allowed)
    assert_right(found, z, inside, allowed)
    minus_infinity = np.where(allowed, z, -np.inf).astype(np.float32)
    same = densities(minus_infinity, TAUS, inside, np.ones(z.shape, bool))
    np.testing.assert_array_equal(found, same)


@pytest.mark.parametrize("offset", [1e5, -1e5])
def test_a_common_offset_changes_nothing(offset):
    z, x = cases()
    z = np.round(z * 64) / 64  # exact beside the offset
    everything = np.ones(z.shape, bool)
    moved = densities((z + offset).astype(np.float32), TAUS, x, everything)
    assert_right(moved, z, x, everything)


def test_rows_that_are_no_distribution_are_nan_and_others_untouched():
    z, x = cases()
    where = np.ones(z.shape, bool)
    clean = densities(z, TAUS, x, where)
    z[0, 1], z[1, 0], where[2] = np.nan, np.inf, False
    tau = TAUS.copy()
    tau[3] = -1.0
    x[4, 2] = np.nan
    where[5, 1:] = False  # one class alone, which is certain
    after = densities(z, tau, x, where)
    assert abs(after[0][5]) < 1e-6
    for found, before in zip(after, clean, strict=True):
        assert np.isnan(found[:5]).all()
        np.testing.assert_allclose(found[6], before[6], rtol=1e-6)


def test_the_boundary_is_minus_infinity_in_log_space_and_finite_on_the_simplex():
    z, x = cases()
    x[:, 3] = -np.inf
    log_space, simplex = densities(z, TAUS, x, np.ones(z.shape, bool))
    assert (log_space == -np.inf).all()
    # A zero counts as the smallest normal number.
    x[:, 3] = np.log(np.finfo(np.float32).tiny)
    near = densities(z, TAUS, x, np.ones(z.shape, bool))[1]
    np.testing.assert_allclose(simplex, near, rtol=1e-5)


@jax.jit
def bits(z, tau, x, y):
    logit, bit = LogitBinaryConcrete(z, tau), BinaryConcrete(z, tau)
    own = bit.sample_and_log_prob(jax.random.key(0))
    return logit.log_prob(x), bit.log_prob(y), *own


def test_two_classes_are_a_bit():
    rng = np.random.default_rng(3)
    size = len(TAUS)
    z = rng.normal(size=size).astype(np.float32)
    logit = (z + rng.logistic(size=size)) / TAUS
    x = -np.logaddexp(0, [-logit, logit])
    expected = [truth.log_density([z[i], 0.0], TAUS[i], x[:, i]) for i in range(size)]
    simplex = np.array([float(density) for density, _ in expected])
    log_space = np.array([float(density + total) for density, total in expected])
    y = 1 / (1 + np.exp(-logit))
    found = bits(z, TAUS, logit.astype(np.float32), y.astype(np.float32))
    np.testing.assert_allclose(found[0], log_space, rtol=1e-5, atol=2e-5)
    inside = np.abs(logit) < 8
    assert inside.sum() >= 3
    np.testing.assert_allclose(found[1][inside], simplex[inside], rtol=1e-3, atol=1e-3)


def test_bits_end_well():
    certain = np.array([np.inf, -np.inf, np.nan, 0, 0, 0, 0], np.float32)
    ends = np.array([0, 0, 0, np.inf, -np.inf, 1, 1], np.float32)
    zeros_and_ones = np.array([1, 0, 0, 0, 1, 0, 1], np.float32)
    logit, bit, y, own = bits(certain, TAUS, ends, zeros_and_ones)
    np.testing.assert_array_equal(logit[:3], [0, 0, np.nan])
    np.testing.assert_array_equal(logit[3:5], -np.inf)
    np.testing.assert_array_equal(bit[:3], [0, 0, np.nan])
    assert np.isfinite(bit[3:]).all()
    np.testing.assert_array_equal(y[:3], [1, 0, np.nan])
    np.testing.assert_array_equal(own[:3], [0, 0, np.nan])


def test_results_have_the_dtype_of_the_logits():
    dtypes = jnp.float16, jnp.bfloat16, jnp.float64
    tau = np.array([1.0, 2.0], np.float32)

    @jax.jit
    def run(pairs):
        rows = [Concrete(z, tau) for z, _ in pairs]
        own = rows[0].sample_and_log_prob(jax.random.key(0))
        return rows, own, [ExpConcrete(z, tau).log_prob(x) for z, x in pairs]

    with jax.enable_x64(True):
        z, x = (a[4:6] for a in cases())
        pairs = [(jnp.asarray(z, d), jnp.asarray(x, d)) for d in dtypes]
        rows, own, densities = run(pairs)
        assert {own[0].dtype, own[1].dtype} == {jnp.dtype(dtypes[0])}
        for dtype, (z, x), row, found in zip(
            dtypes, pairs, rows, densities, strict=True
        ):
            assert found.dtype == dtype
            wide = dtype == jnp.float64
            assert row.temperature.dtype == (jnp.float64 if wide else jnp.float32)
            room = 40 * float(jnp.finfo(dtype).eps) + 1e-13
            for i in range(2):
                simplex, total = truth.log_density(z[i], tau[i], x[i])
                assert abs(found[i] - float(simplex + total)) < room
