"""The loss of rows of a linear layer's logits, with its derivative rule.

Both are sums over classes, taken chunk by chunk. A backward pass keeps the arguments
and a few numbers a row: the rule computes each chunk's logits anew, and JAX transposes
it chunk by chunk, adding to the cotangents of `hidden` and writing those of a chunk's
weights once.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from .._scale import exponent_scale, over, quotient
from ..kernels.cross_entropy.xla import cap_slope
from ._chunks import Chunk, over_chunks, vary_alike
from ._layer import Layer
from ._row_parts import by_parts


class RowLoss(NamedTuple):
    """What a row's loss is made of, `[...]`, with x = z / τ and ℓ = log Σ exp(x).

    Attributes:
        label: ℓ - x at the label.
        even: Σ w (ℓ - x) over the allowed classes; `None` without weights.
        logsumexp: ℓ.
        allowed: The number of allowed classes, a constant.
    """

    label: jax.Array
    even: jax.Array | None
    logsumexp: jax.Array
    allowed: jax.Array


def row_loss(layer: Layer, tau, labels, weights, *, cap, axis_name) -> RowLoss:
    """The loss of each row, to any order differentiable in all that is floating.

    Args:
        layer: What makes logits.
        tau: The temperature of each row, `[...]`.
        labels: The class of each row, `[...]`; one outside [0, V) is elsewhere.
        weights: The weight of each class in an even target, `[V]`; `None` for none.
        cap: The bound of capped logits, if there is one.
        axis_name: The mesh axis over which the classes are split.
    """

    def loss(layer: Layer, tau, labels) -> RowLoss:
        return _row_loss(layer, tau, labels, weights, cap, axis_name)[0]

    return by_parts(loss, layer, tau, labels)


class _Found(NamedTuple):
    """What a derivative needs of each row.

    The largest logit counts as a constant: what is relative to it makes up results that
    do not depend on it.
    """

    log_z: jax.Array  # log Σ exp((z - top) / τ)
    mass: jax.Array | None  # Σ w over the allowed classes
    top: jax.Array


@functools.partial(jax.custom_jvp, nondiff_argnums=(4, 5))
def _row_loss(layer, tau, labels, weights, cap, axis_name):
    seen = _see(*vary_alike((layer, tau, labels, weights)), cap=cap)
    if axis_name is not None:
        top = lax.pmax(seen.top, axis_name)
        seen = lax.psum(seen.about(top, tau), axis_name)._replace(top=top)

    log_z = jnp.log1p(seen.below + (seen.ties - 1))
    even = None
    if seen.mass is not None and seen.moment is not None:
        even = seen.mass * log_z - quotient(seen.moment, tau)
    lse = quotient(seen.top, tau) + log_z
    loss = RowLoss(
        label=log_z - quotient(seen.at_label - seen.top, tau),
        even=even,
        logsumexp=jnp.where(seen.top == -jnp.inf, -jnp.inf, lse),
        allowed=seen.allowed,
    )
    return loss, _Found(log_z, seen.mass, seen.top)


def _see(layer, tau, labels, weights, *, cap) -> _Seen:
    """The sums over this device's classes."""

    def step(seen: _Seen, chunk: Chunk) -> _Seen:
        new = _look(chunk, tau, labels, weights)
        top = jnp.maximum(seen.top, new.top)
        return _sum(seen.about(top, tau), new.about(top, tau))

    zero = jnp.zeros_like(tau)
    none = None if weights is None else zero
    start = _Seen(zero - jnp.inf, zero, zero, zero, zero, none, none)
    return over_chunks(layer, cap, step, start)


class _Seen(NamedTuple):
    """Sums over the classes seen so far."""

    top: jax.Array
    ties: jax.Array  # how many are as large as it
    below: jax.Array  # Σ exp((z - top) / τ) over the others
    allowed: jax.Array
    at_label: jax.Array
    mass: jax.Array | None
    moment: jax.Array | None  # Σ w (z - top)

    def about(self, top: jax.Array, tau: jax.Array) -> _Seen:
        """The same, relative to a logit that is at least as large."""
        step = self.top - _finite(top)
        same = self.top == top
        scaled = (self.ties + self.below) * jnp.exp(step * exponent_scale(tau))
        moment = self.moment
        if moment is not None:
            moment += _counted(self.mass, step)
        return self._replace(
            top=top,
            ties=jnp.where(same, self.ties, 0),
            below=jnp.where(same, self.below, scaled),
            moment=moment,
        )


def _look(chunk: Chunk, tau, labels, weights) -> _Seen:
    """The sums over one chunk."""
    z = chunk.logits
    allowed = z > -jnp.inf
    top = jnp.max(z, axis=-1)
    x = z - _finite(top)[..., None]
    e = jnp.exp(x * exponent_scale(tau)[..., None])
    mass = moment = None
    if weights is not None:
        w = jnp.where(allowed, chunk.part(weights), 0)
        mass, moment = jnp.sum(w, axis=-1), jnp.sum(_counted(w, x), axis=-1)
    return _Seen(
        top=top,
        ties=jnp.sum(x == 0, axis=-1, dtype=z.dtype),
        below=jnp.sum(jnp.where(x == 0, 0, e), axis=-1),
        allowed=jnp.sum(allowed, axis=-1, dtype=z.dtype),
        at_label=jnp.sum(jnp.where(chunk.at(labels), z, 0), axis=-1),
        mass=mass,
        moment=moment,
    )


def _sum(one: _Seen, other: _Seen) -> _Seen:
    """The sums over both, which are relative to the same logit."""
    return jax.tree.map(jnp.add, one, other)._replace(top=one.top)


