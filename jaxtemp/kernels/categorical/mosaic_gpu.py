"""Draws from softmax(z / τ) on a GPU: the masses of blocks in one read of the logits.

Each block of `WIDTH` classes is weighed about its own largest logit, so that nothing is
read before; about the row's largest they are the lowest level of the tree of `xla.py`,
which goes on from there with the same random bits.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..._blocks import WIDTH
from ..._scale import exponent_scale
from .._masses import mass
from .._row_program import run_apart
from .._tiles import blocks
from . import xla


def forward(z, tau, key0, key1, *, first: bool) -> tuple[jax.Array, ...] | None:
    """See `xla.forward`; `None` for rows that are a block or too few."""
    scale = exponent_scale(tau)
    masses = _masses(z, scale)
    if masses is None:
        return None
    tree = xla.Tree(z, xla.levels(masses), scale)
    return (xla.draws(tree, tau, key0, key1, first=first),)


def _masses(z, scale) -> jax.Array | None:
    """The masses of blocks of classes, about the largest logit of the row."""
    *batch, classes = z.shape
    rows, count = scale.size, -(-classes // WIDTH)
    scales = scale.reshape(rows)
    if classes % WIDTH == 0:
        # Blocks become rows, of which then there are enough whatever the batch.
        rows, classes = rows * count, WIDTH
        scales = jnp.repeat(scales, count)
    tiles = blocks(rows, classes, z.dtype.itemsize, WIDTH)
    if tiles is None or count == 1:
        return None
    logits = z.reshape(rows, classes)
    found = run_apart(_mass, tiles, logits, (scales,), name="block_masses", results=2)
    tops, sums = (jnp.moveaxis(x, 0, -1).reshape(*batch, count) for x in found)
    x = tops - jnp.max(tops, axis=-1, keepdims=True)
    return sums * jnp.exp(x * scale[..., None])


def _mass(tile, scales):
    (z,) = tile
    return mass(z, scales)
