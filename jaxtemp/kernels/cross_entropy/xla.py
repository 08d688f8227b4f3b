"""Cross-entropy along rows and its Jacobian from either side, in plain JAX.

With x = z - max z, s = 1/τ, c the target's weights and C their sum, the loss is
C log Z - s Σ c x, and its derivative in z is s (C p - c). `forward` also returns what
`push` and `pull` need of a row, so that each reads the logits once more and sums
nothing twice.

Where C p - c is a small difference of large numbers, as at the label of a row that is
nearly certain, it is written C (p - 1) + (C - c), with p - 1 = expm1(log p) and C - c
what the target gives to the other classes: one number a row.

The steps along a row are those that XLA's CPU compiler computes together with the sum
behind them: neither a comparison nor a choice is, a clipped product is. For the same
reason the entry at the label is taken and put by its index.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ..._rows import Rows, upcast
from ..._scale import exponent_scale, quotient, slope
from .target import Target, put, take


class Found(NamedTuple):
    """What the forward pass knows of each row: numbers `[...]`.

    Attributes:
        top: The largest (capped) logit.
        log_z: log Σ exp(x / τ).
        total: C.
        rest: What of C is elsewhere: not at the label or, for soft labels, not at the
            maximum.
        product: Σ c x.
    """

    top: jax.Array
    log_z: jax.Array
    total: jax.Array
    rest: jax.Array
    product: jax.Array


def forward(
    z, tau, target: Target, *, cap: float | None, rows: Rows, others=None
) -> tuple[jax.Array, ...]:
    """The loss, log Σ exp(z / τ), and the numbers of `Found`.

    `others`, where given, sums exp(x / τ) over all classes but the label.
    """
    largest = upcast(rows.max(z))
    top = capped(largest, cap)
    total, rest, product = weigh(z, top, target, cap, rows)
    log_z = None
    if others is not None and not target.soft:
        log_z = _log_z_beside(z, top, tau, target.labels, cap, others)
    if log_z is None:
        log_z = _log_z(z, largest, top, tau, cap, rows)
    found = top, log_z, total, rest, product
    return results(tau, Found(*(number[..., 0] for number in found)))


def results(tau, found: Found) -> tuple[jax.Array, ...]:
    """The results of `forward` from what it found, all `[...]`."""
    top, log_z, total, _, product = found
    loss = jnp.where(total == 0, 0, total * log_z) - quotient(product, tau)
    lse = jnp.where(top == -jnp.inf, -jnp.inf, quotient(top, tau) + log_z)
    return loss, lse, *found


def _log_z(z, largest, top, tau, cap, rows):
    """Find log Σ exp(x / τ), the maxima's own terms put back by log1p.

    A nearly certain row then keeps its small numbers.
    """
    info = jnp.finfo(top.dtype)
    scale = exponent_scale(tau)[..., None]
    huge = rows.constant(2.0 ** (info.maxexp - 1), tau)
    z, largest, top, scale, huge = rows.fence(z, largest, top, scale, huge)
    x = _from_top(z, largest, top, cap)
    below = rows.sum(jnp.minimum(jnp.exp(x * scale), (largest - upcast(z)) * huge))
    z, largest, huge = rows.fence(z, largest, huge)
    ties = rows.sum(jnp.maximum(1 + (upcast(z) - largest) * huge, 0))
    return jnp.log1p(below + (ties - 1))


def _log_z_beside(z, top, tau, label, cap, others):
    """The same with the label's own term left out instead."""
    rest = others(z, top, tau, label, cap)
    if rest is None:
        return None
    inside = ((label >= 0) & (label < z.shape[-1]))[..., None]
    x = jnp.where(inside, capped(take(z, label), cap) - top, -jnp.inf)
    return jnp.log1p(rest + jnp.expm1(x * exponent_scale(tau)[..., None]))


