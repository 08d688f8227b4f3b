"""Gumbel-Sinkhorn against plain Sinkhorn in float64 and against SciPy's assignment."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.special import logsumexp

from jaxtemp._rows import fold
from jaxtemp.random import gumbel_sinkhorn
from jaxtemp.random._noise import row_gumbel

KEY = jax.random.key(6)


def perturbed(z):
    """The logits with the noise that the function adds to them."""
    flat = z.reshape(*z.shape[:-2], -1)
    noise = row_gumbel(KEY, fold(flat, 1.0, axis=-1, where=None))
    return z.astype(np.float64) + np.asarray(noise, np.float64).reshape(z.shape)


def truth(score, tau, steps=4000):
    """Sinkhorn's iteration, many times."""
    a = score / np.asarray(tau)[..., None, None]
    for _ in range(steps):
        a = a - logsumexp(a, -1, keepdims=True)
        a = a - logsumexp(a, -2, keepdims=True)
    return np.exp(a)


@functools.cache
def drawn():
    """Matrices at all temperatures, and what was drawn of them."""
    z = np.random.default_rng(0).normal(size=(1, 4, 4)) * np.ones((400, 1, 1))
    z[:200:4, 0, 1] = -np.inf
    tau = np.resize([0.0, 1e-6, 1e-30, 1e-45], 400)
    tau[:200] = np.resize([0.5, 1.0, 4.0, np.inf], 200)
    z, tau = z.astype(np.float32), tau.astype(np.float32)
    found = jax.jit(lambda z, tau: gumbel_sinkhorn(KEY, z, tau))(z, tau)
    return perturbed(z), tau, jax.tree.map(np.asarray, found)


def test_the_matrix_is_that_of_sinkhorn_and_the_report_is_true():
    score, tau, found = drawn()
    flat = np.isinf(tau)
    want = truth(score[:200], np.where(flat, 1e9, tau)[:200], 1000)
    np.testing.assert_allclose(found.matrix[:200], want, atol=2e-5)
    np.testing.assert_allclose(np.exp(found.log_matrix), found.matrix, rtol=1e-6)
    np.testing.assert_allclose(found.matrix[flat], 0.25, atol=1e-6)
    sums = np.stack([found.matrix.sum(i) for i in (1, 2)])
    np.testing.assert_allclose(np.abs(sums - 1).max((0, 2)), found.error, atol=3e-7)
    assert found.converged.all()
    assert (found.error <= 1e-5).all()
    assert (found.iterations[:200] <= 20).all()


def test_cold_matrices_are_the_permutations_of_the_assignment_problem():
    score, _, found = (x[200:] for x in (*drawn()[:2], drawn()[2].matrix))
    best = np.array([linear_sum_assignment(-s)[1] for s in score])
    np.testing.assert_array_equal(found, np.eye(4)[best])
    assert len(set(map(tuple, best))) > 12  # of 24 orders


def test_a_large_cold_matrix_converges_in_few_steps():
    z = np.random.default_rng(2).normal(size=(2, 60, 60)).astype(np.float32)
    found = jax.jit(gumbel_sinkhorn)(KEY, z, np.array([0.0, 0.02], np.float32))
    assert np.asarray(found.converged).all()
    assert (np.asarray(found.iterations) < 60).all()
    best = linear_sum_assignment(-perturbed(z)[0])[1]
    np.testing.assert_array_equal(np.asarray(found.matrix)[0].argmax(-1), best)


