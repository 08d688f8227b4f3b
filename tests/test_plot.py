"""What the pictures show, as numbers, and that they can be drawn anywhere."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.special
from matplotlib.figure import Figure

from jaxtemp import calibration, plot


def lines_of(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def test_temperature_sweep_draws_the_softmax():
    logits = [2.0, 1.0, 0.5, 0.1]
    ax = plot.temperature_sweep(logits, [2.0, 0.5, 1.0], names=["a", "b", "c", "d"])
    temperatures = np.asarray([0.5, 1.0, 2.0])
    probs = scipy.special.softmax(np.divide.outer(logits, temperatures), axis=0)
    lines = lines_of(ax)
    assert list(lines) == ["a", "b", "c", "d"]
    for line, expected in zip(lines.values(), probs, strict=True):
        np.testing.assert_allclose(line.get_xdata(), temperatures)
        np.testing.assert_allclose(line.get_ydata(), expected, rtol=1e-5)
    right = ax.figure.axes[1]
    (entropy,) = right.get_lines()
    expected = scipy.special.entr(probs).sum(0)
    np.testing.assert_allclose(entropy.get_ydata(), expected, rtol=1e-5)


def test_temperature_sweep_is_labelled_with_units():
    ax = plot.temperature_sweep([1.0, 0.0])
    assert ax.get_xlabel() == "temperature (units of the logits)"
    assert ax.get_ylabel() == "probability"
    assert ax.figure.axes[1].get_ylabel() == "entropy (nats)"
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["class 0", "class 1", "entropy (right axis)"]


def test_temperature_sweep_of_many_classes_shows_five_and_the_sum_of_the_rest():
    logits = np.random.default_rng(0).normal(0, 2, 20)
    ax = plot.temperature_sweep(logits)
    lines = lines_of(ax)
    best = np.argsort(-logits)[:5]
    assert list(lines) == [*(f"class {i}" for i in best), "the other 15 together"]
    total = sum(line.get_ydata() for line in lines.values())
    np.testing.assert_allclose(total, 1.0, rtol=1e-5)
    # Told apart without colour, too.
    dashes = [str(line._unscaled_dash_pattern) for line in lines.values()]
    assert len(set(dashes)) == len(dashes)


def test_reliability_diagram_draws_the_table():
    rng = np.random.default_rng(1)
    probs = rng.dirichlet(np.ones(3), 200).astype(np.float32)
    labels = rng.integers(0, 3, 200)
    table = calibration.reliability_table(probs, labels, bins=10)
    filled = np.asarray(table.rows) > 0
    ax = plot.reliability_diagram(probs, labels, bins=10)
    heights = [bar.get_height() for bar in ax.patches]
    np.testing.assert_allclose(heights, np.asarray(table.accuracy)[filled])
    left = [bar.get_x() for bar in ax.patches]
    np.testing.assert_allclose(left, np.asarray(table.edges)[:-1][filled])
    written = [text.get_text() for text in ax.texts]
    assert written == [str(n) for n in np.asarray(table.rows)[filled]]
    markers = ax.containers[1].lines[0]
    np.testing.assert_allclose(
        markers.get_xdata(), np.asarray(table.confidence)[filled]
    )
    error = 100 * calibration.calibration_error(probs, labels, bins=10)
    title = ax.get_legend().get_title().get_text()
    assert title == f"ECE {error:.2f} %, 200 rows, 10 bins"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("confidence", "accuracy")


def test_whiskers_are_wilson_intervals():
    # 7 of 10 right: the interval is a textbook value, [0.3968, 0.8922].
    probs = jnp.tile(jnp.array([0.85, 0.15]), (10, 1))
    labels = jnp.array([0] * 7 + [1] * 3)
    ax = plot.reliability_diagram(probs, labels, bins=5)
    ((low, high),) = ax.containers[1].lines[2][0].get_segments()
    np.testing.assert_allclose(low, [0.85, 0.3968], atol=1e-4)
    np.testing.assert_allclose(high, [0.85, 0.8922], atol=1e-4)


def test_reliability_diagram_of_equal_mass_has_the_table_and_no_numbers():
    rng = np.random.default_rng(2)
    probs = rng.dirichlet(np.ones(3), 200).astype(np.float32)
    labels = rng.integers(0, 3, 200)
    options = {"bins": 8, "binning": "mass"}
    table = calibration.reliability_table(probs, labels, **options)
    ax = plot.reliability_diagram(probs, labels, **options)
    np.testing.assert_allclose(
        [(bar.get_x(), bar.get_width(), bar.get_height()) for bar in ax.patches],
        np.stack([table.edges[:-1], np.diff(table.edges), table.accuracy], axis=-1),
        rtol=1e-6,
    )
    assert not ax.texts
    error = 100 * calibration.calibration_error(probs, labels, **options)
    title = ax.get_legend().get_title().get_text()
    assert title == f"ECE {error:.2f} %, 200 rows, 8 bins of equal mass"


def mean_nll(logits, labels, temperature):
    log_probs = scipy.special.log_softmax(np.asarray(logits) / temperature, -1)
    return -log_probs[np.arange(len(labels)), labels].mean()


def over_confident():
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 1.5, (300, 4))
    below = scipy.special.softmax(logits, -1).cumsum(-1) < rng.random((300, 1))
    return (2.5 * logits).astype(np.float32), below.sum(-1).clip(0, 3)


def test_nll_curve_draws_the_likelihood_and_marks_its_minimum():
    logits, labels = over_confident()
    ax = plot.nll_curve(logits, labels)
    curve, at_one, best = ax.get_lines()
    tau = curve.get_xdata()
    want = [mean_nll(logits, labels, t) for t in tau]
    np.testing.assert_allclose(curve.get_ydata(), want, rtol=1e-5)
    assert (at_one.get_xdata(), at_one.get_ydata()) == (
        [1.0],
        [pytest.approx(mean_nll(logits, labels, 1.0), rel=1e-5)],
    )
    (mark,), (value,) = best.get_xdata(), best.get_ydata()
    found = scipy.optimize.minimize_scalar(
        lambda t: mean_nll(logits, labels, t), bounds=(0.5, 8), method="bounded"
    )
    assert (mark, value) == pytest.approx((found.x, found.fun), rel=1e-4)
    assert tau[0] == pytest.approx(1 / 3)
    assert tau[-1] == pytest.approx(3 * mark)
    assert value <= min(want) + 1e-6
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == [
        f"as it is: temperature 1, {mean_nll(logits, labels, 1.0):.4f} nats",
        f"fitted: temperature {mark:.4g}, {value:.4f} nats",
    ]
    assert ax.get_xlabel() == "temperature (units of the logits)"
    assert ax.get_ylabel() == "mean negative log-likelihood (nats)"
    assert ax.get_xscale() == "log"


def test_nll_curve_of_a_fit_to_other_rows_and_given_temperatures():
    logits, labels = over_confident()
    fit = calibration.fit_temperature(logits[:100], labels[:100])
    ax = plot.nll_curve(logits[100:], labels[100:], [4.0, 0.5, 2.0], fit=fit)
    curve, _, best = ax.get_lines()
    np.testing.assert_allclose(curve.get_xdata(), [0.5, 2.0, 4.0])
    want = mean_nll(logits[100:], labels[100:], float(fit.temperature))
    assert best.get_xdata() == [float(fit.temperature)]
    assert best.get_ydata() == [pytest.approx(want, rel=1e-5)]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_nll_curve_marks_no_temperature_that_is_not_there(sign):
    """Separable rows have the limit 0, their opposite has infinity."""
    labels = np.arange(6) % 3
    ax = plot.nll_curve(sign * np.eye(3, dtype=np.float32)[labels], labels)
    curve, at_one = ax.get_lines()
    assert at_one.get_xdata() == [1.0]
    np.testing.assert_allclose(curve.get_xdata()[[0, -1]], [1 / 3, 3])


@pytest.mark.parametrize("right", [0, 1])
def test_whiskers_stay_within_the_picture(right):
    probs = jnp.array([[1.0, 0.0]])
    ax = plot.reliability_diagram(probs, jnp.array([1 - right]))
    ((low, high),) = ax.containers[1].lines[2][0].get_segments()
    assert 0.0 <= low[1] <= right <= high[1] <= 1.0


def test_they_draw_on_the_axes_given_and_save(tmp_path):
    figure = Figure(figsize=(12, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    assert plot.temperature_sweep([1.0, 0.0, -jnp.inf], ax=left) is left
    probs, labels = jnp.array([[0.75, 0.25]]), jnp.array([0])
    assert plot.reliability_diagram(probs, labels, ax=right) is right
    path = tmp_path / "both.png"
    figure.savefig(path)
    assert path.read_bytes().startswith(b"\x89PNG\r\n")


WRONG = [
    (
        lambda: plot.temperature_sweep([[1.0, 0.0]]),
        (
            "`logits` must be one row of logits, got shape (1, 2); "
            "pass for example `logits[0]`."
        ),
    ),
    (
        lambda: plot.temperature_sweep([1.0, 0.0], [1.0]),
        (
            "`temperatures` must be a sequence of at least two, got shape (1,); "
            "pass for example `numpy.geomspace(0.1, 10.0, 100)`."
        ),
    ),
    (
        lambda: plot.temperature_sweep([1.0, 0.0], [0.0, 1.0]),
        (
            "`temperatures` must be positive and finite, for a logarithmic axis, "
            "got 0.0; leave it out."
        ),
    ),
    (
        lambda: plot.nll_curve([[1.0, 0.0]], [0], [0.0, 1.0]),
        (
            "`temperatures` must be positive and finite, for a logarithmic axis, "
            "got 0.0; leave it out."
        ),
    ),
    (
        lambda: plot.nll_curve(np.ones((2, 3), np.float32), [0, 3]),
        (
            "`labels` must lie in [0, 3) for 3 classes, got 3; "
            "leave out rows without a class."
        ),
    ),
    (
        lambda: plot.temperature_sweep([1.0, 0.0], names=["a"]),
        (
            "`names` must hold one name per class, got 1 names for 2 classes; "
            "pass all of them or none."
        ),
    ),
]


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_message(call, message):
    with pytest.raises(ValueError, match="`") as caught:
        call()
    assert str(caught.value) == message


def test_pyplot_stays_untouched():
    code = """
import sys
import jaxtemp.plot
assert "matplotlib" not in sys.modules
jaxtemp.plot.temperature_sweep([1.0, 0.0])
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_matplotlib_is_named():
    code = """
import sys
sys.modules["matplotlib"] = None
import jaxtemp.plot
try:
    jaxtemp.plot.temperature_sweep([1.0, 0.0])
except ImportError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == (
        "`jaxtemp.plot` needs matplotlib, which is not installed; "
        "run: pip install 'jaxtemp[plot]'\n"
    )
