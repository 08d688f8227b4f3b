"""The fitted temperature beside a root in float64, and everything that may go wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from jaxtemp.calibration import Status, fit_temperature
from tests.cases import enable_x64

fit = jax.jit(fit_temperature)


class Truth:
    """The likelihood of rows in float64, by NumPy."""

    def __init__(self, z, labels, weights=None, where=None):
        z = np.asarray(z, np.float64)
        z = z if where is None else np.where(where, z, -np.inf)
        self.x = z - z.max(-1, keepdims=True)
        self.own = np.take_along_axis(self.x, labels[:, None], -1)[:, 0]
        self.w = np.ones(len(z)) if weights is None else np.asarray(weights, float)

    def rows(self, beta):
        """Negative log-likelihoods, the slopes and curvatures in beta."""
        e = np.exp(self.x * beta)
        p = e / e.sum(-1, keepdims=True)
        x = np.where(e > 0, self.x, 0)
        mean = (p * x).sum(-1)
        variance = (p * (x - mean[:, None]) ** 2).sum(-1)
        return np.log(e.sum(-1)) - self.own * beta, mean - self.own, variance

    def nll(self, beta):
        return np.average(self.rows(beta)[0], weights=self.w)

    def beta(self):
        def slope(log_beta):
            return self.w @ self.rows(np.exp(log_beta))[1]

        return np.exp(brentq(slope, -25, 25, xtol=1e-14))

    def error(self, beta):
        return (self.w @ self.rows(beta)[2]) ** -0.5


def drawn(rows, classes, tau, seed=0, scale=3.0, dtype=np.float32):
    """Logits, and labels drawn at a temperature."""
    rng = np.random.default_rng(seed)
    z = (scale * rng.standard_normal((rows, classes))).astype(dtype)
    return z, (z / tau + rng.gumbel(size=z.shape)).argmax(-1)


def check(found, truth, tolerance=1e-6):
    beta = truth.beta()
    assert found.status == Status.CONVERGED
    assert abs(float(found.temperature) * beta - 1) < tolerance
    assert abs(float(found.beta) / beta - 1) < tolerance
    np.testing.assert_allclose(found.beta_standard_error, truth.error(beta), rtol=1e-4)
    np.testing.assert_allclose(
        found.standard_error, truth.error(beta) / beta**2, rtol=1e-4
    )
    np.testing.assert_allclose(found.nll_before, truth.nll(1.0), rtol=2e-6)
    np.testing.assert_allclose(found.nll_after, truth.nll(beta), rtol=2e-6)
    assert 1 <= found.iterations <= 30


@pytest.mark.parametrize(
    ("rows", "classes", "tau", "scale"),
    [
        (30, 3, 1.0, 3.0),
        (200, 10, 0.3, 3.0),
        (3001, 2, 1.0, 1.0),
        (1000, 100, 5.0, 10.0),
        (1000, 10, 2e-6, 1e-5),
        (1000, 10, 3e8, 1e9),
        (5000, 1000, 2.0, 3.0),  # with a first fit to fewer rows, block by block
    ],
)
def test_the_optimum_is_that_of_float64(rows, classes, tau, scale):
    z, labels = drawn(rows, classes, tau, scale=scale)
    truth = Truth(z, labels)
    if tau in (1.0, 2.0, 5.0, 0.3):
        check(fit(z, labels), truth)
    else:
        found = fit(z, labels)
        assert abs(float(found.temperature) * truth.beta() - 1) < 1e-6
        assert found.status == Status.CONVERGED


def test_masks_weights_offsets_and_batch_axes():
    rng = np.random.default_rng(1)
    z, labels = drawn(600, 12, 1.7, seed=1)
    where = (rng.uniform(size=z.shape) < 0.7) | (np.arange(12) == labels[:, None])
    weights = rng.integers(0, 4, 600).astype(np.float32)
    truth = Truth(z, labels, weights, where)
    blind = np.where(where, z, np.nan)
    blind[weights == 0] = np.nan
    with_mask = fit(blind, labels, weights=weights, where=where)
    check(with_mask, truth)
    infinite = np.where(where, z, -np.inf).astype(np.float32)
    infinite[weights == 0] = 0
    shaped = fit(
        infinite.reshape(20, 30, 12),
        labels.reshape(20, 30),
        weights=weights.reshape(20, 30),
    )
    np.testing.assert_array_equal(shaped.temperature, with_mask.temperature)
    # A thousand added to all of a row leaves the digits that float32 has left.
    moved = (infinite + 1024).astype(np.float32)
    check(fit(moved, labels, weights=weights), Truth(moved, labels, weights))


def test_a_million_rows_keep_the_digits_of_one():
    z, labels = drawn(500, 3, 1.3, seed=2)
    truth = Truth(z, labels)
    many = fit(np.tile(z, (2000, 1)), np.tile(labels, 2000))
    assert abs(float(many.temperature) * truth.beta() - 1) < 1e-6
    np.testing.assert_allclose(many.nll_after, truth.nll(truth.beta()), rtol=2e-6)
    error = truth.error(truth.beta()) / 2000**0.5
    np.testing.assert_allclose(many.beta_standard_error, error, rtol=1e-4)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_other_precisions(dtype):
    z, labels = drawn(400, 10, 1.5, seed=3)
    z = z.astype(jnp.dtype(dtype))
    with enable_x64(dtype):
        found = fit(z, labels)
    wide = "float64" if dtype == "float64" else "float32"
    assert found.temperature.dtype == wide
    tolerance = 1e-12 if dtype == "float64" else 1e-6
    check(found, Truth(z.astype(np.float64), labels), tolerance)


def test_the_digits():
    x, y = load_digits(return_X_y=True)
    model = LogisticRegression(C=100.0, max_iter=500)
    z = model.fit(x[:300] / 16, y[:300]).decision_function(x[300:] / 16)
    z = z.astype(np.float32)
    found = fit(z, y[300:])
    check(found, Truth(z, y[300:]))
    assert found.nll_after < found.nll_before


def test_a_planted_temperature_is_within_three_standard_errors():
    tau, runs = 1.8, 1000
    z = 3 * jax.random.normal(jax.random.key(0), (300, 10))

    @jax.jit
    @jax.vmap
    def run(key):
        return fit_temperature(z, jax.random.categorical(key, z / tau))

    found = run(jax.random.split(jax.random.key(1), runs))
    assert found.temperature.shape == (runs,)
    assert (found.status == Status.CONVERGED).all()
    off = np.abs(np.asarray(found.temperature) - tau) / np.asarray(found.standard_error)
    assert (off < 3).mean() >= 0.99
    off = np.abs(np.asarray(found.beta) - 1 / tau) / found.beta_standard_error
    assert (off < 3).mean() >= 0.99
    assert 0.6 < (off < 1).mean() < 0.76  # of a normal one, 0.683


def test_what_has_no_temperature_says_so():
    inf, nan = np.inf, np.nan
    right = [[3.0, 1.0, 0.0], [0.0, 2.0, 2.0], [1.0, 1.0, 1.0]]
    wrong = [[0.0, 3.0, 3.0], [3.0, 0.0, 3.0], [3.0, 3.0, 0.0]]
    flat = [[2.0, 2.0, 2.0], [5.0, 5.0, -inf], [0.0, -inf, -inf]]
    mixed = [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    ones = [1.0, 1.0, 1.0]
    cases = [  # logits, labels, weights, status, temperature
        (right, [0, 1, 2], ones, Status.SEPARABLE, 0.0),
        (wrong, [0, 1, 2], ones, Status.ANTI_CALIBRATED, inf),
        (flat, [0, 1, 0], ones, Status.FLAT, 1.0),
        (mixed, [0, 0, 2], [0.0, 0.0, 0.0], Status.FLAT, 1.0),
        (mixed, [0, 0, 0], [1.0, 0.0, 0.0], Status.SEPARABLE, 0.0),
        (mixed, [1, 0, 0], [1.0, 0.0, 0.0], Status.ANTI_CALIBRATED, inf),
        (mixed, [0, 0, 0], ones, Status.CONVERGED, None),
        (mixed, [0, 0, -1], ones, Status.INVALID, nan),
        (mixed, [0, 0, 3], ones, Status.INVALID, nan),
        (mixed, [0, 0, 0], [1.0, -1.0, 1.0], Status.INVALID, nan),
        (mixed, [0, 0, 0], [1.0, nan, 1.0], Status.INVALID, nan),
        ([[nan, 0.0, 1.0], *mixed[:2]], [1, 0, 0], ones, Status.INVALID, nan),
        ([[inf, 0.0, 1.0], *mixed[:2]], [1, 0, 0], ones, Status.INVALID, nan),
        ([[-inf, 0.0, 1.0], *mixed[:2]], [0, 0, 0], ones, Status.INVALID, nan),
        ([[-inf] * 3, *mixed[:2]], [0, 0, 0], ones, Status.INVALID, nan),
    ]
    logits, labels, weights, status, tau = zip(*cases, strict=True)

    @jax.jit
    @jax.vmap
    def run(z, y, w):
        found = fit_temperature(z, y, weights=w)
        slopes = jax.grad(lambda z: fit_temperature(z, y, weights=w).temperature)(z)
        return found, slopes

    found, slopes = run(np.float32(logits), np.array(labels), np.float32(weights))
    np.testing.assert_array_equal(found.status, status)
    for row, want in enumerate(tau):
        if want is not None:
            np.testing.assert_array_equal(found.temperature[row], np.float32(want))
            inverse = 1 / np.float32(want) if want else np.float32(inf)
            np.testing.assert_array_equal(found.beta[row], inverse)
            assert np.isnan(found.standard_error[row])
    np.testing.assert_array_equal(slopes[:6], 0)
    # The limits' likelihoods: the log of how many share the top, or are allowed.
    after = np.asarray(found.nll_after)
    np.testing.assert_allclose(after[0], (0 + np.log(2) + np.log(3)) / 3, rtol=1e-6)
    np.testing.assert_allclose(after[1], np.log(3), rtol=1e-6)
    np.testing.assert_allclose(after[2], (np.log(3) + np.log(2)) / 3, rtol=1e-6)


def test_rows_without_order_end_at_the_right_status():
    """Single classes, one row, nearly separable and nearly uninformative data."""
    rng = np.random.default_rng(5)
    z = rng.standard_cauchy((400, 4, 3)) * 10.0 ** rng.integers(-20, 20, (400, 1, 1))
    z = z.astype(np.float32)
    labels = rng.integers(0, 3, (400, 4))
    labels[::4] = 0
    labels[1::4] = z[1::4].argmax(-1)
    weights = np.ones((400, 4), np.float32)
    weights[::3, 1:] = 0
    found = jax.jit(jax.vmap(lambda z, y, w: fit_temperature(z, y, weights=w)))(
        z, labels, weights
    )
    for row in range(400):
        kept = weights[row] > 0
        truth = Truth(z[row][kept], labels[row][kept])
        at_zero = truth.rows(0.0)[1].sum()
        size = np.abs(truth.x).max()
        if (truth.own == 0).all():
            assert found.status[row] == Status.SEPARABLE
        elif at_zero > 1e-6 * size:
            assert found.status[row] == Status.ANTI_CALIBRATED
        elif at_zero < -1e-6 * size:
            assert found.status[row] == Status.CONVERGED
            beta = float(found.beta[row])
            low, high = truth.nll(beta * 0.999), truth.nll(beta * 1.001)
            assert truth.nll(beta) <= min(low, high) * (1 + 1e-12)


def test_derivatives_are_those_of_the_implicit_function():
    z, labels = drawn(12, 4, 1.2, seed=6, dtype=np.float64)
    rng = np.random.default_rng(7)
    weights = rng.uniform(0.5, 2, 12)
    dz, dw = rng.standard_normal(z.shape), rng.standard_normal(12)

    def numbers(z, w):
        found = fit_temperature(z, labels, weights=w)
        return jnp.stack(found[:6])

    @jax.jit
    def derivatives(z, w):
        value, forward = jax.jvp(numbers, (z, w), (dz, dw))
        reverse = jax.jacrev(numbers, argnums=(0, 1))(z, w)
        second = jax.jvp(lambda *x: jax.jvp(numbers, x, (dz, dw))[1], (z, w), (dz, dw))
        return value, forward, reverse, second[1]

    def truth(t):
        at = Truth(z + t * dz, labels, weights + t * dw)
        beta = at.beta()
        error = at.error(beta)
        return np.array(
            [1 / beta, beta, error / beta**2, error, at.nll(1.0), at.nll(beta)]
        )

    with enable_x64("float64"):
        value, forward, (to_z, to_w), second = derivatives(z, weights)
    h = 1e-4
    values = [truth(t) for t in (-h, 0.0, h)]
    np.testing.assert_allclose(value, values[1], rtol=1e-9)
    np.testing.assert_allclose(forward, (values[2] - values[0]) / (2 * h), rtol=2e-6)
    along = (np.asarray(to_z) * dz).sum((1, 2)) + np.asarray(to_w) @ dw
    np.testing.assert_allclose(along, forward, rtol=1e-9)
    curved = (values[2] - 2 * values[1] + values[0]) / h**2
    np.testing.assert_allclose(second, curved, rtol=1e-4, atol=1e-5)
    # The formula of the docstring.
    beta, one_hot = values[1][1], np.eye(4)[labels]
    p = np.exp(beta * z) / np.exp(beta * z).sum(-1, keepdims=True)
    d = z - (p * z).sum(-1, keepdims=True)
    capacity = weights @ (p * d**2).sum(-1)
    want = -weights[:, None] * (p - one_hot + beta * p * d) / capacity
    np.testing.assert_allclose(to_z[1], want, rtol=1e-7, atol=1e-10)


def test_apply_is_log_softmax_at_the_temperature():
    z, labels = drawn(200, 5, 2.0, seed=8)
    found = fit(z, labels)
    where = np.ones(5, bool)
    where[3] = False
    u = np.where(where, z, -np.inf) * float(found.beta)
    want = u - np.log(np.exp(u).sum(-1, keepdims=True))
    np.testing.assert_allclose(found.apply(z, where=where), want, rtol=1e-4, atol=1e-5)
    many = jax.vmap(lambda w: fit_temperature(z, labels, weights=w))(jnp.ones((3, 200)))
    scored = jax.vmap(lambda one: one.apply(z))(many)
    assert scored.shape == (3, 200, 5)
