"""Scores of probabilistic predictions: likelihood, Brier score, calibration error.

All take the classes on the last axis and average over all other axes. All are pure
functions of arrays that work under `jit`, with `bins` static.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ..boltzmann import log_softmax
from . import _checks


def negative_log_likelihood(
    logits: ArrayLike, labels: ArrayLike, temperature: ArrayLike = 1.0
) -> jax.Array:
    r"""Mean negative log-likelihood of the labels, in nats.

    $$\mathrm{NLL} = -\frac1N \sum_n \log p_n(y_n), \qquad
    p_n = \mathrm{softmax}(z_n / \tau)$$

    A proper score: in expectation the true probabilities, and nothing else, minimise
    it. It is convex in $1/\tau$, which makes it the loss to fit a temperature by.

    Args:
        logits: shape `(..., classes)`, floating point.
        labels: the class of each row, integers of shape `(...)`.
        temperature: a number, or an array that broadcasts to the shape of `labels`.

    Returns:
        A scalar in float32, or float64 for float64 logits; differentiable in `logits`
        and `temperature`. NaN where a traced label is not a class.

    Raises:
        TypeError: if `logits` are not floating point or `labels` not integers.
        ValueError: if `labels` do not fit `logits`, or `temperature` is not valid.

    >>> logits = jnp.array([[2.0, 0.0], [0.0, 1.0]])
    >>> print(f"{negative_log_likelihood(logits, jnp.array([0, 1])):.4f}")
    0.2201
    """
    logits = _checks.check_scores(logits, "logits")
    labels = _checks.check_labels(labels, logits, "logits")
    return -jnp.mean(_pick(log_softmax(_widen(logits), temperature), labels))


def brier_score(probs: ArrayLike, labels: ArrayLike) -> jax.Array:
    r"""Mean squared distance of the probabilities from what happened.

    $$\mathrm{BS} = \frac1N \sum_n \sum_k \left(p_{nk} - [k = y_n]\right)^2$$

    Between 0 and 2, a proper score. Summed over the classes, as Brier did; some
    libraries average over them instead, which divides by their number.

    Args:
        probs: shape `(..., classes)`, floating point, rows that sum to 1.
        labels: the class of each row, integers of shape `(...)`.

    Returns:
        A scalar in float32, or float64 for float64 probabilities. NaN where a traced
        label is not a class.

    Raises:
        TypeError: if `probs` are not floating point or `labels` not integers.
        ValueError: if `labels` do not fit `probs`, or `probs` are not probabilities.

    Source: Brier 1950, *Verification of Forecasts Expressed in Terms of Probability*.

    >>> print(brier_score(jnp.array([[0.75, 0.25]]), jnp.array([0])))
    0.125
    """
    probs = _checks.check_probabilities(probs)
    labels = _checks.check_labels(labels, probs, "probs")
    return _brier_score(probs, labels)


class ReliabilityTable(NamedTuple):
    """What a reliability diagram shows, one entry per bin.

    Attributes:
        edges: the bins' edges, shape `(bins + 1,)`, from 0 to 1. Bin `i` holds the
            confidences in `(edges[i], edges[i + 1]]`, the first one 0 as well.
        rows: the number of rows in each bin.
        confidence: their mean confidence, NaN in an empty bin.
        accuracy: the share of them that is right, NaN in an empty bin.
    """

    edges: jax.Array
    rows: jax.Array
    confidence: jax.Array
    accuracy: jax.Array


def reliability_table(
    probs: ArrayLike, labels: ArrayLike, *, bins: int = 15
) -> ReliabilityTable:
    """Sorts the rows into bins by confidence and compares it with accuracy.

    A row's confidence is its largest probability. It is right if that is its label's;
    the first of several equal ones counts. The bins have equal width and are closed on
    the right; their edges are rounded to the dtype of `probs`, so that a confidence
    of 0.2 lies on the edge 0.2 in every dtype.

    Args:
        probs: shape `(..., classes)`, floating point, rows that sum to 1.
        labels: the class of each row, integers of shape `(...)`.
        bins: the number of bins.

    Returns:
        A [`ReliabilityTable`][jaxtemp.calibration.ReliabilityTable]. A traced label
        that is not a class counts as wrong.

    Raises:
        TypeError: if `probs` are not floating point or `labels` not integers.
        ValueError: if `labels` do not fit `probs`, `probs` are not probabilities or
            `bins` is not a positive integer.

    Source: DeGroot and Fienberg 1983, *The Comparison and Evaluation of Forecasters*.

    >>> probs = jnp.array([[0.9, 0.1], [0.7, 0.3], [0.4, 0.6]])
    >>> table = reliability_table(probs, jnp.array([0, 1, 1]), bins=5)
    >>> print(table.rows, table.accuracy)
    [0 0 1 1 1] [nan nan  1.  0.  1.]
    """
    probs = _checks.check_probabilities(probs)
    labels = _checks.check_labels(labels, probs, "probs")
    return _reliability_table(probs, labels, _checks.check_bins(bins))


def calibration_error(
    probs: ArrayLike, labels: ArrayLike, *, bins: int = 15
) -> jax.Array:
    r"""Expected calibration error (ECE) of the predicted class.

    $$\mathrm{ECE} = \sum_b \frac{n_b}{N}
    \left|\mathrm{accuracy}_b - \mathrm{confidence}_b\right|$$

    over bins of equal width, as
    [`reliability_table`][jaxtemp.calibration.reliability_table] makes them. Not a
    proper score: it depends on the binning, a finite sample biases it upwards, and a
    constant prediction of the base rate has almost none. Read it beside the
    likelihood.

    Args:
        probs: shape `(..., classes)`, floating point, rows that sum to 1.
        labels: the class of each row, integers of shape `(...)`.
        bins: the number of bins.

    Returns:
        A scalar in [0, 1], in float32, or float64 for float64 probabilities.

    Raises:
        TypeError: if `probs` are not floating point or `labels` not integers.
        ValueError: if `labels` do not fit `probs`, `probs` are not probabilities or
            `bins` is not a positive integer.

    Source: Guo et al. 2017, *On Calibration of Modern Neural Networks*, equation 3.

    >>> probs = jnp.array([[0.9, 0.1], [0.7, 0.3], [0.4, 0.6]])
    >>> print(f"{calibration_error(probs, jnp.array([0, 1, 1])):.4f}")
    0.4000
    """
    probs = _checks.check_probabilities(probs)
    labels = _checks.check_labels(labels, probs, "probs")
    return _calibration_error(probs, labels, _checks.check_bins(bins))


class _Bins(NamedTuple):
    """Each bin's rows, those that are right, and their confidences' summed distance.

    The distance is from the bin's centre: small and of both signs, so that a long sum
    stays exact. The counts are summed as integers.
    """

    edges: jax.Array
    centre: jax.Array
    rows: jax.Array
    right: jax.Array
    distance: jax.Array


def _bins(probs: jax.Array, labels: jax.Array, bins: int) -> _Bins:
    edges = _widen(jnp.asarray((np.arange(bins + 1) / bins).astype(probs.dtype)))
    confidence = _widen(probs.max(-1).ravel())
    right = (probs.argmax(-1) == labels).ravel()
    # The number of inner edges below a confidence is its bin, closed on the right.
    index = jnp.searchsorted(edges[1:-1], confidence, side="left")

    def total(values: jax.Array) -> jax.Array:
        return jax.ops.segment_sum(values, index, num_segments=bins)

    centre = (edges[:-1] + edges[1:]) / 2
    return _Bins(
        edges=edges,
        centre=centre,
        rows=total(jnp.ones_like(index)),
        right=total(right.astype(index.dtype)),
        distance=total(confidence - centre[index]),
    )


# Compiled as a whole: outside of `jit` too, and once for all calls of the same shapes.
@partial(jax.jit, static_argnums=2)
def _reliability_table(
    probs: jax.Array, labels: jax.Array, bins: int
) -> ReliabilityTable:
    sums = _bins(probs, labels, bins)
    rows = sums.rows.astype(sums.edges.dtype)
    return ReliabilityTable(
        edges=sums.edges,
        rows=sums.rows,
        confidence=sums.centre + sums.distance / rows,
        accuracy=sums.right / rows,
    )


@partial(jax.jit, static_argnums=2)
def _calibration_error(probs: jax.Array, labels: jax.Array, bins: int) -> jax.Array:
    # From the sums and not from the table, whose empty bins are NaN.
    sums = _bins(probs, labels, bins)
    excess = sums.right - sums.rows * sums.centre - sums.distance
    return jnp.sum(jnp.abs(excess)) / jnp.sum(sums.rows)


@jax.jit
def _brier_score(probs: jax.Array, labels: jax.Array) -> jax.Array:
    # Over all classes but the label's, plus the label's own: a label that is not a
    # class shows as NaN.
    probs = _widen(probs)
    classes = jnp.arange(probs.shape[-1])
    others = jnp.where(classes == labels[..., None], 0.0, probs)
    own = 1.0 - _pick(probs, labels)
    return jnp.mean(jnp.sum(others**2, axis=-1) + own**2)


def _widen(scores: jax.Array) -> jax.Array:
    """Half precision as float32: exact, and a mean of many rows needs the bits."""
    return scores.astype(jnp.promote_types(scores.dtype, jnp.float32))


def _pick(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """Each row's entry at its label; NaN where the label is not a class."""
    classes = scores.shape[-1]
    picked = jnp.take_along_axis(
        scores, jnp.clip(labels, 0, classes - 1)[..., None], axis=-1
    )[..., 0]
    return jnp.where((labels >= 0) & (labels < classes), picked, jnp.nan)