def test_derivatives_are_those_of_differences_forward_reverse_and_second():
    rng = np.random.default_rng(3)
    z = rng.normal(size=(6, 4, 4)).astype(np.float32)
    z[0, 1, 2] = -np.inf
    tau = np.array([0.6, 0.7, 0.8, 1, 2, 3], np.float32)
    dz, g = rng.normal(size=(2, *z.shape)).astype(np.float32)
    score, wide, step = perturbed(z), tau.astype(np.float64), 1e-3

    def moved(h, in_tau):
        return truth(score + h * step * dz, wide + in_tau * step, 1500)

    along_z = (moved(1, 0) - moved(-1, 0)) / (2 * step)
    above, below = moved(0, 1), moved(0, -1)
    along_tau = (above - below) / (2 * step)
    bend = (above - 2 * moved(0, 0) + below) / step**2

    @jax.jit
    def derivatives(z, tau):
        ones, nil = jnp.ones_like(tau), jnp.zeros_like(tau)

        def matrix(z, tau):
            return gumbel_sinkhorn(KEY, z, tau).matrix

        def slope(tau):
            return jax.jvp(lambda tau: matrix(z, tau), (tau,), (ones,))[1]

        pushed = jax.jvp(matrix, (z, tau), (dz, nil))[1]
        return pushed, *jax.jvp(slope, (tau,), (ones,)), jax.vjp(matrix, z, tau)[1](g)

    pushed, slope, second, (to_z, to_tau) = derivatives(z, tau)
    np.testing.assert_allclose(pushed, along_z, atol=1e-4)
    np.testing.assert_allclose(slope, along_tau, atol=1e-4)
    np.testing.assert_allclose(second, bend, atol=1e-4 * np.abs(bend).max())
    sums = [(g * x).sum((1, 2)) for x in (along_z, along_tau)]
    pulled = np.where(np.isinf(z), 0, to_z * dz).sum((1, 2))
    np.testing.assert_allclose(pulled, sums[0], atol=2e-4)
    np.testing.assert_allclose(to_tau, sums[1], atol=2e-4)
    assert to_z[0, 1, 2] == 0


def test_what_cannot_be_balanced_is_reported_and_poison_stays_in_its_matrix():
    z = np.random.default_rng(4).normal(size=(6, 4, 4)).astype(np.float32)
    where = np.ones((6, 4, 4), bool)
    where[0, :2, :3] = False  # two rows that only have one column
    z[1, 0, 0] = np.nan
    tau = np.array([0.5, 0.5, -1, 0.5, 0.0, 1e-20], np.float32)

    @jax.jit
    def both(z, tau):
        def matrix(z, tau):
            found = gumbel_sinkhorn(KEY, z, tau, where=where)
            return found.matrix, found

        _, pull, found = jax.vjp(matrix, z, tau, has_aux=True)
        weights = jnp.arange(16.0).reshape(4, 4)
        return found, pull(jnp.broadcast_to(weights, z.shape))

    found, slopes = both(z, tau)
    np.testing.assert_array_equal(found.converged, [False] * 3 + [True] * 3)
    assert np.isfinite(found.matrix[0]).all()
    assert (np.asarray(found.matrix)[~where] == 0).all()
    assert np.isnan(found.matrix[1:3]).all()
    np.testing.assert_array_equal(found.iterations[1:3], 1)
    assert all(np.isfinite(np.asarray(x)[3:]).all() for x in slopes)
    assert (np.asarray(slopes[0])[~where] == 0).all()


def test_a_matrix_depends_on_its_own_key_alone():
    z = np.random.default_rng(5).normal(size=(3, 4, 4)).astype(np.float32)
    keys = jax.random.split(KEY, 3)

    @jax.jit
    def two(z):
        alone = jax.vmap(lambda key, z: gumbel_sinkhorn(key, z, 0.3))(keys, z)
        return gumbel_sinkhorn(keys, z, 0.3), alone

    for together, alone in zip(*two(z), strict=True):
        np.testing.assert_allclose(together, alone, rtol=1e-6, atol=1e-6)


BAD = {
    "one row": (
        {"logits": np.zeros(4, np.float32)},
        ValueError,
        (
            "`logits` must hold square matrices along the last two axes, got shape "
            "(4,); pad the smaller side and mask nothing of it."
        ),
    ),
    "an oblong": (
        {"logits": np.zeros((2, 3), np.float32)},
        ValueError,
        (
            "`logits` must hold square matrices along the last two axes, got shape "
            "(2, 3); pad the smaller side and mask nothing of it."
        ),
    ),
    "no steps": (
        {"iterations": 0},
        ValueError,
        (
            "`iterations` must be at least 1, got 0; 100 are enough for most "
            "temperatures."
        ),
    ),
    "half a step": (
        {"iterations": 1.5},
        TypeError,
        "`iterations` must be an int, got 1.5; pass one number for all.",
    ),
    "a large tolerance": (
        {"tolerance": 2.0},
        ValueError,
        (
            "`tolerance` must be in [0, 1], got 2.0; pass the largest error of a sum "
            "that counts as none."
        ),
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_has_its_own_message(case):
    arguments, error, message = BAD[case]
    with pytest.raises(error) as raised:
        gumbel_sinkhorn(KEY, **{"logits": np.zeros((3, 3), np.float32), **arguments})
    assert str(raised.value) == message
