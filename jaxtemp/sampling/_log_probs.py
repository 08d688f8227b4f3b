"""Log-probabilities of what was drawn: raw, tempered and filtered, each by name."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .. import _checks
from .._rows import fold, upcast
from ..boltzmann import log_softmax
from ..random import categorical
from . import filters


class LogProbs(NamedTuple):
    r"""The log-probability of a class at each stage, float32 or float64.

    Attributes:
        raw: Under the model, $\log \operatorname{softmax}(z)$.
        tempered: $\log \operatorname{softmax}(z / \tau)$.
        filtered: Of the distribution that was drawn from; `-inf` for what was cut.
    """

    raw: jax.Array
    tempered: jax.Array
    filtered: jax.Array


class Drawn(NamedTuple):
    """Ids with their log-probabilities, and those of the likeliest classes.

    Attributes:
        ids: int32, of the batch shape; -1 where nothing could be drawn.
        log_probs: Of the ids, each of the batch shape; NaN for -1.
        top_ids: int32 `[*batch, n]`, the classes of the n largest logits, in order.
        top_log_probs: Of these, each `[*batch, n]`.
    """

    ids: jax.Array
    log_probs: LogProbs
    top_ids: jax.Array
    top_log_probs: LogProbs


def sample_with_log_probs(
    key: jax.Array,
    logits: ArrayLike,
    temperature: ArrayLike = 1.0,
    *,
    top_k: ArrayLike | None = None,
    top_p: ArrayLike | None = None,
    min_p: ArrayLike | None = None,
    where: ArrayLike | None = None,
    axis: int = -1,
    ties: str = "index",
    top_n: int = 0,
) -> Drawn:
    """Draws class ids as `sample` does, with their log-probabilities.

    Which log-probability a reinforcement learner or a user of an API needs differs:
    that of the model, that of the tempered model, or that of the distribution the id
    was drawn from. All three are returned, by name. It finds the exact cut of every
    row, so it takes longer than `sample`, and it draws other ids for the same key.

    Args:
        key: As for `sample`.
        logits: As for `sample`.
        temperature: As for `sample`.
        top_k: As for `sample`.
        top_p: As for `sample`.
        min_p: As for `sample`.
        where: As for `sample`; what it excludes is excluded from all three.
        axis: As for `sample`.
        ties: As for `sample`.
        top_n: For how many of the largest logits to return log-probabilities.

    Returns:
        A `Drawn`.

    Raises:
        TypeError: As for `sample`.
        ValueError: As for `sample`, or `top_n` is not in [0, V].

    Examples:
        >>> import jax, jaxtemp
        >>> logits = jax.numpy.array([2.0, 1.0, 0.5, 0.1])
        >>> drawn = jaxtemp.sampling.sample_with_log_probs(
        ...     jax.random.key(0), logits, 0.5, top_k=1, top_n=2
        ... )
        >>> drawn.ids
        Array(0, dtype=int32)
        >>> [f"{x:.4f}" for x in drawn.log_probs]
        ['-0.5542', '-0.1885', '0.0000']
        >>> drawn.top_ids
        Array([0, 1], dtype=int32)

    Source:
        The three are what serving systems call raw and processed log-probabilities.
    """
    _checks.one_of("ties", ties, ("index", "all"))
    rows = fold(logits, temperature, axis=axis, where=where)
    z = upcast(rows.logits)
    if not 0 <= top_n <= z.shape[-1]:
        raise ValueError(
            f"`top_n` must be in [0, {z.shape[-1]}], the number of classes, "
            f"got {top_n}; pass 0 for none."
        )
    tempered = log_softmax(z, rows.temperature)
    kept = _kept(tempered, z, top_k, top_p, min_p, ties)
    stages = LogProbs(log_softmax(z), tempered, log_softmax(kept))
    ids = categorical(key, kept)
    top_ids = lax.top_k(z, top_n)[1]
    return Drawn(
        ids,
        LogProbs(*(_at(stage, ids[..., None])[..., 0] for stage in stages)),
        top_ids,
        LogProbs(*(_at(stage, top_ids) for stage in stages)),
    )


def _kept(tempered, z, top_k, top_p, min_p, ties: str) -> jax.Array:
    """Tempered log-probabilities, `-inf` where a filter cuts."""
    if top_k is not None:
        cut = filters.top_k(z, top_k, ties=ties) == -jnp.inf
        tempered = jnp.where(cut, -jnp.inf, tempered)
    if top_p is not None:
        tempered = filters.top_p(tempered, top_p, ties=ties)
    return tempered if min_p is None else filters.min_p(tempered, min_p)


def _at(log_probs, ids) -> jax.Array:
    found = jnp.take_along_axis(log_probs, jnp.maximum(ids, 0), axis=-1)
    return jnp.where(ids < 0, jnp.nan, found)
