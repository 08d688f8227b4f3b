"""The log-density of relaxed one-hot vectors, as a row kernel with its derivatives.

With ℓ = log softmax(a - τx) for a point x in log space and logits a, it is
log (K-1)! + (K-1) log τ + Σ ℓ, over the K allowed classes. On the simplex, whose point
is e^x, a further -Σ x.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

from ..._blocks import row_maximum, row_sum
from ..._derivatives import softmax
from ..._rows import Rows
from ...kernels._primitive import RowKernel
from ...kernels.softmax.cpu import CpuRows

_FAR = 2.0**7
# XLA's CPU compiler keeps a row in cache through several steps, but cuts where a step
# has fewer elements than this (see kernels/softmax/cpu.py); two sums of a row at once,
# which need no cut, are slower than two in turn.
_MANY_ROWS = 4096
_LONG_ROW = 4096  # from here on computing differences anew beats keeping them


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def log_density(z, tau, x, simplex):
    """The log-density at points, in log space or on the simplex.

    `z` `[..., V]` is -inf where masked, `tau` `[...]` is positive, and `x` `[..., V]`
    is the point itself: on the simplex, its coordinates are positive.
    """
    return _kernel(z, tau, x, simplex=simplex)[0]


@log_density.defjvp
def _log_density_jvp(simplex, primals, tangents):
    z, tau, x = primals
    allowed = z > -jnp.inf
    dz, dx = (jnp.where(allowed, t, 0) for t in (tangents[0], tangents[2]))
    if simplex:
        inside = allowed & (x > _tiny(x))
        x, dx = _log(x), jnp.where(inside, dx, 0) / jnp.where(inside, x, 1)
    weight, along_tau, flat = _slopes(z, tau, x)
    along_x = weight * tau[..., None] + (1 if simplex else 0)
    change = jnp.sum(weight * dz - along_x * dx, axis=-1) + along_tau * tangents[1]
    return log_density(*primals, simplex), jnp.where(flat, 0, change)


def _slopes(z, tau, x):
    """Derivatives in the logits and in τ, and the rows that are flat, at an edge.

    As in `_forward`, first as if every class were allowed and inside.
    """
    plain = _plain_slopes(z, tau, x)
    regular = jnp.sum(z, axis=-1) + plain[1]
    near = jnp.all(jnp.abs(lax.stop_gradient(z[..., 0])) < _FAR)
    fine = near & jnp.all(jnp.isfinite(lax.stop_gradient(regular)))
    return lax.cond(fine, lambda z, tau, x: plain, _careful_slopes, z, tau, x)


def _plain_slopes(z, tau, x):
    size = z.shape[-1]
    s = softmax(z - tau[..., None] * x, jnp.ones_like(tau), False, None, None)
    weight = 1 - size * s
    along_tau = (size - 1) / tau - jnp.sum(weight * x, axis=-1)
    return weight, along_tau, jnp.zeros_like(tau, bool)


def _careful_slopes(z, tau, x):
    allowed = z > -jnp.inf
    edge = _edge(allowed, tau, x)
    x = jnp.where(edge | ~allowed, 0, x)
    s = softmax(_differences(z, tau, x), jnp.ones_like(tau), False, None, None)
    count = jnp.sum(allowed, axis=-1).astype(tau.dtype)
    weight = jnp.where(allowed, 1 - count[..., None] * s, 0)
    along_tau = (count - 1) / tau - jnp.sum(weight * x, axis=-1)
    return weight, along_tau, jnp.any(edge, axis=-1)


def _forward(z, tau, x, *, simplex: bool, rows: Rows) -> tuple[jax.Array]:
    # To look for masks, or to remove a large common offset, costs as much as all the
    # rest, and most batches have neither. So the sums are taken as if there were none,
    # and again with care if one is not finite or the first class is far from zero.
    plain = _plain(z, tau, x, simplex, rows)
    careful = functools.partial(_careful, simplex=simplex)
    near = jnp.all(jnp.abs(z[..., 0]) < _FAR)
    fine = near & jnp.all(jnp.isfinite(plain))
    return (lax.cond(fine, lambda z, tau, x: plain, careful, z, tau, x),)


def _plain(z, tau, x, simplex: bool, rows: Rows):
    """With every class allowed and inside; not finite where one is not."""
    size = z.shape[-1]
    x = _log(x) if simplex else x
    in_turn = isinstance(rows, CpuRows) and size >= _LONG_ROW
    total = (_total_in_turn if in_turn else _total)(z, tau, x, simplex, rows)
    return total[..., 0] + math.lgamma(size) + (size - 1) * jnp.log(tau)


def _total(z, tau, x, simplex: bool, rows: Rows):
    """Σ ℓ, on the simplex Σ (ℓ - x)."""
    w = z - tau[..., None] * x
    e = w - rows.spread(rows.max(w), w)
    log_sum = jnp.log(rows.sum(jnp.exp(e)))
    each = e - x if simplex else e
    if tau.size < _MANY_ROWS:
        return rows.sum(each) - z.shape[-1] * log_sum
    return rows.sum(each - log_sum)


def _total_in_turn(z, tau, x, simplex: bool, rows: Rows):
    """The same in three passes, between which nothing as long as a row is kept."""

    def differences(z, tau, x, top):
        return z - tau[..., None] * x - top

    top = row_maximum(differences(z, tau, x, 0))
    z, tau, x, top = rows.fence(z, tau, x, top)
    exponentials = row_sum(jnp.exp(differences(z, tau, x, top)))
    z, tau, x, top, exponentials = rows.fence(z, tau, x, top, exponentials)
    e = differences(z, tau, x, top)
    return row_sum(e - x if simplex else e) - z.shape[-1] * jnp.log(exponentials)


def _careful(z, tau, x, *, simplex: bool):
    allowed = z > -jnp.inf
    x = _log(x) if simplex else x
    edge = _edge(allowed, tau, x)
    e = _differences(z, tau, jnp.where(edge | ~allowed, 0, x))
    # Two results at once are computed in one loop, which stores nothing on the way.
    top, count = _reduce((jnp.maximum, -jnp.inf), (jnp.add, 0), z, allowed)
    each = jnp.where(allowed, e - x if simplex else e, 0)
    total, exponentials = _reduce((jnp.add, 0), (jnp.add, 0), each, jnp.exp(e))
    # NaN for a row that is no distribution.
    count = jnp.where(jnp.isfinite(top), count, jnp.nan)
    total = total - count * jnp.log(exponentials)
    total = total + lax.lgamma(count) + (count - 1) * jnp.log(tau)
    return jnp.where(jnp.any(edge, axis=-1), -jnp.inf, total)


def _differences(z, tau, x):
    """`z - τx` less its maximum, with the digits that a common offset of z took."""
    product = tau[..., None] * x
    w = z - product
    lost = jnp.where(z > -jnp.inf, (z - w) - product, 0)
    top = jnp.max(lax.stop_gradient(w), axis=-1, keepdims=True)
    return w - top + lost


def _reduce(one, other, *arrays):
    """Two reductions along rows, each a function and what it starts from."""

    def combine(a, b):
        return [one[0](a[0], b[0]), other[0](a[1], b[1])]

    dtype = arrays[0].dtype
    start = [jnp.asarray(one[1], dtype), jnp.asarray(other[1], dtype)]
    arrays = [array.astype(dtype) for array in arrays]
    return lax.reduce(arrays, start, combine, [arrays[0].ndim - 1])


def _log(y):
    """The log of a coordinate, of the smallest normal one where it is smaller."""
    return jnp.log(jnp.maximum(y, _tiny(y)))


def _tiny(y) -> float:
    return float(jnp.finfo(y.dtype).tiny)


def _edge(allowed, tau, x):
    """Where a point in log space is on the boundary, or too near to tell."""
    return allowed & (tau[..., None] * x == -jnp.inf)


_kernel = RowKernel("jaxtemp_concrete", functools.partial(_forward, rows=Rows()))
_kernel.lower_to("cpu", functools.partial(_forward, rows=CpuRows()))
