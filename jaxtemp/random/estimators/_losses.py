"""Losses of draws: one a row, or one for each group of rows that are drawn together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ..._rows import Folded
from . import _relaxed

Loss = Callable[[jax.Array], jax.Array]


class Estimate(Protocol):
    """Losses of draws, with a gradient estimate as their derivative."""

    def __call__(
        self,
        key: jax.Array,
        logits: ArrayLike,
        temperature: ArrayLike = 1.0,
        *,
        axis: int = -1,
        where: ArrayLike | None = None,
    ) -> jax.Array: ...


def loss_at(f: Loss, rows: Folded, ids: jax.Array) -> jax.Array:
    """The losses of the classes `ids` of the rows."""
    losses = jnp.asarray(f(rows.unfold(_relaxed.one_hot(ids, rows))))
    batch_shape = rows.temperature.shape
    if not jnp.issubdtype(losses.dtype, jnp.floating):
        raise TypeError(
            f"`f` must return real floating numbers, got dtype {losses.dtype}; "
            "convert what it returns."
        )
    if losses.shape != batch_shape[: losses.ndim]:
        raise ValueError(
            f"`f` must return one loss a row or a group of rows, of the batch shape "
            f"{batch_shape} or without its last axes, got shape {losses.shape}; sum "
            "over the classes, and over the variables that are drawn together."
        )
    return losses


def over_groups(wide: jax.Array, losses: jax.Array) -> jax.Array:
    """`wide`, numbers of rows or of classes, summed for each of the losses."""
    return jnp.sum(wide, axis=tuple(range(losses.ndim, wide.ndim)))


def log_probability(log_p: jax.Array, ids: jax.Array, losses: jax.Array) -> jax.Array:
    """The log-probability of drawing `ids`, of the rows of each loss."""
    own = jnp.take_along_axis(log_p, jnp.maximum(ids, 0)[..., None], axis=-1)
    return over_groups(own[..., 0], losses)
