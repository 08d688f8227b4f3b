"""Maps with a threshold a row: how it is found, and the derivative that it brings.

Entmax and the relaxed k-hot are an increasing function of `u - ν`, where one number ν
makes every row sum to what it must. With slopes s, their tangent is
`s (du - <du>)`, the mean weighted by s.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

Slope = tuple[jax.Array, jax.Array]


def root(
    function: Callable[[jax.Array], Slope],
    low: jax.Array,
    high: jax.Array,
    start: jax.Array,
) -> jax.Array:
    """Where an increasing function of one number a row is zero, to the last digits.

    `function` gives its value and its slope. Newton's method between two ends: where
    it leaves them, or does not halve its step, the next point is halfway. A row that
    has arrived stays, so that no row depends on another.
    """
    tolerance = 4 * float(jnp.finfo(start.dtype).eps)

    def move(state):
        x, low, high, last, moving = state
        value, slope = function(x)
        low, high = jnp.where(value < 0, x, low), jnp.where(value > 0, x, high)
        step = -value / slope
        inside = (x + step >= low) & (x + step <= high)
        newton = inside & (2 * jnp.abs(step) <= last)
        step = jnp.where(newton, step, low + (high - low) / 2 - x)
        x = jnp.where(moving, x + step, x)
        last = jnp.abs(step)
        moving &= last > tolerance * jnp.maximum(jnp.abs(x), 1)
        return x, low, high, last, moving

    begin = (start, low, high, jnp.full_like(start, jnp.inf), start == start)
    return lax.while_loop(lambda state: jnp.any(state[4]), move, begin)[0]


def centred(x: jax.Array, weights: jax.Array) -> jax.Array:
    """`x` less its mean by weights that sum to 1.

    Taken about the entry of most weight, which may have almost all of it: there the
    mean and the entry agree to many digits.
    """
    most = jnp.argmax(weights, axis=-1, keepdims=True)
    own = lax.broadcasted_iota(most.dtype, weights.shape, weights.ndim - 1) == most
    x = jnp.where(own, 0, x - jnp.sum(jnp.where(own, x, 0), axis=-1, keepdims=True))
    mean = jnp.sum(jnp.where(weights == 0, 0, weights * x), axis=-1, keepdims=True)
    return x - mean
