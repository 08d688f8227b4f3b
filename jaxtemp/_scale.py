"""The inverse temperature, without overflow, underflow or flushed subnormals.

XLA:CPU treats subnormal numbers as zero, so 1/τ is taken from the bits of a subnormal
τ. As a product of two factors, 1/τ has no range limits: a finite number times both
has the right limit at τ = 0 and τ = ∞, and zero times both is zero.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

_BITS = {4: jnp.int32, 8: jnp.int64}


def factors(tau: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Two numbers `a`, `b` with `x * a * b = x / τ`, limits included; NaN if τ < 0."""
    kind = _classify(tau)
    info = jnp.finfo(tau.dtype)
    huge, tiny = 2.0 ** (info.maxexp - 1), float(info.tiny)
    # One over a τ this large would be subnormal.
    large = tau > 2.0 ** (info.maxexp - 2)
    power = 2.0 ** (info.maxexp // 2)
    a = jnp.where(kind.subnormal, kind.one_over_scaled, 1 / tau)
    a = jnp.where(large, power / tau, a)
    b = jnp.where(kind.subnormal, kind.scale, jnp.where(large, 1 / power, 1.0))
    ends = [(kind.zero, huge), (kind.infinite, tiny)]
    for end, factor in ends:
        a, b = jnp.where(end, factor, a), jnp.where(end, factor, b)
    return jnp.where(kind.negative, jnp.nan, a).astype(tau.dtype), b.astype(tau.dtype)


def exponent(x: jax.Array, tau: jax.Array) -> jax.Array:
    """`x / τ` of an `x` that is at most zero, limits included; NaN if τ < 0.

    Zero comes out as -0.0.
    """
    a, b = factors(tau)
    # Two factors that XLA knows and nothing parts become one, which overflows.
    return jnp.abs(x * a) * -b


@jax.custom_jvp
def quotient(x: jax.Array, tau: jax.Array) -> jax.Array:
    """`x / τ`: ±inf at τ = 0 unless x is 0, and 0 at τ = ∞; both have derivative 0."""
    return jnp.sign(x) * -exponent(x, tau)


@quotient.defjvp
def _quotient_jvp(primals, tangents):
    x, tau = primals
    dx, dtau = tangents
    return quotient(x, tau), over(dx - over(x, tau) * dtau, tau)


def exponent_scale(tau: jax.Array) -> jax.Array:
    """1/τ as one normal number, for exponents that are at most zero; NaN if τ < 0.

    `exp(x * exponent_scale(τ))` has the limits of `exp(x / τ)` for every x <= 0 that
    is not within 1e-36 (float32) of zero, and exactly 1 at zero. So it may leave the
    digits of a subnormal τ alone. Without a comparison, XLA's CPU compiler computes
    it inside the kernel that uses it.
    """
    info = jnp.finfo(tau.dtype)
    tiny = float(info.tiny)
    # NaN if τ < 0, tiny at τ = ∞, and too small beside 1/τ to count anywhere else.
    rest = tiny * (1 + lax.rsqrt(tau + tiny))
    return jnp.minimum(1 / jnp.abs(tau), float(info.max)) + rest


def slope(tau: jax.Array) -> jax.Array:
    """1/τ as derivatives use it: 0 at τ ∈ {0, ∞}, where every limit is flat."""
    kind = _classify(tau)
    largest = float(jnp.finfo(tau.dtype).max)
    subnormal = kind.one_over_scaled * kind.scale
    inverse = jnp.where(kind.subnormal, jnp.minimum(subnormal, largest), 1 / tau)
    inverse = jnp.where(kind.zero | kind.infinite, 0, inverse)
    return jnp.where(kind.negative, jnp.nan, inverse)


@jax.custom_jvp
def over(x: jax.Array, tau: jax.Array) -> jax.Array:
    """`x / τ`, and 0 at τ ∈ {0, ∞}; a zero `x` stays zero to every order."""
    return x * slope(tau)


@over.defjvp
def _over_jvp(primals, tangents):
    x, tau = primals
    dx, dtau = tangents
    quotient = over(x, tau)
    # Divided once more only after the product, which is zero where it must be.
    return quotient, over(dx - quotient * dtau, tau)


class _Kind(NamedTuple):
    zero: jax.Array
    subnormal: jax.Array
    infinite: jax.Array
    negative: jax.Array
    one_over_scaled: jax.Array  # 1 / (τ * scale), for a subnormal τ
    scale: float


def _classify(tau: jax.Array) -> _Kind:
    """What sort of number each τ is, by its bits."""
    info = jnp.finfo(tau.dtype)
    bits = lax.bitcast_convert_type(tau, _BITS[tau.dtype.itemsize])
    magnitude = bits & jnp.iinfo(bits.dtype).max
    zero = magnitude == 0
    # A subnormal τ is its digits times 2**-least: for float32, times 2**-149.
    least = info.nmant - info.minexp
    digits = jnp.maximum(magnitude, 1).astype(tau.dtype)
    return _Kind(
        zero=zero,
        subnormal=(magnitude < 2**info.nmant) & ~zero,
        infinite=jnp.isinf(tau),
        negative=(bits < 0) & ~zero,
        one_over_scaled=2.0 ** (least - least // 2) / digits,
        scale=2.0 ** (least // 2),
    )
