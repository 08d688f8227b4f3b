"""Bans: functions that make some logits `-inf`. Public in `penalties`."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from . import _arguments, _history


def no_repeat_ngram(logits: ArrayLike, tokens: ArrayLike, n: ArrayLike) -> jax.Array:
    r"""Bans every token that would complete an n-gram for the second time.

    $$z_i \leftarrow -\infty \quad \text{where }
    (x_{T-n+2}, \dots, x_T, i) = (x_t, \dots, x_{t+n-1}) \text{ for some } t$$

    Args:
        logits: `[*batch, V]`.
        tokens: `[*batch, T]`, with or without the prompt.
        n: An integer >= 0, per row, may be traced; 0 is off, 1 bans every token seen.

    Returns:
        Logits of the same shape and dtype.

    Raises:
        TypeError: As `repetition`, or `n` is not an integer.
        ValueError: As `repetition`.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxtemp.sampling import penalties
        >>> tokens = jnp.array([0, 1, 2, 0, 1])
        >>> print(penalties.no_repeat_ngram(jnp.zeros(4), tokens, 3))
        [  0.   0. -inf   0.]

    Source:
        Paulus, Xiong and Socher 2017, *A deep reinforced model for abstractive
        summarization*, section 2.5.
    """
    logits, tokens = _arguments.logits_and_tokens(logits, tokens)
    packed = _history.pack(tokens)
    n = _arguments.count("n", n, logits, most=packed.shape[-1] + 1)
    continued = _history.continuations(packed, n - 1, logits.shape[-1])
    return ban(logits, (n > 0) & (continued >= n - 1))


def bad_words(
    logits: ArrayLike, tokens: ArrayLike, sequences: Sequence[Sequence[int]]
) -> jax.Array:
    r"""Bans the last token of a word whenever the tokens before it have just come.

    $$z_i \leftarrow -\infty \quad \text{where } (x_{T-m+1}, \dots, x_T, i)
    \text{ is a word of } m + 1 \text{ tokens}$$

    Args:
        logits: `[*batch, V]`.
        tokens: `[*batch, T]`.
        sequences: Words, sequences of ids that are known when traced; one of a single
            token is always banned.

    Returns:
        Logits of the same shape and dtype.

    Raises:
        TypeError: As `repetition`, or `sequences` are not lists of ids.
        ValueError: As `repetition`, or a word is empty.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxtemp.sampling import penalties
        >>> print(
        ...     penalties.bad_words(
        ...         jnp.zeros(4), jnp.array([3, 1]), [[0], [1, 2], [2, 3]]
        ...     )
        ... )
        [-inf   0. -inf   0.]

    Source:
        Hugging Face `NoBadWordsLogitsProcessor`, vLLM `apply_bad_words`.
    """
    logits, tokens = _arguments.logits_and_tokens(logits, tokens)
    words = _arguments.words("sequences", sequences, logits.shape[-1])
    prefixes = tuple(word[:-1] for word in words)
    last = np.array([word[-1] for word in words], np.int32)
    come = _history.ends_with(_history.pack(tokens), prefixes)
    return ban(logits, jnp.zeros(logits.shape, bool).at[..., last].max(come))


def allowed(logits: ArrayLike, mask: ArrayLike) -> jax.Array:
    r"""Bans every token outside of a mask.

    $$z_i \leftarrow -\infty \quad \text{where } \mathrm{mask}_i \text{ is false}$$

    It means what `where=mask` does in other functions: what stands under a `False` is
    never used, NaN included.

    Args:
        logits: `[*batch, V]`.
        mask: Boolean, broadcasts to the logits' shape.

    Returns:
        Logits of the same shape and dtype.

    Raises:
        TypeError: `logits` are not floating or `mask` is not boolean.
        ValueError: A shape does not fit.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxtemp.sampling import penalties
        >>> print(penalties.allowed(jnp.zeros(3), jnp.array([True, False, True])))
        [  0. -inf   0.]

    Source:
        vLLM `allowed_token_ids`.
    """
    logits = _arguments.logits_array(logits)
    return jnp.where(_arguments.class_mask(mask, logits), logits, -jnp.inf)


def bitmask(logits: ArrayLike, words: ArrayLike) -> jax.Array:
    r"""Bans every token outside of a mask of bits, as grammar engines make them.

    $$z_i \leftarrow -\infty \quad \text{where bit } i \bmod 32 \text{ of word }
    \lfloor i / 32 \rfloor \text{ is } 0$$

    Bits are counted from the lowest. As in `allowed`, what is excluded is never used.

    Args:
        logits: `[*batch, V]`.
        words: uint32 or int32, broadcasts to `[*batch, ceil(V / 32)]`.

    Returns:
        Logits of the same shape and dtype.

    Raises:
        TypeError: `logits` are not floating or `words` not of 32 bits.
        ValueError: A shape does not fit.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxtemp.sampling import penalties
        >>> print(penalties.bitmask(jnp.zeros(4), jnp.array([0b1001], jnp.uint32)))
        [  0. -inf -inf   0.]

    Source:
        Dong et al. 2024, *XGrammar*, token bitmask.
    """
    logits = _arguments.logits_array(logits)
    words = _arguments.packed_mask(words, logits)
    bits = (words[..., None] >> jnp.arange(32, dtype=jnp.uint32)) & 1
    padded = bits.reshape(*words.shape[:-1], 32 * words.shape[-1])
    return jnp.where(padded[..., : logits.shape[-1]] != 0, logits, -jnp.inf)


def min_length(
    logits: ArrayLike, length: ArrayLike, minimum: ArrayLike, eos: ArrayLike
) -> jax.Array:
    r"""Bans the end of the text until it is long enough.

    $$z_i \leftarrow -\infty \quad \text{for every } i \in \mathrm{eos}
    \text{ where } \mathrm{length} < \mathrm{minimum}$$

    Args:
        logits: `[*batch, V]`.
        length: How many tokens there are, an integer >= 0, per row.
        minimum: How many there must be, an integer >= 0, per row; 0 is off.
        eos: One id, `[K]` for all rows alike, or `[*batch, K]`; -1 for none.

    Returns:
        Logits of the same shape and dtype.

    Raises:
        TypeError: `logits` are not floating, or another argument is not of integers.
        ValueError: A shape does not fit, or a concrete value is out of range.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxtemp.sampling import penalties
        >>> print(penalties.min_length(jnp.zeros((2, 3)), jnp.array([4, 5]), 5, eos=2))
        [[  0.   0. -inf]
         [  0.   0.   0.]]

    Source:
        Hugging Face `MinLengthLogitsProcessor`, vLLM `min_tokens`.
    """
    logits = _arguments.logits_array(logits)
    length = _arguments.count("length", length, logits)
    minimum = _arguments.count("minimum", minimum, logits)
    eos = _arguments.token_ids("eos", eos, logits, shared=True)
    ends = _history.counts(eos, logits.shape[-1]) > 0
    return ban(logits, ends & (length < minimum))


def ban(logits: jax.Array, banned: jax.Array) -> jax.Array:
    """The logits, -inf where banned; a NaN, which says that all is lost, stays."""
    return jnp.where(banned & ~jnp.isnan(logits), -jnp.inf, logits)
