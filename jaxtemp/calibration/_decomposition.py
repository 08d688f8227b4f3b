"""What the Brier score is made of."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from . import _checks
from ._binned import every_class, sort_into_bins


class BrierDecomposition(NamedTuple):
    """The parts of a Brier score; all are scalars, and none but the last is negative.

    Attributes:
        reliability: How far forecasts are from frequencies. Less is better.
        resolution: How far the bins' frequencies are from the base rate. More is
            better.
        uncertainty: The score of the base rate, a property of the labels alone.
        within_variance: How much the forecasts in one bin differ.
        within_covariance: Twice how much that goes along with what happened.
    """

    reliability: jax.Array
    resolution: jax.Array
    uncertainty: jax.Array
    within_variance: jax.Array
    within_covariance: jax.Array

    @property
    def score(self) -> jax.Array:
        """The Brier score, put together again."""
        within = self.within_variance - self.within_covariance
        return self.reliability - self.resolution + self.uncertainty + within


def brier_decomposition(
    probs: ArrayLike, labels: ArrayLike, *, bins: int = 15, binning: str = "width"
) -> BrierDecomposition:
    r"""The Brier score as reliability, resolution and uncertainty.

    $$\mathrm{BS} = \underbrace{\sum_b \tfrac{n_b}{N}
    (\overline p_b - \overline y_b)^2}_\text{reliability}
    - \underbrace{\sum_b \tfrac{n_b}{N}
    (\overline y_b - \overline y)^2}_\text{resolution}
    + \underbrace{\overline y (1 - \overline y)}_\text{uncertainty}
    + \underbrace{\tfrac1N \sum_n
    (p_n - \overline p_b)^2}_\text{variance}
    - \underbrace{\tfrac2N \sum_n
    (p_n - \overline p_b)(y_n - \overline y_b)}_\text{covariance}$$

    summed over the classes, each of which sorts all rows into bins by its own
    probability $p$, with $y$ 1 where it is the label and 0 elsewhere. The last two
    parts are about what differs within bin $b$. Without them the sum is the score only
    if each bin holds one forecast.

    Args:
        probs: Real floating array of shape `(..., classes)`, rows that sum to 1.
        labels: The class of each row, integers of shape `(...)`.
        bins: The number of bins for each class.
        binning: `"width"` or `"mass"`, see `reliability_table`.

    Returns:
        A [`BrierDecomposition`][jaxtemp.calibration.BrierDecomposition] in float32, or
        float64 for float64 probabilities; its `score` is `brier_score`, up to rounding.
        A traced label that is not a class counts as none of them.

    Raises:
        TypeError: As for `reliability_table`.
        ValueError: As for `reliability_table`.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxtemp import calibration
        >>> probs = jnp.array([[0.9, 0.1], [0.7, 0.3], [0.4, 0.6]])
        >>> labels = jnp.array([0, 1, 1])
        >>> parts = calibration.brier_decomposition(probs, labels)
        >>> print(f"{parts.reliability:.4f} {parts.score:.4f}")
        0.4400 0.4400
        >>> print(f"{calibration.brier_score(probs, labels):.4f}")
        0.4400

    Source:
        Murphy, *A new vector partition of the probability score* (1973); Stephenson,
        Coelho and Jolliffe, *Two extra components in the Brier score decomposition*
        (2008).
    """
    rows = _checks.check_forecast(probs, labels)
    bins, binning = _checks.check_bins(bins), _checks.check_binning(binning)
    return _brier_decomposition(*rows, bins, binning)


@partial(jax.jit, static_argnums=(2, 3))
def _brier_decomposition(probs, labels, bins, binning) -> BrierDecomposition:
    columns = sort_into_bins(*every_class(probs, labels), bins, binning)
    rows = len(columns.forecasts)
    counts = columns.counts().astype(columns.forecasts.dtype)
    mean = columns.sums(columns.forecasts) / jnp.maximum(counts, 1)
    frequency = columns.sums(columns.events) / jnp.maximum(counts, 1)
    base = jnp.mean(columns.events, axis=0)[:, None]
    forecasts = columns.forecasts - _of_each(mean, columns.bins)
    events = columns.events - _of_each(frequency, columns.bins)
    return BrierDecomposition(
        reliability=jnp.sum(counts / rows * (frequency - mean) ** 2),
        resolution=jnp.sum(counts / rows * (frequency - base) ** 2),
        uncertainty=jnp.sum(base * (1 - base)),
        within_variance=jnp.sum(forecasts**2) / rows,
        within_covariance=2 * jnp.sum(forecasts * events) / rows,
    )


def _of_each(numbers: jax.Array, index: jax.Array) -> jax.Array:
    """For each row and column the number of its bin."""
    return jnp.take_along_axis(numbers.T, index, axis=0)
