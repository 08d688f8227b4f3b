"""A value with the derivative of something else: straight-through, and more."""

from __future__ import annotations

import jax


@jax.custom_jvp
def carry(value: jax.Array, surrogate: jax.Array) -> jax.Array:
    """`value` in the type of `surrogate`, of the same shape, and with its derivative.

    Unlike the sum `value + surrogate - stop_gradient(surrogate)` it is `value` to the
    last bit, also beside a surrogate that is infinite, and where nothing is
    differentiated, the surrogate is not computed.
    """
    return value.astype(surrogate.dtype)


@carry.defjvp
def _carry_jvp(primals, tangents):
    return carry(*primals), tangents[1]
