"""Draws from the likeliest classes in plain JAX: draw, and draw again if need be.

A class is kept if the mass of the classes before it (larger, or equal with a smaller
index) is less than p. So a class is drawn from all, one pass sums the mass before it,
and if that is too much, the class and all behind it are out: the same pass has summed
what the next draw chooses from. Rejection keeps the distribution exact, and a row needs
1 + log(1/p) draws at most, on average.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from ..._bits import threefry
from ..._blocks import WIDTH, block_sums
from ..._rows import upcast
from ..._scale import exponent_scale
from ..categorical.xla import Tree, draw, levels

_ROUND = 3  # what the second counter says: other numbers than those of one draw


def forward(
    z, tau, top_p, min_p, key0, key1, *, use_p: bool, use_min: bool, first: bool
) -> tuple[jax.Array]:
    """One id a row, -1 where none can be.

    `first` says that of equal classes those of the smallest index are kept first;
    otherwise all that equal the last one kept are kept too.
    """
    row = _Row(z, exponent_scale(tau), upcast(jnp.max(z, axis=-1)))
    likely = _likely(row, min_p) if use_min else _all
    masses = row.masses(likely)
    if not use_p:
        return (_draw(row.tree(masses, likely), (key0, key1), 0),)
    total = _total(row.masses(_all) if use_min else masses)
    # A mass is a sum of rounded numbers: p = 1 must not depend on it.
    target = jnp.where(top_p >= 1, jnp.inf, top_p * total)

    def attempt(state):
        count, ids, done, masses, bound = state
        # What did not depend on the loop would be kept for it, as large as the logits.
        scale, top, count = lax.optimization_barrier((row.scale, row.top, count))
        again = _Row(z, scale, top)
        before = _before(bound, first)
        tree = again.tree(masses, lambda x, place: before(x, place) & likely(x, place))
        ids = jnp.where(done, ids, _draw(tree, (key0, key1), count))
        bound = _at(z, ids)
        masses = again.masses(_before(bound, first))
        mass = _total(masses)
        done = done | (ids < 0) | (mass < target) | (mass == 0)
        return count + 1, ids, done, masses, bound

    none = jnp.zeros_like(key0, jnp.int32)
    everything = jnp.full_like(row.top, -jnp.inf), none + z.shape[-1]
    start = jnp.uint32(0), none - 1, jnp.isnan(target), masses, everything
    ids = lax.while_loop(lambda state: ~jnp.all(state[2]), attempt, start)[1]
    return (ids,)


Keep = Callable[[jax.Array, jax.Array], jax.Array]
_PART = 2**17  # so many weights stay in cache


@dataclasses.dataclass(frozen=True)
class _Row:
    """Rows of logits, their inverse temperature and their maximum."""

    logits: jax.Array
    scale: jax.Array
    top: jax.Array

    def weight(self, z):
        """Weights relative to a row's largest."""
        return jnp.exp((upcast(z) - _along(self.top, z)) * _along(self.scale, z))

    def masses(self, keep: Keep) -> tuple[jax.Array, ...]:
        """The masses of the nodes above the classes that `keep` lets through.

        Part by part, as the weights of long rows do not fit a cache.
        """
        size = self.logits.shape[-1]
        parts = max(1, -(-self.logits.size // _PART))
        part = -(-size // parts // WIDTH) * WIDTH
        count = size // part if parts > 1 else 0

        def sums(start, length: int):
            z = lax.dynamic_slice_in_dim(self.logits, start, length, axis=-1)
            kept = keep(z, start + jnp.arange(length))
            return block_sums(jnp.where(kept, self.weight(z), 0))

        found = []
        if count:
            starts = jnp.arange(count) * part
            inside = lax.map(lambda start: sums(start, part), starts)
            inside = jnp.moveaxis(inside, 0, -2)
            found.append(inside.reshape(*inside.shape[:-2], -1))
        if size - count * part:
            found.append(sums(count * part, size - count * part))
        return levels(jnp.concatenate(found, axis=-1))

    def tree(self, masses: tuple[jax.Array, ...], keep: Keep) -> Tree:
        """The tree of what is kept, of which the masses are given."""
        return _KeptTree(self.logits, masses, self.scale, keep)


@dataclasses.dataclass(frozen=True)
class _KeptTree(Tree):
    keep: Keep

    def classes_below(self, node):
        z = super().classes_below(node)
        place = node[..., None] * WIDTH + jnp.arange(z.shape[-1])
        return jnp.where(self.keep(z, place), z, -jnp.inf)


def _total(masses: tuple[jax.Array, ...]) -> jax.Array:
    return jnp.sum(masses[-1], axis=-1)


def _all(z, place):
    return jnp.ones_like(z, bool)


def _likely(row: _Row, least) -> Keep:
    """Classes whose probability is at least `least` times the largest."""
    return lambda z, place: row.weight(z) >= _along(least, z)


def _before(bound: tuple[jax.Array, jax.Array], first: bool) -> Keep:
    """Classes that come before one: larger, or equal with a smaller index."""
    value, own = bound

    def keep(z, place):
        larger = upcast(z) > _along(value, z)
        tied = upcast(z) == _along(value, z)
        return larger | (tied & (place < _along(own, z))) if first else larger

    return keep


def _at(z, ids) -> tuple[jax.Array, jax.Array]:
    """The logits of the ids, and the ids, the first for -1."""
    own = jnp.maximum(ids, 0)
    return upcast(jnp.take_along_axis(z, own[..., None], axis=-1)[..., 0]), own


def _along(number, z):
    """A number a row, ready to meet `z`, which has axes of classes after the rows'."""
    return number[(...,) + (None,) * (z.ndim - number.ndim)]


def _draw(tree: Tree, keys, attempt) -> jax.Array:
    words = threefry(keys, (jnp.uint32(attempt), jnp.uint32(_ROUND)))
    return draw(tree, tuple(word[..., None] for word in words), None)[..., 0]
