"""Log-sum-exp and the moments of a row under its own distribution, in one GPU read.

Every part of a row finds its moments about its own means, as `xla.py` does for whole
rows, and two parts combine by their masses (Chan, Golub and LeVeque, *Updating formulae
and a pairwise algorithm for computing sample variances*, 1979).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..._scale import factors
from .._masses import (
    GONE,
    LOWEST,
    TINY,
    below,
    mass_apart,
    merge_masses_apart,
    over_tau,
    shift,
    spread,
    total,
)
from .._row_program import Program, cut, run


def forward(z, tau) -> tuple[jax.Array, ...] | None:
    """See `xla.forward`; `None` for rows that are too few to fill a tile."""
    tiles = cut(_MOMENTS, z)
    if tiles is None:
        return None
    found = run(_MOMENTS, tiles, (z,), factors(tau), name="moments", row_results=6)
    top, ties, rest, mean_z, mean_u, squares = found
    rest = (ties - 1) + rest
    # Where the largest is no finite number, nothing else is a number.
    lost = top - top
    results = jnp.log1p(rest), mean_z, mean_u, squares / (1 + rest)
    return top, *(lost + result for result in results)


def _of_tile(tile, scales):
    """The masses, <z>, <u>, and Σ e (u - <u>)²; means of no mass are 0."""
    (z,) = tile
    top, ties, rest = mass_apart(z, scales)
    u = jnp.maximum(over_tau(below(z, top), scales), GONE)
    e = jnp.exp(u)
    # Weights of which the sum is one, so that large logits do not overflow.
    weight = e * spread(1 / jnp.maximum(ties + rest, TINY), z)

    def mean(f):
        return total(weight * f)

    mean_z = jnp.maximum(top, LOWEST)
    mean_z += mean(jnp.maximum(z - spread(mean_z, z), LOWEST))
    mean_z += mean(jnp.maximum(z - spread(mean_z, z), LOWEST))
    mean_u = mean(u)
    squares = total(e * jnp.square(u - spread(mean_u, u)))
    empty = ties == 0
    mean_z, mean_u = (jnp.where(empty, 0.0, x) for x in (mean_z, mean_u))
    return top, ties, rest, mean_z, mean_u, squares


def _merge(a, b, scales):
    top, ties, rest = merge_masses_apart(a[:3], b[:3], scales)
    to_a, to_b = shift(a[0], b[0], scales), shift(b[0], a[0], scales)
    mass_a, mass_b = (a[1] + a[2]) * jnp.exp(to_a), (b[1] + b[2]) * jnp.exp(to_b)
    whole = jnp.maximum(mass_a + mass_b, TINY)
    part_a, part_b = mass_a / whole, mass_b / whole
    u_a, u_b = a[4] + jnp.maximum(to_a, GONE), b[4] + jnp.maximum(to_b, GONE)
    squares = a[5] * jnp.exp(to_a) + b[5] * jnp.exp(to_b)
    squares += mass_a * part_b * jnp.square(u_a - u_b)
    mean_z = a[3] * part_a + b[3] * part_b
    return top, ties, rest, mean_z, u_a * part_a + u_b * part_b, squares


def _all(numbers, statistics, sums):
    del numbers, sums
    return statistics


_MOMENTS = Program(_of_tile, _merge, finish=_all)
