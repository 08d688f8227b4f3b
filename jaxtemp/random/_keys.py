"""Keys: one for the batch, or one for every row, as words for counter-based bits."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import lax

from .._bits import threefry

_RAW = {2: "threefry2x32", 4: "rbg"}

# Keys of their own for other uses of a key, or of every key of an array.
fold_in = jnp.vectorize(jax.random.fold_in)


def typed(key, batch_shape: tuple[int, ...]) -> jax.Array:
    """One key, or an array of keys of the batch shape."""
    dtype = getattr(key, "dtype", None)
    if dtype == jnp.uint32 and key.ndim > 0 and key.shape[-1] in _RAW:
        key = jax.random.wrap_key_data(key, impl=_RAW[key.shape[-1]])
    elif dtype is None or not jnp.issubdtype(dtype, jax.dtypes.prng_key):
        got = type(key).__name__ if dtype is None else f"an array of {dtype}"
        raise TypeError(
            f"`key` must be a JAX random key, got {got}; "
            "make one with `jax.random.key(0)`."
        )
    if key.shape not in ((), batch_shape):
        raise ValueError(
            f"`key` must be one key or an array of keys of the batch shape "
            f"{batch_shape}, got keys of shape {key.shape}; split one key with "
            f"`jax.random.split(key, {batch_shape})`."
        )
    return key


def one_a_row(key, batch_shape: tuple[int, ...]) -> jax.Array:
    """A key for every row: an array of keys as it is, one key split over the rows."""
    key = typed(key, batch_shape)
    return key if key.shape == batch_shape else jax.random.split(key, batch_shape)


def row_words(
    key, batch_shape: tuple[int, ...], draws: int = 1
) -> tuple[jax.Array, jax.Array]:
    """Words `[*batch, draws]` for the draws of every row.

    With one key, a row's words depend on its place in the batch; with an array of
    keys, on its own key alone, as if it were the only row.
    """
    key = typed(key, batch_shape)
    own = key.shape == batch_shape
    ones = (1,) * len(batch_shape)
    left, right = (
        word[..., None] if own else word.reshape(*ones, 1) for word in _words(key)
    )
    place = _iota(1 if own else math.prod(batch_shape))
    place = place.reshape(*(ones if own else batch_shape), 1)
    shape = (*batch_shape, draws)
    left, right = threefry((left, right), (place, _iota(draws)))
    return jnp.broadcast_to(left, shape), jnp.broadcast_to(right, shape)


def _words(key) -> tuple[jax.Array, jax.Array]:
    """Two words a key, whatever its kind."""
    data = jax.random.key_data(key)
    words = data[..., 0], data[..., 1]
    for i in range(2, data.shape[-1], 2):
        words = threefry(words, (data[..., i], data[..., i + 1]))
    return words


def _iota(size: int) -> jax.Array:
    return lax.iota(jnp.uint32, size)
