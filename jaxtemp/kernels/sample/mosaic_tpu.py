"""Draws from the likeliest classes on a TPU.

Rows that fit the chip's memory are read once and drawn from there. For longer ones
every draw reads the logits once: the masses before a class come from the kernel of
`categorical`, with the limits of what is kept, and the first read also finds each row's
largest logit, and the masses with and without min-p. Random bits are those of `xla.py`,
and ids differ only where a sum's rounding decides.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..categorical.greedy import EXACT
from ..categorical.mosaic_tpu import BlockTree, block_masses, fits
from ..categorical.xla import levels
from . import resident_mosaic_tpu as resident
from . import xla
from .limits import Limits


def forward(z, *numbers, **params) -> tuple[jax.Array]:
    """One id a row, -1 where none can be; see `xla.draws`."""
    rows = z.size // max(z.shape[-1], 1)
    if not fits(z, rows) or z.shape[-1] > EXACT:
        return xla.forward(z, *numbers, **params)
    if resident.fits(z):
        return _draw_in_place(z, *numbers, **params)
    return by_reads(z, *numbers, **params)


def by_reads(z, *numbers, **params) -> tuple[jax.Array]:
    """The same, with a read of the logits for every draw."""
    return xla.draws(_Row, z, *numbers, **params)


def _draw_in_place(
    z, tau, value, own, top_p, min_p, key0, key1, *, use_k, use_p, use_min, first
):
    bound = (value, own) if use_k else None
    scale, within = xla.opening(tau, bound, min_p if use_min else None)
    keys, params = (key0, key1), {"use_p": use_p, "first": first}
    return (resident.draws(z, scale, top_p, keys, within, **params),)


class _Row(xla.Row):
    @classmethod
    def read(cls, z, scale, limits):
        sums, (top,) = _masses(z, scale, limits, find_top=True)
        masses, *apart = map(levels, sums)
        return cls(z, scale, top), masses, xla.total(apart[0] if apart else masses)

    def masses(self, limits):
        (sums,), _ = _masses(self.logits, self.scale, limits, top=self.top)
        return levels(sums)

    def tree(self, masses, limits):
        return _KeptTree(self.logits, masses, self.scale, self.top, limits)


class _KeptTree(xla.KeptTree, BlockTree):
    """The tree of what limits let through, of rows of blocks."""


def _masses(z, scale, limits: Limits, **top):
    """The masses of blocks, within the limits and, if there is min-p, without it."""
    numbers, kind = jax.tree.flatten(limits)

    def weigh(weight, z, place, below, *numbers):
        own = jax.tree.unflatten(kind, numbers)
        each = [own] if own.reach is None else [own, own._replace(reach=None)]
        return tuple(x.within(weight, 0, z, place, below) for x in each)

    return block_masses(
        z,
        scale,
        [x.astype(jnp.float32) for x in numbers],
        weigh if numbers else None,
        sums=1 if limits.reach is None else 2,
        name="sample",
        **top,
    )
