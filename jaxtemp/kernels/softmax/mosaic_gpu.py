"""Softmax, log-softmax and their Jacobians along rows, in one read on a GPU.

The formulas are those of `xla.py`, on numbers of a row that can be found part by part;
`None` stands for rows that are too few to fill a tile.
Tangents and cotangents are taken relative to that of the row's largest logit: its own
entry is exactly zero, and the small rest is not lost beside it.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from ..._scale import exponent_scale, factors, slope
from .._masses import (
    FAR,
    GONE,
    TINY,
    below,
    kept,
    largest,
    mass,
    mass_apart,
    merge_masses,
    merge_masses_apart,
    over_tau,
    shift,
    spread,
    total,
)
from .._row_program import Program, cut, run


def forward(z, tau, *, log: bool) -> tuple[jax.Array, ...] | None:
    """`softmax(z / τ)`, or its logarithm."""
    program = _FORWARD_LOG if log else _FORWARD
    tiles = cut(program, z)
    if tiles is None:
        return None
    numbers = factors(tau) if log else (exponent_scale(tau),)
    name = "log_softmax" if log else "softmax"
    return run(program, tiles, (z,), numbers, name=name, out=(z.dtype,))


def pull(z, tau, g, *, log: bool) -> tuple[jax.Array, ...] | None:
    """The cotangents of logits and temperature, from the same read."""
    program = _PULL_LOG if log else _PULL
    tiles = cut(program, z, g)
    if tiles is None:
        return None
    numbers = exponent_scale(tau), slope(tau)
    name = "log_softmax_pull" if log else "softmax_pull"
    return run(
        program, tiles, (z, g), numbers, name=name, out=(z.dtype,), row_results=1
    )


def push(z, tau, dz, dtau, *, log: bool) -> tuple[jax.Array, ...] | None:
    """The tangent of the result for tangents of logits and temperature."""
    program = _PUSH_LOG if log else _PUSH
    tiles = cut(program, z, dz)
    if tiles is None:
        return None
    numbers = exponent_scale(tau), slope(tau), dtau
    name = "log_softmax_push" if log else "softmax_push"
    return run(program, tiles, (z, dz), numbers, name=name, out=(z.dtype,))


def _mass(tile, scales):
    (z,) = tile
    return mass(z, scales)


def _softmax(tile, place, scales, statistics):
    del place
    (z,), (top, mass) = tile, statistics
    e = jnp.exp(over_tau(z - spread(top, z), scales))
    return (e * spread(1 / mass, z),), ()


def _log_softmax(tile, place, scales, statistics):
    del place
    (z,), (top, mass) = tile, statistics
    u = over_tau(z - spread(top, z), scales)
    return (u - spread(jnp.log(mass), z),), ()


_FORWARD = Program(_mass, merge_masses, _softmax)
_FORWARD_LOG = dataclasses.replace(_FORWARD, emit=_log_softmax)


def _probabilities(z, top, mass, scale):
    """Softmax, all zero in a row in which nothing is allowed."""
    e = jnp.exp(over_tau(below(z, top), (scale,)))
    return e * spread(1 / jnp.maximum(mass, TINY), z)


def _allowed(z, x):
    return jnp.where(z > -jnp.inf, x, 0.0)


def _covectors(tile, numbers):
    """Σ e, what goes with the largest logit, and Σ e times the difference from it."""
    z, g = tile
    top = largest(z)
    about = jnp.max(jnp.where(z == spread(top, z), g, -jnp.inf), axis=1)
    e = jnp.exp(over_tau(below(z, top), numbers[:1]))
    return top, total(e), about, total(e * (g - spread(about, g)))


def _merge_covectors(a, b, numbers):
    (top, mass, about, moment), (other, more, apart, extra) = a, b
    at = jnp.where(top < other, apart, about)
    of_a = jnp.exp(shift(top, other, numbers[:1]))
    of_b = jnp.exp(shift(other, top, numbers[:1]))
    moment = of_a * (moment + mass * (about - at)) + of_b * (
        extra + more * (apart - at)
    )
    return jnp.maximum(top, other), mass * of_a + more * of_b, at, moment


def _pull(tile, place, numbers, statistics):
    del place
    (z, g), (scale, inverse), (top, mass, about, moment) = tile, numbers, statistics
    p = _probabilities(z, top, mass, scale)
    mean = moment / jnp.maximum(mass, TINY)
    dz = p * (g - spread(about, g) - spread(mean, g)) * spread(inverse, z)
    return (dz,), (dz * jnp.maximum(below(z, top), FAR),)


def _to_tau(numbers, statistics, sums):
    del statistics
    return (-sums[0] * numbers[1],)


_PULL = Program(_covectors, _merge_covectors, _pull, _to_tau)


def _sums_apart(tile, numbers):
    """The masses, and sums of the cotangent at the largest logits and elsewhere."""
    z, g = tile
    g = _allowed(z, g)
    masses = mass_apart(z, numbers[:1])
    lower = z < spread(masses[0], z)
    at_top, rest = jnp.where(lower, 0.0, g), jnp.where(lower, g, 0.0)
    return *masses, total(at_top), total(rest)


def _merge_sums_apart(a, b, numbers):
    masses = merge_masses_apart(a[:3], b[:3], numbers[:1])
    of_a, a_lower = kept(a[3], a[0], b[0])
    of_b, b_lower = kept(b[3], b[0], a[0])
    return *masses, of_a + of_b, a[4] + b[4] + a_lower + b_lower


def _pull_log(tile, place, numbers, statistics):
    """`g - p Σg`, with 1 - p summed from the rest where p is more than a half."""
    del place
    (z, g), (scale, inverse) = tile, numbers
    top, ties, rest, at_top, elsewhere = statistics
    g, mass = _allowed(z, g), ties + rest
    p = _probabilities(z, top, mass, scale)
    own = g * spread(rest / mass, z) - p * spread(elsewhere, z)
    q = jnp.where(p > 0.5, own, g - p * spread(at_top + elsewhere, z))
    u = jnp.maximum(over_tau(below(z, top), (scale,)), FAR)
    return (q * spread(inverse, z),), (q * u,)


_PULL_LOG = Program(_sums_apart, _merge_sums_apart, _pull_log, _to_tau)


def _tangents(tile, numbers):
    """The same of tangents, and Σ e u."""
    z, _ = tile
    top, mass, about, moment = _covectors(tile, numbers)
    u = over_tau(below(z, top), numbers[:1])
    return top, mass, about, moment, total(jnp.exp(u) * jnp.maximum(u, GONE))


def _merge_tangents(a, b, numbers):
    u, v = (
        jnp.maximum(shift(x[0], y[0], numbers[:1]), GONE) for x, y in ((a, b), (b, a))
    )
    exponent = jnp.exp(u) * (a[4] + a[1] * u) + jnp.exp(v) * (b[4] + b[1] * v)
    return *_merge_covectors(a[:4], b[:4], numbers), exponent


def _centred(u, dz, dtau, statistics):
    """The tangent of `z / τ`, times τ, less its mean."""
    _, mass, about, moment, exponent = statistics
    mean = (moment - dtau * exponent) / jnp.maximum(mass, TINY)
    return dz - u * spread(dtau, dz) - spread(about, dz) - spread(mean, dz)


def _push(tile, place, numbers, statistics):
    del place
    (z, dz), (scale, inverse, dtau) = tile, numbers
    top, mass, *_ = statistics
    p = _probabilities(z, top, mass, scale)
    # Where p is zero, what its exponent is does not matter.
    u = jnp.maximum(over_tau(below(z, top), (scale,)), GONE)
    return (p * _centred(u, dz, dtau, statistics) * spread(inverse, z),), ()


def _push_log(tile, place, numbers, statistics):
    del place
    (z, dz), (scale, inverse, dtau) = tile, numbers
    u = jnp.maximum(over_tau(below(z, statistics[0]), (scale,)), FAR)
    centred = _centred(u, dz, dtau, statistics)
    return (_allowed(z, centred) * spread(inverse, z),), ()


_PUSH = Program(_tangents, _merge_tangents, _push)
_PUSH_LOG = dataclasses.replace(_PUSH, emit=_push_log)
