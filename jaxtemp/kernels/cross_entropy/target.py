"""What rows are to predict: the weight of each class in `Σ_k c_k (-log p_k)`."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ..._rows import upcast

_BITS = {1: jnp.uint8, 2: jnp.uint16}


class Target(NamedTuple):
    """`c_k = tilt [k = label] + w_k even`, or `c_k = w_k (tilt q_k + even)`.

    Attributes:
        labels: Integers `[...]`, of which those outside [0, V) are no class, or
            `q`, a number for each class, `[..., V]`.
        tilt: What the labels count, `[...]`.
        even: What every allowed class counts besides, `[...]`; `None` for nothing.
        weights: `w`, `[1, ..., 1, V]`; `None` for one.
    """

    labels: jax.Array
    tilt: jax.Array
    even: jax.Array | None = None
    weights: jax.Array | None = None

    @property
    def soft(self) -> bool:
        """Whether each class has a number of its own."""
        return self.labels.ndim > self.tilt.ndim

    def spread(self, allowed: jax.Array) -> jax.Array | None:
        """What of `c` is not at one class, `[..., V]`; `None` if there is nothing."""
        c = self.tilt[..., None] * upcast(self.labels) if self.soft else None
        if self.even is not None:
            even = jnp.where(allowed, self.even[..., None], 0)
            c = even if c is None else c + even
        return c if c is None or self.weights is None else c * self.weights

    def of_classes(self, allowed: jax.Array) -> jax.Array:
        """`c`, `[..., V]`."""
        c = self.spread(allowed)
        if c is not None and self.soft:
            return c
        place = lax.broadcasted_iota(jnp.int32, allowed.shape, allowed.ndim - 1)
        own = jnp.where(place == self.labels[..., None], self.tilt[..., None], 0)
        return own if c is None else c + own


def take(wide: jax.Array, label: jax.Array) -> jax.Array:
    """Each row's entry at its label, `[..., 1]`; zero where that is no class."""
    return take_block(wide[..., None], label)


def take_block(blocks: jax.Array, label: jax.Array) -> jax.Array:
    """Each row's block, `[..., W]`, of that number, of `[..., V / W, W]`; or zeros."""
    batch = tuple(range(label.ndim))
    numbers = lax.GatherDimensionNumbers(
        offset_dims=(label.ndim,),
        collapsed_slice_dims=(label.ndim,),
        start_index_map=(label.ndim,),
        operand_batching_dims=batch,
        start_indices_batching_dims=batch,
    )
    sizes = (*(1,) * (label.ndim + 1), blocks.shape[-1])
    found = lax.gather(
        _bits(blocks), label[..., None], numbers, sizes, mode="fill", fill_value=0
    )
    return lax.bitcast_convert_type(found, blocks.dtype)


def put(wide: jax.Array, label: jax.Array, value: jax.Array) -> jax.Array:
    """`wide` with `value`, `[..., 1]`, at each row's label, if that is a class."""
    batch = tuple(range(label.ndim))
    numbers = lax.ScatterDimensionNumbers(
        update_window_dims=(),
        inserted_window_dims=(label.ndim,),
        scatter_dims_to_operand_dims=(label.ndim,),
        operand_batching_dims=batch,
        scatter_indices_batching_dims=batch,
    )
    changed = lax.scatter(
        _bits(wide),
        label[..., None],
        _bits(value[..., 0].astype(wide.dtype)),
        numbers,
        mode="drop",
        unique_indices=True,
        indices_are_sorted=True,
    )
    return lax.bitcast_convert_type(changed, wide.dtype)


def _bits(x: jax.Array) -> jax.Array:
    """Half-precision numbers as integers, others as they are.

    XLA's CPU compiler would convert all of them to float32 to take or put a few.
    """
    bits = _BITS.get(x.dtype.itemsize)
    return x if bits is None else lax.bitcast_convert_type(x, bits)
