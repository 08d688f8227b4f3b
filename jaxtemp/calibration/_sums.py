"""Sums by segment that stay exact however many rows there are."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

_BITS = (6, 12, 18, 24)


def segment_sums(values: jax.Array, index: jax.Array, segments: int) -> jax.Array:
    """Sums of values in [-1, 1] by segment, to the last digits of their dtype.

    Args:
        values: Floating point, shape `(n,)`.
        index: The segment of each, integers of shape `(n,)`.
        segments: How many there are.

    Returns:
        The sums, shape `(segments,)`, in the dtype of `values`.

    Examples:
        >>> tenths = jnp.full(1_000_000, 0.1)
        >>> print(segment_sums(tenths, jnp.zeros(1_000_000, int), 1))
        [100000.]
    """
    return sums_by(lambda x: jax.ops.segment_sum(x, index, segments), values)


def sums_by(add: Callable[[jax.Array], jax.Array], values: jax.Array) -> jax.Array:
    """What `add` would make of values in [-1, 1], were it exact.

    XLA adds numbers one after the other: a million equal ones end up to a per cent off
    in float32. So their leading bits are summed as integers, which hold 33 million
    ones, and only a rest below 2⁻²⁴ as it is.

    Args:
        add: Sums of arrays of the shape of `values`, integers or floating point.
        values: Floating point.

    Returns:
        The sums, in the dtype of `values`.
    """
    parts, rest = [], values
    for bits in _BITS:
        digits = jnp.round(rest * 2.0**bits)
        rest = rest - digits * 2.0**-bits
        total = add(digits.astype(jnp.int32))
        parts.append(total.astype(values.dtype) * 2.0**-bits)
    return sum(reversed(parts), add(rest))