def weigh(z, top, target, cap, rows):
    """C, what of it is elsewhere, and Σ c x."""
    if target.soft:
        x, c = _spread(z, top, target, cap, rows)
        off_top = rows.sum(jnp.where(x == 0, 0, c))
        return rows.sum(c), off_top, rows.sum(weighted(c, x))
    tilt = target.tilt[..., None]
    own = weighted(tilt, rows.sum(capped(take(z, target.labels), cap)) - top)
    if target.even is None:
        return tilt, 0 * tilt, own
    x, c = _spread(z, top, target, cap, rows)
    total, at_label = rows.sum(c), rows.sum(take(c, target.labels))
    return tilt + total, total - at_label, own + rows.sum(weighted(c, x))


def _spread(z, top, target, cap, rows):
    x = _from_top(z, upcast(rows.max(z)), top, cap)
    return x, target.spread(x > -jnp.inf)


def _from_top(z, largest, top, cap):
    """`x`, which is zero at the largest logit: a cap may be rounded in two ways."""
    x = capped(z, cap) - top
    if cap is None:
        return x
    at_top = (upcast(z) == largest) & (largest > -jnp.inf)
    return jnp.where(at_top, 0, jnp.minimum(x, 0))


def total(term, wide: tuple, numbers: tuple, rows: Rows) -> jax.Array:
    """The sum along rows of `term`, computed anew."""
    return rows.sum(term(*rows.fence(*wide, *numbers)))


def push(
    z, tau, found: Found, target: Target, dz, dtau, *, cap: float | None, rows: Rows
) -> tuple[jax.Array, jax.Array]:
    """The tangents of loss and log-sum-exp for tangents of logits and temperature."""
    found = along(found)
    dtau, s = dtau[..., None], slope(tau)[..., None]
    x = _from_top(z, upcast(rows.max(z)), found.top, cap)
    p = jnp.exp(_log_p(x, tau, found))
    t = jnp.where(x > -jnp.inf, in_logits(upcast(dz), z, cap), 0)
    # About the class that `rest` is without, whose own term is then zero.
    if target.soft:
        about = t - rows.sum(jnp.where(p > 0.5, t, 0))
    else:
        about = t - rows.sum(take(t, target.labels))
    c = target.spread(x > -jnp.inf)
    dloss = found.total * rows.sum(p * about)
    if c is not None:
        dloss -= rows.sum(c * about)
    mean = rows.sum(p * _summable(x))
    dloss -= (found.total * mean - found.product) * s * dtau
    dlse = rows.sum(p * t) - (mean + found.top) * s * dtau
    live = found.top != -jnp.inf
    dloss = jnp.where(live & ~jnp.isinf(found.product), dloss * s, 0)
    return dloss[..., 0], jnp.where(live, dlse * s, 0)[..., 0]


def pull(
    z,
    tau,
    found: Found,
    target: Target,
    g,
    g_lse,
    *,
    cap: float | None,
    rows: Rows,
    total=total,
) -> tuple[jax.Array, jax.Array]:
    """The cotangents of logits and temperature: the transpose of `push`.

    `total` sums a function of classes, anew.
    """
    own_found, own_row = found, of_rows(tau, found, g, g_lse)
    found, row = along(own_found), along(own_row)
    g, g_lse, mass, s, _ = row
    dz = _to_classes(z, tau, found, target, row, cap, rows)
    if not target.soft:
        own, at_label = to_label(z, tau, found, target.labels, row, cap)
        dz = put(dz, target.labels, in_logits(at_label, own, cap))

    if cap is None and z.dtype == tau.dtype:
        to_tau = total(_moment, (dz, z), (found.top,), rows)
    else:  # stored cotangents are rounded, or in other logits
        term = functools.partial(_weighed, cap)
        low = rows.constant(_lowest(found.top), tau)
        largest = found.top if cap is None else upcast(rows.max(z))
        numbers = largest, found.top, exponent_scale(tau)[..., None], low
        mean = total(term, (z,), numbers, rows)
        product = jnp.where(jnp.isinf(found.product), 0, found.product)
        to_tau = (mass * mean * jnp.exp(-found.log_z) - g * product) * s
    return dz, to_temperature(to_tau[..., 0], own_found, own_row)


def along(numbers):
    """A tuple of numbers `[...]`, each ready to meet its row's classes."""
    return type(numbers)(*(number[..., None] for number in numbers))


