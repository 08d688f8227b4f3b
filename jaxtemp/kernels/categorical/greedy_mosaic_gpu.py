"""Draws at τ = 0 on a GPU: the largest logit and its class in one read.

Only where a row is tied and ties are broken at random are all rows drawn as at any
other temperature: the ids are those of a zero τ that is not known beforehand.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from .._masses import Numbers, largest, spread, total
from .._row_program import Program, cut, run
from . import greedy, mosaic_gpu, xla

_NONE = float(greedy.EXACT)  # for a class where there is none


def forward(z, tau, key0, key1, *, first: bool) -> tuple[jax.Array] | None:
    """See `greedy.forward`; `None` for rows that are too few."""
    program = Program(_largest, _merge, finish=_finish, placed=True)
    tiles = cut(program, z)
    if tiles is None or z.shape[-1] > greedy.EXACT:
        return None
    found = run(program, tiles, (z,), (), name="greedy", row_results=4, exponentials=0)

    def draw():
        operands = z, tau, key0, key1
        drawn = mosaic_gpu.forward(*operands, first=first)
        return (drawn or xla.forward(*operands, first=first))[0]

    return (greedy.settle(found, key0, draw, first=first),)


def _largest(tile, numbers) -> Numbers:
    """The largest logit, its first class, how many have it; and NaNs."""
    del numbers
    z, place = tile
    top = largest(z)
    equal = z == spread(top, z)
    first = -largest(jnp.where(equal, -place.astype(z.dtype), -_NONE))
    ties, nans = (total(jnp.where(x, 1.0, 0.0)) for x in (equal, z != z))
    return top, first, ties, nans


def _merge(a: Numbers, b: Numbers, numbers) -> Numbers:
    """The same of two parts, of which either may be the first."""
    del numbers
    (top, first, ties, nans), (other, place, more, beside) = a, b
    most = jnp.maximum(top, other)
    first = jnp.where(top == most, first, _NONE)
    place = jnp.where(other == most, place, _NONE)
    ties = jnp.where(top == most, ties, 0.0) + jnp.where(other == most, more, 0.0)
    return most, jnp.minimum(first, place), ties, nans + beside


def _finish(numbers, statistics, sums) -> Numbers:
    del numbers, sums
    return statistics
