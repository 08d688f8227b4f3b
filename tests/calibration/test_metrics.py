"""Scores and binned errors against a slow reference, written row by row."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from jaxtemp import calibration
from tests.calibration import reference

# Compiled once for each of these; 180 random cases each, 1080 in all.
SHAPES = [(1, 1, 1), (7, 2, 1), (30, 2, 10), (30, 3, 15), (30, 10, 20), (20, 4, 100)]
CASES = 180


def draw(rng, rows, classes, bins):
    """Probabilities of which many have a confidence on an edge, 1 or close to it."""
    probs = rng.dirichlet(np.full(classes, rng.choice([0.1, 1.0, 10.0])), rows)
    kind = rng.integers(0, 4, rows)
    for i in range(rows):
        edge = np.float32(rng.integers(0, bins + 1) / bins)
        if kind[i] == 0:  # all on one class
            probs[i] = np.eye(classes)[rng.integers(classes)]
        elif kind[i] == 1 and edge >= 0.5 and classes > 1:  # exactly on an edge
            probs[i] = (1.0 - edge) / (classes - 1)
            probs[i, rng.integers(classes)] = edge
        elif kind[i] == 2:  # a tie of all
            probs[i] = 1.0 / classes
    # Smaller ones are zeros to XLA, and so ties.
    probs[probs < 1e-37] = 0.0
    return probs.astype(np.float32), rng.integers(0, classes, rows)


def draws(rows, classes, bins):
    rng = np.random.default_rng([rows, classes, bins])
    cases = [draw(rng, rows, classes, bins) for _ in range(CASES)]
    probs, labels = zip(*cases, strict=True)
    return np.stack(probs), np.stack(labels)


METRICS = {
    "calibration_error": 2e-7,
    "maximum_calibration_error": 4e-7,
    "classwise_calibration_error": 2e-7,
    "brier_decomposition": 5e-7,
}


@partial(jax.jit, static_argnames=("bins", "binning"))
def every_metric(probs, labels, **options):
    """Of many cases, compiled once."""
    found = {}
    for name in ("reliability_table", *METRICS):
        metric = partial(getattr(calibration, name), **options)
        found[name] = jax.vmap(metric)(probs, labels)
    return found, jax.vmap(calibration.brier_score)(probs, labels)


@pytest.mark.parametrize("binning", ["width", "mass"])
@pytest.mark.parametrize(("rows", "classes", "bins"), SHAPES)
def test_every_binned_metric_equals_the_slow_reference(rows, classes, bins, binning):
    cases = draws(rows, classes, bins)
    found, brier = every_metric(*cases, bins=bins, binning=binning)
    table = found.pop("reliability_table")
    want = [reference.table(*case, bins, binning) for case in zip(*cases, strict=True)]
    number, confidence, accuracy = map(np.array, zip(*want, strict=True))
    np.testing.assert_array_equal(table.rows, number)
    np.testing.assert_allclose(table.confidence, confidence, rtol=3e-7)
    np.testing.assert_allclose(table.accuracy, accuracy, rtol=1e-7)
    for name, got in found.items():
        slow = getattr(reference, name)
        want = [slow(*case, bins, binning) for case in zip(*cases, strict=True)]
        got = np.stack(got, axis=-1) if isinstance(got, tuple) else got
        np.testing.assert_allclose(got, want, atol=METRICS[name], err_msg=name)
        assert got.dtype == np.float32
    want = [reference.brier_score(*case) for case in zip(*cases, strict=True)]
    np.testing.assert_allclose(brier, want, rtol=1e-6)
    np.testing.assert_allclose(found["brier_decomposition"].score, want, atol=1e-6)
    assert brier.dtype == np.float32
    if binning == "width":
        on_edge = np.isin(cases[0].max(-1), np.asarray(table.edges[0]))
        assert on_edge.sum() > CASES * rows / 8


def test_bins_of_equal_mass_by_hand():
    """Ten rows in four bins: ranks up to 2.5, 5, 7.5 and 10, ties not split."""
    confidence = np.array([0.9, 0.6, 0.7, 0.7, 0.7, 0.7, 0.8, 0.9, 1.0, 1.0])
    probs = np.stack([confidence, 1 - confidence], axis=-1).astype(np.float32)
    table = calibration.reliability_table(
        probs, np.zeros(10, int), bins=4, binning="mass"
    )
    np.testing.assert_array_equal(table.rows, [1, 4, 1, 4])
    np.testing.assert_allclose(table.edges, [0, 0.6, 0.7, 0.8, 1], rtol=1e-6)
    np.testing.assert_allclose(table.confidence, [0.6, 0.7, 0.8, 0.95], rtol=1e-6)


def test_equal_confidences_share_one_bin_of_mass_and_leave_the_others_empty():
    probs = np.tile(np.float32([[0.75, 0.25]]), (9, 1))
    table = calibration.reliability_table(
        probs, np.zeros(9, int), bins=3, binning="mass"
    )
    np.testing.assert_array_equal(table.rows, [0, 0, 9])
    np.testing.assert_array_equal(table.edges, [0, 0, 0, 1])


@pytest.mark.parametrize("bins", [1, 2, 3, 5, 7, 10, 15, 49, 100])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_a_confidence_on_an_edge_belongs_to_the_bin_below(bins, dtype):
    """Also 0, which has none below, and 1, whose bin is the last."""
    edges = jnp.asarray((np.arange(bins + 1) / bins).astype(dtype))
    # Traced, so that a lone probability may be less than 1.
    rows = jax.vmap(
        lambda edge: (
            calibration.reliability_table(
                edge.reshape(1, 1), jnp.zeros(1, int), bins=bins
            ).rows
        )
    )(edges)
    np.testing.assert_array_equal(rows.sum(-1), np.ones(bins + 1))
    expected = np.maximum(np.arange(bins + 1) - 1, 0)
    np.testing.assert_array_equal(rows.argmax(-1), expected)


@pytest.mark.parametrize("bins", [3, 10, 49, 187])
def test_edges_are_exact_in_float64(bins):
    """An edge made by adding up widths would miss some of them by a rounding."""
    with jax.enable_x64(True):
        edges = jnp.asarray(np.arange(bins + 1) / bins)
        index = jax.vmap(
            lambda edge: calibration.reliability_table(
                edge.reshape(1, 1), jnp.zeros(1, int), bins=bins
            ).rows.argmax()
        )(edges)
    np.testing.assert_array_equal(index, np.maximum(np.arange(bins + 1) - 1, 0))


@pytest.mark.parametrize("temperature", [0.05, 1.0, 3.0])
def test_negative_log_likelihood(temperature):
    rng = np.random.default_rng(0)
    for classes in (1, 2, 10):
        logits = rng.normal(0, 5, (50, classes)).astype(np.float32)
        labels = rng.integers(0, classes, 50)
        log_probs = scipy.special.log_softmax(logits.astype(float) / temperature, -1)
        expected = -log_probs[np.arange(50), labels].mean()
        got = calibration.negative_log_likelihood(logits, labels, temperature)
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-7)


def test_negative_log_likelihood_takes_a_temperature_per_row():
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 5, (4, 6, 3)).astype(np.float32)
    labels = rng.integers(0, 3, (4, 6))
    temperature = rng.uniform(0.5, 2.0, (4, 1)).astype(np.float32)
    log_probs = scipy.special.log_softmax(
        logits.astype(float) / temperature[..., None], -1
    )
    expected = -np.take_along_axis(log_probs, labels[..., None], -1).mean()
    got = calibration.negative_log_likelihood(logits, labels, temperature)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_negative_log_likelihood_gradient_in_temperature():
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 3, (40, 5)).astype(np.float32)
    labels = rng.integers(0, 5, 40)

    def exact(temperature):
        log_probs = scipy.special.log_softmax(logits.astype(float) / temperature, -1)
        return -log_probs[np.arange(40), labels].mean()

    expected = (exact(1.7 + 1e-5) - exact(1.7 - 1e-5)) / 2e-5
    got = jax.grad(calibration.negative_log_likelihood, 2)(logits, labels, 1.7)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_a_masked_class_costs_nothing_unless_it_is_the_label():
    logits = jnp.array([[0.0, 0.0, -jnp.inf]])
    nll = calibration.negative_log_likelihood
    np.testing.assert_allclose(nll(logits, jnp.array([1])), np.log(2.0), rtol=1e-6)
    assert nll(logits, jnp.array([2])) == jnp.inf


def test_half_precision_is_scored_in_float32():
    rng = np.random.default_rng(3)
    logits = jnp.asarray(rng.normal(0, 3, (500, 4)), jnp.bfloat16)
    labels = rng.integers(0, 4, 500)
    wide = logits.astype(jnp.float32)
    nll = calibration.negative_log_likelihood
    assert nll(logits, labels).dtype == jnp.float32
    np.testing.assert_allclose(nll(logits, labels), nll(wide, labels), rtol=1e-6)
    probs = jax.nn.softmax(wide).astype(jnp.bfloat16)
    got = calibration.brier_score(probs, labels)
    assert got.dtype == jnp.float32
    expected = reference.brier_score(np.asarray(probs, np.float64), labels)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_float64():
    rng = np.random.default_rng(4)
    probs = rng.dirichlet(np.ones(4), 300)
    labels = rng.integers(0, 4, 300)
    with jax.enable_x64(True):
        error = calibration.calibration_error(probs, labels)
        brier = calibration.brier_score(probs, labels)
        single = calibration.calibration_error(probs.astype(np.float32), labels)
    assert error.dtype == brier.dtype == jnp.float64
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(
        error, reference.calibration_error(probs, labels, 15), rtol=1e-12
    )
    np.testing.assert_allclose(brier, reference.brier_score(probs, labels), rtol=1e-12)


def test_long_sums_stay_exact():
    """A plain float32 sum of 10^6 equal confidences would be off by 1e-3."""
    rows, confidence = 1_000_000, np.float32(0.9)
    probs = np.tile(np.asarray([confidence, 1 - confidence]), (rows, 1))
    labels = (np.arange(rows) % 5 == 0).astype(np.int32)  # accuracy 0.8 exactly
    got = calibration.calibration_error(probs, labels)
    np.testing.assert_allclose(got, float(confidence) - 0.8, rtol=1e-6)


@pytest.mark.parametrize("binning", ["width", "mass"])
def test_long_sums_stay_exact_wherever_the_confidence_lies(binning):
    """Not only at the centre of a bin. Summed one by one: off by 1e-4."""
    rows, confidence = 1_000_000, np.float32(0.92)
    probs = np.tile(np.asarray([confidence, 1 - confidence]), (rows, 1))
    labels = (np.arange(rows) % 5 == 0).astype(np.int32)
    table = calibration.reliability_table(probs, labels, binning=binning)
    np.testing.assert_allclose(np.nanmax(table.confidence), confidence, rtol=2e-7)
    smooth = calibration.smooth_calibration_error(probs, labels)
    np.testing.assert_allclose(smooth, float(confidence) - 0.8, rtol=1e-6)
    for name in ("calibration_error", "maximum_calibration_error"):
        got = getattr(calibration, name)(probs, labels, binning=binning)
        np.testing.assert_allclose(got, float(confidence) - 0.8, rtol=1e-6)


def test_empty_bins_are_no_nan_for_the_error():
    with jax.debug_nans(True):
        got = calibration.calibration_error(jnp.array([[0.75, 0.25]]), jnp.array([0]))
    assert got == 0.25


def test_batch_axes_are_rows():
    rng = np.random.default_rng(5)
    probs = rng.dirichlet(np.ones(3), (4, 5)).astype(np.float32)
    labels = rng.integers(0, 3, (4, 5))
    flat = (probs.reshape(20, 3), labels.reshape(20))
    for metric in (calibration.calibration_error, calibration.brier_score):
        np.testing.assert_allclose(metric(probs, labels), metric(*flat), rtol=1e-6)


def test_transformations():
    rng = np.random.default_rng(6)
    probs = rng.dirichlet(np.ones(3), (8, 30)).astype(np.float32)
    labels = rng.integers(0, 3, (8, 30))
    for metric in (calibration.calibration_error, calibration.brier_score):
        each = [metric(p, y) for p, y in zip(probs, labels, strict=True)]
        np.testing.assert_allclose(jax.vmap(metric)(probs, labels), each, rtol=1e-6)
        np.testing.assert_allclose(jax.jit(metric)(probs[0], labels[0]), each[0])


def test_a_traced_label_that_is_no_class():
    probs = jnp.array([[0.75, 0.25]])
    for label in (-1, 2, 99):
        labels = jnp.array([label])
        assert jnp.isnan(jax.jit(calibration.brier_score)(probs, labels))
        nll = jax.jit(calibration.negative_log_likelihood)
        assert jnp.isnan(nll(jnp.log(probs), labels))
        error = jax.jit(calibration.calibration_error)(probs, labels)
        np.testing.assert_allclose(error, 0.75)
