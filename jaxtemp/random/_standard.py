"""Standard noise for everyone: `gumbel` and `logistic`."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from .. import _checks
from .._rows import accumulator
from . import _noise
from ._keys import row_words


def gumbel(
    key: jax.Array,
    shape: tuple[int, ...] = (),
    dtype: DTypeLike = jnp.float32,
    *,
    bits: str = "default",
) -> jax.Array:
    r"""Standard Gumbel noise, right in both tails.

    $$P(g \le x) = e^{-e^{-x}}, \qquad g = -\log(-\log u)$$

    A number is made of 64 random bits, and of u what is kept is the distance from the
    nearer of 0 and 1. So noise reaches from -3.8 to 45, where `jax.random.gumbel` has
    23 bits in float32 and ends at 16, and $P(g > x) \approx e^{-x}$ holds down to
    $10^{-19}$. It is never infinite. A float32 number is right to 5e-7, relative
    beyond 1.

    Args:
        key: One key, or an array of keys of shape `shape[:-1]`. With an array, a row's
            numbers depend on its own key alone. One key gives another array for each
            of two shapes, also if one is a slice of the other.
        shape: The result's shape.
        dtype: A real floating type. Numbers are drawn in float32 or float64 and then
            rounded, so that half precision has all of the tail.
        bits: `"default"`: Threefry-2x32 with 20 rounds, the generator that JAX uses.
            `"fast"`: with 13 rounds, at which no statistical flaw is known (Salmon et
            al.); other numbers, at 0.6 of the work.

    Returns:
        Independent standard Gumbel variables, of `shape` and `dtype`.

    Raises:
        TypeError: `key` is not a key, `shape` not a tuple of ints, or `dtype` not real
            floating.
        ValueError: The keys are not one a row, a size is negative, or `bits` is
            unknown.

    Examples:
        >>> import jax, jaxtemp
        >>> noise = jaxtemp.random.gumbel(jax.random.key(0), (1000, 1000))
        >>> f"{noise.var():.2f}"  # π²/6 is 1.64
        '1.64'
        >>> f"{(noise > 5).mean():.1e}"  # 1 - exp(-exp(-5)) is 6.7e-03
        '6.7e-03'

    Source:
        Gumbel, *Statistics of extremes*, 1958; random bits by Salmon et al., *Parallel
        random numbers: as easy as 1, 2, 3*, 2011.
    """
    return _drawn(_noise.gumbel, key, shape, dtype, bits)


def logistic(
    key: jax.Array,
    shape: tuple[int, ...] = (),
    dtype: DTypeLike = jnp.float32,
    *,
    bits: str = "default",
) -> jax.Array:
    r"""Standard logistic noise, right in both tails.

    $$P(\ell \le x) = \frac{1}{1 + e^{-x}}, \qquad \ell = \log\frac{u}{1-u}$$

    The difference of two independent Gumbel variables has this law, too. A number is
    made of 64 random bits, as in `gumbel`: noise reaches from -45 to 45, and
    $P(|\ell| > x) \approx 2 e^{-x}$ holds down to $10^{-19}$.

    Args:
        key: One key, or an array of keys of shape `shape[:-1]`; see `gumbel`.
        shape: The result's shape.
        dtype: A real floating type; drawn in float32 or float64, then rounded.
        bits: `"default"` or `"fast"`; see `gumbel`.

    Returns:
        Independent standard logistic variables, of `shape` and `dtype`.

    Raises:
        TypeError: `key` is not a key, `shape` not a tuple of ints, or `dtype` not real
            floating.
        ValueError: The keys are not one a row, a size is negative, or `bits` is
            unknown.

    Examples:
        >>> import jax, jaxtemp
        >>> noise = jaxtemp.random.logistic(jax.random.key(0), (1000, 1000))
        >>> f"{noise.var():.2f}"  # π²/3 is 3.29
        '3.29'

    Source:
        Random bits by Salmon et al., *Parallel random numbers: as easy as 1, 2, 3*,
        2011.
    """
    return _drawn(_noise.logistic, key, shape, dtype, bits)


def _drawn(draw: Callable, key, shape, dtype, bits: str) -> jax.Array:
    _checks.one_of("bits", bits, _noise.BITS)
    dtype = _floating(dtype)
    shape = _sizes(shape)
    *batch, size = shape or (1,)
    left, right = row_words(key, tuple(batch))
    noise = draw((left[..., 0], right[..., 0]), size, accumulator(dtype), bits)
    return noise.reshape(shape).astype(dtype)


def _floating(dtype) -> jnp.dtype:
    dtype = jax.dtypes.canonicalize_dtype(dtype)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(
            f"`dtype` must be real floating point, got {dtype}; "
            "draw in `jnp.float32` and convert."
        )
    return dtype


def _sizes(shape) -> tuple[int, ...]:
    try:
        sizes = tuple(size.__index__() for size in shape)
    except (AttributeError, TypeError):
        raise TypeError(
            f"`shape` must be a tuple of ints, got {shape!r}; "
            "pass for example `(8, 1000)`, or `()` for one number."
        ) from None
    if min(sizes, default=0) < 0:
        raise ValueError(
            f"`shape` must have no negative size, got {sizes}; "
            "pass for example `(8, 1000)`, or `()` for one number."
        )
    return sizes
