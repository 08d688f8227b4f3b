"""Rows with labels and weights, what they sum to, and which are fitted together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .. import _checks as shared
from .._rows import accumulator, fold
from . import _checks
from ._sums import sums_by

_WEIGHTS = shared.Rule(0, float("inf"), "pass 0 to leave a row out")

_BLOCK = 2**17  # numbers that stay in a core's cache, with their exponentials


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sample:
    """Logits `[N, K]`, a label and a weight for each row, and the rows' groups.

    Without `groups` all rows are fitted together, and what is one number a fit is a
    scalar; with them it has the shape `[number]`.
    """

    logits: jax.Array
    labels: jax.Array
    weights: jax.Array
    groups: jax.Array | None = None
    number: int = dataclasses.field(default=1, metadata={"static": True})

    def total(self, values: jax.Array) -> jax.Array:
        """The weighted sums of one number a row, to the last digits of their dtype."""
        weighted = jnp.where(self.weights > 0, values * self.weights, 0)
        # Of the finite ones, so that a group does not see what is not in another.
        size = jnp.max(jnp.abs(jnp.where(jnp.isfinite(weighted), weighted, 0)))
        size = lax.stop_gradient(size)
        size = jnp.where(size > 0, size, 1)
        return size * sums_by(self._add, weighted / size)

    def count(self, flags: jax.Array) -> jax.Array:
        """How many rows have their flag set."""
        return self._add(flags.astype(jnp.int32))

    def spread(self, number: jax.Array) -> jax.Array:
        """A fit's number beside each of its rows."""
        if self.groups is None:
            return jnp.broadcast_to(number, self.labels.shape)
        return number[self.groups]

    def thinned(self, stride: int) -> Sample:
        """One row in `stride`."""

        def thin(x: jax.Array) -> jax.Array:
            # An axis of its own, so that rows split over devices stay where they are.
            each = len(x) // stride
            return x[: each * stride].reshape(each, stride, *x.shape[1:])[:, 0]

        return jax.tree.map(thin, self)

    def _add(self, values: jax.Array) -> jax.Array:
        if self.groups is None:
            return jnp.sum(values)
        return jax.ops.segment_sum(values, self.groups, self.number)


def labelled(wide: jax.Array, labels: jax.Array) -> jax.Array:
    """Each row's entry at its label."""
    return jnp.take_along_axis(wide, labels[:, None], axis=-1, mode="clip")[:, 0]


def by_blocks(function: Callable[..., Any], *arrays: jax.Array) -> Any:
    """`function` of rows, on a CPU of as many at a time as stay in cache.

    Args:
        function: Of rows of each array, one number a row, or a tuple of such.
        arrays: Rows on the first axis of each, of which the first has the most.

    Returns:
        What `function` returns for all rows.
    """
    each = max(1, _BLOCK * len(arrays[0]) // arrays[0].size)
    blocks = len(arrays[0]) // each
    if blocks < 2:
        return function(*arrays)

    def blocked(*arrays: jax.Array) -> Any:
        even = blocks * each
        split = [x[:even].reshape(blocks, each, *x.shape[1:]) for x in arrays]
        most = lax.map(lambda block: function(*block), split)
        left = function(*(x[even:] for x in arrays))
        return jax.tree.map(lambda x, y: jnp.append(x.ravel(), y), most, left)

    return lax.platform_dependent(*arrays, cpu=blocked, default=function)


def row_sums(x: jax.Array) -> jax.Array:
    """The sum of each row, as a product, which XLA's CPU compiler vectorises."""
    return jnp.matmul(x, jnp.ones(x.shape[-1], x.dtype), precision="highest")


def read_sample(
    logits: ArrayLike,
    labels: ArrayLike,
    weights: ArrayLike | None,
    where: ArrayLike | None = None,
) -> Sample:
    """The rows that a fit is given, checked; rows of weight 0 are made harmless."""
    logits = _checks.check_scores(logits, "logits")
    labels = _checks.check_labels(labels, logits, "logits")
    classes, dtype = logits.shape[-1], accumulator(logits.dtype)
    z = fold(logits, 1.0, axis=-1, where=where).logits.reshape(-1, classes)
    if weights is None:
        return Sample(z, labels.ravel(), jnp.ones(len(z), dtype))
    weights = shared.per_row("weights", weights, labels.shape, dtype, _WEIGHTS)
    weights = weights.ravel()
    z = jnp.where((weights == 0)[:, None], 0, z)
    return Sample(z, labels.ravel(), weights)
