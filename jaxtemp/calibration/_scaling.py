"""Vector and matrix scaling: softmax regression on calibrated log-probabilities."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._rows import upcast
from ..boltzmann import log_softmax
from . import _checks
from ._held_out import held_out, judged, mean_nll, temperature_of
from ._minimize import minimize
from ._sample import Sample, read_sample


class ScalingFit(NamedTuple):
    """A fitted scale for each class, or a matrix, and a bias.

    Attributes:
        scale: shape `(classes,)`, or `(classes, classes)` for a matrix.
        bias: shape `(classes,)`.
        temperature: at which logits become the log-probabilities that are scaled.
        nll_before: mean negative log-likelihood of the rows as they are, in nats.
        nll_after: the same, calibrated.
        nll_held_out: the same, each row by a fit without its fold.
        nll_held_out_temperature: what one temperature does on the same folds.
        iterations: steps of Newton's method.
        status: a [`Status`][jaxtemp.calibration.Status] code, int32; OVERFIT where one
            temperature does better on the rows held out.
    """

    scale: jax.Array
    bias: jax.Array
    temperature: jax.Array
    nll_before: jax.Array
    nll_after: jax.Array
    nll_held_out: jax.Array
    nll_held_out_temperature: jax.Array
    iterations: jax.Array
    status: jax.Array

    def apply(self, logits: ArrayLike) -> jax.Array:
        """Calibrated log-probabilities of rows of logits, in their shape and dtype."""
        logits = jnp.asarray(logits)
        out = _scaled(self.scale, self.bias, self.temperature, logits)
        return out.astype(logits.dtype)


def fit_vector_scaling(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    scale_strength: float = 0.01,
    bias_strength: float = 0.01,
    folds: int = 5,
) -> ScalingFit:
    r"""A scale and a bias for each class, near one temperature.

    $$q_n = \operatorname{softmax}(a \odot x_n + b), \qquad
      x_n = \log \operatorname{softmax}(z_n / \tau), \qquad
      \min_{a, b} L + \frac{\lambda_a}{K} \lVert a - 1 \rVert^2 +
      \frac{\lambda_b}{K} \lVert b \rVert^2$$

    with $L$ the mean negative log-likelihood and τ that of `fit_temperature`, 1 where
    there is none: so the penalties draw towards temperature scaling. It is convex.

    Args:
        logits: Real floating array of shape `(..., classes)`, finite.
        labels: The class of each row, integers of shape `(...)`.
        weights: A number >= 0 for each row.
        scale_strength: $\lambda_a$.
        bias_strength: $\lambda_b$.
        folds: In how many parts the rows are held out to see whether it overfits; row
            $n$ is in part $n$ modulo `folds`.

    Returns:
        A [`ScalingFit`][jaxtemp.calibration.ScalingFit].

    Raises:
        TypeError: As for `fit_temperature`.
        ValueError: As for `fit_temperature`, or `folds` is not an integer above 1.

    Examples:
        >>> import jax
        >>> from jaxtemp import calibration
        >>> logits = 2 * jax.random.normal(jax.random.key(0), (2000, 3))
        >>> bias = jax.numpy.array([1.0, 0.0, -1.0])
        >>> labels = jax.random.categorical(jax.random.key(1), logits + bias)
        >>> fit = calibration.fit_vector_scaling(logits, labels)
        >>> bool(fit.nll_held_out < fit.nll_held_out_temperature)
        True

    Source:
        Guo, Pleiss, Sun and Weinberger, *On calibration of modern neural networks*
        (2017), section 4.2.
    """
    sample = read_sample(logits, labels, weights)
    strengths = jnp.array([scale_strength, 0.0, bias_strength], sample.weights.dtype)
    return _fit(sample, strengths, _checks.check_folds(folds), matrix=False)


def fit_matrix_scaling(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    scale_strength: float = 0.01,
    off_diagonal_strength: float = 1.0,
    bias_strength: float = 0.01,
    folds: int = 5,
) -> ScalingFit:
    r"""A matrix and a bias, near one temperature.

    $$q_n = \operatorname{softmax}(W x_n + b), \qquad
      \min_{W, b} L + \frac{\lambda_a}{K} \sum_i (W_{ii} - 1)^2 +
      \frac{\lambda_o}{K (K - 1)} \sum_{i \ne j} W_{ij}^2 +
      \frac{\lambda_b}{K} \lVert b \rVert^2$$

    with $x_n$ and $L$ as for `fit_vector_scaling`. The two last penalties are ODIR, off
    diagonal and intercept regularisation; the first keeps the diagonal finite too. It
    has $K^2 + K$ parameters: with few rows a class, trust the status.

    Args:
        logits: Real floating array of shape `(..., classes)`, finite.
        labels: The class of each row, integers of shape `(...)`.
        weights: A number >= 0 for each row.
        scale_strength: $\lambda_a$.
        off_diagonal_strength: $\lambda_o$.
        bias_strength: $\lambda_b$.
        folds: As for `fit_vector_scaling`.

    Returns:
        A [`ScalingFit`][jaxtemp.calibration.ScalingFit].

    Raises:
        TypeError: As for `fit_temperature`.
        ValueError: As for `fit_vector_scaling`.

    Examples:
        >>> import jax
        >>> from jaxtemp import calibration
        >>> logits = 2 * jax.random.normal(jax.random.key(0), (60, 8))
        >>> labels = jax.random.categorical(jax.random.key(1), logits)
        >>> fit = calibration.fit_matrix_scaling(
        ...     logits, labels, off_diagonal_strength=0.0
        ... )
        >>> calibration.Status(int(fit.status)).name
        'OVERFIT'

    Source:
        Kull et al., *Beyond temperature scaling: Obtaining well-calibrated multi-class
        probabilities with Dirichlet calibration* (2019), section 3.
    """
    sample = read_sample(logits, labels, weights)
    strengths = jnp.array(
        [scale_strength, off_diagonal_strength, bias_strength], sample.weights.dtype
    )
    return _fit(sample, strengths, _checks.check_folds(folds), matrix=True)


class _Model(NamedTuple):
    scale: jax.Array
    bias: jax.Array
    temperature: jax.Array
    steps: jax.Array
    converged: jax.Array


@partial(jax.jit, static_argnames=("folds", "matrix"))
def _fit(sample: Sample, strengths: jax.Array, folds: int, matrix: bool) -> ScalingFit:
    def fit(sample: Sample, tau: jax.Array) -> _Model:
        return _optimum(sample, tau, strengths, matrix)

    def apply(model: _Model, logits: jax.Array) -> jax.Array:
        return _scaled(model.scale, model.bias, model.temperature, logits)

    tau, status = temperature_of(sample)
    model = fit(sample, tau)
    ours, plain = held_out(sample, folds, fit, apply)
    return ScalingFit(
        scale=model.scale,
        bias=model.bias,
        temperature=model.temperature,
        nll_before=mean_nll(sample, log_softmax(upcast(sample.logits))),
        nll_after=mean_nll(sample, apply(model, sample.logits)),
        nll_held_out=ours,
        nll_held_out_temperature=plain,
        iterations=model.steps,
        status=judged(status, model.converged, ours, plain),
    )


def _optimum(
    sample: Sample, tau: jax.Array, strengths: jax.Array, matrix: bool
) -> _Model:
    classes = sample.logits.shape[-1]
    wide = upcast(sample.logits)
    change = jnp.zeros((classes,) * (2 if matrix else 1), wide.dtype)
    start = change, jnp.zeros(classes, wide.dtype)

    def loss(parameters: tuple[jax.Array, jax.Array]) -> jax.Array:
        change, bias = parameters
        log_probs = _scaled(_one(change) + change, bias, tau, wide)
        diagonal = jnp.diagonal(change) if matrix else change
        off = jnp.sum(change**2) - jnp.sum(diagonal**2) if matrix else 0.0
        penalties = jnp.stack(
            [
                jnp.mean(diagonal**2),
                off / max(1, classes * (classes - 1)),
                jnp.mean(bias**2),
            ]
        )
        return mean_nll(sample, log_probs) + strengths @ penalties

    found = minimize(loss, start)
    change, bias = found.at
    return _Model(_one(change) + change, bias, tau, found.steps, found.converged)


def _one(change: jax.Array) -> jax.Array:
    """The scale that changes nothing."""
    return (jnp.eye if change.ndim == 2 else jnp.ones)(len(change), dtype=change.dtype)


def _scaled(scale, bias, temperature, logits) -> jax.Array:
    # Finite, so that a class without probability is still one.
    x = jnp.maximum(log_softmax(upcast(logits), temperature), -1e4)
    x = x @ scale.T if scale.ndim == 2 else x * scale
    return log_softmax(x + bias)
