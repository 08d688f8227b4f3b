"""Softmax, log-softmax and their Jacobians on a TPU; `xla.py` says what they are.

A row that does not fit the chip's memory comes in blocks. What is known of it is then
relative to the largest logit so far, and is brought to the new one where a block has a
larger. Averages are taken about the entry of the class that holds more than half of
the mass so far, if there is one, so that they are as exact as in one piece.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..._rows import Rows
from ..._scale import exponent_scale, factors, slope
from .._mosaic_tpu import RowOp, finite, over_rows, risen, supported
from .._mosaic_tpu_block import Block
from . import xla

_TINY = float(jnp.finfo(jnp.float32).tiny)
_LOW = float(jnp.finfo(jnp.float32).min) * 2.0**-20
_NEGLIGIBLE = -1e4  # an exponent whose exponential is zero


def forward(z, tau, *, log: bool) -> tuple[jax.Array]:
    """`softmax(z / τ)`, or its logarithm."""
    if not supported(z):
        return xla.forward(z, tau, log=log, rows=Rows())
    numbers = factors(tau) if log else (exponent_scale(tau), jnp.ones_like(tau))
    op = RowOp((-jnp.inf, 0.0), _sum, _log_probabilities if log else _probabilities)
    name = "log_softmax" if log else "softmax"
    (result,), _ = over_rows(op, (z,), numbers, (z.dtype,), name=name)
    return (result,)


def push(z, tau, dz, dtau, *, log: bool) -> tuple[jax.Array]:
    """The tangent of the result for tangents of logits and temperature."""
    if not supported(z, dz):
        return xla.push(z, tau, dz, dtau, log=log, rows=Rows())
    numbers = exponent_scale(tau), slope(tau), dtau
    write = _push_log if log else _push
    op = RowOp(_Mean.nothing(), _mean_tangent_log if log else _mean_tangent, write)
    name = "log_softmax_push" if log else "softmax_push"
    (tangent,), _ = over_rows(op, (z, dz), numbers, (z.dtype,), name=name)
    return (tangent,)


def pull(z, tau, g, *, log: bool) -> tuple[jax.Array, jax.Array]:
    """The cotangents of logits and temperature: the transpose of `push`."""
    if not supported(z, g):
        return xla.pull(z, tau, g, log=log, rows=Rows())
    numbers = exponent_scale(tau), slope(tau)
    if log:
        op = RowOp(_Sums.nothing(), _sum_cotangent, _pull_log, _to_tau)
    else:
        op = RowOp(_Mean.nothing(), _mean_cotangent, _pull, _to_tau)
    name = "log_softmax_pull" if log else "softmax_pull"
    (to_z,), (to_tau,) = over_rows(op, (z, g), numbers, (z.dtype,), 1, name=name)
    return to_z, to_tau


def _sum(block: Block, numbers, state):
    a, b = numbers
    old, total = state
    top = jnp.maximum(old, block.max())
    below = finite(top)
    (new,) = block.sums(lambda z: (jnp.exp((z - below) * a * b),), 1)
    return top, total * jnp.exp(risen(old, top) * a * b) + new


def _probabilities(block: Block, numbers, state):
    a, _ = numbers
    top, total = state
    over = 1 / total
    block.write(lambda z: ((jnp.exp((z - top) * a) * over,), ()))
    return state


def _log_probabilities(block: Block, numbers, state):
    a, b = numbers
    top, total = state
    log_z = jnp.log(total)
    block.write(lambda z: (((z - top) * a * b - log_z,), ()))
    return state


class _Mass(NamedTuple):
    """What is known of a row's distribution, and the other operand's sum at the top.

    Attributes:
        top: The largest logit.
        ties: How many classes have it.
        rest: Σ exp((z - top) / τ) over all others.
        own: The sum of the other operand's entries at the top.
    """

    top: jax.Array
    ties: jax.Array
    rest: jax.Array
    own: jax.Array

    @property
    def total(self):
        return self.ties + self.rest

    @property
    def certain(self):
        """Whether one class holds more than half of the mass."""
        return (self.ties == 1) & (self.rest < 1)

    @property
    def about(self):
        """What averages are taken about: the entry of that class, if there is one."""
        return jnp.where(self.certain, self.own, 0)

    def exponents(self, z, scale):
        """`(z - top) / τ`, -inf where nothing is allowed."""
        return (z - finite(self.top)) * scale

    def probabilities(self, z, scale):
        # In a row in which nothing is allowed all are zero; a NaN stays one.
        over = 1 / jnp.where(self.total == 0, _TINY, self.total)
        return jnp.exp(self.exponents(z, scale)) * over

    def below(self, top, scale) -> _Mass:
        """The same relative to a top at least as large."""
        up = risen(self.top, top)
        moved = up != 0
        rest = self.total * jnp.exp(up * scale)
        return _Mass(
            top,
            jnp.where(moved, 0, self.ties),
            jnp.where(moved, rest, self.rest),
            jnp.where(moved, 0, self.own),
        )

    def terms(self, z, other, scale) -> tuple:
        """What a chunk adds to `ties`, `rest` and `own`."""
        x = z - finite(self.top)
        e = jnp.exp(x * scale)
        at = x == 0
        return jnp.where(at, 1.0, 0), jnp.where(at, 0, e), jnp.where(at, other, 0)

    def plus(self, ties, rest, own) -> _Mass:
        return _Mass(self.top, self.ties + ties, self.rest + rest, self.own + own)


class _Mean(NamedTuple):
    """A row's mass, and an average under it.

    Attributes:
        mass: The mass.
        spread: Σ exp((z - top) / τ) (f - about), for what is averaged.
        to_tau: What has been summed of the cotangent of the temperature.
    """

    mass: _Mass
    spread: jax.Array
    to_tau: jax.Array

    @staticmethod
    def nothing() -> tuple[float, ...]:
        return -jnp.inf, 0.0, 0.0, 0.0, 0.0, 0.0

    @staticmethod
    def known(state) -> _Mean:
        return _Mean(_Mass(*state[:4]), *state[4:])

    @property
    def mean(self):
        """The average less what it is taken about."""
        total = self.mass.total
        return self.spread / jnp.where(total == 0, _TINY, total)


def _mean(block: Block, state, scale, f, slant=0.0):
    """Average `f(u, other)`, which falls by `slant` where an exponent rises by one."""
    old, spread, to_tau = _Mean.known(state)
    top = jnp.maximum(old.top, block.max())
    mass = old.below(top, scale)
    mass = mass.plus(*block.sums(lambda z, other: mass.terms(z, other, scale), 3))
    up = jnp.maximum(risen(old.top, top) * scale, _NEGLIGIBLE)
    spread += (old.about - mass.about - up * slant) * old.total
    spread *= jnp.exp(up)

    def term(z, other):
        u = mass.exponents(z, scale)
        return (jnp.exp(u) * (f(u, other) - mass.about),)

    (new,) = block.sums(term, 1)
    return *mass, spread + new, to_tau


def _mean_cotangent(block: Block, numbers, state):
    scale, _ = numbers
    return _mean(block, state, scale, lambda u, g: g)


def _pull(block: Block, numbers, state):
    scale, s = numbers
    mass, _, to_tau = found = _Mean.known(state)
    about, mean = mass.about, found.mean

    def term(z, g):
        to_z = mass.probabilities(z, scale) * ((g - about) - mean) * s
        x = jnp.maximum(z, _LOW) - jnp.maximum(mass.top, _LOW)
        return (to_z,), (to_z * x,)

    (new,) = block.write(term, 1)
    return *state[:-1], to_tau + new


def _to_tau(numbers, state):
    _, s = numbers
    return (-state[-1] * s,)


def _mean_tangent(block: Block, numbers, state):
    scale, _, dtau = numbers
    return _mean(block, state, scale, lambda u, dz: _tangent(u, dz, dtau), dtau)


def _mean_tangent_log(block: Block, numbers, state):
    scale, _, dtau = numbers
    return _mean(block, state, scale, lambda u, dz: _tangent_log(u, dz, dtau), dtau)


def _push(block: Block, numbers, state):
    scale, s, dtau = numbers
    found = _Mean.known(state)
    mass, about, mean = found.mass, found.mass.about, found.mean

    def term(z, dz):
        t = _tangent(mass.exponents(z, scale), dz, dtau)
        return (mass.probabilities(z, scale) * ((t - about) - mean) * s,), ()

    block.write(term)
    return state


def _push_log(block: Block, numbers, state):
    scale, s, dtau = numbers
    found = _Mean.known(state)
    mass, about, mean = found.mass, found.mass.about, found.mean

    def term(z, dz):
        t = _tangent_log(mass.exponents(z, scale), dz, dtau)
        # A NaN elsewhere in the row reaches all of it by way of the mean.
        return (jnp.where(z > -jnp.inf, (t - about) - mean, 0) * s,), ()

    block.write(term)
    return state


def _tangent(u, dz, dtau):
    return dz - jnp.maximum(u, _NEGLIGIBLE) * dtau


def _tangent_log(u, dz, dtau):
    return jnp.where(u > -jnp.inf, dz - jnp.maximum(u, _LOW) * dtau, 0)


class _Sums(NamedTuple):
    """A row's mass, and sums of a cotangent.

    Attributes:
        mass: The mass.
        rest: The sum of the cotangent's entries that are not at the top.
        to_tau: What has been summed of the cotangent of the temperature.
    """

    mass: _Mass
    rest: jax.Array
    to_tau: jax.Array

    @staticmethod
    def nothing() -> tuple[float, ...]:
        return _Mean.nothing()

    @staticmethod
    def known(state) -> _Sums:
        return _Sums(_Mass(*state[:4]), *state[4:])


def _sum_cotangent(block: Block, numbers, state):
    scale, _ = numbers
    old, rest, to_tau = _Sums.known(state)
    top = jnp.maximum(old.top, block.max())
    mass = old.below(top, scale)

    def terms(z, g):
        g = jnp.where(z > -jnp.inf, g, 0)
        *known, own = mass.terms(z, g, scale)
        return *known, own, jnp.where(z == mass.top, 0, g)

    *new, elsewhere = block.sums(terms, 4)
    return *mass.plus(*new), rest + (old.own - mass.own) + elsewhere, to_tau


def _pull_log(block: Block, numbers, state):
    scale, s = numbers
    mass, g_rest, to_tau = _Sums.known(state)
    g_all = g_rest + mass.own
    rest = mass.rest / jnp.where(mass.total == 0, _TINY, mass.total)

    def term(z, g):
        u = mass.exponents(z, scale)
        p = mass.probabilities(z, scale)
        g = jnp.where(z > -jnp.inf, g, 0)
        own = mass.certain & (u == 0)
        q = jnp.where(own, g * rest - p * g_rest, g - p * g_all)
        return (q * s,), (q * jnp.maximum(u, _LOW),)

    (new,) = block.write(term, 1)
    return *state[:-1], to_tau + new
