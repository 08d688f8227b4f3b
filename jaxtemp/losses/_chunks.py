"""A linear layer's logits, a chunk of classes at a time.

A chunk has all rows, or those of a part (`_row_parts`), and some of the classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ..kernels._primitive import _vary_alike
from ..kernels.cross_entropy.xla import capped
from ._layer import Layer

# Entries of a chunk's logits, or of its weights: 16 MiB in float32, with which a matrix
# product runs at full speed and its result is still in cache when it is used.
_ENTRIES = 2**22
_NARROWEST = 128


class Chunk(NamedTuple):
    """Some classes of a layer.

    Attributes:
        first: The index of the first.
        new: The index of the first that no earlier chunk has.
        weight: Their weights, `[H, width]`.
        raw: Their logits, `[..., width]`.
        logits: The same, capped, and `-inf` where excluded or not new.
    """

    first: jax.Array
    new: jax.Array
    weight: jax.Array
    raw: jax.Array
    logits: jax.Array

    def part(self, wide: jax.Array) -> jax.Array:
        """What an array whose last axis holds all classes has of these."""
        return _part(wide, self.first, self.raw.shape[-1])

    def at(self, labels: jax.Array) -> jax.Array:
        """Which entries are those of the labels, `[...]`, and new."""
        place = lax.broadcasted_iota(jnp.int32, self.raw.shape, self.raw.ndim - 1)
        own = jnp.where(labels >= self.new, labels - self.first, -1)
        return place == own[..., None]


def over_chunks(
    layer: Layer, cap: float | None, step: Callable[[Any, Chunk], Any], start: Any
) -> Any:
    """`start`, taken through `step` once for each chunk of classes.

    A derivative computes each chunk anew, and nothing of a chunk's size is kept.
    """
    features, classes = layer.weight.shape
    width = chunk_width(layer.hidden.size // features, features, classes)

    @jax.checkpoint
    def body(carry, new):
        # The last chunk ends where the classes do, and so overlaps the one before.
        first = jnp.minimum(new, classes - width)
        return step(carry, _chunk(layer, cap, first, new, width)), None

    return lax.scan(body, start, jnp.arange(0, classes, width, dtype=jnp.int32))[0]


def vary_alike(tree: Any) -> Any:
    """Arrays that all vary over the same axes of a mesh, as a loop must know of them.

    Their cotangents are then summed over devices once, and not chunk by chunk.
    """
    leaves, structure = jax.tree.flatten(tree)
    return jax.tree.unflatten(structure, _vary_alike(leaves))


def chunk_width(rows: int, features: int, classes: int) -> int:
    """The number of classes in a chunk: by `_ENTRIES`, in chunks that are alike."""
    fitting = max(_NARROWEST, _ENTRIES // max(rows, features))
    count = -(-classes // fitting)
    alike = -(-classes // (count * _NARROWEST)) * _NARROWEST
    return min(classes, alike)


def most_rows() -> int:
    """With how many rows a chunk of the fewest classes is as large as one may be."""
    return _ENTRIES // _NARROWEST


def _chunk(layer: Layer, cap, first, new, width: int) -> Chunk:
    weight = _part(layer.weight, first, width)
    counted = None
    if layer.weight.shape[-1] % width:
        counted = first + jnp.arange(width, dtype=jnp.int32) >= new
    if layer.where is not None:
        where = _part(layer.where, first, width)
        counted = where if counted is None else where & counted
        # Zero times a NaN that no row may see would be one in their cotangents.
        seen = where.any(axis=tuple(range(where.ndim - 1)))
        weight = jnp.where(seen, weight, 0)
    raw = jnp.matmul(layer.hidden, weight, preferred_element_type=layer.dtype)
    if layer.bias is not None:
        raw += _part(layer.bias, first, width).astype(raw.dtype)
    logits = capped(raw, cap)
    if counted is not None:
        logits = jnp.where(counted, logits, -jnp.inf)
    return Chunk(first, new, weight, raw, logits)


def _part(wide: jax.Array, first, width: int) -> jax.Array:
    if wide.shape[-1] == 1:
        return wide
    return lax.dynamic_slice_in_dim(wide, first, width, -1)
