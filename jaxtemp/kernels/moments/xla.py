"""Log-sum-exp and the moments of a row under its own distribution, in plain JAX."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..._rows import Rows, upcast
from ..._scale import exponent


def forward(z, tau, *, rows: Rows) -> tuple[jax.Array, ...]:
    """Maximum, log Σ e^u, <z>, <u> and Var(u), with x = z - max z and u = x / τ.

    The maximum's own term is left out of the sum and put back by `log1p`, so that a
    nearly certain row keeps its small numbers. The mean is summed once more about its
    first value, so that large logits of both signs do not leave their rounding in it.
    """
    wide = upcast(z)
    m = rows.max(wide)
    x = wide - m
    u = exponent(x, tau[..., None])
    e = jnp.exp(u)
    below = jnp.sign(x)  # 0 at a maximum, -1 below it
    rest = -rows.sum(below * e) + (rows.sum(1 + below) - 1)
    total = 1 + rest

    def mean(f):
        return rows.sum(e * f) / total

    # Where e is zero, x and u may be infinite: any finite number serves.
    low = float(jnp.finfo(x.dtype).min)
    u = jnp.maximum(u, -1e4)
    mean_z = m + mean(jnp.maximum(x, low))
    mean_z += mean(jnp.maximum(wide - mean_z, low))
    mean_u = mean(u)
    variance = mean(jnp.square(u - mean_u))
    results = (m, jnp.log1p(rest), mean_z, mean_u, variance)
    return tuple(result[..., 0] for result in results)
