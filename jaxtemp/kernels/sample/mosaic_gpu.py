"""Draws from the likeliest classes on a GPU: one read of the logits for every draw.

The first read weighs blocks about their own largest logit, as `categorical` does, of
what top-k keeps; another one follows for min-p, which needs the row's largest. Random
bits are those of `xla.py`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from .._masses import below, mass, over_tau, spread, total
from ..categorical.mosaic_gpu import by_block, fits, masses_about_top
from ..categorical.xla import levels
from . import xla
from .limits import Limits


def forward(z, *numbers, **params) -> tuple[jax.Array] | None:
    """See `xla.draws`; `None` for rows that are a block or too few."""
    return xla.draws(_Row, z, *numbers, **params) if fits(z) else None


class _Row(xla.Row):
    @classmethod
    def read(cls, z, scale, limits):
        numbers, kind = jax.tree.flatten(limits._replace(reach=None))

        def weigh(tile, numbers):
            (z, place), (scale, *numbers) = tile, numbers
            own = _spread(jax.tree.unflatten(kind, numbers), z)
            return mass(own.within(z, -jnp.inf, z, place, None), (scale,))

        top, sums = masses_about_top(z, scale, weigh, *numbers)
        row, masses = cls(z, scale, top), levels(sums)
        within = masses if limits.reach is None else row.masses(limits)
        return row, within, xla.total(masses)

    def masses(self, limits):
        numbers, kind = jax.tree.flatten(limits)

        def weigh(tile, numbers):
            (z, place), (scale, top, *numbers) = tile, numbers
            own = _spread(jax.tree.unflatten(kind, numbers), z)
            x = below(z, top)
            weight = jnp.exp(over_tau(x, (scale,)))
            return (total(own.within(weight, 0.0, z, place, x)),)

        given = self.scale, self.top, *numbers
        (sums,) = by_block(self.logits, weigh, *given, results=1)
        return levels(sums)


def _spread(limits: Limits, tile) -> Limits:
    return jax.tree.map(lambda number: spread(number, tile), limits)
