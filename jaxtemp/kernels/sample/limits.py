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

    def within(self, x, other: float, z, place, below) -> jax.Array:
        """`x` where a class is let through, and `other` elsewhere.

        Of logits, their classes, and how far they are below the largest. A NaN is let
        through, and spoils its row's masses, as it must.
        """
        if self.bound is not None:
            value, own = self.bound
            behind = place >= own.astype(place.dtype)  # a kernel may have it as a float
            x = jnp.where((z < value) | ((z == value) & behind), other, x)
        if self.reach is not None:
            x = jnp.where(below < self.reach, other, x)
        return x


def reach(least: jax.Array, scale: jax.Array) -> jax.Array:
    """How far below the largest a logit may be to weigh `least` times as much.

    A weight that rounds to as much is enough: at τ = ∞ all are equal.
    """
    rounding = float(jnp.finfo(least.dtype).eps)
    below = (jnp.log(least) - rounding) / scale
    return jnp.where(least == 0, -jnp.inf, below)
