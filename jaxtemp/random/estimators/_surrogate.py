"""A value with the derivative of something else, on which every estimator rests."""

from __future__ import annotations

from collections.abc import Callable

import jax
from jax import lax


@jax.custom_jvp
def carry(value: jax.Array, surrogate: jax.Array) -> jax.Array:
    """`value`, whose derivative is that of `surrogate`, of the same shape and dtype.

    Unlike the sum `value + surrogate - stop_gradient(surrogate)` it is `value` to the
    last bit, also beside a surrogate that is infinite, and where nothing is
    differentiated, the surrogate is not computed.
    """
    del surrogate
    return value


@carry.defjvp
def _carry_jvp(primals, tangents):
    return carry(*primals), tangents[1]


def frozen(function: Callable, *example) -> Callable:
    """`function`, which passes no gradient to what it closes over.

    `example` is arguments as it will be called with. A closure's variables are out of
    reach of `stop_gradient` until they are arguments.
    """
    pure, closed_over = jax.closure_convert(function, *example)
    return lambda *arguments: pure(*arguments, *lax.stop_gradient(closed_over))
