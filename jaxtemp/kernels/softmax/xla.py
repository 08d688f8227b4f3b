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
from ..._scale import exponent, exponent_scale, slope


def forward(z, tau, *, log: bool, rows: Rows) -> tuple[jax.Array]:
    """`softmax(z / τ)`, or its logarithm."""
    x = upcast(z) - upcast(rows.max(z))  # the maximum needs no wider type
    if not log:
        e = jnp.exp(x * exponent_scale(tau)[..., None])
        return ((e / rows.spread(rows.sum(e), e)).astype(z.dtype),)
    u = exponent(x, tau[..., None])
    # Of -0.0 and this zero, the sum is a plain zero.
    return ((u + (0 - jnp.log(rows.sum(jnp.exp(u))))).astype(z.dtype),)


def push(z, tau, dz, dtau, *, log: bool, rows: Rows) -> tuple[jax.Array]:
    """The tangent of the result for tangents of logits and temperature."""
    u = _exponents(z, tau, rows)
    p = _probabilities(u, tau, rows)
    # Where p is zero, what its exponent is matters to its logarithm only.
    u = _summable(u, tau, rows) if log else jnp.maximum(u, -1e4)
    t = upcast(dz) - u * dtau[..., None]
    t = jnp.where(_allowed(z), t, 0) if log else t
    t = _from_own(t, p, rows)
    centred = t - rows.sum(p * t)
    out = jnp.where(_allowed(z), centred, 0) if log else p * centred
    return ((out * slope(tau)[..., None]).astype(z.dtype),)


def pull(z, tau, g, *, log: bool, rows: Rows) -> tuple[jax.Array, jax.Array]:
    """The cotangents of logits and temperature: the transpose of `push`."""
    z, tau, g = rows.fence(z, tau, g)
    u = _exponents(z, tau, rows)
    p = _probabilities(u, tau, rows)
    s = slope(tau)[..., None]
    if log:
        q = _pull_log(p, jnp.where(_allowed(z), upcast(g), 0), rows)
        dtau = -rows.sum(q * _summable(u, tau, rows)) * s
        return (q * s).astype(z.dtype), dtau[..., 0]
    h = _from_own(upcast(g), p, rows)
    dz = p * (h - rows.sum(p * h)) * s
    # Distances computed anew: to store them for this second sum would cost more. As
    # dz is large where they are small, the products stay in range, but for terms that
    # flushed in dz itself, which counts from τ = 1e25 on.
    rows, z, weight = rows.again(z, dz)
    x = _summable(upcast(z), tau, rows)
    dtau = -rows.sum(weight * (x - rows.max(x))) * s
    return dz.astype(z.dtype), dtau[..., 0]


def _from_own(x, p, rows):
    """`x` less its value at the class of most mass, where that is exactly zero.

    As a bare difference it would not be: XLA may fuse it with a product that `x` is,
    and so round it once where its subtrahend was rounded twice.
    """
    own = jnp.round(p)
    return (x - rows.sum(x * own)) * (1 - own)


def _pull_log(p, g, rows):
    """`g - p Σg`, with 1 - p summed from the rest where p is more than a half."""
    own = jnp.round(p)
    rest = rows.sum(p * (1 - own))
    g_rest = rows.sum(g * (1 - own))
    g_all = g_rest + rows.sum(g * own)
    return jnp.where(own > 0, g * rest - p * g_rest, g - p * g_all)


def _below_maximum(z, tau, rows):
    """`z - max z`, -inf in a row in which nothing is allowed."""
    wide = upcast(z)
    low = rows.constant(float(jnp.finfo(wide.dtype).min), tau)
    return wide - jnp.maximum(rows.spread(rows.max(wide), wide), low)


def _exponents(z, tau, rows):
    return _below_maximum(z, tau, rows) * exponent_scale(tau)[..., None]


def _summable(x, tau, rows):
    """`x` without infinities, far enough from overflow to be weighed and summed."""
    low = float(jnp.finfo(x.dtype).min) * 2.0**-20
    return jnp.maximum(x, rows.constant(low, tau))


def _probabilities(u, tau, rows):
    """Softmax of exponents, all zero in a row in which nothing is allowed."""
    e = jnp.exp(u)
    tiny = rows.constant(float(jnp.finfo(u.dtype).tiny), tau)
    return e / jnp.maximum(rows.spread(rows.sum(e), e), tiny)


def _allowed(z):
    return z > -jnp.inf
