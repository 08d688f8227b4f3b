"""Gumbel noise for rows, right in the tails."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from .._bits import threefry, uniform
from .._rows import Folded, accumulator, beside
from ._keys import row_words

_NOISE = 2  # what the second counter says: other numbers than those of a draw


def gumbel(words: tuple[jax.Array, jax.Array], size: int, dtype) -> jax.Array:
    """Standard Gumbel noise `[..., size]` for words `[...]`.

    As minus the logarithm of an exponential variable whose small values, the large
    noise, are resolved to 64 bits: up to 44, where a uniform number of 23 bits ends
    at 16.
    """
    counter = (lax.iota(jnp.uint32, size), jnp.uint32(_NOISE))
    left, right = words
    u = uniform(threefry((left[..., None], right[..., None]), counter), dtype)
    below_one = 1 - float(jnp.finfo(dtype).epsneg)
    return -jnp.log(-jnp.log1p(-jnp.minimum(u, below_one)))


def row_gumbel(key, rows: Folded) -> jax.Array:
    """Gumbel noise of the logits' shape, in the type in which rows are summed.

    With an array of keys, a row's noise depends on its own key alone.
    """
    left, right = row_words(key, rows.temperature.shape)
    words = beside(left[..., 0], rows.logits), beside(right[..., 0], rows.logits)
    return gumbel(words, rows.logits.shape[-1], accumulator(rows.logits.dtype))
