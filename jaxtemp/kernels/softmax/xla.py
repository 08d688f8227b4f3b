"""Softmax, log-softmax and their Jacobians along rows, in plain JAX.

With x = z - max z, p = softmax(x / τ) and s = 1/τ (0 at τ ∈ {0, ∞}). A constant added
to a row's tangent or cotangent changes nothing, so both are taken relative to the class
that holds more than half of the mass, if there is one (`round(p)` is 1 there): its own
entry is then exactly zero, and the small rest is not lost beside it
(jax-ml/jax#40384, #40386).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..._rows import Rows, upcast
from ..._scale import exponent_scale, factors, slope


def forward(z, tau, *, log: bool, rows: Rows) -> tuple[jax.Array]:
    """`softmax(z / τ)`, or its logarithm."""
    wide = upcast(z)
    x = wide - rows.max(wide)
    if not log:
        e = jnp.exp(x * exponent_scale(tau)[..., None])
        return ((e / rows.spread(rows.sum(e), e)).astype(z.dtype),)
    a, b = (factor[..., None] for factor in factors(tau))
    u = x * a * b
    return ((u - jnp.log(rows.sum(jnp.exp(u)))).astype(z.dtype),)


def push(z, tau, dz, dtau, *, log: bool, rows: Rows) -> tuple[jax.Array]:
    """The tangent of the result for tangents of logits and temperature."""
    p, x, s = _state(z, tau, rows)
    u = _finite(x * s, rows)
    # Where p is zero, the probability's tangent is, whatever u is.
    t = upcast(dz) - (u if log else jnp.maximum(u, -1e4)) * dtau[..., None]
    t = jnp.where(_allowed(z), t, 0) if log else t
    t = t - rows.sum(t * jnp.round(p))
    centred = t - rows.sum(p * t)
    out = (jnp.where(_allowed(z), centred, 0) if log else p * centred) * s
    return (out.astype(z.dtype),)


def pull(z, tau, g, *, log: bool, rows: Rows) -> tuple[jax.Array, jax.Array]:
    """The cotangents of logits and temperature: the transpose of `push`."""
    z, tau, g = rows.fence(z, tau, g)
    p, x, s = _state(z, tau, rows)
    wide = upcast(g)
    if log:
        q = _pull_log(p, jnp.where(_allowed(z), wide, 0), rows)
    else:
        h = wide - rows.sum(wide * jnp.round(p))
        q = p * (h - rows.sum(p * h))
    dtau = -rows.sum(q * _finite(x, rows)) * s * s
    return (q * s).astype(z.dtype), dtau[..., 0]


def _pull_log(p, g, rows):
    """`g - p Σg`, with 1 - p summed from the rest where p is more than a half."""
    own = jnp.round(p)
    rest = rows.sum(p * (1 - own))
    g_rest = rows.sum(g * (1 - own))
    g_all = g_rest + rows.sum(g * own)
    return jnp.where(own > 0, g * rest - p * g_rest, g - p * g_all)


def _state(z, tau, rows):
    """Probabilities, distances from the maximum, and 1/τ for derivatives.

    A row in which nothing is allowed has zero probabilities here, and so the
    derivative zero.
    """
    wide = upcast(z)
    info = jnp.finfo(wide.dtype)
    x = _below_maximum(wide, rows)
    e = jnp.exp(x * exponent_scale(tau)[..., None])
    tiny = rows.constant(float(info.tiny), wide[..., :1])
    p = e / jnp.maximum(rows.spread(rows.sum(e), e), tiny)
    return p, x, slope(tau)[..., None]


def _below_maximum(wide, rows):
    low = rows.constant(float(jnp.finfo(wide.dtype).min), wide[..., :1])
    return wide - jnp.maximum(rows.spread(rows.max(wide), wide), low)


def _finite(x, rows):
    """`x` with a finite number, whichever, where nothing is allowed."""
    return jnp.maximum(x, rows.constant(float(jnp.finfo(x.dtype).min) / 2, x[..., :1]))


def _allowed(z):
    return z > -jnp.inf
