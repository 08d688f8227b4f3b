"""The loss of rows with its derivative rule: the kernel inside, the rule outside.

In logits and temperature the first derivative runs as kernels, and what they are built
of for higher orders is plain `jnp`. In the target the loss is linear.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from .. import _derivatives
from .._derivatives import _distribution, _without_empty_rows
from .._rows import reductions, upcast
from .._scale import over
from ..kernels.cross_entropy import primitive as kernel
from ..kernels.cross_entropy import xla
from ..kernels.cross_entropy.target import Target


def row_loss(z, tau, target: Target, *, cap, axis_name, implementation):
    """`Σ_k c_k (lse - x_k)` and `lse`, of x = z / τ with z bounded by `cap`."""
    loss, lse, *_ = _loss(z, tau, target, cap, axis_name, implementation)
    return loss, lse


@functools.partial(jax.custom_jvp, nondiff_argnums=(3, 4, 5))
def _loss(z, tau, target, cap, axis_name, implementation):
    """Loss, log-sum-exp and what the kernel found, which counts as constant."""
    if axis_name is not None:
        return xla.forward(z, tau, target, cap=cap, rows=reductions(axis_name))
    found = kernel.forward(z, tau, target, cap=cap, implementation=implementation)
    return tuple(found)


@functools.partial(_loss.defjvp, symbolic_zeros=True)
def _loss_jvp(cap, axis_name, implementation, primals, tangents):
    z, tau, target = primals
    dz, dtau, dtarget = tangents
    out = _loss(z, tau, target, cap, axis_name, implementation)
    dz, dtau = _instantiated(dz), _instantiated(dtau)
    if axis_name is None:
        found = xla.Found(*out[2:])
        options = {"cap": cap, "implementation": implementation}
        dloss, dlse = kernel.push(z, tau, found, target, dz, dtau, **options)
    else:
        rule = functools.partial(_tangents, cap=cap, axis_name=axis_name)
        dloss, dlse = jax.checkpoint(rule)(z, tau, target, dz, dtau)
    if any(map(_moves, jax.tree.leaves(dtarget))):
        rule = functools.partial(_along_target, cap=cap, axis_name=axis_name)
        given = jax.tree.map(_instantiated, dtarget)
        dloss += jax.checkpoint(rule)(z, tau, target, given)
    constant = [jnp.zeros_like(x) for x in out[2:]]
    return out, (dloss, dlse, *constant)


def _moves(tangent) -> bool:
    """Whether a tangent is of something that is differentiated."""
    return not isinstance(tangent, SymbolicZero) and tangent.dtype != jax.dtypes.float0


def _instantiated(tangent):
    if isinstance(tangent, SymbolicZero):
        return jnp.zeros(tangent.shape, tangent.dtype)  # pyright: ignore
    return tangent


def _along_target(z, tau, target, dtarget, *, cap, axis_name):
    """What the loss gains with its target: `Σ_k dc_k (lse - x_k)`."""
    z = xla.capped(z, cap)
    allowed = z > -jnp.inf
    _, dc = jax.jvp(lambda target: target.of_classes(allowed), (target,), (dtarget,))
    log_p = _derivatives.softmax(z, tau, True, axis_name, None)
    # What is excluded counts nothing, and what diverges counts as its limit, zero.
    log_p = jnp.where(jnp.isinf(log_p), 0, log_p)
    return -reductions(axis_name).sum(dc * log_p)[..., 0]


def _tangents(z, tau, target, dz, dtau, *, cap, axis_name=None):
    """What `push` computes, as a differentiable function of all its arguments."""
    rows = reductions(axis_name)
    dx, p, u, top = _gradients(z, tau, target, cap, rows, axis_name)
    t = _in_logits(upcast(dz), z, cap)
    t = jnp.where(z > -jnp.inf, t, 0)
    dloss, dlse = (rows.sum(_over(d, tau) * t)[..., 0] for d in (dx, p))
    loss_tau, lse_tau = _to_tau(dx, p, u, top, tau, rows)
    return dloss + loss_tau * dtau, dlse + lse_tau * dtau


def _cotangents(z, tau, target, g, g_lse, *, cap, axis_name=None):
    """What `pull` computes, as a differentiable function of all its arguments."""
    rows = reductions(axis_name)
    dx, p, u, top = _gradients(z, tau, target, cap, rows, axis_name)
    loss_tau, lse_tau = _to_tau(dx, p, u, top, tau, rows)
    to_z = _over(g[..., None] * dx + g_lse[..., None] * p, tau)
    to_z = jnp.where(z > -jnp.inf, _in_logits(to_z, z, cap), 0)
    return to_z.astype(z.dtype), g * loss_tau + g_lse * lse_tau


kernel.define_derivatives(_tangents, _cotangents)


def _gradients(z, tau, target, cap, rows, axis_name):
    """Gradients of loss and log-sum-exp in x = z / τ; x less its maximum; and that."""
    z, empty = _without_empty_rows(xla.capped(z, cap), rows)
    p, u = _distribution(z, tau, rows, axis_name)
    c = target.of_classes(z > -jnp.inf)
    lost = rows.sum(jnp.where(z > -jnp.inf, 0, jnp.abs(c))) > 0
    own = p > 0.5
    others = rows.sum(jnp.where(own, 0, c)), rows.sum(jnp.where(own, 0, p))
    total = rows.sum(c)
    dx = jnp.where(own, others[0] - total * others[1], total * p - c)
    dead = empty | lost
    dx, p = jnp.where(dead, 0, dx), jnp.where(empty, 0, p)
    return dx, p, u, rows.max(lax.stop_gradient(z))


def _to_tau(dx, p, u, top, tau, rows):
    """The derivatives of loss and log-sum-exp in τ."""
    top = over(top[..., 0], tau)
    loss, mean = (rows.sum(weight * u)[..., 0] for weight in (dx, p))
    return -over(loss, tau), -over(mean + top, tau)


def _over(wide, tau):
    return over(wide, tau[..., None])


def _in_logits(x, z, cap):
    return x if cap is None else x * xla.cap_slope(z, cap)
