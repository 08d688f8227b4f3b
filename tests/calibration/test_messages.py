"""Every message of `calibration`, word for word."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest

from jaxtemp import calibration

PROBS = jnp.array([[0.75, 0.25], [0.5, 0.5]])
LABELS = jnp.array([0, 1])
KEY = jax.random.key(0)

WRONG = [
    (
        lambda: calibration.brier_score(jnp.array([[1, 0]]), jnp.array([0])),
        TypeError,
        (
            "`probs` must be real floating point, got dtype int32; "
            "convert it first, for example `probs.astype(jnp.float32)`."
        ),
    ),
    (
        lambda: calibration.negative_log_likelihood(jnp.array([[1, 0]]), LABELS[:1]),
        TypeError,
        (
            "`logits` must be real floating point, got dtype int32; "
            "convert it first, for example `logits.astype(jnp.float32)`."
        ),
    ),
    (
        lambda: calibration.calibration_error(jnp.zeros((0, 3)), jnp.zeros(0, int)),
        ValueError,
        (
            "`probs` must hold at least one row of at least one class, got shape "
            "(0, 3); its last axis is the class axis."
        ),
    ),
    (
        lambda: calibration.brier_score(0.5, 0),
        ValueError,
        (
            "`probs` must hold at least one row of at least one class, got shape (); "
            "its last axis is the class axis."
        ),
    ),
    (
        lambda: calibration.calibration_error(jnp.array([[3.0, -1.0]]), LABELS[:1]),
        ValueError,
        (
            "`probs` must lie in [0, 1], got 3; "
            "for logits pass `jaxtemp.softmax(logits)`."
        ),
    ),
    (
        lambda: calibration.brier_score(jnp.array([[jnp.nan, 1.0]]), LABELS[:1]),
        ValueError,
        (
            "`probs` must lie in [0, 1], got nan; "
            "for logits pass `jaxtemp.softmax(logits)`."
        ),
    ),
    (
        lambda: calibration.brier_score(jnp.array([[0.5, 0.25]]), LABELS[:1]),
        ValueError,
        (
            "`probs` must sum to 1 over the last axis, got 0.75; "
            "the last axis must hold every class."
        ),
    ),
    (
        lambda: calibration.brier_score(PROBS, jnp.array([0.0, 1.0])),
        TypeError,
        (
            "`labels` must be integers, got dtype float32; "
            "pass the index of each row's class."
        ),
    ),
    (
        lambda: calibration.brier_score(PROBS, ["cat", "dog"]),
        TypeError,
        "`labels` must be integers, got list; pass the index of each row's class.",
    ),
    (
        lambda: calibration.calibration_error(PROBS, jnp.array([[1, 0], [0, 1]])),
        ValueError,
        (
            "`labels` has shape (2, 2), but `probs` has shape (2, 2); "
            "pass one label per row, shape (2,)."
        ),
    ),
    (
        lambda: calibration.brier_score(PROBS, jnp.array([0, -1])),
        ValueError,
        (
            "`labels` must lie in [0, 2) for 2 classes, got -1; "
            "leave out rows without a class."
        ),
    ),
    (
        lambda: calibration.negative_log_likelihood(PROBS, jnp.array([2, 0])),
        ValueError,
        (
            "`labels` must lie in [0, 2) for 2 classes, got 2; "
            "leave out rows without a class."
        ),
    ),
    (
        lambda: calibration.calibration_error(PROBS, LABELS, bins=0),
        ValueError,
        (
            "`bins` must be a positive integer, known when traced, got 0; "
            "pass for example `bins=15`."
        ),
    ),
    (
        lambda: calibration.reliability_table(PROBS, LABELS, bins=1.5),
        ValueError,
        (
            "`bins` must be a positive integer, known when traced, got 1.5; "
            "pass for example `bins=15`."
        ),
    ),
    (
        lambda: calibration.calibration_error(PROBS, LABELS, binning="rank"),
        ValueError,
        ("`binning` must be one of 'width', 'mass', got 'rank'; choose from these."),
    ),
    (
        lambda: calibration.bootstrap(jnp.mean, KEY, PROBS, LABELS[:1]),
        ValueError,
        (
            "`arrays` must be one or more, with the same number of rows, at least one, "
            "on the first axis, got shapes [(2, 2), (1,)]; pass what `metric` takes."
        ),
    ),
    (
        lambda: calibration.bootstrap(jnp.mean, KEY),
        ValueError,
        (
            "`arrays` must be one or more, with the same number of rows, at least one, "
            "on the first axis, got shapes []; pass what `metric` takes."
        ),
    ),
    (
        lambda: calibration.bootstrap(jnp.mean, KEY, jnp.zeros(0)),
        ValueError,
        (
            "`arrays` must be one or more, with the same number of rows, at least one, "
            "on the first axis, got shapes [(0,)]; pass what `metric` takes."
        ),
    ),
    (
        lambda: calibration.bootstrap(jnp.mean, KEY, LABELS, samples=1),
        ValueError,
        (
            "`samples` must be an integer >= 2, known when traced, got 1; "
            "pass for example `samples=1000`."
        ),
    ),
    (
        lambda: calibration.bootstrap(jnp.mean, KEY, LABELS, level=95),
        ValueError,
        (
            "`level` must be a number between 0 and 1, got 95; "
            "pass for example `level=0.95`."
        ),
    ),
    (
        lambda: calibration.bootstrap(jnp.mean, 0, LABELS),
        TypeError,
        ("`key` must be a JAX random key, got int; make one with `jax.random.key(0)`."),
    ),
    (
        lambda: calibration.bootstrap(calibration.brier_score, KEY, PROBS * 2, LABELS),
        ValueError,
        (
            "`probs` must lie in [0, 1], got 1.5; "
            "for logits pass `jaxtemp.softmax(logits)`."
        ),
    ),
]
# Every other metric makes the same checks.
NEGATIVE = (
    "`labels` must lie in [0, 2) for 2 classes, got -1; leave out rows without a class."
)
WRONG += [
    (partial(metric, PROBS, jnp.array([0, -1])), ValueError, NEGATIVE)
    for metric in (
        calibration.brier_decomposition,
        calibration.classwise_calibration_error,
        calibration.maximum_calibration_error,
        calibration.smooth_calibration_error,
    )
]


@pytest.mark.parametrize(("call", "kind", "message"), WRONG)
def test_message(call, kind, message):
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == message


def test_traced_bins_are_named():
    with pytest.raises(ValueError, match="`bins` must be a positive integer, known"):
        jax.jit(calibration.calibration_error)(PROBS, LABELS, bins=15)


def test_a_temperature_that_is_not_one_is_named_by_the_op():
    with pytest.raises(ValueError, match="`temperature` must be in"):
        calibration.negative_log_likelihood(PROBS, LABELS, -1.0)
