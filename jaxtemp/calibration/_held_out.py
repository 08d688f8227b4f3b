"""What a fit is worth on rows that it has not seen, beside one temperature."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .._rows import upcast
from ..boltzmann import log_softmax
from ._sample import Sample, labelled
from ._status import Status
from ._temperature import fitted

# Of a sample and its temperature, a fit; of a fit and logits, log-probabilities.
Fitter = Callable[[Sample, jax.Array], Any]
Applier = Callable[[Any, jax.Array], jax.Array]


def temperature_of(sample: Sample) -> tuple[jax.Array, jax.Array]:
    """The temperature of the rows, 1 if they have none, and the status."""
    found = fitted(sample)
    inside = found.status == Status.CONVERGED
    return jnp.where(inside, found.temperature, 1), found.status


def mean_nll(sample: Sample, log_probs: jax.Array) -> jax.Array:
    """The weighted mean of minus the labels' log-probabilities."""
    rows = sample.total(jnp.ones_like(sample.weights))
    return sample.total(-labelled(log_probs, sample.labels)) / rows


def held_out(
    sample: Sample, folds: int, fit: Fitter, apply: Applier
) -> tuple[jax.Array, jax.Array]:
    """The mean nll of rows under fits without them: of this kind, and of temperatures.

    Row $n$ is held out by fold $n$ modulo `folds`.
    """

    def one(index: jax.Array) -> tuple[jax.Array, jax.Array]:
        return fold_sums(sample, folds, index, fit, apply)

    rows = sample.total(jnp.ones_like(sample.weights))
    ours, plain = lax.map(one, jnp.arange(folds))
    return ours.sum() / rows, plain.sum() / rows


def fold_sums(
    sample: Sample, folds: int, index: Any, fit: Fitter, apply: Applier
) -> tuple[jax.Array, jax.Array]:
    """A fold's share of `held_out`: summed, not averaged."""
    inside = jnp.arange(len(sample.labels)) % folds == index
    seen = dataclasses.replace(sample, weights=jnp.where(inside, 0, sample.weights))
    tau, _ = temperature_of(seen)
    ours = apply(fit(seen, tau), sample.logits)
    plain = log_softmax(upcast(sample.logits), tau)
    fresh = dataclasses.replace(sample, weights=jnp.where(inside, sample.weights, 0))
    ours, plain = (-labelled(found, sample.labels) for found in (ours, plain))
    return fresh.total(ours), fresh.total(plain)


def judged(
    temperature_status: jax.Array,
    converged: ArrayLike,
    ours: jax.Array,
    plain: jax.Array,
) -> jax.Array:
    """The status of a fit whose rows were held out, beside a temperature's."""
    status = jnp.where(converged, Status.CONVERGED, Status.NOT_CONVERGED)
    status = jnp.where(ours > plain, Status.OVERFIT, status)
    invalid = temperature_status == Status.INVALID
    return jnp.where(invalid, Status.INVALID, status).astype(jnp.int32)
