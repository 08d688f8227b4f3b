r"""Filters: which tokens may be sampled at all.

Each is a pure function of logits that returns them with `-inf` where a token is cut.
All share these rules:

- A logit of `-inf` means "not allowed". It is never revived, and its token counts
  nowhere. A row that had a token keeps one; a row with none, with a NaN or a `+inf`
  stays as it is.
- What is kept keeps its logit to the last bit; a filter that is off returns its input.
- Parameters are numbers or arrays that broadcast to the *batch shape*, the logits'
  shape without the class axis. A concrete one outside its range is an error; what a
  traced one outside does is not promised.
- "The first tokens" are those of the largest logits, the lowest index first among
  equals. `ties="all"` also keeps what equals the last one kept.
- `min_tokens_to_keep` tokens of a filter's order stay in any case, if the row has them.
- Probabilities are those of the logits as given: apply a temperature before, or after.
  They are computed and summed in float32 (float64 for float64 logits), so either side
  may be taken where a mass comes within 2e-6 of its target, an entropy within 2e-6
  max(1, H), or a logit within 2e-6 (1 + d) of a cut, d below the largest (1e-12 each in
  float64). Counts are exact.
- Gradients flow through what is kept, as if the rest had never been there.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._checks import Rule
from ._adaptive import Mirostat as Mirostat
from ._adaptive import dynamic_temperature as dynamic_temperature
from ._adaptive import mirostat as mirostat
from ._adaptive import mirostat_init as mirostat_init
from ._adaptive import mirostat_update as mirostat_update
from ._adaptive import xtc as xtc
from ._filter import Row
from ._kept import prefix

_TOP_K = Rule(0, float("inf"), "pass 0 to keep all tokens", True)
_TOP_P = Rule(0, 1, "pass the mass to keep, 1 for all tokens")
_MIN_P = Rule(0, 1, "pass a share of the largest probability, 0 to keep all tokens")
_TOP_H = Rule(0, 1, "pass the share of the entropy to keep, 1 for all tokens")
_EPSILON = Rule(0, 1, "pass the least probability to keep, 0 for all tokens")
_SIGMAS = Rule(0, float("inf"), "pass 0 to keep all tokens")


def top_k(
    logits: ArrayLike,
    k: ArrayLike,
    *,
    axis: int = -1,
    ties: str = "index",
    min_tokens_to_keep: ArrayLike = 1,
) -> jax.Array:
    r"""Keeps the `k` most likely tokens.

    $$\{i : \#\{j : j \text{ before } i\} < k\}$$

    Args:
        logits: Real floating array; `axis` holds the tokens, every other axis is batch.
        k: How many tokens to keep, for each row; 0 or the vocabulary's size keep all.
        axis: The axis of the tokens.
        ties: `"index"` keeps exactly `k`; `"all"` also what equals the k-th.
        min_tokens_to_keep: Overrules a smaller `k`.

    Returns:
        The logits, `-inf` where cut.

    Raises:
        TypeError: `logits` are not real floating or `k` not an integer.
        ValueError: `k` is negative, or a shape or `ties` does not fit.

    Examples:
        >>> import jax
        >>> from jaxtemp.sampling import filters
        >>> filters.top_k(jax.numpy.array([1.0, 3.0, 2.0, 2.0]), 2)
        Array([-inf,   3.,   2., -inf], dtype=float32)

    Source:
        Fan, Lewis and Dauphin, *Hierarchical neural story generation* (2018).
    """
    row = Row.of(logits, axis)
    count = row.count("k", k, _TOP_K)
    least = row.count("min_tokens_to_keep", min_tokens_to_keep)
    target = jnp.where(count == 0, row.logits.shape[-1], jnp.maximum(count, least))
    return row.keep(prefix(row.logits, target, ties=_ties(ties)))


def top_p(
    logits: ArrayLike,
    p: ArrayLike,
    *,
    axis: int = -1,
    ties: str = "index",
    min_tokens_to_keep: ArrayLike = 1,
) -> jax.Array:
    r"""Keeps the fewest tokens whose probabilities sum to `p`: the nucleus.

    $$\{i : \sum_{j \text{ before } i} p_j < p\}$$

    Args:
        logits: Real floating array; `axis` holds the tokens, every other axis is batch.
        p: The mass to reach, in [0, 1], for each row; 1 keeps all, 0 the first token.
        axis: The axis of the tokens.
        ties: `"index"` keeps the fewest; `"all"` also what equals the last of them.
        min_tokens_to_keep: How many tokens stay in any case.

    Returns:
        The logits, `-inf` where cut.

    Raises:
        TypeError: `logits` are not real floating or `p` is not real.
        ValueError: `p` is outside [0, 1], or a shape or `ties` does not fit.

    Examples:
        >>> import jax
        >>> from jaxtemp.sampling import filters
        >>> filters.top_p(jax.numpy.array([1.0, 4.0, 2.0, 3.0]), 0.8)
        Array([-inf,   4.,  -inf,   3.], dtype=float32)

    Source:
        Holtzman et al., *The curious case of neural text degeneration* (2020).
    """
    row = Row.of(logits, axis)
    p = row.number("p", p, _TOP_P)
    ties = _ties(ties)
    _, weight, total, _ = row.shape()
    kept = prefix(row.logits, p * total, weight, ties=ties)
    return row.keep(row.at_least(kept | (p >= 1), min_tokens_to_keep, ties=ties))


def min_p(
    logits: ArrayLike,
    p: ArrayLike,
    *,
    axis: int = -1,
    min_tokens_to_keep: ArrayLike = 1,
) -> jax.Array:
    r"""Keeps tokens at least `p` times as likely as the most likely one.

    $$\{i : p_i \ge p \max_j p_j\}$$

    Args:
        logits: Real floating array; `axis` holds the tokens, every other axis is batch.
        p: A share in [0, 1], for each row; 0 keeps all.
        axis: The axis of the tokens.
        min_tokens_to_keep: How many tokens stay in any case.

    Returns:
        The logits, `-inf` where cut.

    Raises:
        TypeError: `logits` are not real floating or `p` is not real.
        ValueError: `p` is outside [0, 1], or a shape does not fit.

    Examples:
        >>> import jax
        >>> from jaxtemp.sampling import filters
        >>> filters.min_p(jax.numpy.array([1.0, 4.0, 2.0, 3.0]), 0.2)
        Array([-inf,   4.,  -inf,   3.], dtype=float32)

    Source:
        Nguyen et al., *Turning up the heat: min-p sampling* (2024).
    """
    row = Row.of(logits, axis)
    cut = jnp.log(row.number("p", p, _MIN_P))
    return row.keep(row.above(cut, min_tokens_to_keep))


def typical_p(
    logits: ArrayLike,
    p: ArrayLike,
    *,
    axis: int = -1,
    min_tokens_to_keep: ArrayLike = 1,
) -> jax.Array:
    r"""Keeps the tokens of the most typical surprise until their mass reaches `p`.

    The order is that of $|-\log p_i - H|$, the smallest first: tokens about as
    surprising as the entropy $H$ says. The token that reaches the mass is kept.

    Args:
        logits: Real floating array; `axis` holds the tokens, every other axis is batch.
        p: The mass to reach, in [0, 1], for each row; 1 keeps all.
        axis: The axis of the tokens.
        min_tokens_to_keep: How many of the most typical tokens stay in any case.

    Returns:
        The logits, `-inf` where cut.

    Raises:
        TypeError: `logits` are not real floating or `p` is not real.
        ValueError: `p` is outside [0, 1], or a shape does not fit.

    Examples:
        >>> import jax
        >>> from jaxtemp.sampling import filters
        >>> logits = jax.numpy.log(jax.numpy.array([0.4, 0.2, 0.2, 0.2]))
        >>> filters.typical_p(logits, 0.5) > -jax.numpy.inf
        Array([False,  True,  True,  True], dtype=bool)

    Source:
        Meister et al., *Locally typical sampling* (2023).
    """
    row = Row.of(logits, axis)
    p = row.number("p", p, _TOP_P)
    below, weight, total, log_total = row.shape()
    score = -jnp.abs(log_total - below - row.entropy)
    kept = prefix(score, p * total, weight)
    return row.keep(row.at_least(kept | (p >= 1), min_tokens_to_keep, score))


def top_h(logits: ArrayLike, h: ArrayLike, *, axis: int = -1) -> jax.Array:
    r"""Keeps the most likely tokens whose entropy fits a share of the row's.

    $$\{i : -\sum_{j \text{ up to } i} p_j \log p_j \le h H\}, \qquad
      H = -\sum_j p_j \log p_j$$

    and the first token in any case. The sum is over the whole vocabulary, where
    Hugging Face looks at the 100 most likely tokens alone.

    Args:
        logits: Real floating array; `axis` holds the tokens, every other axis is batch.
        h: The share of the entropy, in [0, 1], for each row; 1 keeps all, 0 one token.
        axis: The axis of the tokens.

    Returns:
        The logits, `-inf` where cut.

    Raises:
        TypeError: `logits` are not real floating or `h` is not real.
        ValueError: `h` is outside [0, 1], or a shape does not fit.

    Examples:
        >>> import jax
        >>> from jaxtemp.sampling import filters
        >>> logits = jax.numpy.log(jax.numpy.array([0.4, 0.3, 0.2, 0.1]))
        >>> filters.top_h(logits, 0.7) > -jax.numpy.inf
        Array([ True,  True, False, False], dtype=bool)

    Source:
        Potraghloo et al., *Top-H decoding: adapting the creativity and coherence with
        bounded entropy in text generation* (2025), as its authors implement it.
    """
    row = Row.of(logits, axis)
    h = row.number("h", h, _TOP_H)
    below, weight, _, log_total = row.shape()
    term = jnp.where(weight > 0, weight * (log_total - below), 0)
    budget = h * jnp.sum(term, axis=-1, keepdims=True)
    # Where every term is lost to rounding, all the mass is on the first token.
    more = jnp.where(budget > 0, jnp.nextafter(budget, jnp.inf), 0)
    kept = prefix(row.logits, more, term, last=False)
    first = prefix(row.logits, jnp.int32(1))
    return row.keep(kept | first | (h >= 1))


def epsilon_cutoff(
    logits: ArrayLike,
    epsilon: ArrayLike,
    *,
    axis: int = -1,
    min_tokens_to_keep: ArrayLike = 1,
) -> jax.Array:
    r"""Keeps tokens of probability at least `epsilon`.

    $$\{i : p_i \ge \epsilon\}$$

    If there is none, the most likely tokens stay.

    Args:
        logits: Real floating array; `axis` holds the tokens, every other axis is batch.
        epsilon: A probability in [0, 1], for each row; 0 keeps all.
        axis: The axis of the tokens.
        min_tokens_to_keep: How many tokens stay in any case.

    Returns:
        The logits, `-inf` where cut.

    Raises:
        TypeError: `logits` are not real floating or `epsilon` is not real.
        ValueError: `epsilon` is outside [0, 1], or a shape does not fit.

    Examples:
        >>> import jax
        >>> from jaxtemp.sampling import filters
        >>> filters.epsilon_cutoff(jax.numpy.array([1.0, 4.0, 2.0, 3.0]), 0.2)
        Array([-inf,   4.,  -inf,   3.], dtype=float32)

    Source:
        Hewitt, Manning and Liang, *Truncation sampling as language model desmoothing*
        (2022).
    """
    row = Row.of(logits, axis)
    cut = jnp.log(row.number("epsilon", epsilon, _EPSILON))
    return row.keep(row.above(cut + row.shape().log_total, min_tokens_to_keep))


def eta_cutoff(
    logits: ArrayLike,
    epsilon: ArrayLike,
    *,
    axis: int = -1,
    min_tokens_to_keep: ArrayLike = 1,
) -> jax.Array:
    r"""Keeps tokens of probability at least `epsilon`, or less where entropy is high.

    $$\{i : p_i \ge \eta\}, \qquad
      \eta = \min(\epsilon, \sqrt{\epsilon}\, e^{-H})$$

    If there is none, the most likely tokens stay.

    Args:
        logits: Real floating array; `axis` holds the tokens, every other axis is batch.
        epsilon: A probability in [0, 1], for each row; 0 keeps all.
        axis: The axis of the tokens.
        min_tokens_to_keep: How many tokens stay in any case.

    Returns:
        The logits, `-inf` where cut.

    Raises:
        TypeError: `logits` are not real floating or `epsilon` is not real.
        ValueError: `epsilon` is outside [0, 1], or a shape does not fit.

    Examples:
        >>> import jax
        >>> from jaxtemp.sampling import filters
        >>> filters.eta_cutoff(jax.numpy.array([1.0, 4.0, 2.0, 3.0]), 0.2)
        Array([-inf,   4.,  -inf,   3.], dtype=float32)

    Source:
        Hewitt, Manning and Liang (2022), equation 7.
    """
    row = Row.of(logits, axis)
    least = jnp.log(row.number("epsilon", epsilon, _EPSILON))
    cut = jnp.minimum(least, least / 2 - row.entropy)
    return row.keep(row.above(cut + row.shape().log_total, min_tokens_to_keep))


def top_n_sigma(
    logits: ArrayLike,
    n: ArrayLike,
    *,
    axis: int = -1,
    min_tokens_to_keep: ArrayLike = 1,
) -> jax.Array:
    r"""Keeps logits within `n` standard deviations of the largest.

    $$\{i : z_i \ge \max_j z_j - n \sigma\}$$

    with $\sigma$ the population standard deviation of the row's allowed logits. The
    set does not depend on a temperature applied before.

    Args:
        logits: Real floating array; `axis` holds the tokens, every other axis is batch.
        n: How many deviations, at least 0, for each row; 0 and infinity keep all.
        axis: The axis of the tokens.
        min_tokens_to_keep: How many tokens stay in any case.

    Returns:
        The logits, `-inf` where cut.

    Raises:
        TypeError: `logits` are not real floating or `n` is not real.
        ValueError: `n` is negative, or a shape does not fit.

    Examples:
        >>> import jax
        >>> from jaxtemp.sampling import filters
        >>> filters.top_n_sigma(jax.numpy.array([1.0, 4.0, 2.0, 3.0]), 1.0)
        Array([-inf,   4.,  -inf,   3.], dtype=float32)

    Source:
        Tang et al., *Top-nσ: not all logits are you need* (2024).
    """
    row = Row.of(logits, axis)
    n = row.number("n", n, _SIGMAS)
    below = row.below
    sigma = jnp.std(below, axis=-1, keepdims=True, where=below > -jnp.inf)
    cut = jnp.where((n > 0) & (n < jnp.inf), -n * sigma, -jnp.inf)
    return row.keep(row.above(cut, min_tokens_to_keep))


def _ties(ties) -> str:
    if ties not in ("index", "all"):
        raise ValueError(
            f"`ties` must be 'index' or 'all', got {ties!r}; pass 'index' to keep the "
            "lowest indices among equals, 'all' to keep all of them."
        )
    return ties
