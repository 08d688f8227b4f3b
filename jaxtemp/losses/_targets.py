"""What labels, smoothing and class weights mean: the weight of each class in a row.

Every cross-entropy of this package is `Σ_k c_k (lse - x_k)`, with

    c_k = w_k ((1 - ε) q_k + ε Σ_j q_j / n),

where q are the labels (one at an integer label, zero elsewhere), ε is the smoothing, n
the number of allowed classes and w the class weights. As in PyTorch, each class that
smoothing reaches has its own weight.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .._rows import reductions, upcast
from ..kernels.cross_entropy.target import Target
from . import _checks


class Labels(NamedTuple):
    """Checked labels with the class axis last.

    Attributes:
        values: Integers `[...]`, or numbers of each class `[..., V]`.
        ignored: Which rows do not count, `[...]`; `None` if none can be told so.
        invalid: Which rows' integers name no class, `[...]`; `None` for numbers.
    """

    values: jax.Array
    ignored: jax.Array | None
    invalid: jax.Array | None

    @property
    def soft(self) -> bool:
        """Whether each class has a number of its own."""
        return self.invalid is None


def read_labels(
    labels,
    shape: tuple[int, ...],
    *,
    axis: int = -1,
    ignore_index: int | None = None,
    axis_name: str | None = None,
) -> Labels:
    """Labels of logits of `shape`, whose class axis is this device's part of it.

    Integers count classes over all devices; those returned count from this device's
    first class, so that the classes of others lie outside [0, V).
    """
    axis %= len(shape)
    local = shape[axis]
    devices = 1 if axis_name is None else lax.axis_size(axis_name)
    ignore = _checks.ignored(ignore_index)
    values = _checks.labels(labels, shape, axis, local * devices, ignore)
    if values.ndim == len(shape):
        return Labels(jnp.moveaxis(values, axis, -1), None, None)
    ignored = None if ignore is None else values == ignore
    invalid = (values < 0) | (values >= local * devices)
    if ignored is not None:
        invalid &= ~ignored
    values = jnp.where(invalid, -1, values).astype(jnp.int32)
    if axis_name is not None:
        values -= lax.axis_index(axis_name).astype(jnp.int32) * local
    return Labels(values, ignored, invalid)


def target(
    labels: Labels,
    dtype,
    *,
    smoothing: jax.Array | None = None,
    allowed: jax.Array | float = 1.0,
    weights: jax.Array | None = None,
    axis_name: str | None = None,
) -> Target:
    """What rows are to predict, in the type in which they are summed.

    Args:
        labels: The checked labels.
        dtype: The type in which rows are summed.
        smoothing: ε of each row; `None` for none.
        allowed: Number of allowed classes of each row, on all devices.
        weights: One number for each class `[V]`; `None` for one.
        axis_name: The mesh axis over which the classes are split.
    """
    values = labels.values
    batch_shape = values.shape[:-1] if labels.soft else values.shape
    one = jnp.ones(batch_shape, dtype)
    if labels.invalid is not None:
        one = jnp.where(labels.invalid, jnp.nan, one)
    if labels.ignored is not None:
        one = jnp.where(labels.ignored, 0, one)
    tilt = one
    if weights is not None:
        weights = weights.astype(dtype).reshape((1,) * len(batch_shape) + (-1,))
        if not labels.soft:
            tilt *= _of_labels(weights, values, axis_name)
    if smoothing is None:
        return Target(values, tilt, None, weights if labels.soft else None)
    mass = one
    if labels.soft:
        mass = reductions(axis_name).sum(upcast(values))[..., 0].astype(dtype)
    even = smoothing * mass / jnp.maximum(allowed, 1)
    return Target(values, (1 - smoothing) * tilt, even, weights)


def _of_labels(weights: jax.Array, labels: jax.Array, axis_name: str | None):
    """The weight of each row's class; zero where the label is none."""
    labels = jnp.where(
        labels < 0, weights.size, labels
    )  # or it would count from behind
    layout = jax.typeof(labels).sharding  # an explicit mesh does not guess it
    known = weights.reshape(-1).at[labels]
    found = known.get(mode="fill", fill_value=0, out_sharding=layout)
    return found if axis_name is None else lax.psum(found, axis_name)
