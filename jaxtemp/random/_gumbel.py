"""Draws without replacement, by the largest perturbed logits."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .._derivatives import softmax
from .._rows import Folded, fold, upcast
from ._noise import row_gumbel


class GumbelTopK(NamedTuple):
    r"""Ids drawn without replacement, in the order of drawing.

    Attributes:
        ids: int32, `[*batch, k]`; -1 where no class was left.
        log_probs: Log-probability of each id by itself, $\log p_i$; `-inf` for -1.
        perturbed: Perturbed log-probability, $\log p_i + g_i$, descending.
    """

    ids: jax.Array
    log_probs: jax.Array
    perturbed: jax.Array


def gumbel_top_k(
    key: jax.Array,
    logits: ArrayLike,
    k: int,
    temperature: ArrayLike = 1.0,
    *,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> GumbelTopK:
    r"""Draws `k` distinct classes: one after the other, without putting them back.

    The k largest of $\log p_i + g_i$, with independent standard Gumbel noise $g_i$,
    are a draw from the Plackett-Luce distribution

    $$P(i_1, \dots, i_k) = \prod_j \frac{p_{i_j}}{1 - \sum_{l<j} p_{i_l}}, \qquad
    p = \operatorname{softmax}(z / \tau).$$

    At $\tau = 0$ these are the k largest logits, equal ones in random order.

    Args:
        key: One key for the batch, or an array of keys of the batch shape.
        logits: Real floating array; `axis` holds the V >= 1 classes.
        k: How many to draw, 0 < k <= V.
        temperature: τ in [0, inf], broadcasts to the batch shape.
        axis: The class axis.
        where: Boolean mask that broadcasts to the logits' shape; `False` excludes.

    Returns:
        A `GumbelTopK` of arrays `[*batch, k]`.

    Raises:
        TypeError: `key` is not a key, or an array is not real floating.
        ValueError: A shape does not fit, or `k` is not in [1, V].

    Examples:
        >>> import jax, jaxtemp
        >>> logits = jax.numpy.array([2.0, 1.0, 0.5, 0.1])
        >>> drawn = jaxtemp.random.gumbel_top_k(jax.random.key(0), logits, 4)
        >>> sorted(drawn.ids.tolist())
        [0, 1, 2, 3]
        >>> f"{drawn.log_probs.max():.4f}"
        '-0.5542'

    Source:
        Kool, van Hoof and Welling, *Stochastic beams and where to find them*, 2019.
    """
    return top_k(key, fold(logits, temperature, axis=axis, where=where), k)


def top_k(key, rows: Folded, k: int) -> GumbelTopK:
    """`gumbel_top_k` of folded rows."""
    size = rows.logits.shape[-1]
    if not 0 < k <= size:
        raise ValueError(
            f"`k` must be in [1, {size}] to draw distinct ones of {size} classes, "
            f"got {k}; ask for fewer, or draw with replacement."
        )
    z, tau = rows.logits, rows.temperature[..., None]
    x = lax.stop_gradient(upcast(z) - jnp.max(upcast(z), axis=-1, keepdims=True))
    noise = row_gumbel(key, rows)
    # Either is log p + g up to a scale and a shift; neither overflows.
    score = jnp.where(tau <= 1, x + tau * noise, x / jnp.maximum(tau, 1) + noise)
    score = jnp.where(x > -jnp.inf, score, -jnp.inf)
    score = jnp.where(jnp.any(jnp.isnan(x), axis=-1, keepdims=True), -jnp.inf, score)
    ids, score, noise = _largest(score, noise, k)
    log_p = softmax(z, rows.temperature, True, None, None)
    log_p = jnp.take_along_axis(log_p, ids, axis=-1)
    drawn = score > -jnp.inf
    log_p = jnp.where(drawn, log_p, -jnp.inf)
    perturbed = jnp.where(drawn, upcast(log_p) + noise, -jnp.inf)
    return GumbelTopK(jnp.where(drawn, ids, -1), log_p, perturbed)


def _largest(score, noise, k: int):
    """The k largest scores, of equal ones those of most noise, in this order."""
    found, ids = lax.top_k(score, k)
    least = found[..., -1:]
    _, tied = lax.top_k(jnp.where(score == least, noise, -jnp.inf), k)
    ids = jnp.concatenate([ids, tied], axis=-1)
    values = jnp.take_along_axis(score, ids, axis=-1)
    noise = jnp.take_along_axis(noise, ids, axis=-1)
    # The first k are those above the least, the others those equal to it.
    expected = jnp.arange(2 * k) < k
    values = jnp.where((values > least) == expected, values, -jnp.inf)
    values, noise, ids = lax.sort((-values, -noise, ids), dimension=-1, num_keys=2)
    return ids[..., :k], -values[..., :k], -noise[..., :k]
