"""Forecasts sorted into bins, and sums over each bin.

A forecast is the probability of an event: that a class is the label, or that the
likeliest class is. Forecasts are columns, each binned by itself.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._rows import upcast
from ._sums import segment_sums

BINNINGS = ("width", "mass")


def top_label(probs: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The one column of confidences, and whether the likeliest class is right."""
    right = probs.argmax(axis=-1) == labels
    return probs.max(axis=-1).reshape(-1, 1), right.reshape(-1, 1)


def every_class(probs: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A column of probabilities for each class, and whether it is the label."""
    probs = probs.reshape(-1, probs.shape[-1])
    return probs, labels.reshape(-1, 1) == jnp.arange(probs.shape[-1])


class Binned(NamedTuple):
    """Columns of forecasts and events, and the bin of each entry.

    Attributes:
        forecasts: shape `(rows, columns)`, float32 or float64.
        events: 0 or 1, of the same shape and dtype.
        bins: the bin of each, integers of the same shape.
        edges: the bins' edges, shape `(columns, number of bins + 1)`, from 0 to 1.
    """

    forecasts: jax.Array
    events: jax.Array
    bins: jax.Array
    edges: jax.Array

    def counts(self) -> jax.Array:
        """How many rows each bin has, integers of shape `(columns, number)`."""
        return self._reduced(jax.ops.segment_sum, jnp.ones_like(self.bins))

    def sums(self, values: jax.Array) -> jax.Array:
        """The sums over each bin, shape `(columns, number)`, of values in [-1, 1]."""
        return self._reduced(segment_sums, values)

    def excess(self) -> jax.Array:
        """The sums of event minus forecast."""
        return self.sums(self.events - self.forecasts)

    def _reduced(self, reduction: Callable, values: jax.Array) -> jax.Array:
        columns, number = self.edges.shape[0], self.edges.shape[1] - 1
        segment = self.bins + number * jnp.arange(columns)
        flat = reduction(values.ravel(), segment.ravel(), columns * number)
        return flat.reshape(columns, number)


def sort_into_bins(
    forecasts: jax.Array, events: jax.Array, bins: int, binning: str
) -> Binned:
    """Bins each column. The order of the rows is not kept, that of a pair is."""
    by = _by_width if binning == "width" else _by_mass
    forecasts, events, index, inner = by(forecasts, events, bins)
    end = jnp.ones_like(inner, shape=(len(inner), 1))
    edges = jnp.concatenate([0 * end, inner, end], axis=1)
    forecasts, edges = upcast(forecasts), upcast(edges)
    return Binned(forecasts, events.astype(forecasts.dtype), index, edges)


def _by_width(forecasts: jax.Array, events: jax.Array, bins: int) -> tuple:
    """Edges b / bins, rounded to the forecasts' own dtype; closed on the right."""
    inner = jnp.asarray((np.arange(1, bins) / bins).astype(forecasts.dtype))
    index = jnp.searchsorted(inner, forecasts)
    inner = jnp.broadcast_to(inner, (forecasts.shape[1], bins - 1))
    return forecasts, events, index, inner


def _by_mass(forecasts: jax.Array, events: jax.Array, bins: int) -> tuple:
    """Edges b rows / bins for a forecast's rank; closed on the right."""
    forecasts, events = lax.sort((forecasts, events), dimension=0, num_keys=1)
    limits = np.arange(1, bins, dtype=np.int64) * len(forecasts) // bins
    index = jnp.searchsorted(limits.astype(np.int32), _ranks(forecasts))

    def largest(column: jax.Array, index: jax.Array) -> jax.Array:
        return lax.cummax(jax.ops.segment_max(column, index, bins))[:-1]

    inner = jax.vmap(largest, in_axes=1)(forecasts, index)
    return forecasts, events, index, jnp.clip(inner, 0, 1)


def _ranks(columns: jax.Array) -> jax.Array:
    """How many of a sorted column are no greater than each: one number for a tie."""
    place = lax.broadcasted_iota(jnp.int32, columns.shape, 0) + 1
    last = jnp.ones_like(columns[:1], bool)
    last = jnp.concatenate([columns[1:] != columns[:-1], last])
    return lax.cummin(jnp.where(last, place, len(columns)), axis=0, reverse=True)
