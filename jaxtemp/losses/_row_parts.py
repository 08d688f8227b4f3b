"""A layer's rows, a part of them at a time, where they are very many.

A part takes every n-th row, not a run of them: under `jit` rows may be sharded, and so
each device has some of every part, and none are gathered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ._chunks import most_rows
from ._layer import Layer


def by_parts(loss: Callable[..., Any], layer: Layer, *numbers: jax.Array) -> Any:
    """`loss(layer, *numbers)` of rows, in parts that fit a chunk, if they divide.

    Args:
        loss: From a layer and numbers of its rows to a tree of other numbers.
        layer: The layer.
        numbers: Of each row, `[...]`.
    """
    parts = _count(layer.hidden)
    if parts == 1:
        return loss(layer, *numbers)
    shared, own = layer.where, None
    if shared is not None and shared.shape[-2:-1] == layer.hidden.shape[-2:-1]:
        shared, own = None, _cut(shared, -2, parts)

    def one(part):
        hidden, own, numbers = part
        where = shared if own is None else own
        return loss(layer._replace(hidden=hidden, where=where), *numbers)

    rows = _cut(layer.hidden, -2, parts), own, [_cut(x, -1, parts) for x in numbers]
    found = lax.map(one, rows)
    return jax.tree.map(_join, found)


def _count(hidden: jax.Array) -> int:
    """How many parts: the fewest that divide the last axis of rows, or one."""
    rows = hidden.size // hidden.shape[-1]
    if rows <= most_rows() or jax.typeof(hidden).sharding.spec[-2] is not None:
        return 1
    size, least = hidden.shape[-2], -(-rows // most_rows())
    fitting = (n for n in range(least, min(size, 4 * least) + 1) if size % n == 0)
    return next(fitting, 1)


def _cut(x: jax.Array, axis: int, parts: int) -> jax.Array:
    """Rows along `axis` as parts, along a new first axis."""
    axis %= x.ndim
    shape = *x.shape[:axis], x.shape[axis] // parts, parts, *x.shape[axis + 1 :]
    return jnp.moveaxis(x.reshape(shape), axis + 1, 0)


def _join(x: jax.Array) -> jax.Array:
    """Numbers of parts as numbers of rows."""
    x = jnp.moveaxis(x, 0, -1)
    return x.reshape(*x.shape[:-2], -1)
