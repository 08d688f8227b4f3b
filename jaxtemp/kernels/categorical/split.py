"""Draws where a mesh axis splits the classes of a row: the same ids as unsplit.

Every device holds its part of the whole row's tree. On the way down, what a node's
children weigh is summed over the devices: a few hundred numbers a row travel, whatever
the number of classes.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax import lax

from ..._blocks import WIDTH, block_sums
from ..._rows import reductions, upcast
from ..._scale import exponent_scale
from .xla import Tree, draws, levels


def forward(z, tau, key0, key1, *, first: bool, axis_name: str) -> jax.Array:
    """One id for every key, the same on every device of the axis."""
    size = lax.axis_size(axis_name) * z.shape[-1]
    start = lax.axis_index(axis_name) * z.shape[-1]
    scale = exponent_scale(tau)
    masses: tuple[jax.Array, ...] = ()
    if size > WIDTH:
        x = upcast(z) - reductions(axis_name).max(upcast(z))
        masses = levels(_placed(jnp.exp(x * scale[..., None]), start, size))
    tree = _SplitTree(z, masses, scale, axis_name, size, start)
    return draws(tree, tau, key0, key1, first=first)


@dataclasses.dataclass(frozen=True)
class _SplitTree(Tree):
    axis_name: str
    size: int
    start: jax.Array

    def masses_below(self, level, node):
        return lax.psum(super().masses_below(level, node), self.axis_name)

    def classes_below(self, node):
        here = self.logits.shape[-1]
        place = node[..., None] * WIDTH + jnp.arange(min(WIDTH, self.size)) - self.start
        count = node.shape[-1] * place.shape[-1]
        flat = jnp.clip(place, 0, here - 1).reshape(*node.shape[:-1], count)
        found = jnp.take_along_axis(self.logits, flat, axis=-1).reshape(place.shape)
        own = (place >= 0) & (place < here)
        return lax.pmax(jnp.where(own, found, -jnp.inf), self.axis_name)


def _placed(weights, start, size: int) -> jax.Array:
    """The masses of the whole row's blocks, of which this device fills its own."""
    if weights.shape[-1] % WIDTH:
        weights = _shifted(weights, weights.shape[-1] + WIDTH, start % WIDTH)
    sums = block_sums(weights)
    blocks = max(-(-size // WIDTH), sums.shape[-1])
    return _shifted(sums, blocks, start // WIDTH)


def _shifted(x, size: int, shift) -> jax.Array:
    """`x` moved right by `shift`, in zeros of the given size."""
    room = [(0, 0)] * (x.ndim - 1) + [(0, size - x.shape[-1])]
    return jnp.roll(jnp.pad(x, room), shift, axis=-1)
