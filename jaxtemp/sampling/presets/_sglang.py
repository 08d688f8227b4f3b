"""SGLang."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ..._checks import one_of
from .. import filters, steps
from .._chain import Chain, chain
from .._step import step
from . import _parts
from ._parts import on


def sglang(
    *,
    temperature: ArrayLike = 1.0,
    top_p: ArrayLike = 1.0,
    top_k: ArrayLike = -1,
    min_p: ArrayLike = 0.0,
    frequency_penalty: ArrayLike = 0.0,
    presence_penalty: ArrayLike = 0.0,
    repetition_penalty: ArrayLike = 1.0,
    min_new_tokens: ArrayLike = 0,
    stop_token_ids: Sequence[int] | None = None,
    logit_bias: Mapping[int, float] | None = None,
    sampling_backend: str = "flashinfer",
) -> Chain:
    """The sampler of SGLang, whose top-k and top-p are taken jointly.

    | order | step | rule |
    |---|---|---|
    | 1 | frequency, presence penalty | output |
    | 2 | min new tokens | no stop token before so many of output |
    | 3 | repetition penalty | output, once a token |
    | 4 | logit bias | |
    | 5 | temperature | below 1e-6 greedy: the first largest |
    | 6 | top-k and top-p | both of the probabilities after the temperature |
    | 7 | min-p | keeps a token equal to the threshold |

    Joint means that top-p counts the probabilities before top-k removed any, so its
    set is as large as after renormalisation, or larger. The backends differ:

    | backend | equal tokens at the boundary | mass before a kept token | with min-p |
    |---|---|---|---|
    | flashinfer | all kept | below p | top-p of what top-k kept, renormalised |
    | pytorch | lowest ids first | p or below | joint |

    Not reproduced: which of several equal tokens PyTorch's unstable sort cuts, and
    that one request with min-p changes its neighbours in a FlashInfer batch.

    Args:
        temperature: At least 0.
        top_p: Above 0; 1 is off.
        top_k: At least 1; -1 is off.
        min_p: 0 is off. With `"flashinfer"` an array means that min-p is in use.
        frequency_penalty: 0 is off; needs `prompt_length` in a call.
        presence_penalty: 0 is off; needs `prompt_length` in a call.
        repetition_penalty: 1 is off; needs `prompt_length` in a call.
        min_new_tokens: Needs `stop_token_ids`, and `prompt_length` in a call.
        stop_token_ids: The end-of-sequence and other stop ids.
        logit_bias: What is added to the logits of some ids.
        sampling_backend: `"flashinfer"` or `"pytorch"`.

    Returns:
        The chain.

    Raises:
        ValueError: A number is outside of its range, `stop_token_ids` is missing, or
            the backend is unknown.

    Examples:
        >>> from jaxtemp.sampling import presets
        >>> joint = presets.sglang(top_k=2, top_p=0.5)
        >>> joint
        chain(joint(2, 0.5))
        >>> joint.apply(jax.numpy.log(jax.numpy.array([0.4, 0.3, 0.2, 0.1]))) > -9
        Array([ True,  True, False, False], dtype=bool)

    Source:
        SGLang 0.5.23, `srt/layers/sampler.py` and
        `srt/sampling/sampling_batch_info.py`.
    """
    _parts.require_positive("top_p", top_p)
    one_of("sampling_backend", sampling_backend, ("flashinfer", "pytorch"))
    pytorch = sampling_backend == "pytorch"
    if not _parts.is_array(top_k) and top_k != -1:
        _parts.require_positive("top_k", top_k)
    top_k, stop = _parts.from_zero(top_k), stop_token_ids
    least = on(min_p, 0, steps.min_p)
    return chain(
        *on(frequency_penalty, 0, lambda x: steps.frequency(x, over="output")),
        *on(presence_penalty, 0, lambda x: steps.presence(x, over="output")),
        *_parts.minimum(
            "min_new_tokens", min_new_tokens, "output", "stop_token_ids", stop
        ),
        *on(repetition_penalty, 1, lambda x: steps.repetition(x, over="output")),
        *_parts.bias(logit_bias),
        *_parts.temperature(temperature, 1e-6),
        *_nucleus(top_k, top_p, pytorch=pytorch, joint=pytorch or not least),
        *least,
    )


def _nucleus(top_k, top_p, *, pytorch: bool, joint: bool) -> _parts.Steps:
    ties = "index" if pytorch else "all"
    first = on(top_k, 0, lambda k: steps.top_k(k, ties=ties))
    second = on(top_p, 1, lambda p: steps.top_p(p, ties=ties))
    if not second or not (first or pytorch) or not joint:
        return first + second
    return (step("joint", _joint, top_k, top_p, ties=ties, strict=pytorch),)


def _joint(
    logits: jax.Array, k: ArrayLike, p: ArrayLike, *, ties="all", strict=False
) -> jax.Array:
    """What top-k and top-p both keep; `strict` if mass before of p is allowed."""
    p = _parts.above(p, logits.dtype) if strict else p
    return jnp.minimum(
        filters.top_k(logits, k, ties=ties), filters.top_p(logits, p, ties=ties)
    )
