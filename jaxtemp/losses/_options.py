"""Options of a cross-entropy, of logits or of a layer's."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from .._checks import Rule
from .._rows import Folded


def row_option(name: str, value, rows: Folded, rule: Rule) -> jax.Array | None:
    """A number of every row; `None` where it is the number 0."""
    numbers = rows.parameter(name, value, rule)
    return None if isinstance(value, (int, float)) and value == 0 else numbers


def z_penalty(weight: jax.Array, lse: jax.Array) -> jax.Array:
    """`weight lse²`, zero where there is no weight; flat where it is infinite."""
    infinite = jnp.isinf(lse)
    square = weight * jnp.square(jnp.where(infinite, 0, lse))
    return jnp.where(infinite & (weight != 0), jnp.inf, square)
