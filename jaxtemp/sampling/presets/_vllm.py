"""vLLM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .. import steps
from .._chain import Chain, chain
from .._step import step
from . import _parts
from ._parts import on


def vllm(
    *,
    temperature: ArrayLike = 1.0,
    top_p: ArrayLike = 1.0,
    top_k: ArrayLike = 0,
    min_p: ArrayLike = 0.0,
    presence_penalty: ArrayLike = 0.0,
    frequency_penalty: ArrayLike = 0.0,
    repetition_penalty: ArrayLike = 1.0,
    min_tokens: ArrayLike = 0,
    stop_token_ids: Sequence[int] | None = None,
    logit_bias: Mapping[int, float] | None = None,
    allowed_token_ids: Sequence[int] | None = None,
    bad_words_token_ids: Sequence[Sequence[int]] | None = None,
) -> Chain:
    """The sampler of vLLM (V1, its PyTorch path).

    | order | step | rule |
    |---|---|---|
    | 1 | allowed ids | |
    | 2 | bad words | as they occur in the output |
    | 3 | min tokens, logit bias | no stop token before so many of output |
    | 4 | repetition penalty | prompt and output, once a token |
    | 5 | frequency, then presence penalty | output |
    | 6 | temperature | below 1e-5 greedy: the first largest, before all below |
    | 7 | min-p | keeps a token equal to the threshold |
    | 8 | top-k | all tokens equal to the k-th are kept |
    | 9 | top-p | smallest set that reaches p; lowest ids first among equals |

    Not reproduced: which of several equal tokens the nucleus cuts, as that is the
    order of an unstable sort there; and the Triton and FlashInfer paths, which treat
    equal tokens in other ways.

    Args:
        temperature: At least 0.
        top_p: Above 0; 1 is off.
        top_k: 0 and -1 are off.
        min_p: 0 is off.
        presence_penalty: 0 is off; needs `prompt_length` in a call.
        frequency_penalty: 0 is off; needs `prompt_length` in a call.
        repetition_penalty: 1 is off.
        min_tokens: Of output; needs `stop_token_ids`, and `prompt_length` in a call.
        stop_token_ids: The end-of-sequence and other stop ids.
        logit_bias: What is added to the logits of some ids.
        allowed_token_ids: All others are never drawn.
        bad_words_token_ids: Sequences of ids; needs `prompt_length` in a call.

    Returns:
        The chain.

    Raises:
        ValueError: A number is outside of its range, or `stop_token_ids` is missing.

    Examples:
        >>> from jaxtemp.sampling import presets
        >>> presets.vllm(temperature=0.7, top_k=50, min_p=0.05)
        chain(temperature(0.7), min_p(0.05), top_k(50, ties='all'))
        >>> presets.vllm(temperature=0.0, top_p=0.9)
        chain(top_k(1), top_p(0.9))

    Source:
        vLLM, `vllm/v1/sample/sampler.py` and `ops/topk_topp_sampler.py`.
    """
    _parts.require_positive("top_p", top_p)
    words = bad_words_token_ids or ()
    stop = stop_token_ids
    return chain(
        *on(allowed_token_ids, (), lambda ids: step("only", _only, jnp.asarray(ids))),
        *on(words, (), lambda words: steps.bad_words(words, over="output")),
        *_parts.minimum("min_tokens", min_tokens, "output", "stop_token_ids", stop),
        *_parts.bias(logit_bias),
        *on(repetition_penalty, 1, steps.repetition),
        *on(frequency_penalty, 0, lambda x: steps.frequency(x, over="output")),
        *on(presence_penalty, 0, lambda x: steps.presence(x, over="output")),
        *_parts.temperature(temperature, 1e-5),
        *on(min_p, 0, steps.min_p),
        *on(_parts.from_zero(top_k), 0, lambda k: steps.top_k(k, ties="all")),
        *on(top_p, 1, steps.top_p),
    )


def _only(logits: jax.Array, ids: jax.Array) -> jax.Array:
    """The logits of these ids alone."""
    classes = jnp.arange(logits.shape[-1])
    return jnp.where(jnp.isin(classes, ids), logits, -jnp.inf)
