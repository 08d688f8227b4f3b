"""The temperature family and its derivatives in float64 NumPy, for checking contenders.

Written from the formulas, with `u = z / τ`, `p = softmax(u)`, `<f> = Σ p f` and `G` the
gradient of the loss `Σ w y` in `u`. Every value is `y = f y₀(u)` with `f = 1` or, for
the two energies, `f = -τ`; then `dz = f G / τ` and `dτ = -f <<u G>> / τ + f' Σ w y₀`,
`<<·>>` being the plain sum over a row.

Beside each number stands its scale: the size of the terms that float32 arithmetic adds
up to reach it, so that an error relative to the scale is a few roundings for any
sensible formula, however much cancels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

Array = np.ndarray


class Expected(NamedTuple):
    """A true value and the scale of its error."""

    value: Array
    scale: Array


class Gradient(NamedTuple):
    """Each row's part of the loss, and its derivatives in logits and temperature."""

    loss: Expected
    logits: Expected
    temperature: Expected


class Rows:
    """Boltzmann distributions of rows of logits, one temperature each."""

    def __init__(self, logits: Array, temperature: Array):
        self.tau = np.asarray(temperature, np.float64)[:, None]
        self.u = np.asarray(logits, np.float64) / self.tau

    @cached_property
    def log_z(self) -> Array:
        top = self.u.max(-1, keepdims=True)
        return top + np.log(np.exp(self.u - top).sum(-1, keepdims=True))

    @cached_property
    def p(self) -> Array:
        return np.exp(self.u - self.log_z)

    @cached_property
    def mean(self) -> Array:
        return self.average(self.u)

    @cached_property
    def centred(self) -> Array:
        return self.u - self.mean

    @cached_property
    def variance(self) -> Array:
        return self.average(self.centred**2)

    @cached_property
    def size(self) -> Array:
        """Size of the terms of the scalar ops' gradients, relative to `p`."""
        return 1 + np.abs(self.centred)

    def average(self, values: Array) -> Array:
        return (self.p * values).sum(-1, keepdims=True)


@dataclass(frozen=True)
class Law:
    """An op: `y₀`, the gradient `G` for weights `w`, and the scale of `G`."""

    value: Callable[[Rows], Array]
    gradient: Callable[[Rows, Array], Array]
    gradient_scale: Callable[[Rows, Array], Array]
    per_class: bool = False
    times_minus_tau: bool = False


def _total(values: Array) -> Array:
    return values.sum(-1, keepdims=True)


def _weighted(r: Rows, w: Array) -> Array:
    return r.p * w


def _heat_capacity_gradient(r: Rows, w: Array) -> Array:
    return w * r.p * (r.centred**2 - r.variance + 2 * r.centred)


LAWS = {
    "softmax": Law(
        value=lambda r: r.p,
        gradient=lambda r, w: r.p * (w - r.average(w)),
        gradient_scale=lambda r, w: r.p * (w + r.average(w)),
        per_class=True,
    ),
    "log_softmax": Law(
        value=lambda r: r.u - r.log_z,
        gradient=lambda r, w: w - r.p * _total(w),
        gradient_scale=lambda r, w: w + r.p * _total(w),
        per_class=True,
    ),
    "logsumexp": Law(lambda r: r.log_z, _weighted, _weighted),
    "free_energy": Law(lambda r: r.log_z, _weighted, _weighted, times_minus_tau=True),
    "entropy": Law(
        value=lambda r: r.log_z - r.mean,
        gradient=lambda r, w: -w * r.p * r.centred,
        gradient_scale=lambda r, w: w * r.p * r.size,
    ),
    "mean_energy": Law(
        value=lambda r: r.mean,
        gradient=lambda r, w: w * r.p * (1 + r.centred),
        gradient_scale=lambda r, w: w * r.p * (r.size + np.abs(r.mean)),
        times_minus_tau=True,
    ),
    "heat_capacity": Law(
        value=lambda r: r.variance,
        gradient=_heat_capacity_gradient,
        gradient_scale=lambda r, w: w * r.p * r.size**2,
    ),
}


def value(op: str, logits: Array, temperature: Array) -> Expected:
    """The op on rows `[R, V]` with temperatures `[R]`: `[R, V]` or `[R]`."""
    law, r = LAWS[op], Rows(logits, temperature)
    y = law.value(r) * (-r.tau if law.times_minus_tau else 1)
    if op == "softmax":
        scale = np.broadcast_to(y.max(-1, keepdims=True), y.shape)
    else:
        scale = np.maximum(1, np.abs(y))
    return Expected(y, scale) if law.per_class else Expected(y[:, 0], scale[:, 0])


def gradient(op: str, logits: Array, temperature: Array, weights: Array) -> Gradient:
    """The loss `Σ w y` of each row and its derivatives; `weights` has `y`'s shape."""
    law, r = LAWS[op], Rows(logits, temperature)
    w = np.asarray(weights, np.float64)
    w = w if law.per_class else w[:, None]
    y = law.value(r)
    g, g_scale = law.gradient(r, w), law.gradient_scale(r, np.abs(w))
    factor, slope = (
        (-r.tau, -1.0) if law.times_minus_tau else (np.ones_like(r.tau), 0.0)
    )
    loss = w * y * factor
    dz_scale = (np.abs(factor) * g_scale / r.tau).max(-1, keepdims=True)
    dtau = -factor * _total(r.u * g) / r.tau + slope * _total(w * y)
    dtau_scale = np.abs(factor) * _total(np.abs(r.u) * g_scale) / r.tau
    dtau_scale = dtau_scale + np.abs(slope) * _total(np.abs(w * y))
    return Gradient(
        Expected(loss.sum(-1), np.abs(loss).sum(-1)),
        Expected(factor * g / r.tau, np.broadcast_to(dz_scale, g.shape)),
        Expected(dtau[:, 0], dtau_scale[:, 0]),
    )
