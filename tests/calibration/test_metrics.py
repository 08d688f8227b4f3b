"""Metrics against a slow reference, written row by row in float64."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from jaxtemp import calibration

# Compiled once for each of these; 130 random cases each, 1040 in all.
SHAPES = [
    (1, 1, 1),
    (1, 3, 15),
    (7, 2, 1),
    (40, 2, 10),
    (60, 3, 15),
    (90, 10, 20),
    (90, 5, 7),
    (25, 4, 100),
]
CASES = 130


def slow_table(probs, labels, bins):
    """Rows, mean confidence and accuracy of each bin, one row at a time."""
    # An edge is the number b / bins in the precision of the probabilities.
    edges = [float(probs.dtype.type(b / bins)) for b in range(bins + 1)]
    inside = [[] for _ in range(bins)]
    for row, label in zip(probs.tolist(), labels.tolist(), strict=True):
        confidence = max(row)
        right = row.index(confidence) == label
        for b in range(bins):
            above = confidence > edges[b] or b == 0
            if above and (confidence <= edges[b + 1] or b == bins - 1):
                inside[b].append((confidence, right))
    rows = [len(part) for part in inside]
    assert sum(rows) == len(labels)
    mean = [[math.fsum(x) / len(x) for x in zip(*part, strict=True)] for part in inside]
    confidence, accuracy = zip(*(m or (math.nan, math.nan) for m in mean), strict=True)
    return rows, confidence, accuracy


def slow_error(probs, labels, bins):
    table = zip(*slow_table(probs, labels, bins), strict=True)
    gaps = [n * abs(acc - conf) for n, conf, acc in table if n]
    return math.fsum(gaps) / len(labels)


def slow_brier(probs, labels):
    total = 0.0
    for row, label in zip(probs.tolist(), labels.tolist(), strict=True):
        total += math.fsum((p - (k == label)) ** 2 for k, p in enumerate(row))
    return total / len(labels)


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
    return probs.astype(np.float32), rng.integers(0, classes, rows)


@pytest.mark.parametrize(("rows", "classes", "bins"), SHAPES)
def test_every_metric_equals_the_slow_reference(rows, classes, bins):
    rng = np.random.default_rng([rows, classes, bins])
    on_edge = 0
    for _ in range(CASES):
        probs, labels = draw(rng, rows, classes, bins)
        table = calibration.reliability_table(probs, labels, bins=bins)
        number, confidence, accuracy = slow_table(probs, labels, bins)
        np.testing.assert_array_equal(table.rows, number)
        np.testing.assert_allclose(table.confidence, confidence, rtol=3e-7)
        np.testing.assert_allclose(table.accuracy, accuracy, rtol=1e-7)
        on_edge += np.isin(probs.max(-1), np.asarray(table.edges)).sum()

        error = calibration.calibration_error(probs, labels, bins=bins)
        np.testing.assert_allclose(error, slow_error(probs, labels, bins), atol=2e-7)
        brier = calibration.brier_score(probs, labels)
        np.testing.assert_allclose(brier, slow_brier(probs, labels), rtol=1e-6)
        assert error.dtype == brier.dtype == jnp.float32
    assert on_edge > CASES * rows / 8


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
    expected = slow_brier(np.asarray(probs, np.float64), labels)
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
    np.testing.assert_allclose(error, slow_error(probs, labels, 15), rtol=1e-12)
    np.testing.assert_allclose(brier, slow_brier(probs, labels), rtol=1e-12)


def test_long_sums_stay_exact():
    """A plain float32 sum of 10^6 equal confidences would be off by 1e-3."""
    rows, confidence = 1_000_000, np.float32(0.9)
    probs = np.tile(np.asarray([confidence, 1 - confidence]), (rows, 1))
    labels = (np.arange(rows) % 5 == 0).astype(np.int32)  # accuracy 0.8 exactly
    got = calibration.calibration_error(probs, labels)
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