def _finite(top):
    """`top`, which a row in which nothing is allowed has none of."""
    return jnp.maximum(top, jnp.finfo(top.dtype).min)


def _counted(weight, x):
    """`weight x`, where no weight counts nothing even if `x` is infinite."""
    return jnp.where(weight != 0, weight * x, 0)


@functools.partial(_row_loss.defjvp, symbolic_zeros=True)
def _row_loss_jvp(cap, axis_name, primals, tangents):
    loss, found = _row_loss(*primals, cap, axis_name)
    moving = jax.tree.map(_moving, tangents, is_leaf=_is_symbolic)
    rule = functools.partial(_tangents, cap=cap, axis_name=axis_name)
    return (loss, found), jax.checkpoint(rule)(*primals, found, moving)


def _is_symbolic(tangent) -> bool:
    return isinstance(tangent, SymbolicZero)


def _moving(tangent):
    """A tangent, or `None` for one that is known to be zero."""
    still = _is_symbolic(tangent) or tangent.dtype == jax.dtypes.float0
    return None if still else tangent


class _Gain(NamedTuple):
    """Tangents of what is summed over classes."""

    label: jax.Array
    log_z: jax.Array
    even: jax.Array | None
    mass: jax.Array | None


def _tangents(layer, tau, labels, weights, found: _Found, moving, *, cap, axis_name):
    """The tangents of both results of `_row_loss`, linear in those of its arguments."""
    dlayer, dtau, _, dweights = moving
    live = found.top > -jnp.inf
    log_z, top = (jnp.where(live, row, 0) for row in (found.log_z, found.top))
    # τ is divided by here, and again below: its square may be out of range.
    stretch = None if dtau is None else over(dtau, tau)
    if dlayer.hidden is not None:
        # Out here, for its cotangent to be summed over chunks in this type.
        dlayer = dlayer._replace(hidden=dlayer.hidden.astype(layer.dtype))
    rows = _Rows(tau, labels, log_z, found.mass, top, stretch)
    gain = _gain(*vary_alike((layer, rows, weights, dlayer, dweights)), cap=cap)
    if axis_name is not None:
        gain = lax.psum(gain, axis_name)
    dlse = gain.log_z
    if stretch is not None:
        dlse -= over(top * stretch, tau)
    still = jnp.zeros_like(found.top)
    dloss = RowLoss(gain.label, gain.even, dlse, still)
    return dloss, _Found(gain.log_z, gain.mass, still)


class _Rows(NamedTuple):
    """Numbers of rows, `[...]`, with which a chunk's tangents are summed."""

    tau: jax.Array
    labels: jax.Array
    log_z: jax.Array
    mass: jax.Array | None
    top: jax.Array
    stretch: jax.Array | None  # dτ / τ


def _gain(layer, rows: _Rows, weights, dlayer, dweights, *, cap) -> _Gain:
    """The tangents of sums over this device's classes."""

    def step(gain: _Gain, chunk: Chunk) -> _Gain:
        allowed = chunk.logits > -jnp.inf
        z = jnp.where(allowed, chunk.logits - rows.top[..., None], 0)
        dz = jnp.where(allowed, _logit_tangents(layer, dlayer, chunk, cap), 0)
        if rows.stretch is not None:
            dz -= z * rows.stretch[..., None]
        log_p = over(z, rows.tau[..., None]) - rows.log_z[..., None]
        p = jnp.where(allowed, jnp.exp(log_p), 0)
        # p - 1 without the loss of a small difference.
        own = jnp.where(chunk.at(rows.labels), jnp.expm1(log_p), p)
        even, mass = None, None
        if rows.mass is not None:
            even, mass = _in_weights(chunk, dweights, log_p)
            gradient = rows.mass[..., None] * p - chunk.part(weights)
            even += _along(jnp.where(allowed, gradient, 0), dz, rows.tau)
        new = _Gain(_along(own, dz, rows.tau), _along(p, dz, rows.tau), even, mass)
        return jax.tree.map(jnp.add, gain, new)

    zero = jnp.zeros_like(rows.tau)
    none = None if weights is None else zero
    return over_chunks(layer, cap, step, _Gain(zero, zero, none, none))


def _logit_tangents(layer: Layer, dlayer: Layer, chunk: Chunk, cap):
    """What a chunk's capped logits gain, without regard to masks."""
    dtype = layer.dtype
    dz = jnp.zeros_like(chunk.raw)
    if dlayer.hidden is not None:
        dz += dlayer.hidden @ chunk.weight.astype(dtype)
    if dlayer.weight is not None:
        dweight = chunk.part(dlayer.weight)
        dz += layer.hidden.astype(dtype) @ dweight.astype(dtype)
    if dlayer.bias is not None:
        dz += chunk.part(dlayer.bias).astype(dtype)
    return dz if cap is None else dz * cap_slope(chunk.raw, cap)


def _in_weights(chunk: Chunk, dweights, log_p):
    """What Σ w (ℓ - x) and Σ w gain in a chunk as the weights move."""
    if dweights is None:
        zero = jnp.zeros_like(log_p[..., 0])
        return zero, zero
    dw = jnp.where(chunk.logits > -jnp.inf, chunk.part(dweights), 0)
    return -jnp.sum(dw * log_p, axis=-1), jnp.sum(dw, axis=-1)


def _along(gradient, dz, tau):
    """Σ gradient dz / τ, in which a tangent that overflowed does not meet a zero."""
    return jnp.sum(_counted(over(gradient, tau[..., None]), dz), axis=-1)
