"""Rows of relaxed one-hot vectors: their draws, and what is known of them exactly.

A draw in log space is x = log softmax((z + g) / τ) with Gumbel noise g. There,
ℓ = log softmax(z - τx) = log softmax(-g): the logarithm of a point that is uniform on
the simplex, whatever the logits and τ are. Its mean is -(1 + 1/2 + … + 1/(K-1)).
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..._derivatives import softmax


class Rows:
    """Logits `[..., V]`, -inf where masked, and one temperature a row."""

    def __init__(self, z: jax.Array, tau: jax.Array):
        self.z = z
        self.tau = tau

    @functools.cached_property
    def allowed(self) -> jax.Array:
        """Which classes there are."""
        return self.z > -jnp.inf

    @functools.cached_property
    def count(self) -> jax.Array:
        """How many classes there are; NaN for a row that is no distribution."""
        count = jnp.sum(self.allowed, axis=-1).astype(self.tau.dtype)
        return jnp.where(jnp.isfinite(jnp.max(self.z, axis=-1)), count, jnp.nan)

    @functools.cached_property
    def centred(self) -> jax.Array:
        """The logits less their maximum."""
        top = jnp.max(lax.stop_gradient(self.z), axis=-1, keepdims=True)
        return self.z - jnp.where(top == -jnp.inf, 0, top)

    def sum(self, x: jax.Array) -> jax.Array:
        """The sum over the allowed classes."""
        return jnp.sum(jnp.where(self.allowed, x, 0), axis=-1)

    def log_softmax(self, x: jax.Array) -> jax.Array:
        """Log-softmax over the allowed classes, at temperature 1."""
        x = jnp.where(self.allowed, x, -jnp.inf)
        return softmax(x, jnp.ones_like(x[..., 0]), True, None, None)

    def draw(self, noise: jax.Array, *, log: bool) -> jax.Array:
        """What the noise makes of the rows: a point of the simplex, or its log."""
        z = self.centred + noise
        tau = jnp.broadcast_to(self.tau, z.shape[:-1])
        return softmax(z, tau, log, None, None)

    def own_log_density(self, noise: jax.Array) -> jax.Array:
        """The log-density in log space of the draw that the noise makes."""
        return self._scale() + self.sum(self.log_softmax(-noise))

    def entropy(self) -> jax.Array:
        """The entropy in log space."""
        return self.count * self.harmonic() - self._scale()

    def harmonic(self) -> jax.Array:
        """1 + 1/2 + … + 1/(K-1)."""
        return np.euler_gamma + lax.digamma(self.count)

    def _scale(self) -> jax.Array:
        """What every log-density has: log (K-1)! + (K-1) log τ."""
        return lax.lgamma(self.count) + (self.count - 1) * jnp.log(self.tau)
