"""llama.cpp."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike

from ..._checks import one_of
from .. import filters, steps
from .._chain import Chain, chain
from .._step import Step, step
from . import _parts
from ._parts import on

_ORDER = (
    *("penalties", "dry", "top_n_sigma", "top_k", "typ_p"),
    *("top_p", "min_p", "xtc", "temperature"),
)


def llama_cpp(
    *,
    samplers: Sequence[str] = _ORDER,
    top_k: ArrayLike = 40,
    top_p: ArrayLike = 0.95,
    min_p: ArrayLike = 0.05,
    typ_p: ArrayLike = 1.0,
    temp: ArrayLike = 0.8,
    dynatemp_range: ArrayLike = 0.0,
    dynatemp_exponent: ArrayLike = 1.0,
    top_n_sigma: ArrayLike = -1.0,
    xtc_probability: ArrayLike = 0.0,
    xtc_threshold: ArrayLike = 0.1,
    penalty_last_n: int = 64,
    penalty_repeat: ArrayLike = 1.0,
    penalty_freq: ArrayLike = 0.0,
    penalty_present: ArrayLike = 0.0,
    dry_multiplier: ArrayLike = 0.0,
    dry_base: ArrayLike = 1.75,
    dry_allowed_length: ArrayLike = 2,
    dry_penalty_last_n: int = -1,
    dry_sequence_breakers: Sequence[Sequence[int]] = (),
    mirostat: int = 0,
    mirostat_tau: ArrayLike = 5.0,
    mirostat_eta: ArrayLike = 0.1,
    min_keep: int = 0,
    logit_bias: Mapping[int, float] | None = None,
) -> Chain:
    """The sampler chain of llama.cpp, temperature last.

    | order | step | rule |
    |---|---|---|
    | 1 | logit bias | always first |
    | 2 | penalties | repetition, frequency, presence over the last n tokens |
    | 3 | dry | over the last n tokens |
    | 4 | top_n_sigma | keeps a token equal to the threshold |
    | 5 | top_k | exactly k; lowest ids first among equals |
    | 6 | typ_p | until the sum is above p, not just equal |
    | 7 | top_p | until the sum reaches p |
    | 8 | min_p | keeps a token equal to the threshold |
    | 9 | xtc | |
    | 10 | temperature | 0 or less: the first largest of what is left |

    `samplers` chooses steps 2 to 10 and their order. With `mirostat=2` only the logit
    bias and the temperature run before it, and the chain has state.

    Not reproduced: the order of an unstable sort among equal tokens; the strings of
    `dry_sequence_breakers`, which are sequences of ids here, none by default; Mirostat
    1; and adaptive-p.

    Args:
        samplers: The names of the steps, in their order.
        top_k: 0 or less is off.
        top_p: 1 or more is off.
        min_p: 0 is off.
        typ_p: 1 or more is off.
        temp: 0 or less is greedy.
        dynatemp_range: 0 is off; else the temperature is in `temp` ± this.
        dynatemp_exponent: Of the entropy over its largest.
        top_n_sigma: 0 or less is off.
        xtc_probability: 0 is off.
        xtc_threshold: Above 0.5 is off.
        penalty_last_n: How many of the last tokens; 0 is off, -1 all.
        penalty_repeat: 1 is off.
        penalty_freq: 0 is off.
        penalty_present: 0 is off.
        dry_multiplier: 0 is off.
        dry_base: Base of the penalty's growth.
        dry_allowed_length: The longest repetition without a penalty, plus one.
        dry_penalty_last_n: As `penalty_last_n`.
        dry_sequence_breakers: Sequences of ids that end a repetition.
        mirostat: 0 is off, 2 is the second version.
        mirostat_tau: The target of surprise, in bits.
        mirostat_eta: How fast it is followed.
        min_keep: How many tokens every filter keeps at least.
        logit_bias: What is added to the logits of some ids.

    Returns:
        The chain.

    Raises:
        ValueError: A number is outside of its range, or a name is unknown.

    Examples:
        >>> from jaxtemp.sampling import presets
        >>> presets.llama_cpp()
        chain(top_k(40), top_p(0.95), min_p(0.05), temperature(0.8))
        >>> presets.llama_cpp(samplers=["temperature", "min_p"], temp=1.5)
        chain(temperature(1.5), min_p(0.05))

    Source:
        llama.cpp, `common/common.h`, `common/sampling.cpp` and
        `src/llama-sampling.cpp`.
    """
    one_of("mirostat", mirostat, (0, 2))
    for name in samplers:
        one_of("samplers", name, _ORDER)
    first = _parts.bias(logit_bias)
    if mirostat == 2:
        last = steps.mirostat(mirostat_tau, mirostat_eta)
        return chain(*first, *_temperature(temp), last)

    window, dry_window = _window(penalty_last_n), _window(dry_penalty_last_n)
    keeping: dict[str, Any] = {"min_tokens_to_keep": max(min_keep, 1)}

    def dry(multiplier: ArrayLike) -> Step:
        numbers = multiplier, dry_base, dry_allowed_length
        return steps.dry(*numbers, breakers=dry_sequence_breakers, over=dry_window)

    def xtc(probability: ArrayLike) -> Step:
        return steps.xtc(xtc_threshold, probability, **keeping)

    penalties = (
        *on(penalty_repeat, 1, lambda x: steps.repetition(x, over=window)),
        *on(penalty_freq, 0, lambda x: steps.frequency(x, over=window)),
        *on(penalty_present, 0, lambda x: steps.presence(x, over=window)),
    )
    made = {
        "penalties": penalties if penalty_last_n else (),
        "dry": on(dry_multiplier, 0, dry) if dry_penalty_last_n else (),
        "top_n_sigma": on(_parts.from_zero(top_n_sigma), 0, steps.top_n_sigma),
        "top_k": on(_parts.from_zero(top_k), 0, steps.top_k),
        "typ_p": on(
            _parts.to_one(typ_p), 1, lambda p: step("typ_p", _typ_p, p, **keeping)
        ),
        "top_p": on(_parts.to_one(top_p), 1, lambda p: steps.top_p(p, **keeping)),
        "min_p": on(_parts.from_zero(min_p), 0, lambda p: steps.min_p(p, **keeping)),
        "xtc": on(_parts.from_zero(xtc_probability), 0, xtc),
        "temperature": _dynamic(temp, dynatemp_range, dynatemp_exponent),
    }
    return chain(*first, *(part for name in samplers for part in made[name]))


def _window(last_n: int) -> int | str:
    """The tokens that a penalty sees; it has none with 0."""
    return last_n if last_n > 0 else "all"


def _temperature(temp: ArrayLike) -> _parts.Steps:
    # Below the least normal number, division is the greedy limit too.
    return _parts.temperature(_parts.from_zero(temp), float(np.finfo(np.float32).tiny))


def _dynamic(temp, width, exponent) -> _parts.Steps:
    """A temperature within `width` of `temp`, by the entropy."""
    if not _parts.is_array(width) and width <= 0:
        return _temperature(temp)
    low, high = _parts.from_zero(temp - width), temp + width
    return (steps.dynamic_temperature(low, high, exponent),)


def _typ_p(logits: jax.Array, p: ArrayLike, *, min_tokens_to_keep=1) -> jax.Array:
    """`filters.typical_p` until the sum exceeds p."""
    more = _parts.above(p, logits.dtype)
    return filters.typical_p(logits, more, min_tokens_to_keep=min_tokens_to_keep)
