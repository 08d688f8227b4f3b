"""How XLA's CPU compiler likes the sums of a cross-entropy: in blocks of a row.

It shares the work of a long row among threads only as that of many short ones. And with
the blocks' sums apart, all classes but one are summed in a single pass: the one block
that holds it is summed again without it. What each is worth is in `bench/results`.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax

from ..._blocks import row_sum
from ..._rows import Rows
from ..._scale import exponent_scale
from . import xla
from .target import take_block

_WIDEST = 1024
_NARROWEST = 16
_FEWEST = 8


def others(z, top, tau, label: jax.Array, cap: float | None) -> jax.Array | None:
    """Σ exp((z - top) / τ) over all classes but the label; `None` without blocks."""
    width = _width(z.shape[-1])
    if width is None:
        return None
    scale = exponent_scale(tau)[..., None]
    z, top, scale = lax.optimization_barrier((z, top, scale))
    sums = _sums(
        lambda z, top, scale: jnp.exp((xla.capped(z, cap) - top) * scale),
        width,
        (z,),
        (top, scale),
    )
    block = label // width
    elsewhere = jnp.where(_places(sums) == block[..., None], 0, sums)
    inside = take_block(z.reshape(*z.shape[:-1], -1, width), block)
    e = jnp.exp((xla.capped(inside, cap) - top) * scale)
    beside = jnp.where(_places(e) == (label - block * width)[..., None], 0, e)
    return _sum(elsewhere) + jnp.where(_exists(block, sums), _sum(beside), 0)


def total(term, wide: tuple, numbers: tuple, rows: Rows) -> jax.Array:
    """The sum along rows of `term`, computed anew."""
    del rows
    arrays = lax.optimization_barrier((*wide, *numbers))
    wide, numbers = arrays[: len(wide)], arrays[len(wide) :]
    width = _width(wide[0].shape[-1])
    if width is None:
        # Not all at once: what a long row of like numbers rounds off adds up.
        return row_sum(term(*wide, *numbers))
    return _sum(_sums(term, width, wide, numbers))


@functools.cache
def _width(classes: int) -> int | None:
    """The widest blocks that a row is made of, if there are enough of them."""
    most = min(_WIDEST, classes // _FEWEST)
    fitting = [n for n in range(_NARROWEST, most + 1) if classes % n == 0]
    return max(fitting, default=None)


def _sums(term, width: int, wide: tuple, numbers: tuple) -> jax.Array:
    """The sums of `term` over blocks, `[..., V / width]`."""
    blocks = [x.reshape(*x.shape[:-1], -1, width) for x in wide]
    sums = jnp.sum(term(*blocks, *(x[..., None] for x in numbers)), axis=-1)
    # Or the compiler would make one sum of this one and the one over blocks.
    return lax.optimization_barrier(sums)


def _places(x):
    return lax.broadcasted_iota(jnp.int32, x.shape, x.ndim - 1)


def _exists(block, sums):
    return ((block >= 0) & (block < sums.shape[-1]))[..., None]


def _sum(x):
    return jnp.sum(x, axis=-1, keepdims=True)
