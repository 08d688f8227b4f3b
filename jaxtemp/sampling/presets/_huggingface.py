"""Hugging Face Transformers."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ... import boltzmann
from .. import filters, steps
from .._chain import Chain, chain
from .._step import step
from . import _parts
from ._parts import on


def huggingface(
    *,
    temperature: ArrayLike = 1.0,
    top_k: ArrayLike | None = 50,
    top_p: ArrayLike | None = 1.0,
    min_p: ArrayLike | None = None,
    typical_p: ArrayLike | None = 1.0,
    epsilon_cutoff: ArrayLike | None = 0.0,
    eta_cutoff: ArrayLike | None = 0.0,
    top_h: ArrayLike | None = None,
    repetition_penalty: ArrayLike | None = 1.0,
    no_repeat_ngram_size: int | None = 0,
    bad_words_ids: Sequence[Sequence[int]] | None = None,
    min_length: ArrayLike | None = 0,
    min_new_tokens: ArrayLike | None = None,
    eos_token_id: int | Sequence[int] | None = None,
    suppress_tokens: Sequence[int] | None = None,
) -> Chain:
    """`generate(do_sample=True)` of Hugging Face Transformers.

    | order | step | rule |
    |---|---|---|
    | 1 | repetition penalty | prompt and output, once a token |
    | 2 | no repeated n-gram | prompt and output |
    | 3 | bad words | but for a lone end-of-sequence token |
    | 4 | min length, min new tokens | with the prompt; without it |
    | 5 | suppressed tokens | |
    | 6 | temperature | positive |
    | 7 | top-h | of the 100 most likely tokens |
    | 8 | top-k | all tokens equal to the k-th are kept |
    | 9 | top-p | smallest set that reaches p; lowest ids first among equals |
    | 10 | min-p | keeps a token equal to the threshold |
    | 11 | typical | all tokens as typical as the last one are kept |
    | 12 | epsilon, eta | keep a token equal to the cutoff |

    Not reproduced: which of several equal tokens the nucleus cuts, as that is the
    order of an unstable sort there; and padding, which `min_length` counts there.

    Args:
        temperature: Above 0; there is no greedy limit.
        top_k: 0 or `None` is off.
        top_p: 1 or `None` is off.
        min_p: 0 or `None` is off.
        typical_p: 1 or `None` is off.
        epsilon_cutoff: 0 or `None` is off.
        eta_cutoff: 0 or `None` is off.
        top_h: `None` is off.
        repetition_penalty: 1 or `None` is off.
        no_repeat_ngram_size: 0 or `None` is off.
        bad_words_ids: Sequences of ids.
        min_length: With the prompt; needs `eos_token_id`.
        min_new_tokens: Without the prompt; needs `eos_token_id` and, in a call,
            `prompt_length`.
        eos_token_id: One id or several.
        suppress_tokens: Ids that are never drawn.

    Returns:
        The chain.

    Raises:
        ValueError: A number is outside of its range, or `eos_token_id` is missing.

    Examples:
        >>> from jaxtemp.sampling import presets
        >>> presets.huggingface(temperature=0.7, top_p=0.9)
        chain(temperature(0.7), top_k(50, ties='all'), top_p(0.9))

    Source:
        `transformers` 5.23, `GenerationMixin._get_logits_processor`.
    """
    _parts.require_positive("temperature", temperature)
    eos = eos_token_id
    ends = [[id] for id in np.atleast_1d(() if eos is None else eos).tolist()]
    words = [list(word) for word in bad_words_ids or () if list(word) not in ends]
    return chain(
        *on(repetition_penalty, 1, steps.repetition),
        *on(no_repeat_ngram_size, 0, steps.no_repeat_ngram),
        *on(words, [], steps.bad_words),
        *_parts.minimum("min_length", min_length, "all", "eos_token_id", eos),
        *_parts.minimum(
            "min_new_tokens", min_new_tokens, "output", "eos_token_id", eos
        ),
        *on(suppress_tokens, (), lambda ids: steps.logit_bias(ids, -jnp.inf)),
        *on(temperature, 1, steps.temperature),
        *on(top_h, None, lambda h: chain(steps.top_k(100), steps.top_h(h))),
        *on(top_k, 0, lambda k: steps.top_k(k, ties="all")),
        *on(top_p, 1, steps.top_p),
        *on(min_p, 0, steps.min_p),
        *on(typical_p, 1, lambda p: step("typical_p", _typical_p, p)),
        *on(epsilon_cutoff, 0, steps.epsilon_cutoff),
        *on(eta_cutoff, 0, steps.eta_cutoff),
    )


def _typical_p(logits: jax.Array, p: ArrayLike) -> jax.Array:
    """`filters.typical_p` that keeps all tokens as typical as the last one."""
    some = filters.typical_p(logits, p)
    surprise = -boltzmann.log_softmax(logits)
    distance = jnp.abs(surprise - boltzmann.entropy(logits)[..., None])
    last = jnp.max(distance, axis=-1, keepdims=True, where=some > -jnp.inf, initial=0)
    return jnp.where(distance <= last, logits, some)
