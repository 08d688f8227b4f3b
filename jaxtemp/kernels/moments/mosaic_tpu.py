"""Log-sum-exp and the moments of a row on a TPU; `xla.py` says what they are.

The moments of a block are found in three passes over it while it is in the chip's
memory, and joined to those of the blocks before it as Chan, Golub and LeVeque do in
*Updating formulae and a pairwise algorithm for computing sample variances* (1979), with
e^u for counts: logits are read once, however long a row is.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..._rows import Rows
from ..._scale import factors
from .._mosaic_tpu import RowOp, finite, over_rows, risen, supported
from .._mosaic_tpu_block import Block
from . import xla

_MIN = float(jnp.finfo(jnp.float32).min)
_NEGLIGIBLE = -1e4  # an exponent whose exponential is zero


def forward(z, tau) -> tuple[jax.Array, ...]:
    """Maximum, log Σ e^u, <z>, <u> and Var(u), with x = z - max z and u = x / τ."""
    if not supported(z):
        return xla.forward(z, tau, rows=Rows())
    op = RowOp((-jnp.inf, 0.0, 0.0, 0.0, 0.0, 0.0), _read, finish=_finish)
    return tuple(over_rows(op, (z,), factors(tau), columns=5, name="moments")[1])


class _Moments(NamedTuple):
    """What is known of some classes.

    Attributes:
        top: The largest logit, of these classes or of more.
        ties: How many of these classes have it.
        rest: Σ e^u over all others.
        mean_z: <z>.
        mean_u: <u>.
        square: Σ e^u (u - <u>)².
    """

    top: jax.Array
    ties: jax.Array
    rest: jax.Array
    mean_z: jax.Array
    mean_u: jax.Array
    square: jax.Array

    @property
    def total(self):
        return self.ties + self.rest

    def below(self, top, a, b) -> _Moments:
        """The same relative to a top at least as large."""
        up = jnp.maximum(risen(self.top, top) * a * b, _NEGLIGIBLE)
        weight = jnp.exp(up)
        moved = self.top != top
        return _Moments(
            top,
            jnp.where(moved, 0, self.ties),
            jnp.where(moved, self.total * weight, self.rest),
            self.mean_z,
            self.mean_u + up,
            self.square * weight,
        )

    def join(self, other: _Moments) -> _Moments:
        """Those of both, relative to the same top."""
        total = self.total + other.total
        share = other.total / jnp.where(total == 0, 1, total)
        between = other.mean_u - self.mean_u
        square = self.square + other.square + between * between * self.total * share

        def mean(own, others):
            # What weighs nothing may be infinitely far away.
            both = jnp.where(other.total == 0, own, own + (others - own) * share)
            return jnp.where(self.total == 0, others, both)

        return _Moments(
            self.top,
            self.ties + other.ties,
            self.rest + other.rest,
            mean(self.mean_z, other.mean_z),
            mean(self.mean_u, other.mean_u),
            square,
        )


def _read(block: Block, numbers, state):
    a, b = numbers
    before = _Moments(*state)
    top = jnp.maximum(before.top, block.max())
    return tuple(before.below(top, a, b).join(_of_block(block, top, a, b)))


def _of_block(block: Block, top, a, b) -> _Moments:
    zero = finite(top)

    def weigh(z):
        x = z - zero
        u = x * a * b
        return x, jnp.maximum(u, _NEGLIGIBLE), jnp.exp(u)

    def first(z):
        x, u, e = weigh(z)
        at = x == 0
        rest = jnp.where(at, 0, e)
        return jnp.where(at, 1.0, 0), rest, e * jnp.maximum(x, _MIN), e * u

    ties, rest, sum_x, sum_u = block.sums(first, 4)
    total = jnp.where(ties + rest == 0, 1, ties + rest)
    mean_z, mean_u = zero + sum_x / total, sum_u / total

    def second(z):
        _, u, e = weigh(z)
        away = u - mean_u
        return e * jnp.maximum(z - mean_z, _MIN), e * away * away

    more, square = block.sums(second, 2)
    return _Moments(top, ties, rest, mean_z + more / total, mean_u, square)


def _finish(numbers, state):
    del numbers
    found = _Moments(*state)
    # A row in which nothing is allowed has no distribution.
    total = jnp.where(found.total == 0, jnp.nan, found.total)
    rest = found.rest + (found.ties - 1)
    return (
        found.top,
        jnp.log1p(rest) + 0 * total,
        found.mean_z + 0 * total,
        found.mean_u + 0 * total,
        found.square / total,
    )
