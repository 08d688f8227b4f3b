"""Which classes of a row are let through, by comparisons that round alike everywhere.

Every form sums the weights of what is kept and then looks at the classes of one block:
if the two did not agree on a class, a block could be chosen that has none.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Limits(NamedTuple):
    """The numbers of rows that decide; None lets everything through.

    Attributes:
        bound: A logit and an index: classes come before them if they are larger, or
            equal with a smaller index.
        reach: How far below the largest logit a class may be, as a number below zero.
    """

    bound: tuple[jax.Array, jax.Array] | None = None
    reach: jax.Array | None = None

    def keep(self, z, place, below) -> jax.Array:
        """What is let through, of logits, their classes, and how far they are below.

        So is a NaN, which spoils its row's masses, as it must.
        """
        kept = jnp.ones_like(z, bool)
        if self.bound is not None:
            value, own = self.bound
            kept = ~((z < value) | ((z == value) & (place >= own)))
        if self.reach is not None:
            kept = kept & ~(below < self.reach)
        return kept


def reach(least: jax.Array, scale: jax.Array) -> jax.Array:
    """How far below the largest a logit may be to weigh `least` times as much.

    A weight that rounds to as much is enough: at τ = ∞ all are equal.
    """
    rounding = float(jnp.finfo(least.dtype).eps)
    below = (jnp.log(least) - rounding) / scale
    return jnp.where(least == 0, -jnp.inf, below)
