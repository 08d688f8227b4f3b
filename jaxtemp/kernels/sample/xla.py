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
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ..._bits import threefry
from ..._blocks import WIDTH, sums_by_part
from ..._rows import upcast
from ..._scale import exponent_scale
from ..categorical.xla import Tree, draw, levels

_ROUND = 3  # what the second counter says: other numbers than those of one draw


def forward(
    z, tau, value, own, top_p, min_p, key0, key1, *, use_k, use_p, use_min, first
) -> tuple[jax.Array]:
    """One id a row, -1 where none can be.

    `value` and `own` are the bound of what top-k keeps: larger logits, and of those
    that equal `value` the ones whose index is below `own`; -inf and 0 if it is not in
    use. `first` says that of equal classes those of the smallest index are kept first;
    otherwise all that equal the last one kept are kept too.
    """
    row = _Row(z, exponent_scale(tau), upcast(jnp.max(z, axis=-1)))
    within = _above((value, own)) if use_k else _all
    likely = _likely(row, min_p) if use_min else _all
    masses = row.masses(_both(within, likely))
    if not use_p:
        tree = row.tree(masses, _both(within, likely))
        return (_draw(tree, (key0, key1), 0),)
    total = _total(row.masses(within) if use_min else masses)
    # A mass is a sum of rounded numbers: p = 1 must not depend on it.
    target = jnp.where(top_p >= 1, jnp.inf, top_p * total)

    def attempt(state):
        count, ids, done, masses, bound = state
        # What did not depend on the loop would be kept for it, as large as the logits.
        again, ids = lax.optimization_barrier((row, ids))
        tree = again.tree(masses, _both(_above(bound), likely))
        ids = jnp.where(done, ids, _draw(tree, (key0, key1), count))
        bound = _at(again.logits, ids, first)
        masses = again.masses(_above(bound))
        mass = _total(masses)
        done = done | (ids < 0) | (mass < target) | (mass == 0)
        return count + 1, ids, done, masses, bound

    nothing = jnp.full_like(key0, -1, jnp.int32)
    start = jnp.uint32(0), nothing, jnp.isnan(target), masses, (value, own)
    ids = lax.while_loop(lambda state: ~jnp.all(state[2]), attempt, start)[1]
    return (ids,)


Keep = Callable[[jax.Array, jax.Array], jax.Array]


class _Row(NamedTuple):
    """Rows of logits, their inverse temperature and their maximum."""

    logits: jax.Array
    scale: jax.Array
    top: jax.Array

    def weight(self, z):
        """Weights relative to a row's largest."""
        return jnp.exp((upcast(z) - _along(self.top, z)) * _along(self.scale, z))

    def masses(self, keep: Keep) -> tuple[jax.Array, ...]:
        """The masses of the nodes above the classes that `keep` lets through."""

        def kept(z, place):
            return jnp.where(keep(z, place), self.weight(z), 0)

        return levels(sums_by_part(self.logits, kept))

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


def _above(bound: tuple[jax.Array, jax.Array]) -> Keep:
    """Classes that come before a bound: larger, or equal with a smaller index.

    And a NaN, which spoils its row's masses, as it must.
    """
    value, own = bound

    def keep(z, place):
        limit = _along(value, z)
        tied = upcast(z) == limit
        return ~((upcast(z) < limit) | (tied & (place >= _along(own, z))))

    return keep


def _both(one: Keep, other: Keep) -> Keep:
    return lambda z, place: one(z, place) & other(z, place)


def _at(z, ids, first: bool) -> tuple[jax.Array, jax.Array]:
    """The bound of the classes before the ids; before the first class for -1."""
    own = jnp.maximum(ids, 0)
    value = upcast(jnp.take_along_axis(z, own[..., None], axis=-1)[..., 0])
    return value, own if first else jnp.zeros_like(own)


def _along(number, z):
    """A number a row, ready to meet `z`, which has axes of classes after the rows'."""
    return number[(...,) + (None,) * (z.ndim - number.ndim)]


def _draw(tree: Tree, keys, attempt) -> jax.Array:
    words = threefry(keys, (jnp.uint32(attempt), jnp.uint32(_ROUND)))
    return draw(tree, tuple(word[..., None] for word in words), None)[..., 0]
