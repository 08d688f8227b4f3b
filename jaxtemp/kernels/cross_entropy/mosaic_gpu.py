"""Cross-entropy along rows and its transposed Jacobian, in one read on a GPU.

The formulas are those of `xla.py`, for integer labels and a smoothing that is alike for
all classes; other targets run there. What concerns the label alone is one logit of each
row and is left to XLA.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from ..._rows import Rows
from ..._scale import exponent_scale
from .._masses import (
    FAR,
    LOWEST,
    below,
    mass_apart,
    merge_masses_apart,
    shift,
    spread,
    total,
)
from .._row_program import Program, cut, run
from . import xla
from .target import Target, take


def forward(*leaves, tree, cap: float | None) -> tuple[jax.Array, ...] | None:
    """See `xla.forward`."""
    z, tau, target = jax.tree.unflatten(tree, leaves)
    program = Program(functools.partial(_of_tile, cap), _merge, finish=_all)
    tiles = _cut(program, z, target)
    if tiles is None:
        return None
    scales = (exponent_scale(tau),)
    found = run(program, tiles, (z,), scales, name="cross_entropy", row_results=5)
    top, ties, rest, count, product = (number[..., None] for number in found)
    # Where the largest is no finite number, nothing else is a number.
    log_z = jnp.log1p(rest + (ties - 1)) + (top - top)
    weighed = _weigh(z, top, target, cap, count, product)
    numbers = top, log_z, *weighed
    return xla.results(tau, xla.Found(*(number[..., 0] for number in numbers)))


def pull(*leaves, tree, cap: float | None) -> tuple[jax.Array, ...] | None:
    """See `xla.pull`."""
    z, tau, found, target, g, g_lse = jax.tree.unflatten(tree, leaves)
    program = Program(emit=functools.partial(_to_classes, cap), finish=_sums)
    tiles = _cut(program, z, target)
    if tiles is None:
        return None
    row = xla.of_rows(tau, found, g, g_lse)
    numbers = xla.along(found), target.labels, xla.along(row)
    _, at_label = xla.to_label(z, tau, *numbers, cap)
    even = jnp.zeros_like(g) if target.even is None else target.even
    numbers = (
        found.top,
        found.log_z,
        exponent_scale(tau),
        row.mass * row.s,
        row.g * row.s * even,
        at_label[..., 0],
        row.live.astype(tau.dtype),
        jnp.clip(target.labels, -1, z.shape[-1]).astype(jnp.int32),
    )
    dz, to_tau = run(
        program,
        tiles,
        (z,),
        numbers,
        name="cross_entropy_pull",
        out=(z.dtype,),
        row_results=1,
    )
    return dz, xla.to_temperature(to_tau, found, row)


def _cut(program: Program, z, target: Target):
    plain = not target.soft and target.weights is None
    return cut(program, z) if plain else None


def _of_tile(cap, tile, scales):
    """The masses, how many classes are allowed, and the sum of their x."""
    (z,) = tile
    z = xla.capped(z, cap)
    masses = mass_apart(z, scales)
    allowed = z > -jnp.inf
    x = jnp.where(allowed, below(z, masses[0]), 0.0)
    return *masses, total(jnp.where(allowed, 1.0, 0.0)), total(x)


def _merge(a, b, scales):
    def moved(part, other):
        return part[4] + part[3] * jnp.maximum(shift(part[0], other[0], ()), LOWEST)

    masses = merge_masses_apart(a[:3], b[:3], scales)
    return *masses, a[3] + b[3], moved(a, b) + moved(b, a)


def _all(numbers, statistics, sums):
    del numbers, sums
    return statistics


def _weigh(z, top, target: Target, cap, count, product):
    """See `xla.weigh`: the label's part by XLA, that of all classes as summed."""
    at_label = target._replace(even=None)
    tilt, rest, own = xla.weigh(z, top, at_label, cap, Rows())
    if target.even is None:
        return tilt, rest, own
    even, labels = target.even[..., None], target.labels[..., None]
    is_class = (labels >= 0) & (labels < z.shape[-1])
    is_class &= take(z, target.labels) > -jnp.inf
    others = jnp.where(is_class, count - 1, count)
    return tilt + even * count, even * others, own + even * product


def _to_classes(cap, tile, place, numbers, statistics):
    del statistics
    (z,) = tile
    top, log_z, scale, mass, even, at_label, live, label = (
        spread(number, z) for number in numbers
    )
    x = xla.capped(z, cap) - top
    dx = mass * jnp.exp(x * scale - log_z)
    dx -= jnp.where(x > -jnp.inf, even, 0.0)
    dx = jnp.where(place == label, at_label, dx)
    dx = jnp.where(live > 0, dx, 0.0)
    term = jnp.where(live > 0, dx * jnp.maximum(x, FAR), 0.0)
    return (jnp.where(live > 0, xla.in_logits(dx, z, cap), 0.0),), (term,)


def _sums(numbers, statistics, sums):
    del numbers, statistics
    return sums
