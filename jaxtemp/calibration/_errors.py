"""Calibration errors: how far frequencies are from forecasts, bin by bin."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from . import _checks
from ._binned import every_class, sort_into_bins, top_label


class ReliabilityTable(NamedTuple):
    """What a reliability diagram shows, one entry per bin.

    Attributes:
        edges: The bins' edges, shape `(bins + 1,)`, from 0 to 1. Bin `i` holds the
            confidences in `(edges[i], edges[i + 1]]`, the first one 0 as well.
        rows: The number of rows in each bin.
        confidence: Their mean confidence, NaN in an empty bin.
        accuracy: The share of them that is right, NaN in an empty bin.
    """

    edges: jax.Array
    rows: jax.Array
    confidence: jax.Array
    accuracy: jax.Array


def reliability_table(
    probs: ArrayLike, labels: ArrayLike, *, bins: int = 15, binning: str = "width"
) -> ReliabilityTable:
    r"""Sorts the rows into bins by confidence and compares it with accuracy.

    A row's confidence is its largest probability. It is right if that is its label's;
    the first of several equal ones counts. Bins are closed on the right:

    - `binning="width"`: of equal width. The edges b/bins are rounded to the dtype of
      `probs`, so that a confidence of 0.2 lies on the edge 0.2 in every dtype.
    - `binning="mass"`: of equal numbers of rows, as far as ties allow. With $F(c)$ the
      share of the rows whose confidence is at most $c$, bin $b$ holds those of
      $\frac{b-1}{B} < F(c) \le \frac bB$, counted in integers. Equal confidences are
      never split, so a bin may be empty. The edges are each bin's largest confidence.

    Args:
        probs: Real floating array of shape `(..., classes)`, rows that sum to 1.
        labels: The class of each row, integers of shape `(...)`.
        bins: The number of bins.
        binning: `"width"` or `"mass"`.

    Returns:
        A [`ReliabilityTable`][jaxtemp.calibration.ReliabilityTable]. A traced label
        that is not a class counts as wrong.

    Raises:
        TypeError: `probs` are not floating point or `labels` not integers.
        ValueError: `labels` do not fit `probs`, `probs` are not probabilities, `bins`
            is not a positive integer or `binning` is unknown.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxtemp import calibration
        >>> probs = jnp.array([[0.9, 0.1], [0.7, 0.3], [0.4, 0.6]])
        >>> labels = jnp.array([0, 1, 1])
        >>> table = calibration.reliability_table(probs, labels, bins=5)
        >>> print(table.rows, table.accuracy)
        [0 0 1 1 1] [nan nan  1.  0.  1.]
        >>> table = calibration.reliability_table(probs, labels, bins=3, binning="mass")
        >>> print(table.rows, table.edges)
        [1 1 1] [0.  0.6 0.7 1. ]

    Source:
        DeGroot and Fienberg, *The comparison and evaluation of forecasters* (1983);
        Nguyen and O'Connor, *Posterior calibration and exploratory analysis for natural
        language processing models* (2015), for bins of equal mass.
    """
    return _reliability_table(*_checked(probs, labels, bins, binning))


def calibration_error(
    probs: ArrayLike, labels: ArrayLike, *, bins: int = 15, binning: str = "width"
) -> jax.Array:
    r"""Expected calibration error (ECE) of the predicted class.

    $$\mathrm{ECE} = \sum_b \frac{n_b}{N}
    \left|\mathrm{accuracy}_b - \mathrm{confidence}_b\right|$$

    over the bins of
    [`reliability_table`][jaxtemp.calibration.reliability_table]. Not a proper score: it
    depends on the binning, a finite sample biases it upwards, and a constant prediction
    of the base rate has almost none. Read it beside the likelihood.

    Args:
        probs: Real floating array of shape `(..., classes)`, rows that sum to 1.
        labels: The class of each row, integers of shape `(...)`.
        bins: The number of bins.
        binning: `"width"` or `"mass"`, see `reliability_table`.

    Returns:
        A scalar in [0, 1], in float32, or float64 for float64 probabilities.

    Raises:
        TypeError: As for `reliability_table`.
        ValueError: As for `reliability_table`.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxtemp import calibration
        >>> probs = jnp.array([[0.9, 0.1], [0.7, 0.3], [0.4, 0.6]])
        >>> labels = jnp.array([0, 1, 1])
        >>> print(f"{calibration.calibration_error(probs, labels):.4f}")
        0.4000

    Source:
        Guo et al., *On calibration of modern neural networks* (2017), equation 3.
    """
    return _calibration_error(*_checked(probs, labels, bins, binning))


def maximum_calibration_error(
    probs: ArrayLike, labels: ArrayLike, *, bins: int = 15, binning: str = "width"
) -> jax.Array:
    r"""Maximum calibration error (MCE) of the predicted class: that of the worst bin.

    $$\mathrm{MCE} = \max_b
    \left|\mathrm{accuracy}_b - \mathrm{confidence}_b\right|$$

    over the bins of
    [`reliability_table`][jaxtemp.calibration.reliability_table] that hold a row. Bins
    of equal width often hold a few rows only, and one of them decides: with
    `binning="mass"` it says more.

    Args:
        probs: Real floating array of shape `(..., classes)`, rows that sum to 1.
        labels: The class of each row, integers of shape `(...)`.
        bins: The number of bins.
        binning: `"width"` or `"mass"`, see `reliability_table`.

    Returns:
        A scalar in [0, 1], in float32, or float64 for float64 probabilities.

    Raises:
        TypeError: As for `reliability_table`.
        ValueError: As for `reliability_table`.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxtemp import calibration
        >>> probs = jnp.array([[0.9, 0.1], [0.7, 0.3], [0.4, 0.6]])
        >>> labels = jnp.array([0, 1, 1])
        >>> print(f"{calibration.maximum_calibration_error(probs, labels):.4f}")
        0.7000

    Source:
        Guo et al. (2017), equation 5.
    """
    return _maximum_calibration_error(*_checked(probs, labels, bins, binning))


def classwise_calibration_error(
    probs: ArrayLike, labels: ArrayLike, *, bins: int = 15, binning: str = "width"
) -> jax.Array:
    r"""Calibration error of every class's probability, averaged over the classes.

    $$\frac1K \sum_k \sum_b \frac{n_{bk}}{N}
    \left|\mathrm{frequency}_{bk} - \overline{p}_{bk}\right|$$

    where each class sorts all rows by its own probability. It sees all that a model
    says, not only its first choice. With many classes most probabilities are close to 0
    and their error is too: compare it between models, not with the top class's.

    Args:
        probs: Real floating array of shape `(..., classes)`, rows that sum to 1.
        labels: The class of each row, integers of shape `(...)`.
        bins: The number of bins for each class.
        binning: `"width"` or `"mass"`, see `reliability_table`.

    Returns:
        A scalar in [0, 1], in float32, or float64 for float64 probabilities. A traced
        label that is not a class counts as none of them.

    Raises:
        TypeError: As for `reliability_table`.
        ValueError: As for `reliability_table`.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxtemp import calibration
        >>> probs = jnp.array([[0.9, 0.1], [0.7, 0.3], [0.4, 0.6]])
        >>> labels = jnp.array([0, 1, 1])
        >>> print(f"{calibration.classwise_calibration_error(probs, labels):.4f}")
        0.4000

    Source:
        Kull et al., *Beyond temperature scaling: Obtaining well-calibrated multi-class
        probabilities with Dirichlet calibration* (2019).
    """
    return _classwise_calibration_error(*_checked(probs, labels, bins, binning))


def _checked(probs: ArrayLike, labels: ArrayLike, bins: int, binning: str) -> tuple:
    rows = _checks.check_forecast(probs, labels)
    return *rows, _checks.check_bins(bins), _checks.check_binning(binning)


# Compiled as a whole: outside of `jit` too, and once for all calls of the same shapes.
_compiled = partial(jax.jit, static_argnums=(2, 3))


@_compiled
def _reliability_table(probs, labels, bins, binning) -> ReliabilityTable:
    columns = sort_into_bins(*top_label(probs, labels), bins, binning)
    counts = columns.counts()[0]
    rows = counts.astype(columns.forecasts.dtype)
    return ReliabilityTable(
        edges=columns.edges[0],
        rows=counts,
        confidence=columns.sums(columns.forecasts)[0] / rows,
        accuracy=columns.sums(columns.events)[0] / rows,
    )


@_compiled
def _calibration_error(probs, labels, bins, binning) -> jax.Array:
    return mean_error(*top_label(probs, labels), bins, binning)


@_compiled
def _classwise_calibration_error(probs, labels, bins, binning) -> jax.Array:
    return mean_error(*every_class(probs, labels), bins, binning)


@_compiled
def _maximum_calibration_error(probs, labels, bins, binning) -> jax.Array:
    columns = sort_into_bins(*top_label(probs, labels), bins, binning)
    excess = columns.excess()
    # An empty bin has none.
    rows = jnp.maximum(columns.counts(), 1).astype(excess.dtype)
    return jnp.max(jnp.abs(excess) / rows)


def mean_error(
    forecasts: jax.Array, events: jax.Array, bins: int, binning: str
) -> jax.Array:
    """The expected calibration error of columns of forecasts, averaged over them."""
    columns = sort_into_bins(forecasts, events, bins, binning)
    return jnp.sum(jnp.abs(columns.excess())) / columns.forecasts.size
