"""Two Boltzmann distributions over the same classes, and how they differ.

Their log-ratio r is exact to its own size, not to that of the logarithms: at high
temperatures it is small where these are not.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from . import _derivatives
from ._derivatives import _about_the_likeliest, _saturated
from ._rows import Rows, reductions
from ._scale import over, quotient

_ROOM = 2.0**-20  # of a type's range, to sum in
_SMALL = 0.5  # below which `e^r` is taken as a power series
_TERMS = {4: 8, 8: 14}
_LARGEST = 80.0  # whose exponential float32 holds


class Side(NamedTuple):
    """A distribution of each row.

    Attributes:
        p: The probabilities.
        z: The logits; 0 where excluded.
        x: The logits less their maximum; 0 where excluded.
        u: The same over their temperature.
        excluded: Which classes are.
        log_z: `log Σ e^u` over those that are not, `[..., 1]`.
    """

    p: jax.Array
    z: jax.Array
    x: jax.Array
    u: jax.Array
    excluded: jax.Array
    log_z: jax.Array


class Pair(NamedTuple):
    """Distributions q and p of each row.

    Attributes:
        q: The first.
        p: The second.
        unit: What `measured` is in units of, `[..., 1]`.
        measured: `unit · r`, where both sides allow the class.
        r: `log p - log q`.
        small: Where q is positive and r is small.
        x: r where it is small, else 0.
        third: `6 (e^x - 1 - x - x²/2) / x³`.
        rows: Reductions of a row.
    """

    q: Side
    p: Side
    unit: jax.Array
    measured: jax.Array
    r: jax.Array
    small: jax.Array
    x: jax.Array
    third: jax.Array
    rows: Rows

    def sum(self, wide: jax.Array) -> jax.Array:
        """The sum of each row, `[...]`."""
        return self.rows.sum(wide)[..., 0]

    def any(self, wide: jax.Array) -> jax.Array:
        """Whether something is true in a row, `[...]`."""
        return self.rows.max(jnp.where(wide, 1.0, 0.0))[..., 0] > 0

    @property
    def misses(self) -> jax.Array:
        """Where q has probability, and p excludes the class."""
        return (self.q.p > 0) & self.p.excluded

    @property
    def second(self) -> jax.Array:
        """`(e^x - 1 - x) / x²`."""
        return (1 + self.x * self.third / 3) / 2

    def divergence(self, r: jax.Array, unit: jax.Array | float = 1.0) -> jax.Array:
        """The terms of KL, `p - q - q r`, in the unit of r."""
        near = self.q.p * r * self.x * self.second
        far = unit * (self.p.p - self.q.p) - self.q.p * r
        return jnp.where(self.small, near, far)

    def excess(self, r: jax.Array, unit: jax.Array | float = 1.0) -> jax.Array:
        """`p - q`, in the unit of r."""
        near = self.q.p * r * (1 + self.x * self.second)
        excess = jnp.where(self.small, near, unit * (self.p.p - self.q.p))
        # Between two numbers that are nearly 1, the difference is that of the others.
        own = (self.p.p > 0.5) & (self.q.p > 0.5)
        others = self.rows.sum(jnp.where(own, 0, excess))
        return jnp.where(own, -others, excess)

    def tilt(self, r: jax.Array) -> jax.Array:
        """`q (r - <r>)`, of which a sum with any f is the covariance of r and f."""
        r = jnp.where(self.q.p > 0, r, 0)
        about = _about_the_likeliest(r, self.q.p, self.rows)
        return self.q.p * (about - self.rows.sum(self.q.p * about))


def pair(v, z, sigma, tau, axis_name: str | None) -> Pair:
    """Distributions of logits v at σ and z at τ.

    Where σ is `None` it is τ, and that is the unit in which the two are compared: a
    ratio of probabilities goes to 1 as τ grows, but `τ r` to a difference of logits.
    """
    rows = reductions(axis_name)
    q = _side(v, tau if sigma is None else sigma, tau.dtype, rows, axis_name)
    p = _side(z, tau, tau.dtype, rows, axis_name)
    if sigma is None:
        at = tau[..., None]
        unit = jnp.where(jnp.isinf(at), 1, at)
        near = far = p.x - q.x
    else:
        at = unit = jnp.ones_like(tau)[..., None]
        near = _difference(p, tau[..., None], q, sigma[..., None], rows)
        far = p.u - q.u
    measured, r = _log_ratio(near, far, at, unit, q, p, rows)
    # What is NaN in p is so in what follows from it.
    small = (q.p > 0) & (p.p >= 0) & (jnp.abs(r) < _SMALL)
    x = jnp.where(small, r, 0)
    return Pair(q, p, unit, measured, r, small, x, _third(x), rows)


def _side(z, tau, dtype, rows: Rows, axis_name) -> Side:
    z = z.astype(dtype)
    p = _derivatives.softmax(z, tau, False, axis_name, None)
    excluded = z == -jnp.inf
    raw = z - rows.max(lax.stop_gradient(z))
    log_z = _derivatives.logsumexp(
        jnp.where(excluded, -jnp.inf, raw), tau, axis_name, None
    )
    x = _saturated(jnp.where(excluded, 0, raw), _ROOM)
    own = jnp.where(excluded, 0, z)
    return Side(p, own, x, _over(x, tau[..., None]), excluded, log_z[..., None])


def _difference(p: Side, tau, q: Side, sigma, rows: Rows) -> jax.Array:
    """`z / τ - v / σ` up to a number a row.

    At like temperatures, of the differences of logits and of temperatures: where the
    sides nearly agree, these are exact. What rounding takes from the former is `lost`.
    """
    z, v = p.z, q.z
    difference = z - v
    taken = difference - z
    lost = (z - (difference - taken)) - (v + taken)

    def from_top(x):
        # Less some number of the row, close to those that matter.
        at_top = jnp.where((p.x == 0) & ~p.excluded & ~q.excluded, x, -jnp.inf)
        top = rows.max(lax.stop_gradient(at_top))
        return x - jnp.where(top > -jnp.inf, top, 0)

    gap = from_top(difference) + from_top(lost)
    slower = over(over(sigma - tau, tau), sigma)
    fine = over(gap, tau) + q.x * slower
    alike = (tau <= 2 * sigma) & (sigma <= 2 * tau) & (tau < jnp.inf)
    return jnp.where(alike, fine, p.u - q.u)


def _log_ratio(near, far, at, unit, q: Side, p: Side, rows: Rows):
    """`log(p / q)`, in units and plain, from what is that up to a number a row.

    For `near` that is any number, for `far` the difference of both `log_z`.
    """
    mean = lax.stop_gradient(rows.sum(q.p * near))
    e = _over(near - mean, at)
    inside = (q.p > 0) & (e < _LARGEST)
    gain = rows.sum(q.p * jnp.expm1(jnp.where(inside, e, 0)))
    outside = rows.sum(jnp.where(inside, 0, p.p))
    alike = (jnp.abs(gain) < _SMALL) & (outside < jnp.finfo(e.dtype).eps)
    log_gain = jnp.log1p(jnp.where(alike, gain, 0))
    log_z = p.log_z - q.log_z
    close = near - mean - unit * log_gain, e - log_gain
    apart = far - unit * log_z, _over(far, at) - log_z
    return tuple(jnp.where(alike, *both) for both in zip(close, apart, strict=True))


def _over(x, tau):
    return _saturated(quotient(x, tau), _ROOM)


def _third(x):
    """`6 (e^x - 1 - x - x²/2) / x³` of a small x."""
    total = jnp.ones_like(x)
    for n in range(_TERMS[x.dtype.itemsize], 0, -1):
        total = 1 + x / (n + 3) * total
    return total
