"""Ensemble temperature scaling: a mixture of a temperature, of 1 and of infinity."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .._rows import upcast
from ..boltzmann import log_softmax
from . import _checks
from ._held_out import held_out, judged, mean_nll, temperature_of
from ._sample import Sample, labelled, read_sample

# An iteration is cheap: three numbers a row.
_MOST_STEPS = 10_000
_GAP = 1e-6


class EnsembleFit(NamedTuple):
    """A fitted mixture of three temperatures.

    Attributes:
        temperature: τ of the first part.
        weights: of softmax at τ, at 1 and at infinity: shape `(3,)`, sum 1.
        nll_before: mean negative log-likelihood of the rows as they are, in nats.
        nll_after: the same under the mixture.
        nll_held_out: the same, each row by a fit without its fold.
        nll_held_out_temperature: what one temperature does on the same folds.
        iterations: steps of the search for the weights.
        status: a [`Status`][jaxtemp.calibration.Status] code, int32; OVERFIT where one
            temperature does better on the rows held out.
    """

    temperature: jax.Array
    weights: jax.Array
    nll_before: jax.Array
    nll_after: jax.Array
    nll_held_out: jax.Array
    nll_held_out_temperature: jax.Array
    iterations: jax.Array
    status: jax.Array

    def apply(self, logits: ArrayLike) -> jax.Array:
        """Calibrated log-probabilities of rows of logits, in their shape and dtype."""
        logits = jnp.asarray(logits)
        parts = _parts(upcast(logits), self.temperature)
        return _mixed(parts, self.weights).astype(logits.dtype)


def fit_ensemble(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    where: ArrayLike | None = None,
    folds: int = 5,
) -> EnsembleFit:
    r"""Ensemble temperature scaling.

    $$q = w_1 \operatorname{softmax}(z / \tau) + w_2 \operatorname{softmax}(z) +
      w_3 \operatorname{softmax}(z / \infty), \qquad w \ge 0, \quad \sum_i w_i = 1$$

    τ is that of `fit_temperature`, 1 where there is none. The likelihood is concave in
    the weights, which are found by expectation maximisation until they are within 1e-6
    nats of the best. Accuracy stays as it is: the order of the classes does not change.

    Args:
        logits: Real floating array of shape `(..., classes)`.
        labels: The class of each row, integers of shape `(...)`.
        weights: A number >= 0 for each row.
        where: Boolean mask that broadcasts to the logits' shape.
        folds: In how many parts the rows are held out to see whether it overfits; row
            $n$ is in part $n$ modulo `folds`.

    Returns:
        An [`EnsembleFit`][jaxtemp.calibration.EnsembleFit].

    Raises:
        TypeError: As for `fit_temperature`.
        ValueError: As for `fit_temperature`, or `folds` is not an integer above 1.

    Examples:
        >>> import jax
        >>> from jaxtemp import calibration
        >>> logits = 4 * jax.random.normal(jax.random.key(0), (3000, 5))
        >>> labels = jax.random.categorical(jax.random.key(1), logits / 2)
        >>> noise = jax.random.randint(jax.random.key(2), (3000,), 0, 5)
        >>> labels = jax.numpy.where(jax.numpy.arange(3000) % 5 == 0, noise, labels)
        >>> fit = calibration.fit_ensemble(logits, labels)
        >>> bool(fit.nll_held_out < fit.nll_held_out_temperature)
        True

    Source:
        Zhang, Kailkhura and Han, *Mix-n-match: ensemble and compositional methods for
        uncertainty calibration in deep learning* (2020), section 3.2, with the
        likelihood as its loss.
    """
    sample = read_sample(logits, labels, weights, where)
    return _fit(sample, _checks.check_folds(folds))


@partial(jax.jit, static_argnames="folds")
def _fit(sample: Sample, folds: int) -> EnsembleFit:
    def apply(model: _Model, logits: jax.Array) -> jax.Array:
        return _mixed(_parts(upcast(logits), model.temperature), model.weights)

    tau, status = temperature_of(sample)
    model = _optimum(sample, tau)
    ours, plain = held_out(sample, folds, _optimum, apply)
    return EnsembleFit(
        temperature=tau,
        weights=model.weights,
        nll_before=mean_nll(sample, log_softmax(upcast(sample.logits))),
        nll_after=mean_nll(sample, apply(model, sample.logits)),
        nll_held_out=ours,
        nll_held_out_temperature=plain,
        iterations=model.steps,
        status=judged(status, model.converged, ours, plain),
    )


class _Model(NamedTuple):
    temperature: jax.Array
    weights: jax.Array
    steps: jax.Array
    converged: jax.Array


def _optimum(sample: Sample, tau: jax.Array) -> _Model:
    parts = _parts(upcast(sample.logits), tau)
    own = jnp.stack([labelled(part, sample.labels) for part in parts])
    # In units of the likeliest part, so that none but it underflows.
    own = jnp.exp(own - own.max(axis=0))
    rows = sample.total(jnp.ones_like(own[0]))

    def unfinished(state: tuple[jax.Array, ...]) -> jax.Array:
        _, steps, gap = state
        return (gap > _GAP) & (steps < _MOST_STEPS)

    def step(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        mixture, steps, _ = state
        ratios = own / (mixture @ own)
        means = jax.vmap(sample.total)(ratios) / rows
        # What the best mixture can gain is at most this.
        gap = means.max() - 1
        return mixture * means, steps + 1, gap

    thirds = jnp.full_like(own, 1 / 3, shape=(3,))
    mixture, steps, gap = lax.while_loop(
        unfinished, step, (thirds, jnp.int32(0), jnp.full_like(rows, jnp.inf))
    )
    return _Model(tau, mixture / mixture.sum(), steps, gap <= _GAP)


def _parts(logits: jax.Array, temperature: jax.Array) -> tuple[jax.Array, ...]:
    return tuple(log_softmax(logits, tau) for tau in (temperature, 1.0, jnp.inf))


def _mixed(parts: tuple[jax.Array, ...], weights: jax.Array) -> jax.Array:
    logs = [part + log for part, log in zip(parts, jnp.log(weights), strict=True)]
    return jax.nn.logsumexp(jnp.stack(logs), axis=0)
