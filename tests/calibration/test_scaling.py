"""Vector, matrix and ensemble scaling, beside SciPy's optimum in float64."""

import jax
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax

from jaxtemp.calibration import (
    Status,
    fit_ensemble,
    fit_matrix_scaling,
    fit_temperature,
    fit_vector_scaling,
)


def drawn(rows, classes, seed=0):
    """Logits, and labels of other ones: with a scale and a bias for each class."""
    rng = np.random.default_rng(seed)
    z = (2 * rng.standard_normal((rows, classes))).astype(np.float32)
    true = z * np.linspace(0.5, 1.0, classes) + np.linspace(-1, 1, classes)
    return z, (true + rng.gumbel(size=z.shape)).argmax(-1)


def mean_nll(scores, labels, weights=None):
    own = np.take_along_axis(log_softmax(scores, -1), labels[:, None], -1)[:, 0]
    return np.average(-own, weights=weights)


def optimum(z, labels, tau, penalty, shape, weights=None):
    """SciPy's minimum over a scale of this shape and a bias, and its parameters."""
    x = log_softmax(z.astype(np.float64) / tau, -1)
    size = int(np.prod(shape))

    def loss(parameters):
        scale, bias = parameters[:size].reshape(shape), parameters[size:]
        scores = x * scale if len(shape) == 1 else x @ scale.T
        return mean_nll(scores + bias, labels, weights) + penalty(scale, bias)

    one = np.ones(shape) if len(shape) == 1 else np.eye(len(x[0]))
    start = np.append(one.ravel(), np.zeros(shape[0]))
    found = minimize(loss, start, method="BFGS", options={"gtol": 1e-7})
    return found.x[:size].reshape(shape), found.x[size:]


def test_vector_scaling_is_the_penalised_optimum():
    z, labels = drawn(240, 3)
    weights = np.random.default_rng(1).integers(0, 3, 240).astype(np.float32)
    found = fit_vector_scaling(
        z, labels, weights=weights, scale_strength=0.1, bias_strength=0.02
    )

    def penalty(scale, bias):
        return 0.1 * np.mean((scale - 1) ** 2) + 0.02 * np.mean(bias**2)

    tau = float(found.temperature)
    scale, bias = optimum(z, labels, tau, penalty, (3,), weights)
    np.testing.assert_allclose(found.scale, scale, atol=2e-3)
    np.testing.assert_allclose(found.bias, bias, atol=2e-3)
    after = log_softmax(z / tau, -1) * scale + bias
    # With a penalty it is not at its own least, so it moves as the parameters may.
    np.testing.assert_allclose(
        found.nll_after, mean_nll(after, labels, weights), rtol=1e-4
    )
    np.testing.assert_allclose(
        found.nll_before, mean_nll(z, labels, weights), rtol=1e-5
    )
    assert found.status == Status.CONVERGED
    assert found.nll_held_out < found.nll_held_out_temperature
    got = np.asarray(found.apply(z))
    np.testing.assert_allclose(got, log_softmax(after, -1), atol=5e-3)


def test_matrix_scaling_is_the_penalised_optimum():
    z, labels = drawn(240, 3, seed=2)
    found = fit_matrix_scaling(
        z,
        labels,
        scale_strength=0.05,
        off_diagonal_strength=0.3,
        bias_strength=0.1,
    )

    def penalty(scale, bias):
        diagonal = np.diagonal(scale)
        off = (scale**2).sum() - (diagonal**2).sum()
        return (
            0.05 * np.mean((diagonal - 1) ** 2) + 0.3 * off / 6 + 0.1 * np.mean(bias**2)
        )

    scale, bias = optimum(z, labels, float(found.temperature), penalty, (3, 3))
    np.testing.assert_allclose(found.scale, scale, atol=2e-3)
    np.testing.assert_allclose(found.bias, bias, atol=2e-3)
    assert found.status == Status.CONVERGED


