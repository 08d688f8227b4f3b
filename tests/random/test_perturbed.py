"""Smoothed functions against closed forms and quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtemp.random import perturbed

KEY = jax.random.key(8)
GAMMA = 0.5772156649015329


def within(found, want, error):
    """Within four standard errors, of which a row of repeats gives the size."""
    found = np.asarray(found, np.float64)
    spread = found.std(0, ddof=1) / np.sqrt(len(found))
    assert (spread < error).all()
    np.testing.assert_array_less(np.abs(found.mean(0) - want), 4 * spread + 1e-12)


def test_the_derivatives_of_a_smoothed_square_are_exact_on_average():
    square = perturbed(lambda x: jnp.sum(x * x), samples=500, noise="normal")
    z, tau = np.array([1.0, -0.5], np.float32), np.float32(0.5)

    @jax.jit
    @jax.vmap
    def orders(key):
        def mean(z, tau):
            return square(key, z, tau)

        slope = jax.grad(mean, (0, 1))
        _, bend = jax.jvp(lambda tau: slope(z, tau), (tau,), (jnp.ones_like(tau),))
        return mean(z, tau), *slope(z, tau), *bend

    value, to_z, to_tau, mixed, bend = orders(jax.random.split(KEY, 2000))
    # E |z + τε|² = |z|² + 2 τ²
    within(value, 1.75, 1e-2)
    within(to_z, 2 * z, 1e-2)
    within(to_tau, 2.0, 2e-2)  # d τ², with d = 2
    within(mixed, 0 * z, 0.1)
    within(bend, 4.0, 0.2)


def test_one_dimension_has_the_published_slope_from_two_samples_on():
    square = perturbed(lambda x: x[0] ** 2, samples=2, noise="normal")
    rows = np.ones((400_000, 1), np.float32)
    slope = jax.jit(jax.grad(lambda tau: square(KEY, rows, tau).sum()))
    within(slope(jnp.full(len(rows), 0.5)), 1.0, 1e-2)


def test_gumbel_noise_makes_softmax_of_argmax_and_logsumexp_of_max():
    def solver(x):
        return {"best": x.argmax() == jnp.arange(4), "value": x.max()}

    smooth = perturbed(solver, samples=2000)
    z = np.tile(np.array([0.4, 0.1, -0.3, -np.inf], np.float32), (300, 1))
    tau = np.array(0.7, np.float32)

    @jax.jit
    def derivatives(tau):
        def mean(tau):
            return smooth(KEY, z, tau)

        taus = jnp.broadcast_to(tau, 300)
        found, forward = jax.jvp(mean, (taus,), (jnp.ones(300),))
        pull = jax.vjp(lambda tau: mean(tau)["value"], taus)[1]
        to_z = jax.vjp(lambda z: smooth(KEY, z, tau)["value"], z)[1]
        return found, forward, pull(jnp.ones(300))[0], to_z(jnp.ones(300))[0]

    found, forward, backward, to_z = derivatives(tau)
    u = z[0].astype(np.float64) / 0.7
    p = np.exp(u) / np.exp(u).sum()
    log_p = np.log(np.where(p > 0, p, 1))
    entropy = -(p * log_p).sum()
    within(found["best"], p, 1e-2)
    within(found["value"], 0.7 * (np.log(np.exp(u).sum()) + GAMMA), 1e-2)
    within(forward["best"], -p * (log_p + entropy) / 0.7, 1e-2)
    within(forward["value"], entropy + GAMMA, 1e-2)
    np.testing.assert_allclose(backward, forward["value"], rtol=1e-4, atol=1e-4)
    within(to_z, p, 1e-2)
    assert (np.asarray(to_z)[:, 3] == 0).all()


def test_equal_samples_give_the_value_and_no_derivative():
    shares = perturbed(lambda x: jnp.sort(x) * 0 + jnp.float32(0.1), samples=7)
    steps = perturbed(lambda x: (x > 0.5) * jnp.float32(0.1), samples=7)
    z = np.tile(np.array([1.0, 0.3, -2.0], np.float32), (4, 1))
    tau = np.array([0.0, 1e-45, 1e-30, 1e-5], np.float32)

    @jax.jit
    def both(z, tau):
        def mean(z, tau):
            return steps(KEY, z, tau), shares(KEY, z, tau)

        found, pull = jax.vjp(mean, z, tau)
        _, pushed = jax.jvp(mean, (z, tau), (jnp.ones_like(z), jnp.ones_like(tau)))
        return found, pull(found), pushed

    (first, second), *slopes = both(z, tau)
    np.testing.assert_array_equal(first, np.float32(0.1) * (z > 0.5))
    np.testing.assert_array_equal(second, np.full((4, 3), np.float32(0.1)))
    for slope in jax.tree.leaves(slopes):
        np.testing.assert_array_equal(slope, 0)


def test_parameters_of_the_function_have_the_usual_derivative():
    x = np.zeros((3, 2), np.float32)

    def loss(weight):
        scaled = perturbed(lambda x: weight * jnp.sum(x), samples=50, noise="normal")
        return scaled(KEY, x, 1.0).sum()

    value, slope = jax.jit(jax.value_and_grad(loss))(2.0)
    np.testing.assert_allclose(2 * slope, value, rtol=1e-5)


@pytest.mark.parametrize("noise", ["gumbel", "normal"])
def test_a_row_depends_on_its_own_key_alone(noise):
    smooth = perturbed(lambda x: x, samples=5, noise=noise)
    z, keys = np.zeros((3, 4), np.float32), jax.random.split(KEY, 3)

    @jax.jit
    def three(z):
        alone = jax.vmap(smooth)(keys, z)
        return smooth(keys, z), alone, smooth(keys, z.T, axis=0)

    together, alone, other = three(z)
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together, other)


BAD = {
    "one sample": (
        {"samples": 1},
        ValueError,
        (
            "`samples` must be at least 2, got 1; the baseline of each is the mean of "
            "the others."
        ),
    ),
    "half a sample": (
        {"samples": 2.5},
        TypeError,
        "`samples` must be an int, got 2.5; it is a shape.",
    ),
    "unknown noise": (
        {"noise": "cauchy"},
        ValueError,
        ("`noise` must be one of 'gumbel', 'normal', got 'cauchy'; choose from these."),
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_have_their_own_message(case):
    arguments, error, message = BAD[case]
    with pytest.raises(error) as raised:
        perturbed(jnp.max, **arguments)
    assert str(raised.value) == message


def test_a_traced_bad_scale_makes_its_rows_nan_and_no_other():
    smooth = jax.jit(perturbed(jnp.max, samples=2))
    found = smooth(
        KEY, np.zeros((4, 3), np.float32), jnp.array([-1, np.nan, np.inf, 1])
    )
    np.testing.assert_array_equal(np.isnan(found), [True, True, True, False])


def test_an_infinite_scale_has_its_own_message():
    with pytest.raises(
        ValueError, match=r"^`temperature` must be in \[0, 3.40282e\+38"
    ):
        perturbed(jnp.max)(KEY, np.zeros(3, np.float32), np.inf)
