"""Speculative decoding: a cheap draft, checked so that the target's law is exact."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .. import _checks
from .._bits import uniform
from .._rows import upcast
from ..boltzmann import log_softmax
from ..random import categorical
from ..random._keys import fold_in, one_a_row, row_words
from ._decode import token_ids

_TEMPERATURE = _checks.Rule(0, float("inf"), "pass 0 for a greedy model")


class Verified(NamedTuple):
    """What [`verify`][jaxtemp.sampling.speculative.verify] returns.

    Attributes:
        ids: int32 `[*batch, K + 1]`: the accepted tokens of the draft, one token drawn
            after them, then -1.
        accepted: int32 `[*batch]`: how many tokens of the draft were accepted.
    """

    ids: jax.Array
    accepted: jax.Array


def verify(
    key: jax.Array,
    draft_ids: ArrayLike,
    draft_logits: ArrayLike | None,
    target_logits: ArrayLike,
    temperature: ArrayLike = 1.0,
    *,
    draft_temperature: ArrayLike | None = None,
) -> Verified:
    r"""Accept a prefix of a draft and draw one more token, exactly as the target would.

    With $p_i$ the law that draft token $x_i$ was drawn from and $q_i$ the target's at
    the same place, tokens are accepted from the left while

    $$u_i \le \frac{q_i(x_i)}{p_i(x_i)}, \qquad u_i \sim \mathrm{Uniform}(0, 1)$$

    In place of the first one that is not, a token is drawn from the residual
    $\max(q_i - p_i, 0)$, normalised; if all are accepted, one more is drawn from
    $q_{K+1}$. The tokens that come out have the target's law whatever the draft is. A
    poor draft costs speed only: token $i$ is accepted with probability
    $\sum_x \min(p_i(x), q_i(x))$.

    This holds if `draft_logits` at `draft_temperature` is what the draft was truly
    drawn from. So filter them as the drafting model did, and filter `target_logits`
    as a sampler of the target would. Where a filter follows the temperature, divide
    both by it first and leave `temperature` at 1.

    Args:
        key: One key, which is split over the rows, or an array of keys of the batch
            shape; then a row depends on its own key and inputs alone.
        draft_ids: Integers `[*batch, K]`. A row's draft ends before its first entry
            that is not a class, such as -1, so rows may have drafts of any length.
        draft_logits: Real floating `[*batch, K, V]`, the law of each draft token, given
            those before it. `None` for a draft that was not drawn at random, such as a
            look-up of n-grams: all mass is on the token itself.
        target_logits: Real floating `[*batch, K + 1, V]`, the target's logits before
            each draft token and after the last.
        temperature: τ in [0, inf] of the target, a number or an array that broadcasts
            to the batch shape.
        draft_temperature: τ of the draft; `None` for the target's.

    Returns:
        A [`Verified`][jaxtemp.sampling.speculative.Verified]: `accepted + 1` ids a row.
        Where the target's logits allow no token or hold a NaN, the draft is rejected
        and the id is -1.

    Raises:
        TypeError: `draft_ids` are not integers, or logits not real floating.
        ValueError: A shape does not fit, or a concrete temperature is negative or NaN.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from jaxtemp.sampling import speculative
        >>> target = jnp.array([[0.0, 3.0, 1.0], [0.0, 1.0, 3.0], [3.0, 0.0, 1.0]])
        >>> found = jnp.array([1, 0])  # what followed last time
        >>> key = jax.random.key(0)
        >>> speculative.verify(key, found, None, target, temperature=0.0)
        Verified(ids=Array([ 1,  2, -1], dtype=int32), accepted=Array(1, dtype=int32))

    Source:
        Leviathan, Kalman and Matias, *Fast inference from transformers via speculative
        decoding* (2023), algorithm 1; Chen et al., *Accelerating large language model
        decoding with speculative sampling* (2023), algorithm 2.
    """
    draft_ids = token_ids("draft_ids", draft_ids)
    target_logits = upcast(_checks.floating_array("target_logits", target_logits))
    if draft_logits is not None:
        draft_logits = upcast(_checks.floating_array("draft_logits", draft_logits))
    _check_shapes(draft_ids, draft_logits, target_logits)
    log_q = _log_softmax("temperature", target_logits, temperature)
    log_p = None
    if draft_logits is not None:
        tau = temperature if draft_temperature is None else draft_temperature
        log_p = _log_softmax("draft_temperature", draft_logits, tau)

    keys = one_a_row(key, draft_ids.shape[:-1])
    accept = _accept(fold_in(keys, 0), draft_ids, log_q, log_p)
    accepted = jnp.cumprod(accept, axis=-1, dtype=jnp.int32).sum(axis=-1)
    left = _residual(draft_ids, log_q, log_p, accepted)
    drawn = categorical(fold_in(keys, 1), left)[..., None]

    places = jnp.arange(draft_ids.shape[-1] + 1)
    stop = accepted[..., None]
    ids = jnp.where(places < stop, jnp.append(draft_ids, drawn, axis=-1), drawn)
    return Verified(jnp.where(places <= stop, ids, -1), accepted)


def _accept(
    keys: jax.Array, draft_ids: jax.Array, log_q: jax.Array, log_p: jax.Array | None
) -> jax.Array:
    """Whether each token of the draft would be accepted by itself."""
    ratio = _pick(log_q[..., :-1, :], draft_ids)
    if log_p is not None:
        ratio = ratio - _pick(log_p, draft_ids)
    words = row_words(keys, keys.shape, draws=draft_ids.shape[-1])
    luck = jnp.log(uniform(words, ratio.dtype))
    return _is_class(draft_ids, log_q.shape[-1]) & (luck <= ratio)


def _residual(
    draft_ids: jax.Array, log_q: jax.Array, log_p: jax.Array | None, accepted: jax.Array
) -> jax.Array:
    """Log of what the draft leaves of the target's law where the draft stops."""
    classes, drafts = log_q.shape[-1], draft_ids.shape[-1]
    log_q = _row(log_q, accepted)
    at = jnp.minimum(accepted, drafts - 1)
    drafted = jnp.take_along_axis(draft_ids, at[..., None], axis=-1)
    if log_p is None:
        log_p = jnp.where(jnp.arange(classes) == drafted, 0.0, -jnp.inf)
    else:
        log_p = _row(log_p, at)
    rejected = (accepted < drafts)[..., None] & _is_class(drafted, classes)
    log_p = jnp.where(rejected, log_p, -jnp.inf)
    more = log_q > log_p
    gap = jnp.where(more, log_q - log_p, 1.0)
    left = jnp.where(more, log_q + jax.nn.log1mexp(gap), -jnp.inf)
    # Laws that differ by rounding alone may leave nothing: then either is the target's.
    return jnp.where(more.any(axis=-1, keepdims=True), left, log_q)


