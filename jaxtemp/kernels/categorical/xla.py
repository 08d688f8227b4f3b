"""Draws from softmax(z / τ) in plain JAX: one pass over the logits, then one block.

The classes are the leaves of a tree in which every node has `WIDTH` children. A draw
goes down from the root and picks a child by its mass, with random bits of its own at
every step; so a class far down the tail is as likely as it should be, where one
uniform number for the whole row could not tell it from its neighbours. As levels count
from the leaves and blocks do not depend on V, classes of no mass appended to a row
change nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from ..._bits import threefry, uniform
from ..._blocks import WIDTH, block_sums
from ..._rows import upcast
from ..._scale import exponent_scale

COLUMNS = 16  # a node is picked from so many at once, unrolled over columns
_CHUNK = 2**20  # numbers that many draws from one row may hold at once


@dataclasses.dataclass(frozen=True)
class Tree:
    """A row's classes and the masses of the nodes above them, level by level."""

    logits: jax.Array  # [..., V]
    masses: tuple[jax.Array, ...]  # [..., n] each; the last has at most WIDTH
    scale: jax.Array  # [...]

    def weights(self, level: int, node) -> jax.Array:
        """The weights of a node's children; level 0 is the classes."""
        if level > 0:
            return self.masses_below(level, node)
        x = upcast(self.classes_below(node))
        x = x - jnp.max(x, axis=-1, keepdims=True)
        return jnp.exp(x * self.scale[..., None, None])

    def masses_below(self, level: int, node) -> jax.Array:
        """The masses of the children of a node of `level`."""
        return children(self.masses[level - 1], node, 0)

    def classes_below(self, node) -> jax.Array:
        """The logits of the classes of a block."""
        return children(self.logits, node, -jnp.inf)

    def part(self, parts, index) -> jax.Array:
        """One part of a node's children, `[..., n, COLUMNS]`, by its index."""
        return jnp.take_along_axis(parts, index[..., None, None], axis=-2)[..., 0, :]


def forward(z, tau, key0, key1, *, first: bool) -> tuple[jax.Array]:
    """One id for every key: `[..., n]` for keys `[..., n]`, -1 where none can be."""
    return (draws(grow(z, tau), tau, key0, key1, first=first),)


def draws(tree: Tree, tau, key0, key1, *, first: bool) -> jax.Array:
    """One id for every key, so many at a time as keep the working set small."""
    greedy = (tau == 0)[..., None] if first else None
    if key0.shape[-1] == 1 or not key0.size:
        return draw(tree, (key0, key1), greedy)
    keys = jnp.moveaxis(jnp.stack([key0, key1]), -1, 0)
    size = max(1, _CHUNK // (WIDTH * max(1, tau.size)))
    ids = lax.map(
        lambda key: draw(tree, (key[0][..., None], key[1][..., None]), greedy)[..., 0],
        keys,
        batch_size=min(size, keys.shape[0]),
    )
    return jnp.moveaxis(ids, 0, -1)


def grow(z, tau) -> Tree:
    """The tree of every row."""
    scale = exponent_scale(tau)
    masses: tuple[jax.Array, ...] = ()
    if z.shape[-1] > WIDTH:
        # What it had in common with a gather would be stored: half types as float32.
        x = upcast(lax.optimization_barrier(z))
        x = x - upcast(jnp.max(z, axis=-1, keepdims=True))
        masses = levels(block_sums(jnp.exp(x * scale[..., None])))
    return Tree(z, masses, scale)


def levels(masses) -> tuple[jax.Array, ...]:
    """The masses of nodes, and of the nodes above, up to the root."""
    if masses.shape[-1] <= WIDTH:
        return (masses,)
    return (masses, *levels(block_sums(masses)))


def draw(tree: Tree, keys, greedy) -> jax.Array:
    """One id a key, `[..., n]`."""
    node = jnp.zeros_like(keys[0], jnp.int32)
    some = []
    for level in range(len(tree.masses), -1, -1):
        weights = tree.weights(level, node)
        child, mass = choose(weights, keys, level, greedy, tree.part)
        # Or all levels are one kernel, which takes newer versions of XLA minutes.
        node = lax.optimization_barrier(node * WIDTH + child)
        some.append(mass > 0)
    return jnp.where(some[0], node, -1)


def choose(
    weights, keys, level: int, greedy, take: Callable
) -> tuple[jax.Array, jax.Array]:
    """An index along the last axis, by its weight, and the sum of the weights."""
    count = weights.shape[-1]
    if count <= COLUMNS:
        return pick(_columns(weights), uniform_of(keys, level, 0, weights), greedy)
    short = -count % COLUMNS
    weights = jnp.pad(weights, [(0, 0)] * (weights.ndim - 1) + [(0, short)])
    count = weights.shape[-1] // COLUMNS
    parts = weights.reshape(*weights.shape[:-1], count, COLUMNS)
    sums = jnp.sum(parts, axis=-1)
    part, total = pick(_columns(sums), uniform_of(keys, level, 1, weights), greedy)
    columns = _columns(take(parts, part))
    index, _ = pick(columns, uniform_of(keys, level, 0, weights), greedy)
    return part * COLUMNS + index, total


def pick(columns: list, u, greedy) -> tuple[jax.Array, jax.Array]:
    """The column that `u` in (0, 1] falls on, by its weight, and the sum of all.

    The heaviest comes last: the others' cumulative sum then has no large number to be
    rounded against, and small `u`, of which there are finer ones, belong to them.
    """
    most, heaviest = columns[0], jnp.zeros_like(columns[0], jnp.int32)
    for i, weight in enumerate(columns[1:], 1):
        heaviest = jnp.where(weight > most, i, heaviest)
        most = jnp.maximum(weight, most)
    total = sum(columns[1:], columns[0])
    reached, below = jnp.zeros_like(most), jnp.zeros_like(heaviest)
    for i, weight in enumerate(columns):
        reached = reached + jnp.where(heaviest == i, 0, weight)
        below = below + (reached <= u * total).astype(below.dtype)
    chosen = jnp.where(u * total < reached, below, heaviest)
    if greedy is not None:
        lowest = heaviest
        for i in reversed(range(len(columns))):
            lowest = jnp.where(columns[i] > 0, i, lowest)
        chosen = jnp.where(greedy, lowest, chosen)
    return chosen, total


def children(nodes, index, fill) -> jax.Array:
    """The children of node `index`, `[..., k, WIDTH]`; fewer if there is one node."""
    count = nodes.shape[-1]
    if count <= WIDTH:
        return jnp.broadcast_to(nodes[..., None, :], (*index.shape, count))
    place = index[..., None] * WIDTH + jnp.arange(WIDTH)
    flat = jnp.minimum(place, count - 1)
    flat = flat.reshape(*index.shape[:-1], index.shape[-1] * WIDTH)
    found = jnp.take_along_axis(nodes, flat, axis=-1).reshape(place.shape)
    return jnp.where(place < count, found, fill)


def _columns(weights) -> list[jax.Array]:
    return [weights[..., i] for i in range(weights.shape[-1])]


def uniform_of(keys, level: int, step: int, like) -> jax.Array:
    """The uniform number of a key by which a step of its way down is made."""
    counter = (jnp.uint32(level), jnp.uint32(step))
    return uniform(threefry(keys, counter), like.dtype)
