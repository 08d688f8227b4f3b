"""A temperature for each group of rows."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ..boltzmann import log_softmax
from . import _checks
from ._sample import Sample, read_sample
from ._status import Status
from ._temperature import fitted, likelihood


class GroupTemperatureFit(NamedTuple):
    """Fitted temperatures of groups; the fields of `TemperatureFit`, one a group.

    Attributes:
        temperature: τ of each group, shape `(num_groups,)`, as all that follow.
        beta: 1/τ.
        standard_error: of τ; of a POOLED group, that of all rows together.
        beta_standard_error: of 1/τ, likewise.
        nll_before: mean negative log-likelihood of the group at τ = 1; NaN without
            rows.
        nll_after: the same at the group's temperature.
        iterations: passes over all rows.
        status: a [`Status`][jaxtemp.calibration.Status] code, int32.
        rows: how many rows of positive weight the group has.
    """

    temperature: jax.Array
    beta: jax.Array
    standard_error: jax.Array
    beta_standard_error: jax.Array
    nll_before: jax.Array
    nll_after: jax.Array
    iterations: jax.Array
    status: jax.Array
    rows: jax.Array

    def apply(
        self, logits: ArrayLike, groups: ArrayLike, *, where: ArrayLike | None = None
    ) -> jax.Array:
        """Calibrated log-probabilities of rows of logits, each in a group."""
        return log_softmax(logits, self.temperature[jnp.asarray(groups)], where=where)


def fit_group_temperatures(
    logits: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike,
    num_groups: int,
    *,
    weights: ArrayLike | None = None,
    where: ArrayLike | None = None,
    min_rows: int = 50,
) -> GroupTemperatureFit:
    """A temperature for each group of rows, all fitted side by side.

    A group of fewer than `min_rows` rows takes the temperature of all rows together and
    says so: its status is POOLED. Its own would mostly be chance, and often 0 or
    infinite.

    Args:
        logits: Real floating array of shape `(..., classes)`.
        labels: The class of each row, integers of shape `(...)`.
        groups: The group of each row, integers of the same shape in [0, num_groups).
        num_groups: How many groups there are.
        weights: A number >= 0 for each row.
        where: Boolean mask that broadcasts to the logits' shape.
        min_rows: The fewest rows of positive weight that are a group of their own.

    Returns:
        A [`GroupTemperatureFit`][jaxtemp.calibration.GroupTemperatureFit].

    Raises:
        TypeError: As for `fit_temperature`, or `groups` are not integers.
        ValueError: As for `fit_temperature`, or a concrete group is out of range.

    Examples:
        >>> import jax
        >>> from jaxtemp import calibration
        >>> logits = 3 * jax.random.normal(jax.random.key(0), (3000, 5))
        >>> groups = jax.numpy.arange(3000) % 2
        >>> tau = jax.numpy.array([1.0, 2.0])[groups]
        >>> labels = jax.random.categorical(jax.random.key(1), logits / tau[:, None])
        >>> fit = calibration.fit_group_temperatures(logits, labels, groups, 3)
        >>> [calibration.Status(code).name for code in fit.status.tolist()]
        ['CONVERGED', 'CONVERGED', 'POOLED']

    Source:
        As `fit_temperature`.
    """
    sample = read_sample(logits, labels, weights, where)
    groups, number = _checks.check_groups(groups, num_groups, jnp.shape(labels))
    grouped = dataclasses.replace(sample, groups=groups.ravel(), number=number)
    return _fit(grouped, jnp.int32(min_rows))


@jax.jit
def _fit(sample: Sample, min_rows: jax.Array) -> GroupTemperatureFit:
    rows = sample.count(sample.weights > 0)
    own = fitted(sample)
    pooled = fitted(dataclasses.replace(sample, groups=None, number=1))
    small = rows < min_rows
    chosen = jax.tree.map(lambda a, b: jnp.where(small, b, a), own, pooled)
    everywhere = jnp.broadcast_to(pooled.temperature, rows.shape)
    at_pooled, _ = likelihood(sample, sample.logits, sample.weights, everywhere)
    return GroupTemperatureFit(
        *chosen._replace(
            nll_before=own.nll_before,
            nll_after=jnp.where(small, at_pooled, own.nll_after),
            status=jnp.where(small, jnp.int32(Status.POOLED), own.status),
        ),
        rows=rows,
    )
