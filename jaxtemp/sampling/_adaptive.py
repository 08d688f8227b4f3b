"""Filters that adapt: by chance, by a row's entropy, or by what was sampled before."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._bits import uniform
from .._checks import Rule, per_row
from .._rows import upcast
from ..boltzmann import entropy
from ..random._keys import row_words
from ._divide import divide
from ._filter import Row

_THRESHOLD = Rule(0, 1, "pass a probability, above 0.5 to exclude nothing")
_PROBABILITY = Rule(0, 1, "pass how often to exclude, 0 for never")
_TEMPERATURE = Rule(0, float("inf"), "pass the temperature at this end")
_EXPONENT = Rule(0, float("inf"), "pass 1 to follow the entropy in proportion")
_SURPRISE = Rule(0, float("inf"), "pass the surprise to aim at, in bits")
_RATE = Rule(0, float("inf"), "pass a learning rate, for example 0.1")
_MU = Rule(-float("inf"), float("inf"), "pass the state of `mirostat_init`")
_IDS = Rule(-1, float("inf"), "pass the ids that were sampled, -1 for none", True)


def xtc(
    key: jax.Array,
    logits: ArrayLike,
    threshold: ArrayLike,
    probability: ArrayLike,
    *,
    axis: int = -1,
    min_tokens_to_keep: ArrayLike = 1,
) -> jax.Array:
    r"""Cuts, by chance, all but the least likely of the likely tokens.

    $$\{i : p_i \ge t\} \text{ without the last of the order}$$

    Nothing is cut if only one token reaches the threshold, if the threshold is above
    0.5, or if fewer than `min_tokens_to_keep` tokens would be left.

    Args:
        key: A JAX key, or an array of keys of the batch shape, one for each row.
        logits: Real floating array; `axis` holds the tokens, every other axis is batch.
        threshold: From which probability on a token is likely, for each row.
        probability: The chance that a row is filtered at all, for each row.
        axis: The axis of the tokens.
        min_tokens_to_keep: How many tokens must be left.

    Returns:
        The logits, `-inf` where cut.

    Raises:
        TypeError: `logits` are not real floating or `key` is not a key.
        ValueError: A number is outside [0, 1], or a shape does not fit.

    Examples:
        >>> import jax
        >>> from jaxtemp.sampling import filters
        >>> logits = jax.numpy.log(jax.numpy.array([0.4, 0.3, 0.2, 0.1]))
        >>> cut = filters.xtc(jax.random.key(0), logits, 0.15, 1.0)
        >>> cut > -jax.numpy.inf
        Array([False, False,  True,  True], dtype=bool)

    Source:
        Weidmann, *Exclude top choices*, text-generation-webui pull request 6335
        (2024).
    """
    row = Row.of(logits, axis)
    threshold = row.number("threshold", threshold, _THRESHOLD)
    probability = row.number("probability", probability, _PROBABILITY)
    least = row.count("min_tokens_to_keep", min_tokens_to_keep)
    likely = row.below >= jnp.log(threshold) + row.shape().log_total
    likely &= row.logits > -jnp.inf
    lowest = jnp.min(row.logits, axis=-1, keepdims=True, initial=jnp.inf, where=likely)
    place = jnp.arange(row.logits.shape[-1])
    last = jnp.where(likely & (row.logits == lowest), place, -1)
    cut = likely & (place != jnp.max(last, axis=-1, keepdims=True))
    left = jnp.sum((row.logits > -jnp.inf) & ~cut, axis=-1, keepdims=True)
    chance = uniform(row_words(key, row.batch_shape), probability.dtype)
    happens = (chance <= probability) & (threshold <= 0.5) & (left >= least)
    return row.keep(~(cut & happens))


def dynamic_temperature(
    logits: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    exponent: ArrayLike = 1.0,
    *,
    axis: int = -1,
) -> jax.Array:
    r"""Divides by a temperature between `low` and `high` that follows the entropy.

    $$T = T_0 + (T_1 - T_0) \left(\frac{H}{\log n}\right)^{e}$$

    with $n$ the number of allowed tokens; a row with one is left alone. At $T = 0$
    only the most likely tokens stay. Where a quotient would overflow, the row's
    largest logit is subtracted from it first, which changes no probability.

    Args:
        logits: Real floating array; `axis` holds the tokens, every other axis is batch.
        low: The temperature of a row without entropy, at least 0, for each row.
        high: The temperature of a uniform row; it may be less than `low`.
        exponent: How steeply the temperature rises, at least 0, for each row.
        axis: The axis of the tokens.

    Returns:
        The logits divided by their row's temperature.

    Raises:
        TypeError: `logits` or a number are not real floating.
        ValueError: A number is negative, or a shape does not fit.

    Examples:
        >>> import jax
        >>> from jaxtemp.sampling import filters
        >>> filters.dynamic_temperature(jax.numpy.array([1.0, 1.0]), 0.5, 2.0)
        Array([0.5, 0.5], dtype=float32)

    Source:
        Kalomaze, *Dynamic temperature*, llama.cpp pull request 4972 (2024).
    """
    row = Row.of(logits, axis)
    low = row.number("low", low, _TEMPERATURE)
    high = row.number("high", high, _TEMPERATURE)
    exponent = row.number("exponent", exponent, _EXPONENT)
    z = upcast(row.folded.logits)
    allowed = z > -jnp.inf
    count = jnp.sum(allowed, axis=-1, keepdims=True, dtype=z.dtype)
    share = entropy(z)[..., None] / jnp.log(jnp.maximum(count, 2))
    share = jnp.clip(share, 0, 1) ** exponent
    gap = jnp.where(low == high, 0, high - low)
    tau = low + jnp.where((share > 0) & (gap != 0), gap * share, 0)
    tau = jnp.where(count > 1, tau, 1)
    cooled = divide(z, tau, jnp.finfo(row.logits.dtype)).astype(row.logits.dtype)
    same = (tau == 1) | ~jnp.isfinite(jnp.max(z, axis=-1, keepdims=True))
    return row.folded.unfold(jnp.where(same, row.folded.logits, cooled))


class Mirostat(NamedTuple):
    """The state of Mirostat.

    Attributes:
        mu: The largest surprise to allow, in bits, for each row.
    """

    mu: jax.Array


def mirostat_init(tau: ArrayLike, batch_shape: tuple[int, ...] = ()) -> Mirostat:
    r"""The state before the first token, $\mu = 2\tau$.

    Args:
        tau: The surprise to aim at, in bits, for each row.
        batch_shape: The shape of the batch.

    Returns:
        A `Mirostat`, in float32.

    Raises:
        ValueError: `tau` is negative, or does not broadcast to the batch shape.

    Examples:
        >>> from jaxtemp.sampling import filters
        >>> filters.mirostat_init(5.0)
        Mirostat(mu=Array(10., dtype=float32))

    Source:
        As `mirostat`.
    """
    return Mirostat(2 * per_row("tau", tau, batch_shape, jnp.float32, _SURPRISE))


def mirostat(logits: ArrayLike, state: Mirostat, *, axis: int = -1) -> jax.Array:
    r"""Keeps tokens that surprise by at most $\mu$ bits.

    $$\{i : -\log_2 p_i \le \mu\}$$

    If there is none, the most likely tokens stay. Sample a token from the result, then
    move $\mu$ with `mirostat_update`: this is Mirostat 2.0.

    Args:
        logits: Real floating array; `axis` holds the tokens, every other axis is batch.
        state: From `mirostat_init` or `mirostat_update`.
        axis: The axis of the tokens.

    Returns:
        The logits, `-inf` where cut.

    Raises:
        TypeError: `logits` are not real floating.
        ValueError: The state's shape does not fit the batch shape.

    Examples:
        >>> import jax
        >>> from jaxtemp.sampling import filters
        >>> logits = jax.numpy.log(jax.numpy.array([0.5, 0.25, 0.25]))
        >>> filters.mirostat(logits, filters.Mirostat(1.5)) > -jax.numpy.inf
        Array([ True, False, False], dtype=bool)

    Source:
        Basu et al., *Mirostat: a neural text decoding algorithm that directly controls
        perplexity* (2021); version 2.0 by the same authors.
    """
    row = Row.of(logits, axis)
    mu = row.number("mu", state.mu, _MU)
    cut = row.shape().log_total - mu * math.log(2)
    return row.keep(row.above(cut, 1))


def mirostat_update(
    state: Mirostat,
    logits: ArrayLike,
    ids: ArrayLike,
    *,
    tau: ArrayLike = 5.0,
    eta: ArrayLike = 0.1,
    axis: int = -1,
) -> Mirostat:
    r"""The state after a token, moved towards the surprise aimed at.

    $$\mu \leftarrow \mu - \eta\,(-\log_2 p_{i} - \tau)$$

    Args:
        state: The state that the token was sampled with.
        logits: What it was sampled from, the result of `mirostat`.
        ids: The sampled tokens, integers of the batch shape. A row keeps its state
            where the token is -1 or was not allowed.
        tau: The surprise to aim at, in bits, for each row.
        eta: The learning rate, for each row.
        axis: The axis of the tokens.

    Returns:
        The next state.

    Raises:
        TypeError: `logits` are not real floating or `ids` not integers.
        ValueError: A number is negative, or a shape does not fit.

    Examples:
        >>> import jax
        >>> from jaxtemp.sampling import filters
        >>> logits = jax.numpy.log(jax.numpy.array([0.5, 0.25, 0.25]))
        >>> state = filters.mirostat_init(3.0)
        >>> filters.mirostat_update(state, logits, 1, tau=3.0)
        Mirostat(mu=Array(6.1, dtype=float32))

    Source:
        As `mirostat`.
    """
    row = Row.of(logits, axis)
    tau = row.number("tau", tau, _SURPRISE)
    eta = row.number("eta", eta, _RATE)
    mu = row.number("mu", state.mu, _MU)
    chosen = per_row("ids", ids, row.batch_shape, jnp.int32, _IDS)[..., None]
    below, _, _, log_total = row.shape()
    picked = jnp.take_along_axis(below, jnp.maximum(chosen, 0), axis=-1)
    surprise = (log_total - picked) / math.log(2)
    known = (chosen >= 0) & jnp.isfinite(surprise)
    mu = jnp.where(known, mu - eta * (surprise - tau), mu)
    return Mirostat(mu[..., 0].astype(jnp.result_type(state.mu)))
