"""Isotonic calibration, one class against the rest, by scikit-learn."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .._extras import missing_extra
from .._rows import upcast
from ..boltzmann import log_softmax, softmax
from . import _checks
from ._held_out import fold_sums, judged, mean_nll, temperature_of
from ._sample import Sample, read_sample


class IsotonicFit(NamedTuple):
    """Fitted monotone maps, one a class, from a probability to a probability.

    Attributes:
        probabilities: where each map has its corners, shape `(classes, corners)`; the
            last corner is repeated where a class has fewer.
        calibrated: what they are mapped to, of the same shape; straight lines between.
        nll_before: mean negative log-likelihood of the rows as they are, in nats.
        nll_after: the same, calibrated.
        nll_held_out: the same, each row by a fit without its fold.
        nll_held_out_temperature: what one temperature does on the same folds.
        status: a [`Status`][jaxtemp.calibration.Status] code, int32; OVERFIT where one
            temperature does better on the rows held out.
    """

    probabilities: jax.Array
    calibrated: jax.Array
    nll_before: jax.Array
    nll_after: jax.Array
    nll_held_out: jax.Array
    nll_held_out_temperature: jax.Array
    status: jax.Array

    def apply(self, logits: ArrayLike) -> jax.Array:
        """Calibrated log-probabilities of rows of logits, in their shape and dtype."""
        logits = jnp.asarray(logits)
        maps = self.probabilities, self.calibrated
        return _mapped(maps, upcast(logits)).astype(logits.dtype)


def fit_isotonic(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    folds: int = 5,
) -> IsotonicFit:
    r"""Isotonic regression of each class against the rest, by scikit-learn.

    $$q_k \propto f_k(p_k), \qquad p = \operatorname{softmax}(z)$$

    with each $f_k$ the non-decreasing map of the least squared error, scaled so that a
    row sums to 1. It can bend as it likes, and with few rows it does: see the status.
    Unlike a temperature, it changes the order of classes. A map stays within
    $[1/(N + 2), (N + 1)/(N + 2)]$, or one row could make the likelihood infinite.

    It runs on the host, outside of `jit`; `apply` is a JAX function.

    Args:
        logits: Real floating array of shape `(..., classes)`, finite.
        labels: The class of each row, integers of shape `(...)`.
        weights: A number >= 0 for each row.
        folds: In how many parts the rows are held out to see whether it overfits; row
            $n$ is in part $n$ modulo `folds`.

    Returns:
        An [`IsotonicFit`][jaxtemp.calibration.IsotonicFit].

    Raises:
        ImportError: scikit-learn is not installed.
        TypeError: As for `fit_temperature`.
        ValueError: As for `fit_temperature`, or `folds` is not an integer above 1.

    Examples:
        >>> import jax
        >>> from jaxtemp import calibration
        >>> logits = 3 * jax.random.normal(jax.random.key(0), (5000, 3))
        >>> labels = jax.random.categorical(jax.random.key(1), logits / 2)
        >>> fit = calibration.fit_isotonic(logits, labels)
        >>> bool(fit.nll_after < fit.nll_before)
        True

    Source:
        Zadrozny and Elkan, *Transforming classifier scores into accurate multiclass
        probability estimates* (2002), section 4.
    """
    sample = read_sample(logits, labels, weights)
    folds = _checks.check_folds(folds)
    _, status = temperature_of(sample)
    maps = _maps(sample)
    parts = [fold_sums(sample, folds, k, _fold_maps, _mapped) for k in range(folds)]
    rows = sample.total(jnp.ones_like(sample.weights))
    ours, plain = (sum(sums) / rows for sums in zip(*parts, strict=True))
    return IsotonicFit(
        *maps,
        nll_before=mean_nll(sample, log_softmax(upcast(sample.logits))),
        nll_after=mean_nll(sample, _mapped(maps, sample.logits)),
        nll_held_out=ours,
        nll_held_out_temperature=plain,
        status=judged(status, True, ours, plain),
    )


def _fold_maps(sample: Sample, tau: jax.Array) -> tuple[jax.Array, jax.Array]:
    del tau  # the maps start from the logits as they are
    return _maps(sample)


def _maps(sample: Sample) -> tuple[jax.Array, jax.Array]:
    """The corners of the map of each class."""
    try:
        from sklearn.isotonic import IsotonicRegression
    except ModuleNotFoundError as error:
        user = "jaxtemp.calibration.fit_isotonic"
        raise missing_extra("scikit-learn", "examples", user) from error
    probs = np.asarray(softmax(upcast(sample.logits)))
    labels, weights = np.asarray(sample.labels), np.asarray(sample.weights)
    counted = weights > 0
    least = 1 / (counted.sum() + 2)
    found = []
    for k in range(probs.shape[-1]):
        regression = IsotonicRegression(y_min=least, y_max=1 - least)
        regression.fit(probs[counted, k], labels[counted] == k, weights[counted])
        found.append((regression.X_thresholds_, regression.y_thresholds_))
    most = max(len(x) for x, _ in found)
    padded = [[np.pad(c, (0, most - len(c)), "edge") for c in pair] for pair in found]
    x, y = (np.stack(corners) for corners in zip(*padded, strict=True))
    return jnp.asarray(x, probs.dtype), jnp.asarray(y, probs.dtype)


@jax.jit
def _mapped(maps: tuple[jax.Array, jax.Array], logits: jax.Array) -> jax.Array:
    along = jax.vmap(jnp.interp, in_axes=(-1, 0, 0), out_axes=-1)
    q = along(softmax(upcast(logits)), *maps)
    return jnp.log(q / jnp.sum(q, axis=-1, keepdims=True))