class OfRow(NamedTuple):
    """Cotangents of loss, log-sum-exp and log Z, 1/τ, and where there are any."""

    g: jax.Array
    g_lse: jax.Array
    mass: jax.Array
    s: jax.Array
    live: jax.Array


def of_rows(tau, found: Found, g, g_lse) -> OfRow:
    """What `pull` needs to know of a row, all numbers `[...]`."""
    g = jnp.where(jnp.isinf(found.product), 0, g)
    # A row without a cotangent gets none back, whatever it holds.
    live = ((g != 0) | (g_lse != 0)) & (found.top != -jnp.inf)
    return OfRow(g, g_lse, g * found.total + g_lse, slope(tau), live)


def to_label(z, tau, found: Found, labels, row: OfRow, cap):
    """The logit at each row's label, and the cotangent of that logit, capped."""
    own = take(z, labels)
    x = capped(own, cap) - found.top
    cotangent = _exact(_log_p(x, tau, found), found, row.g, row.g_lse) * row.s
    return own, jnp.where(row.live & (x > -jnp.inf), cotangent, 0)


def to_temperature(to_tau, found: Found, row: OfRow) -> jax.Array:
    """The cotangent of τ, `[...]`, from the sum of what logits get times x."""
    dtau = -(to_tau + row.g_lse * found.top * row.s) * row.s
    return jnp.where(row.live, dtau, 0)


def _moment(dz, z, top):
    return dz * _summable(z - top)


def _weighed(cap, z, largest, top, scale, low):
    x = _from_top(z, largest, top, cap)
    return jnp.exp(x * scale) * jnp.maximum(x, low)


def _to_classes(z, tau, found, target, row: OfRow, cap, rows):
    """The cotangents of logits, but for the label's own where it is an integer."""
    g, g_lse, mass, s, live = row
    at_top = _exact(-found.log_z, found, g, g_lse) * s
    largest = found.top if cap is None else upcast(rows.max(z))
    # What is known of a row is computed once, not for each class.
    z, largest, top, log_z, scale, at_top, g, mass, live = rows.fence(
        z,
        largest,
        found.top,
        found.log_z,
        exponent_scale(tau)[..., None],
        at_top,
        g * s,
        mass * s,
        live,
    )
    x = _from_top(z, largest, top, cap)
    p = jnp.exp(x * scale - log_z)
    dx = mass * p
    c = target.spread(x > -jnp.inf)
    if c is not None:
        dx -= g * c
    if target.soft:
        dx = jnp.where(p > 0.5, at_top, dx)
    return jnp.where(live, in_logits(dx, z, cap), 0).astype(z.dtype)


def _log_p(x, tau, found):
    return x * exponent_scale(tau)[..., None] - found.log_z


def _exact(log_p, found, g, g_lse):
    """Gradient in x at the class of which `rest` is the others' weight."""
    own = found.total * jnp.expm1(log_p) + found.rest
    return g * own + g_lse * jnp.exp(log_p)


def in_logits(dx, z, cap):
    """A derivative in capped logits as one in the logits."""
    return dx if cap is None else dx * cap_slope(z, cap)


def _summable(x):
    """`x` without infinities, far enough from overflow to be weighed and summed."""
    return jnp.maximum(x, _lowest(x))


def _lowest(x):
    return float(jnp.finfo(x.dtype).min) * 2.0**-20


def weighted(c, x):
    """`c x`, where a class of no weight counts nothing even if excluded."""
    return jnp.where(c != 0, c * x, 0)


def capped(z: jax.Array, cap: float | None) -> jax.Array:
    """The logits in the type in which they are summed, bounded by `±cap`."""
    z = upcast(z)
    if cap is None:
        return z
    # A mask stays one, and what is no number too.
    return jnp.where(jnp.isinf(z), z, cap * jnp.tanh(z / cap))


def cap_slope(z: jax.Array, cap: float) -> jax.Array:
    """The derivative of `capped`, 1 - tanh², without its cancellation."""
    a = 2 * upcast(z) / cap
    return 4 * jax.nn.sigmoid(a) * jax.nn.sigmoid(-a)
