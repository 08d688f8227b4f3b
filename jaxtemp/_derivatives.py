"""Row functions with their derivative rules: the kernel inside, the rule outside.

Each function takes logits `[..., V]` and one temperature a row and can be
differentiated in both, forward and reverse, to any order. First derivatives of
(log-)softmax run as kernels; what they are built of for higher orders, and every
derivative of the per-row quantities, is plain `jnp`, linear in the tangents.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.interpreters import ad

from ._rows import reductions, upcast
from ._scale import over, quotient
from .kernels.moments import xla as moments_xla
from .kernels.moments.primitive import moments
from .kernels.softmax import primitive as kernel
from .kernels.softmax import xla as softmax_xla


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4))
def softmax(z, tau, log, axis_name, implementation):
    """`softmax(z / τ)` along the last axis, or its logarithm."""
    if axis_name is not None:
        return softmax_xla.forward(z, tau, log=log, rows=reductions(axis_name))[0]
    return kernel.softmax(z, tau, log=log, implementation=implementation)[0]


@softmax.defjvp
def _softmax_jvp(log, axis_name, implementation, primals, tangents):
    y = softmax(*primals, log, axis_name, implementation)
    if axis_name is not None:
        rule = functools.partial(_softmax_tangent, log=log, axis_name=axis_name)
        return y, jax.checkpoint(rule)(*primals, *tangents)
    (dy,) = kernel.push(*primals, *tangents, log=log, implementation=implementation)
    return y, dy


def _softmax_tangent(z, tau, dz, dtau, *, log, axis_name=None):
    """What `push` computes, as a differentiable function of all its arguments."""
    rows = reductions(axis_name)
    z, empty = _without_empty_rows(z, rows)
    p, u = _distribution(z, tau, rows, axis_name)
    allowed = z > -jnp.inf

    def mean(f):
        # Where p is zero, a cotangent that overflowed must not meet it.
        return rows.sum(jnp.where(p > 0, p * f, 0))

    # Weights are divided by τ before they meet a tangent: a zero stays zero.
    base = allowed.astype(p.dtype) if log else p
    t = _about_the_likeliest(jnp.where(allowed, upcast(dz), 0), p, rows)
    along_z = over(base, tau[..., None]) * (t - mean(t))
    along_tau = _saturated(over(base * (u - mean(u)), tau[..., None]))
    out = along_z - along_tau * dtau[..., None]
    return jnp.where(empty, 0, out).astype(z.dtype)


def _softmax_cotangents(z, tau, g, *, log):
    """What `pull` computes, as a differentiable function of all its arguments."""
    rows = reductions(None)
    z, empty = _without_empty_rows(z, rows)
    p, u = _distribution(z, tau, rows, None)
    g = jnp.where(z > -jnp.inf, upcast(g), 0)
    if log:
        q = g - p * rows.sum(g)
    else:
        h = _about_the_likeliest(g, p, rows)
        q = p * (h - rows.sum(p * h))
    q = jnp.where(empty, 0, q)
    to_tau = -over(rows.sum(q * u)[..., 0], tau)
    return over(q, tau[..., None]).astype(z.dtype), to_tau


def _about_the_likeliest(f, p, rows):
    """`f` less its value at the class of most mass: see kernels/softmax/xla.py."""
    own = p > 0.5
    return jnp.where(own, 0, f - rows.sum(jnp.where(own, f, 0)))


def _jvp_of(kernel_form, formula, primals, tangents, *, log, implementation):
    """The rule of a kernel, for derivatives beyond the first."""
    tangents = tuple(ad.instantiate_zeros(t) for t in tangents)
    out = kernel_form(*primals, log=log, implementation=implementation)
    formula = functools.partial(formula, log=log)
    _, dout = jax.jvp(formula, tuple(primals), tangents)
    return out, list(dout) if len(out) > 1 else [dout]


ad.primitive_jvps[kernel.push.primitive] = functools.partial(
    _jvp_of, kernel.push, _softmax_tangent
)
ad.primitive_jvps[kernel.pull.primitive] = functools.partial(
    _jvp_of, kernel.pull, _softmax_cotangents
)


def _per_row(value, weights):
    """A per-row quantity Q: its value in terms of the moments, and its derivatives.

    `weights(z, tau, p, u, rows, axis_name)` returns dQ/dz, `[..., V]`, and dQ/dτ, each
    divided by τ before anything is summed: a weight of zero then stays zero.
    """

    @functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
    def quantity(z, tau, axis_name, implementation):
        if axis_name is None:
            found = moments(z, tau, implementation=implementation)
        else:
            found = moments_xla.forward(z, tau, rows=reductions(axis_name))
        return value(tau, *found)

    @quantity.defjvp
    def _(axis_name, implementation, primals, tangents):
        @jax.checkpoint
        def tangent(z, tau, dz, dtau):
            rows = reductions(axis_name)
            z, empty = _without_empty_rows(z, rows)
            p, u = _distribution(z, tau, rows, axis_name)
            found = weights(z, tau, p, u, rows, axis_name)
            to_z, to_tau = (_saturated(weight) for weight in found)
            total = rows.sum(to_z * upcast(dz))[..., 0] + to_tau * dtau
            return jnp.where(empty[..., 0], 0, total)

        out = quantity(*primals, axis_name, implementation)
        return out, tangent(*primals, *tangents)

    return quantity


def _saturated(x, room=1.0):
    """`x` without infinities, which times a zero would be NaN; `room` to sum it."""
    largest = float(jnp.finfo(x.dtype).max) * room
    return jnp.clip(x, -largest, largest)


def _distribution(z, tau, rows, axis_name):
    """Probabilities and their exponents, finite and differentiable."""
    wide = upcast(z)
    p = softmax(wide, tau, False, axis_name, None)
    x = wide - rows.max(lax.stop_gradient(wide))
    x = jnp.where(wide > -jnp.inf, x, 0)
    return p, _saturated(over(x, tau[..., None]), room=2.0**-20)


def _without_empty_rows(z, rows):
    """Logits whose rows all allow something, and which rows did not."""
    empty = rows.max(lax.stop_gradient(z)) == -jnp.inf
    return jnp.where(empty, 0, z), empty


def _logsumexp(tau, m, log_z, mean_z, mean_u, variance):
    return jnp.where(m == -jnp.inf, -jnp.inf, quotient(m, tau) + log_z)


def _logsumexp_weights(z, tau, p, u, rows, axis_name):
    energy = mean_energy(z, tau, axis_name, None)
    return over(p, tau[..., None]), over(over(energy, tau), tau)


def _free_energy(tau, m, log_z, mean_z, mean_u, variance):
    # τ log Z at τ = ∞ is 0 where log Z is: the row has one class.
    excess = jnp.where(log_z == 0, 0, tau * log_z)
    return jnp.where(m == -jnp.inf, jnp.inf, -m - excess)


def _free_energy_weights(z, tau, p, u, rows, axis_name):
    return -p, -entropy(z, tau, axis_name, None)


def _mean_energy(tau, m, log_z, mean_z, mean_u, variance):
    return -mean_z


def _mean_energy_weights(z, tau, p, u, rows, axis_name):
    capacity = heat_capacity(z, tau, axis_name, None)
    return -p * (1 + u - rows.sum(p * u)), capacity


def _entropy(tau, m, log_z, mean_z, mean_u, variance):
    return log_z - mean_u


def _entropy_weights(z, tau, p, u, rows, axis_name):
    capacity = heat_capacity(z, tau, axis_name, None)
    to_z = -over(p * (u - rows.sum(p * u)), tau[..., None])
    return to_z, over(capacity, tau)


def _heat_capacity(tau, m, log_z, mean_z, mean_u, variance):
    return variance


def _heat_capacity_weights(z, tau, p, u, rows, axis_name):
    d = u - rows.sum(p * u)
    d = jnp.where(p > 0, d, 0)  # its square may overflow where nothing weighs it
    c = rows.sum(p * d * d)
    to_tau = (rows.sum(p * d * d * d) + 2 * c)[..., 0]
    return over(p * (d * d - c + 2 * d), tau[..., None]), -over(to_tau, tau)


logsumexp = _per_row(_logsumexp, _logsumexp_weights)
free_energy = _per_row(_free_energy, _free_energy_weights)
mean_energy = _per_row(_mean_energy, _mean_energy_weights)
entropy = _per_row(_entropy, _entropy_weights)
heat_capacity = _per_row(_heat_capacity, _heat_capacity_weights)
