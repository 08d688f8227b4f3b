"""Floating-point numbers as unsigned integers in the same order.

Between two of these codes lie as many as there are numbers between: halving a
bracket of codes finds any number in as many steps as it has bits.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from ._rows import upcast


def encode(x: jax.Array) -> jax.Array:
    """Codes in the order of the numbers; equal where these are."""
    kind = jnp.dtype(f"uint{8 * x.dtype.itemsize}")
    bits = lax.bitcast_convert_type(x, kind)
    sign = _sign(kind)
    bits = jnp.where(bits == sign, 0, bits)  # -0.0 equals 0.0
    return jnp.where(bits >= sign, ~bits, bits | sign)


def decode(code: jax.Array, dtype) -> jax.Array:
    """The numbers of `dtype` that have these codes, in the type that sums them."""
    sign = _sign(code.dtype)
    bits = jnp.where(code >= sign, code ^ sign, ~code)
    return upcast(lax.bitcast_convert_type(bits, dtype))


def _sign(kind) -> jax.Array:
    return jnp.left_shift(jnp.ones((), kind), 8 * jnp.dtype(kind).itemsize - 1)
