"""How XLA's CPU compiler likes reductions along rows: the same sums, other shapes.

What each is worth beside `jax.nn.softmax(z / τ)` is in `bench/results`; around sixteen
classes the derivative is not yet as fast.

- Up to eight classes, halving the row with elementwise operations beats a reduction,
  whose horizontal sum costs more than the row itself.
- Above that, XLA hands a reduction and its neighbours to YNNPACK as one kernel that
  stays in cache, but only while every step between has at least 4096 elements
  (`IsInstructionPreferredByYnn`). Where there are fewer rows, spreading a row's number
  over the row before it is used keeps the kernel from being cut.
- Rows too long for a cache are read from memory for every reduction; there blocks of
  them are reduced faster than they are.
- A backward pass that reuses the forward pass's exponentials must store and reload
  them; behind a fence it computes them again in cache.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..._blocks import row_maximum, row_sum
from ..._rows import Rows

_HALVED = 8
_LONG = 2**16
_PREFERRED = 4096


@dataclasses.dataclass(frozen=True)
class CpuRows(Rows):
    """Reductions arranged for XLA's CPU compiler."""

    def max(self, x: jax.Array) -> jax.Array:
        return _halve(jnp.maximum, x) if _short(x) else super().max(x)

    def sum(self, x: jax.Array) -> jax.Array:
        return _halve(jnp.add, x) if _short(x) else super().sum(x)

    def spread(self, row: jax.Array, like: jax.Array) -> jax.Array:
        if _short(like) or row.size >= _PREFERRED:
            return row
        # Behind a barrier the simplifier does not see that it is one number a row.
        return lax.optimization_barrier(jnp.broadcast_to(row, like.shape))

    def constant(self, value: float, tau: jax.Array) -> jax.Array:
        # A number that two kernels share would be stored at the logits' full shape,
        # did it not seem to depend on the row.
        return (value + jnp.minimum(jnp.abs(tau), 0))[..., None]

    def fence(self, *arrays: jax.Array) -> tuple[jax.Array, ...]:
        return arrays if _short(arrays[0]) else lax.optimization_barrier(arrays)

    def again(self, x: jax.Array, result: jax.Array) -> tuple[Rows, Any, Any]:
        if x.shape[-1] < _LONG:
            return super().again(x, result)
        x, result = self.fence(x, result)
        return _LongRows(), x, result


@dataclasses.dataclass(frozen=True)
class _LongRows(CpuRows):
    """Reductions of rows that are in memory and do not fit a cache."""

    def max(self, x: jax.Array) -> jax.Array:
        return lax.optimization_barrier(row_maximum(x))

    def sum(self, x: jax.Array) -> jax.Array:
        return row_sum(x)


def _short(x: jax.Array) -> bool:
    return x.shape[-1] <= _HALVED


def _halve(combine: Callable, x: jax.Array) -> jax.Array:
    """`combine` along the last axis, by folding its halves onto each other."""
    while (width := x.shape[-1]) > 1:
        half = width // 2
        folded = combine(x[..., :half], x[..., half : 2 * half])
        if width % 2:
            last = combine(folded[..., :1], x[..., -1:])
            folded = jnp.concatenate([last, folded[..., 1:]], axis=-1)
        x = folded
    return x
