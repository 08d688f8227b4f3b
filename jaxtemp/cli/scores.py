"""A model's scores before and after, with the intervals that the rows allow."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..boltzmann import log_softmax
from ..calibration import Interval, bootstrap, classwise_calibration_error
from ..calibration._errors import mean_error
from ..calibration._smooth import smooth_error
from .report import BINS

SAMPLES = 500
# Above so many probabilities the classwise error is not resampled: it needs them all
# again for each resample.
MOST_RESAMPLED = 200_000


class Comparison(NamedTuple):
    """Scores by name, each an `Interval` of one number.

    Attributes:
        before: at temperature 1.
        after: at a temperature for each row.
        change: the mean negative log-likelihood after minus that before.
    """

    before: dict[str, Interval]
    after: dict[str, Interval]
    change: Interval


class _PerRow(NamedTuple):
    """What scores need to know of a row, one number each."""

    confidence: jax.Array
    right: jax.Array
    nll: jax.Array
    brier: jax.Array


def compare(
    logits: jax.Array, labels: jax.Array, temperatures: jax.Array, key: jax.Array
) -> Comparison:
    """Scores `softmax(logits)` and `softmax(logits, temperatures)`.

    Args:
        logits: shape `(rows, classes)`.
        labels: the class of each row.
        temperatures: one for each row.
        key: draws the resamples, the same ones for both.

    Returns:
        The scores, in the order in which they are shown.
    """
    log_probs = [
        _log_probs(logits, t) for t in (jnp.ones_like(temperatures), temperatures)
    ]
    rows = [_per_row(each, labels) for each in log_probs]
    both = bootstrap(_scores_and_change, key, *rows[0], *rows[1], samples=SAMPLES)
    before, after = (
        {name: Interval(*(part[i][name] for part in both)) for name in both.value[i]}
        for i in (0, 1)
    )
    for scores, each in ((before, log_probs[0]), (after, log_probs[1])):
        scores["classwise"] = _classwise(jnp.exp(each), labels, key)
    return Comparison(before, after, Interval(*(part[2] for part in both)))


_log_probs = jax.jit(log_softmax)


@jax.jit
def _per_row(log_probs: jax.Array, labels: jax.Array) -> _PerRow:
    own = jnp.take_along_axis(log_probs, labels[:, None], axis=1)[:, 0]
    probs = jnp.exp(log_probs)
    hit = labels[:, None] == jnp.arange(probs.shape[1])
    return _PerRow(
        confidence=probs.max(axis=1),
        right=probs.argmax(axis=1) == labels,
        nll=-own,
        brier=jnp.sum((probs - hit) ** 2, axis=1),
    )


def _scores_and_change(*columns: jax.Array) -> tuple[dict, dict, jax.Array]:
    before, after = _PerRow(*columns[:4]), _PerRow(*columns[4:])
    change = jnp.mean(after.nll - before.nll)
    return _scores(before), _scores(after), change


def _scores(rows: _PerRow) -> dict[str, jax.Array]:
    top = rows.confidence[:, None], rows.right[:, None]
    return {
        "accuracy": jnp.mean(rows.right, dtype=rows.nll.dtype),
        "nll": jnp.mean(rows.nll),
        "brier": jnp.mean(rows.brier),
        "smooth": smooth_error(rows.confidence, rows.right),
        "width": mean_error(*top, BINS, "width"),
        "mass": mean_error(*top, BINS, "mass"),
    }


_classwise_error = partial(classwise_calibration_error, bins=BINS)


def _classwise(probs: jax.Array, labels: jax.Array, key: jax.Array) -> Interval:
    if probs.size <= MOST_RESAMPLED:
        return bootstrap(_classwise_error, key, probs, labels, samples=SAMPLES)
    unknown = jnp.full((), jnp.nan)
    return Interval(_classwise_error(probs, labels), unknown, unknown, unknown)