def test_a_strong_penalty_leaves_one_temperature():
    z, labels = drawn(240, 3, seed=3)
    strong = {"scale_strength": 1e6, "bias_strength": 1e6}
    vector = fit_vector_scaling(z, labels, **strong)
    matrix = fit_matrix_scaling(z, labels, off_diagonal_strength=1e6, **strong)
    plain = fit_temperature(z, labels)
    for found in (vector, matrix):
        np.testing.assert_allclose(found.apply(z), plain.apply(z), atol=1e-4)


def test_held_out_rows_are_scored_by_fits_without_them():
    z, labels = drawn(240, 3, seed=4)
    found = fit_vector_scaling(z, labels)
    ours, plain = [], []
    for fold in range(5):
        out = np.arange(240) % 5 == fold
        weights = (~out).astype(np.float32)
        part = fit_vector_scaling(z, labels, weights=weights)
        scored = np.asarray(part.apply(z[out]), np.float64)
        ours.append(mean_nll(scored, labels[out]))
        plain.append(mean_nll(z[out] / float(part.temperature), labels[out]))
    np.testing.assert_allclose(found.nll_held_out, np.mean(ours), rtol=1e-5)
    np.testing.assert_allclose(
        found.nll_held_out_temperature, np.mean(plain), rtol=1e-5
    )


def test_a_matrix_that_overfits_says_so():
    rng = np.random.default_rng(5)
    z = rng.standard_normal((60, 8)).astype(np.float32)
    labels = (z + rng.gumbel(size=z.shape)).argmax(-1)
    found = fit_matrix_scaling(z, labels, off_diagonal_strength=0.0)
    assert found.status == Status.OVERFIT
    assert found.nll_after < found.nll_held_out_temperature < found.nll_held_out


@pytest.mark.parametrize("fit", [fit_vector_scaling, fit_matrix_scaling])
def test_separable_constant_and_bad_rows_end(fit):
    z, _ = drawn(240, 3, seed=6)
    assert np.isfinite(fit(z, z.argmax(-1)).scale).all()
    assert np.isfinite(fit(np.zeros_like(z), z.argmax(-1)).scale).all()
    bad = z.copy()
    bad[7, 1] = np.nan
    assert fit(bad, z.argmax(-1)).status == Status.INVALID


def test_the_ensemble_is_the_best_mixture():
    rng = np.random.default_rng(7)
    z = (4 * rng.standard_normal((500, 5))).astype(np.float32)
    labels = (z / 2 + rng.gumbel(size=z.shape)).argmax(-1)
    labels[::5] = rng.integers(0, 5, 100)
    found = fit_ensemble(z, labels)
    tau = float(found.temperature)
    parts = [np.exp(log_softmax(z / t, -1)) for t in (tau, 1.0, np.inf)]
    own = np.stack([p[np.arange(500), labels] for p in parts])

    def loss(weights):
        return -np.mean(np.log(weights @ own))

    best = minimize(
        loss,
        np.full(3, 1 / 3),
        bounds=[(0, 1)] * 3,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-12},
    )
    assert found.nll_after <= best.fun + 2e-6
    np.testing.assert_allclose(found.weights.sum(), 1, rtol=1e-6)
    assert found.status == Status.CONVERGED
    mixed = np.einsum("p,pnk->nk", np.asarray(found.weights, np.float64), parts)
    np.testing.assert_allclose(np.exp(found.apply(z)), mixed, rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(found.apply(z).argmax(-1), z.argmax(-1))


def test_they_run_under_jit_and_vmap():
    z, labels = drawn(60, 3, seed=8)
    weights = np.ones((2, 60), np.float32)
    weights[1, ::2] = 0

    @jax.jit
    @jax.vmap
    def run(w):
        return fit_vector_scaling(z, labels, weights=w).scale

    both = run(weights)
    for row in range(2):
        alone = fit_vector_scaling(z, labels, weights=weights[row]).scale
        np.testing.assert_allclose(both[row], alone, atol=2e-3)
