"""Logits over a temperature, for the steps that come after."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from .. import _checks


def divided(logits: jax.Array, temperature, *, dtype=None) -> jax.Array:
    r"""Logits divided by the temperature, limits included; the classes are last.

    $z_i / \tau$ exactly, as later steps may look at signs and sizes. Only where a
    quotient would overflow the result's type, and at $\tau = 0$, it is
    $(z_i - \max z) / \tau$, the same distribution. A row with a NaN or `+inf` stays as
    it is; one with a temperature that is negative or NaN is NaN.
    """
    dtype = jnp.dtype(dtype or logits.dtype)
    tau = _checks.temperature(temperature, logits.shape[:-1], logits.dtype)[..., None]
    quotient = divide(logits, tau, jnp.finfo(dtype))
    sound = jnp.isfinite(jnp.max(logits, axis=-1, keepdims=True))
    out = jnp.where(sound, quotient, logits)
    return jnp.where(tau >= 0, out, jnp.nan).astype(dtype)


def divide(z: jax.Array, tau: jax.Array, info) -> jax.Array:
    """Logits over a temperature, less the largest where a quotient would overflow."""
    allowed = z > -jnp.inf
    finite = jnp.where(allowed, z, 0)
    top = jnp.max(z, axis=-1, keepdims=True)
    size = jnp.max(jnp.abs(finite), axis=-1, keepdims=True)
    safe = size <= tau * float(info.max)
    scaled = jnp.where(safe, finite, finite - top) / jnp.where(tau > 0, tau, 1)
    scaled = jnp.maximum(scaled, float(info.min))
    frozen = jnp.where(z == top, 0, -jnp.inf)
    return jnp.where(allowed, jnp.where(tau == 0, frozen, scaled), -jnp.inf)
