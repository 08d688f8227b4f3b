"""Proper scores of probabilistic predictions: likelihood and Brier score.

Both take the classes on the last axis and average over all other axes.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._rows import upcast
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
        logits: Real floating array of shape `(..., classes)`.
        labels: The class of each row, integers of shape `(...)`.
        temperature: A number, or an array that broadcasts to the shape of `labels`.

    Returns:
        A scalar in float32, or float64 for float64 logits; differentiable in `logits`
        and `temperature`. NaN where a traced label is not a class.

    Raises:
        TypeError: `logits` are not floating point or `labels` not integers.
        ValueError: `labels` do not fit `logits`, or `temperature` is not valid.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxtemp import calibration
        >>> logits, labels = jnp.array([[2.0, 0.0], [0.0, 1.0]]), jnp.array([0, 1])
        >>> print(f"{calibration.negative_log_likelihood(logits, labels):.4f}")
        0.2201

    Source:
        Good, *Rational decisions* (1952).
    """
    logits = _checks.check_scores(logits, "logits")
    labels = _checks.check_labels(labels, logits, "logits")
    return -jnp.mean(_pick(log_softmax(upcast(logits), temperature), labels))


def brier_score(probs: ArrayLike, labels: ArrayLike) -> jax.Array:
    r"""Mean squared distance of the probabilities from what happened.

    $$\mathrm{BS} = \frac1N \sum_n \sum_k \left(p_{nk} - [k = y_n]\right)^2$$

    Between 0 and 2, a proper score. Summed over the classes, as Brier did; some
    libraries average over them instead, which divides by their number.

    Args:
        probs: Real floating array of shape `(..., classes)`, rows that sum to 1.
        labels: The class of each row, integers of shape `(...)`.

    Returns:
        A scalar in float32, or float64 for float64 probabilities. NaN where a traced
        label is not a class.

    Raises:
        TypeError: `probs` are not floating point or `labels` not integers.
        ValueError: `labels` do not fit `probs`, or `probs` are not probabilities.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxtemp import calibration
        >>> print(calibration.brier_score(jnp.array([[0.75, 0.25]]), jnp.array([0])))
        0.125

    Source:
        Brier, *Verification of forecasts expressed in terms of probability* (1950).
    """
    return _brier_score(*_checks.check_forecast(probs, labels))


@jax.jit
def _brier_score(probs: jax.Array, labels: jax.Array) -> jax.Array:
    # Over all classes but the label's, plus the label's own: a label that is not a
    # class shows as NaN.
    probs = upcast(probs)
    classes = jnp.arange(probs.shape[-1])
    others = jnp.where(classes == labels[..., None], 0.0, probs)
    own = 1.0 - _pick(probs, labels)
    return jnp.mean(jnp.sum(others**2, axis=-1) + own**2)


def _pick(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """Each row's entry at its label; NaN where the label is not a class."""
    classes = scores.shape[-1]
    picked = jnp.take_along_axis(
        scores, jnp.clip(labels, 0, classes - 1)[..., None], axis=-1
    )[..., 0]
    return jnp.where((labels >= 0) & (labels < classes), picked, jnp.nan)
