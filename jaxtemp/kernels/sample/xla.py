"""Draws from the likeliest classes in plain JAX: draw, and draw again if need be.

A class is kept if the mass of the classes before it (larger, or equal with a smaller
index) is less than p. So a class is drawn from all, one pass sums the mass before it,
and if that is too much, the class and all behind it are out: the same pass has summed
what the next draw chooses from. Rejection keeps the distribution exact, and a row needs
1 + log(1/p) draws at most, on average.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ..._bits import threefry
from ..._blocks import WIDTH, sums_by_part
from ..._rows import upcast
from ..._scale import exponent_scale
from ..categorical.xla import Tree, draw, levels
from .limits import Limits, reach

ROUND = 3  # what the second counter says: other numbers than those of one draw

Masses = tuple[jax.Array, ...]


class Row(NamedTuple):
    """Rows of logits, their inverse temperature and their maximum."""

    logits: jax.Array
    scale: jax.Array
    top: jax.Array

    @classmethod
    def read(cls, z, scale, limits: Limits) -> tuple[Row, Masses, jax.Array]:
        """Rows, the masses of what the limits let through, and that before min-p."""
        row = cls(z, scale, upcast(jnp.max(z, axis=-1)))
        masses = row.masses(limits)
        if limits.reach is None:
            return row, masses, total(masses)
        return row, masses, total(row.masses(limits._replace(reach=None)))

    def masses(self, limits: Limits) -> Masses:
        """The masses of the nodes above the classes that the limits let through."""

        def kept(z, place):
            below = upcast(z) - _along(self.top, z)
            weight = jnp.exp(below * _along(self.scale, z))
            return _within(limits, weight, 0, z, place, below)

        return levels(sums_by_part(self.logits, kept))

    def tree(self, masses: Masses, limits: Limits) -> Tree:
        """The tree of what the limits let through, of which the masses are given."""
        return KeptTree(self.logits, masses, self.scale, self.top, limits)


@dataclasses.dataclass(frozen=True)
class KeptTree(Tree):
    """The tree of what limits let through."""

    top: jax.Array
    limits: Limits

    def classes_below(self, node):
        z = super().classes_below(node)
        place = node[..., None] * WIDTH + jnp.arange(z.shape[-1])
        below = upcast(z) - _along(self.top, z)
        return _within(self.limits, z, -jnp.inf, z, place, below)


def forward(z, *numbers, **params) -> tuple[jax.Array]:
    """One id a row, -1 where none can be; see `draws`."""
    return draws(Row, z, *numbers, **params)


def draws(
    kind: type[Row],
    z,
    tau,
    value,
    own,
    top_p,
    min_p,
    key0,
    key1,
    *,
    use_k,
    use_p,
    use_min,
    first,
) -> tuple[jax.Array]:
    """One id a row, where `kind` finds the masses that are drawn from.

    `value` and `own` are the bound of what top-k keeps: larger logits, and of those
    that equal `value` the ones whose index is below `own`; -inf and 0 if it is not in
    use. `first` says that of equal classes those of the smallest index are kept first;
    otherwise all that equal the last one kept are kept too.
    """
    bound = (value, own) if use_k else None
    scale, within = opening(tau, bound, min_p if use_min else None)
    row, masses, mass = kind.read(z, scale, within)
    if not use_p:
        return (_draw(row.tree(masses, within), (key0, key1), 0),)
    # A mass is a sum of rounded numbers: p = 1 must not depend on it.
    target = jnp.where(top_p >= 1, jnp.inf, top_p * mass)

    def attempt(state):
        count, ids, done, masses, bound = state
        # What did not depend on the loop would be kept for it, as large as the logits.
        again, ids = lax.optimization_barrier((row, ids))
        tree = again.tree(masses, within._replace(bound=bound))
        ids = jnp.where(done, ids, _draw(tree, (key0, key1), count))
        bound = _at(again.logits, ids, first)
        # Whatever comes before a class that was drawn is as likely.
        masses = again.masses(Limits(bound, None))
        mass = total(masses)
        done = done | (ids < 0) | (mass < target) | (mass == 0)
        return count + 1, ids, done, masses, bound

    nothing = jnp.full_like(key0, -1, jnp.int32)
    start = jnp.uint32(0), nothing, jnp.isnan(target), masses, (value, own)
    ids = lax.while_loop(lambda state: ~jnp.all(state[2]), attempt, start)[1]
    return (ids,)


def opening(tau, bound, least) -> tuple[jax.Array, Limits]:
    """1/τ, and what a row keeps before any draw; a NaN among them spoils the row."""
    scale = exponent_scale(tau)
    if least is None:
        return scale, Limits(bound, None)
    scale = jnp.where(jnp.isnan(least), jnp.nan, scale)
    return scale, Limits(bound, reach(least, scale))


def total(masses: Masses) -> jax.Array:
    """The mass of each row."""
    return jnp.sum(masses[-1], axis=-1)


def _within(limits: Limits, x, other, z, place, below) -> jax.Array:
    limits = jax.tree.map(lambda number: _along(number, z), limits)
    return limits.within(x, other, upcast(z), place, below)


def _along(number, z):
    """A number a row, ready to meet `z`, which has axes of classes after the rows'."""
    return number[(...,) + (None,) * (z.ndim - number.ndim)]


def _at(z, ids, first: bool) -> tuple[jax.Array, jax.Array]:
    """The bound of the classes before the ids; before the first class for -1."""
    own = jnp.maximum(ids, 0)
    value = upcast(jnp.take_along_axis(z, own[..., None], axis=-1)[..., 0])
    return value, own if first else jnp.zeros_like(own)


def _draw(tree: Tree, keys, attempt) -> jax.Array:
    words = threefry(keys, (jnp.uint32(attempt), jnp.uint32(ROUND)))
    return draw(tree, tuple(word[..., None] for word in words), None)[..., 0]
