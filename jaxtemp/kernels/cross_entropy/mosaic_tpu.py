"""Cross-entropy along rows and its cotangents on a TPU; `xla.py` says what they are.

The forward pass reads the logits once, however long a row is. So does the backward
pass, which knows what the forward pass found; but where a row is split, the label's
logit has to be found before. Class weights and `push` have no kernel: XLA's forms run.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..._rows import Rows
from ..._scale import exponent_scale
from .._mosaic_tpu import RowOp, finite, over_rows, risen, supported
from .._mosaic_tpu_block import Block
from . import xla
from .target import Target
from .xla import Found, cap_slope, capped, weighted

_LOW = float(jnp.finfo(jnp.float32).min) * 2.0**-20
_EXACT = 2**24  # up to here a class has an exact float32


def forward(z, tau, target: Target, *, cap: float | None) -> tuple[jax.Array, ...]:
    """The loss, log Σ exp(z / τ), and the numbers of `Found`."""
    if not _has_kernel(z, target):
        return xla.forward(z, tau, target, cap=cap, rows=Rows())
    wide, numbers = _operands(z, target)
    read = _read_soft if target.soft else _read
    op = RowOp(
        start=(-jnp.inf, *[0.0] * (len(_Sums._fields) - 1)),
        read=functools.partial(read, cap=cap, smooth=target.even is not None),
        finish=lambda numbers, state: state,
        placed=True,
    )
    numbers = exponent_scale(tau), *numbers
    columns, name = len(op.start), "cross_entropy"
    _, found = over_rows(op, wide, numbers, columns=columns, name=name)
    return _results(_Sums(*found), tau, target, z.shape[-1])


def pull(
    z, tau, found: Found, target: Target, g, g_lse, *, cap: float | None
) -> tuple[jax.Array, jax.Array]:
    """The cotangents of logits and temperature."""
    if not _has_kernel(z, target):
        return xla.pull(z, tau, found, target, g, g_lse, cap=cap, rows=Rows())
    row = xla.of_rows(tau, found, g, g_lse)
    wide, numbers = _operands(z, target)
    cotangents = row.g, row.g_lse, row.s, row.live.astype(tau.dtype)
    numbers = exponent_scale(tau), *numbers, *found[:4], *cotangents
    op = RowOp(
        start=(0.0, 0.0),
        read=None if target.soft else _find_label,
        write=functools.partial(_pull, cap=cap, soft=target.soft),
        finish=lambda numbers, state: state[1:],
        placed=True,
    )
    (to_z,), (to_tau,) = over_rows(
        op, wide, numbers, (z.dtype,), 1, name="cross_entropy_pull"
    )
    return to_z, xla.to_temperature(to_tau, found, row)


def _has_kernel(z, target: Target) -> bool:
    wide = (z, target.labels) if target.soft else (z,)
    return supported(*wide) and target.weights is None and z.shape[-1] <= _EXACT


def _operands(z, target: Target):
    """What has classes, and two numbers a row that say what it is to predict."""
    even = jnp.zeros_like(target.tilt) if target.even is None else target.even
    if target.soft:
        return (z, target.labels), (even, target.tilt)
    return (z,), (even, target.labels.astype(jnp.float32))


class _Sums(NamedTuple):
    """What is known of a row, with x = z - top.

    Attributes:
        top: The largest (capped) logit.
        ties: How many classes have it.
        rest: Σ exp(x / τ) over all others.
        amount: How many classes are allowed or, for soft labels, Σ c.
        at_top: For soft labels, what of it is at the top.
        below: For soft labels, what of it is not.
        x: Σ x over allowed classes or, for soft labels, Σ c x.
        label: The label's logit; zero where it is no class.
    """

    top: jax.Array
    ties: jax.Array
    rest: jax.Array
    amount: jax.Array
    at_top: jax.Array
    below: jax.Array
    x: jax.Array
    label: jax.Array

    def below_top(self, top, scale) -> _Sums:
        """The same relative to a top at least as large."""
        up = risen(self.top, top)
        moved = up != 0
        rest = (self.ties + self.rest) * jnp.exp(up * scale)
        return _Sums(
            top,
            jnp.where(moved, 0, self.ties),
            jnp.where(moved, rest, self.rest),
            self.amount,
            jnp.where(moved, 0, self.at_top),
            jnp.where(moved, self.below + self.at_top, self.below),
            self.x + jnp.where(self.amount == 0, 0, self.amount * up),
            self.label,
        )


def _relative(state, block: Block, scale, cap) -> _Sums:
    """What is known of a row, relative to the largest logit of one more block."""
    before = _Sums(*state)
    top = jnp.maximum(before.top, capped(block.max(), cap))
    return before.below_top(top, scale)


def _mass(y, zero, scale):
    """Where a logit is the largest, the weight of the others, and the distance."""
    x = y - zero
    at = x == 0
    return jnp.where(at, 1.0, 0), jnp.where(at, 0, jnp.exp(x * scale)), x


def _read(block: Block, numbers, state, *, cap, smooth: bool):
    scale, _, label = numbers
    label = label.astype(jnp.int32)
    known = _relative(state, block, scale, cap)
    zero = finite(known.top)

    def terms(z, place):
        y = capped(z, cap)
        at, e, x = _mass(y, zero, scale)
        found = at, e, jnp.where(place == label, y, 0)
        if not smooth:
            return found
        allowed = y > -jnp.inf
        return *found, jnp.where(allowed, 1.0, 0), jnp.where(allowed, x, 0)

    ties, rest, own, *others = block.sums(terms, 5 if smooth else 3)
    amount, x = others or (0.0, 0.0)
    return known._replace(
        ties=known.ties + ties,
        rest=known.rest + rest,
        label=known.label + own,
        amount=known.amount + amount,
        x=known.x + x,
    )


def _read_soft(block: Block, numbers, state, *, cap, smooth: bool):
    scale, even, tilt = numbers
    known = _relative(state, block, scale, cap)
    zero = finite(known.top)

    def terms(z, q, place):
        del place
        y = capped(z, cap)
        at, e, x = _mass(y, zero, scale)
        c = tilt * q
        if smooth:
            c += jnp.where(y > -jnp.inf, even, 0)
        at_top = jnp.where(x == 0, c, 0)
        return at, e, c, at_top, c - at_top, weighted(c, x)

    ties, rest, amount, at_top, below, x = block.sums(terms, 6)
    return known._replace(
        ties=known.ties + ties,
        rest=known.rest + rest,
        amount=known.amount + amount,
        at_top=known.at_top + at_top,
        below=known.below + below,
        x=known.x + x,
    )


def _results(sums: _Sums, tau, target: Target, classes: int) -> tuple[jax.Array, ...]:
    log_z = jnp.log1p(sums.rest + (sums.ties - 1))
    log_z = jnp.where(sums.top == -jnp.inf, jnp.nan, log_z)
    found = sums.top, log_z, *_weigh(sums, target, classes)
    return xla.results(tau, Found(*found))


def _weigh(sums: _Sums, target: Target, classes: int):
    """C, what of it is elsewhere, and Σ c x."""
    if target.soft:
        return sums.amount, sums.below, sums.x
    own = weighted(target.tilt, sums.label - sums.top)
    if target.even is None:
        return target.tilt, 0 * target.tilt, own
    inside = (target.labels >= 0) & (target.labels < classes)
    has_label = inside & (sums.label > -jnp.inf)
    total = target.even * sums.amount
    rest = target.even * (sums.amount - jnp.where(has_label, 1, 0))
    return target.tilt + total, rest, own + weighted(target.even, sums.x)


def _find_label(block: Block, numbers, state):
    """Add the label's logit; zero where it is no class."""
    label = numbers[2].astype(jnp.int32)
    (own,) = block.sums(lambda z, place: (jnp.where(place == label, z, 0),), 1)
    return state[0] + own, state[1]


