r"""Relative entropy of the Boltzmann distributions of two rows, and its derivatives.

With $q = \operatorname{softmax}(v/\sigma)$, $p = \operatorname{softmax}(z/\tau)$ and
$r = \log p - \log q$,

$$KL(q \| p) = -\sum_i q_i r_i = \sum_i q_i \big(e^{r_i} - 1 - r_i\big)$$

The second sum has no negative term, so nothing cancels where p is close to q, as it is
at high temperatures, and an error that all r share counts only squared.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from ._derivatives import _saturated, _without_empty_rows
from ._pair import _ROOM, Pair, pair
from ._rows import reductions
from ._scale import over


@functools.partial(jax.custom_jvp, nondiff_argnums=(4,))
def relative_entropy(v, z, sigma, tau, axis_name):
    """`KL(softmax(v / σ) || softmax(z / τ))` of each row; σ is τ if `None`."""
    both = pair(v, z, sigma, tau, axis_name)
    return both.sum(both.divergence(both.r)) + jnp.where(_lost(both), jnp.inf, 0)


@relative_entropy.defjvp
def _relative_entropy_jvp(axis_name, primals, tangents):
    @jax.checkpoint
    def tangent(v, z, sigma, tau, dv, dz, dsigma, dtau):
        both, empty = _filled_pair(v, z, sigma, tau, axis_name)
        dead = empty | _lost(both)
        if sigma is None:
            sigma, dsigma = tau, dtau
        excess, tilt = both.excess(both.r), both.tilt(both.r)
        to_z = _saturated(over(excess, tau[..., None]))
        to_v = _saturated(over(tilt, sigma[..., None]))
        to_tau = _saturated(over(both.sum(excess * both.p.u), tau))
        to_sigma = _saturated(over(both.sum(tilt * both.q.u), sigma))
        along = both.sum(to_z * dz.astype(tau.dtype) - to_v * dv.astype(tau.dtype))
        return jnp.where(dead, 0, along - to_tau * dtau + to_sigma * dsigma)

    return relative_entropy(*primals, axis_name), tangent(*primals, *tangents)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def scaled_relative_entropy(v, z, tau, axis_name):
    """`τ² KL(softmax(v / τ) || softmax(z / τ))` of each row."""
    both = pair(v, z, None, tau, axis_name)
    near = both.q.p * jnp.square(both.measured) * both.second
    far = both.unit * both.divergence(both.measured, both.unit)
    value = both.sum(jnp.where(both.small, near, far))
    return value + jnp.where(_scaled_lost(both, tau), jnp.inf, 0)


@scaled_relative_entropy.defjvp
def _scaled_relative_entropy_jvp(axis_name, primals, tangents):
    @jax.checkpoint
    def tangent(v, z, tau, dv, dz, dtau):
        both, empty = _filled_pair(v, z, None, tau, axis_name)
        dead = empty | _scaled_lost(both, tau)
        excess = both.excess(both.measured, both.unit)
        tilt = both.tilt(both.measured)
        to_tau = _saturated(_scaled_to_tau(both, tilt, tau))
        along = both.sum(
            _saturated(excess) * dz.astype(tau.dtype)
            - _saturated(tilt) * dv.astype(tau.dtype)
        )
        return jnp.where(dead, 0, along + to_tau * dtau)

    return scaled_relative_entropy(*primals, axis_name), tangent(*primals, *tangents)


def _scaled_to_tau(both: Pair, tilt, tau):
    """The derivative in τ, which falls as 1/τ² where its usual terms fall as 1/τ."""
    terms = both.divergence(both.measured, both.unit)
    mean = both.sum(terms)
    usual = 2 * mean + over(both.sum(tilt * both.q.x), tau)
    usual -= both.sum(both.excess(both.r) * both.p.x)
    # The same without the terms of first and second order, whose sum is zero.
    cubic = both.q.p * both.measured * jnp.square(both.x) * both.third / 3
    about = both.p.u - both.rows.sum(both.q.p * both.p.u)
    terms = jnp.where(both.small, terms, 0)
    close = both.sum(cubic - terms * about) + mean * both.sum(both.divergence(both.x))
    apart = both.any(~both.small & ((both.p.p > 0) | (both.q.p > 0)))
    return jnp.where(apart, usual, jnp.where(apart, 0, close))


def _filled_pair(v, z, sigma, tau, axis_name):
    """The pair with stand-ins for rows that allow nothing, and which rows these are."""
    rows = reductions(axis_name)
    (v, no_v), (z, no_z) = (_without_empty_rows(x, rows) for x in (v, z))
    return pair(v, z, sigma, tau, axis_name), (no_v | no_z)[..., 0]


def _lost(both: Pair):
    """Where KL is infinite: p is zero for a class of q, excluded or in the limit."""
    flat = both.p.u <= -float(jnp.finfo(both.r.dtype).max) * _ROOM
    return both.any(both.misses | (flat & (both.q.p > 0)))


def _scaled_lost(both: Pair, tau):
    """Where τ² KL is infinite: a class of q that p excludes; at τ = ∞ also of p."""
    uneven = both.q.excluded & (both.p.p > 0) & jnp.isinf(tau)[..., None]
    return both.any(both.misses | uneven)
