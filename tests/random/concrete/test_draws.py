"""Draws: their law, their noise, their densities, and how they go through JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxtemp.random import gumbel_softmax
from jaxtemp.random.concrete import (
    BinaryConcrete,
    Concrete,
    ExpConcrete,
    LogitBinaryConcrete,
)

from .million import TAUS, bits, classes, infinities

KEY = jax.random.key(7)
Z = np.array([0.5, -1.0, 2.0, 0.0, 1.2], np.float32)


@pytest.fixture(scope="module")
def draws():
    """Draws at each temperature, of log points and of logits."""

    @jax.jit
    def run(key):
        tau = jnp.asarray(TAUS)
        rows = ExpConcrete(jnp.broadcast_to(Z, (len(TAUS), len(Z))), tau)
        odds = LogitBinaryConcrete(jnp.full(len(TAUS), 0.7), tau)
        shape = (200_000,)
        return rows.sample(key, shape), odds.sample(key, shape)

    return [np.asarray(x, np.float64) for x in run(KEY)]


def test_noise_of_draws_is_uniform_on_the_simplex_at_every_temperature(draws):
    w = Z - np.array(TAUS)[:, None] * draws[0]
    u = np.exp(w - w.max(-1, keepdims=True))
    u /= u.sum(-1, keepdims=True)
    for row in range(len(TAUS)):
        for i in range(len(Z)):
            law = scipy.stats.beta(1, len(Z) - 1)
            assert scipy.stats.kstest(u[:50_000, row, i], law.cdf).pvalue > 1e-4
        # Coordinates of a uniform point have correlation -1/(K-1).
        correlation = np.corrcoef(u[:, row].T)[np.triu_indices(len(Z), 1)]
        np.testing.assert_allclose(correlation, -1 / (len(Z) - 1), atol=0.015)


def test_the_largest_coordinate_is_categorical_at_every_temperature(draws):
    p = np.exp(Z.astype(float)) / np.exp(Z.astype(float)).sum()
    for row in range(len(TAUS)):
        counts = np.bincount(draws[0][:, row].argmax(-1), minlength=len(Z))
        assert scipy.stats.chisquare(counts, p * counts.sum()).pvalue > 1e-4


def test_logits_of_bits_are_logistic(draws):
    for row, tau in enumerate(TAUS):
        law = scipy.stats.logistic(0.7 / tau, 1 / tau)
        assert scipy.stats.kstest(draws[1][:50_000, row], law.cdf).pvalue > 1e-4


def test_own_draws_have_a_finite_density():
    assert infinities(bits(), 100_000, 1) == 0
    assert infinities(classes(1000), 5_000, 10) == 0


def test_the_density_of_a_draw_is_that_of_its_point():
    tau = np.array([1e-3, 0.1, 1.0, 10.0], np.float32)
    z = np.random.default_rng(5).normal(size=(4, 30)).astype(np.float32)

    @jax.jit
    def run(key):
        row, soft = ExpConcrete(z, tau), Concrete(z, tau)
        logit, bit = LogitBinaryConcrete(z[:, 0], tau), BinaryConcrete(z[:, 0], tau)
        found = []
        for one in (row, soft, logit, bit):
            x, own = one.sample_and_log_prob(key, (50,))
            found.append((x, own, one.log_prob(x)))
        return found, row.sample(key, (50,)), logit.sample(key, (50,))

    found, points, logits = run(KEY)
    np.testing.assert_array_equal(points, found[0][0])
    np.testing.assert_array_equal(logits, found[2][0])
    for i, (x, own, density) in enumerate(found):
        whole = slice(None)
        if i == 1:  # where no coordinate was flushed to zero
            whole = np.asarray(x).min(-1) > 1e-37
            assert whole[:, 2:].all()
        if i == 3:  # where it was not rounded to 1, nor near
            whole = (np.asarray(x) > 1e-37) & (np.asarray(x) < 0.999)
        np.testing.assert_allclose(own[whole], density[whole], rtol=2e-5, atol=1e-3)


def test_draws_are_those_of_gumbel_softmax():
    z = np.random.default_rng(6).normal(size=(3, 8)).astype(np.float32)
    tau = np.array([0.1, 1.0, 3.0], np.float32)
    pair = jax.jit(
        lambda key: (Concrete(z, tau).sample(key), gumbel_softmax(key, z, tau))
    )
    np.testing.assert_allclose(*pair(KEY), rtol=1e-6)


def test_a_row_depends_on_its_own_key_and_logits_alone():
    z = np.random.default_rng(8).normal(size=(4, 6)).astype(np.float32)
    keys = jax.random.split(KEY, 4)

    @jax.jit
    def run(z, keys):
        def draw(z, keys):
            return ExpConcrete(z, 0.3).sample(keys, (5,))

        return draw(z, keys), jax.vmap(draw, out_axes=1)(z, keys)

    found, alone = run(z, keys)
    np.testing.assert_array_equal(found, alone)
    np.testing.assert_array_equal(found[:, ::-1], run(z[::-1], keys[::-1])[0])
    assert len(np.unique(np.asarray(found))) == found.size


def test_the_class_axis_and_masks_are_where_they_are_said_to_be():
    z = np.random.default_rng(9).normal(size=(4, 3, 6)).astype(np.float32)
    where = np.arange(4)[:, None, None] != 2
    tau = np.linspace(0.2, 2, 18).reshape(3, 6).astype(np.float32)

    @jax.jit
    def run(key):
        row = ExpConcrete(z, tau, axis=0, where=where)
        moved = ExpConcrete(
            np.moveaxis(z, 0, -1), tau, where=np.moveaxis(np.array(where), 0, -1)
        )
        x = row.sample(key, (2,))
        expected = moved.log_prob(jnp.moveaxis(x, 1, -1))
        soft = Concrete(z, tau, axis=0, where=where).sample(key)
        return x, row.log_prob(x), expected, soft, row.mode()

    x, density, expected, soft, mode = run(KEY)
    np.testing.assert_allclose(np.exp(x).sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(density, expected, rtol=1e-6)
    assert density.shape == (2, 3, 6)
    assert (x[:, 2] == -np.inf).all()
    assert (soft[2] == 0).all()
    assert (mode[2] == -np.inf).all()
    np.testing.assert_allclose(soft.sum(0), 1, rtol=1e-6)


def test_distributions_pass_through_jit_vmap_and_grad():
    z = np.random.default_rng(10).normal(size=(4, 6)).astype(np.float32)
    tau = np.array([0.1, 0.5, 1.0, 2.0], np.float32)
    row = ExpConcrete(z, tau)
    x = np.log(np.full((4, 6), 1 / 6, np.float32))

    @jax.jit
    def run(row):
        by_row = jax.vmap(lambda row, x: row.log_prob(x))(row, x)
        made = jax.vmap(ExpConcrete)(z, tau)
        slopes = jax.grad(lambda row: row.log_prob(x).sum())(row)
        return row.log_prob(x), by_row, made, slopes

    density, by_row, made, slopes = run(row)
    np.testing.assert_allclose(by_row, density, rtol=1e-6)
    np.testing.assert_array_equal(made.logits, z)
    assert isinstance(made, ExpConcrete)
    assert made.axis == row.axis == -1
    assert slopes.logits.shape == (4, 6)
    assert slopes.temperature.shape == (4,)
    with pytest.raises(AttributeError):
        row.logits = z


def test_the_mode_is_a_largest_density():
    z = np.random.default_rng(11).normal(size=(3, 6)).astype(np.float32)
    tau = np.array([0.1, 0.7, 3.0], np.float32)

    @jax.jit
    def run(away):
        row = ExpConcrete(z, tau)
        odds = LogitBinaryConcrete(z[:, 0], tau)
        away = row.mode() + away / tau[:, None]
        beside = odds.mode() + away[..., 0]
        return (
            (row.log_prob(row.mode()), row.log_prob(away)),
            (odds.log_prob(odds.mode()), odds.log_prob(beside)),
        )

    away = 0.1 * np.random.default_rng(12).normal(size=(100, 3, 6))
    for at_mode, elsewhere in run(away.astype(np.float32)):
        assert (elsewhere < at_mode + 1e-6).all()