def _pull(block: Block, numbers, state, *, cap, soft: bool):
    scale, even, third, top, log_z, total, rest, g, g_lse, s, live = numbers
    own, to_tau = state
    log_p = -log_z  # at the top
    if not soft:
        log_p += (capped(own, cap) - top) * scale
    # At the class of which `rest` is the others' weight.
    exact = (g * (total * _expm1(log_p) + rest) + g_lse * jnp.exp(log_p)) * s
    exact = jnp.where(log_p == -jnp.inf, 0, exact)
    mass, weight = (g * total + g_lse) * s, g * s

    def term(z, *others):
        *q, place = others
        y = capped(z, cap)
        x = y - top
        p = jnp.exp(x * scale - log_z)
        c = jnp.where(y > -jnp.inf, even, 0)
        if soft:
            special, c = p > 0.5, c + third * q[0]
        else:
            special = place == third.astype(jnp.int32)
        dx = jnp.where(special, exact, mass * p - weight * c)
        dx = jnp.where(live > 0, dx, 0)
        dz = dx if cap is None else dx * cap_slope(z, cap)
        return (dz,), (dx * jnp.maximum(x, _LOW),)

    (new,) = block.write(term, 1)
    return own, to_tau + new


def _expm1(x):
    """`exp(x) - 1` for x <= 0, which Mosaic does not have."""
    series = 1.0
    for k in range(9, 1, -1):
        series = 1 + x / k * series
    return jnp.where(x > -0.5, x * series, jnp.exp(x) - 1)