def _log_softmax(name: str, logits: jax.Array, temperature: ArrayLike) -> jax.Array:
    """Log-probabilities `[*batch, K, V]` at one temperature a row."""
    batch_shape = logits.shape[:-2]
    temperature = _checks.per_row(
        name, temperature, batch_shape, logits.dtype, _TEMPERATURE
    )
    return log_softmax(logits, temperature[..., None])


def _is_class(ids: jax.Array, classes: int) -> jax.Array:
    return (ids >= 0) & (ids < classes)


def _pick(log_probs: jax.Array, ids: jax.Array) -> jax.Array:
    """The entry of each row at its id."""
    return jnp.take_along_axis(log_probs, ids[..., None], axis=-1)[..., 0]


def _row(log_probs: jax.Array, place: jax.Array) -> jax.Array:
    """The law at one place of each row."""
    at = place[..., None, None]
    return jnp.take_along_axis(log_probs, at, axis=-2)[..., 0, :]


def _check_shapes(
    draft_ids: jax.Array, draft_logits: jax.Array | None, target_logits: jax.Array
) -> None:
    """Raises unless the three agree on batch, draft length and classes."""
    if draft_ids.ndim == 0 or draft_ids.shape[-1] == 0:
        raise ValueError(
            "`draft_ids` must have a last axis with at least one token, got shape "
            f"{draft_ids.shape}; without a draft, call `jaxtemp.categorical`."
        )
    *batch, drafts = draft_ids.shape
    classes = target_logits.shape[-1] if target_logits.ndim else 0
    if classes == 0 or target_logits.shape != (*batch, drafts + 1, classes):
        raise ValueError(
            f"`target_logits` must have shape {(*batch, drafts + 1, 'V')} for "
            f"`draft_ids` of shape {draft_ids.shape}, got {target_logits.shape}; "
            "the target gives one row more than the draft has tokens."
        )
    want = (*batch, drafts, classes)
    if draft_logits is not None and draft_logits.shape != want:
        raise ValueError(
            f"`draft_logits` must have shape {want}, got {draft_logits.shape}; "
            "give one row for each token of the draft, over the target's classes."
        )
