"""Draws from softmax(z / τ) on a GPU: the masses of blocks in one read of the logits.

Each block of `WIDTH` classes is weighed about its own largest logit, so that nothing is
read before; about the row's largest they are the lowest level of the tree of `xla.py`,
which goes on from there with the same random bits.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from ..._blocks import WIDTH
from ..._scale import exponent_scale
from .._masses import mass, spread
from .._row_program import run_apart
from .._tiles import Tiles, blocks
from . import xla


def forward(z, tau, key0, key1, *, first: bool) -> tuple[jax.Array, ...] | None:
    """See `xla.forward`; `None` for rows that are a block or too few."""
    if not fits(z):
        return None
    scale = exponent_scale(tau)
    _, masses = masses_about_top(z, scale, _mass)
    tree = xla.Tree(z, xla.levels(masses), scale)
    return (xla.draws(tree, tau, key0, key1, first=first),)


def fits(z: jax.Array) -> bool:
    """Whether there are rows enough, of more than one block."""
    return z.shape[-1] > WIDTH and _cut(z)[2] is not None


def masses_about_top(
    z: jax.Array, scale: jax.Array, mass: Callable, *limits: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Each row's largest logit, and the masses of blocks about it.

    `mass((z, place), (scale, *limits))` is a tile's largest and its mass about that.
    """
    tops, sums = by_block(z, mass, scale, *limits, results=2)
    top = jnp.max(tops, axis=-1, keepdims=True)
    return top[..., 0], sums * jnp.exp((tops - top) * scale[..., None])


def by_block(
    z: jax.Array, weigh: Callable[..., tuple], *numbers: jax.Array, results: int
) -> tuple[jax.Array, ...]:
    """What `weigh((z, place), numbers)` gives for every block: `[..., blocks]` each."""
    batch, count = z.shape[:-1], -(-z.shape[-1] // WIDTH)
    rows, classes, tiles = _cut(z)
    if tiles is None:
        raise NotImplementedError(f"{rows} rows are too few for a tile")
    given = tuple(x.reshape(-1) for x in numbers)
    if rows > given[0].size:
        starts = jnp.tile(jnp.arange(count) * WIDTH, given[0].size)
        given = *(jnp.repeat(x, count) for x in given), starts
        weigh = functools.partial(_from_start, weigh)
    found = run_apart(
        weigh,
        tiles,
        z.reshape(rows, classes),
        given,
        name="block_masses",
        results=results,
        placed=True,
    )
    return tuple(jnp.moveaxis(x, 0, -1).reshape(*batch, count) for x in found)


def _cut(z: jax.Array) -> tuple[int, int, Tiles | None]:
    """Rows, their length, and the tiles of blocks; `None` where there is less than one.

    Where there are too few rows for a tile, blocks become rows.
    """
    classes, itemsize = z.shape[-1], z.dtype.itemsize
    rows = z.size // classes
    tiles = blocks(rows, classes, itemsize, WIDTH)
    if tiles is None and classes % WIDTH == 0:
        rows, classes = z.size // WIDTH, WIDTH
        tiles = blocks(rows, classes, itemsize, WIDTH)
    return rows, classes, tiles


def _from_start(weigh, tile, numbers):
    """`weigh` of a block that is a row, with the number of its first class."""
    (z, place), (*numbers, start) = tile, numbers
    return weigh((z, place + spread(start, z)), numbers)


def _mass(tile, numbers):
    z, _ = tile
    return mass(z, numbers)
