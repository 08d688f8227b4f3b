r"""Penalties and bans: functions of logits and of the tokens so far.

All of them share these rules:

- `logits` are real floating, `[*batch, V]`: the last axis holds the classes. The result
  has their shape and dtype; in between it is float32 (float64 for float64 logits).
- `tokens` are integers `[*batch, T]`, the newest last. -1, anywhere, means no token, so
  one array of fixed length serves a growing history. To let a penalty see the last
  64 slots only, or the output without the prompt, pass that part.
- A parameter of rows is a number or an array that broadcasts to the batch shape. A
  concrete one outside its range is an error, a traced one counts as the nearest number
  inside. An id that is no class is an error too; traced, it counts as no token.
- A penalty leaves finite logits finite, and others as they are. A ban makes a logit
  `-inf`, unless it is NaN; nothing revives one. Bans are obeyed: a row may be left with
  nothing allowed, for which samplers return -1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .. import boltzmann
from .._checks import floating_array
from .._rows import upcast
from . import _arguments, _history
from ._bans import allowed as allowed
from ._bans import bad_words as bad_words
from ._bans import ban
from ._bans import bitmask as bitmask
from ._bans import min_length as min_length
from ._bans import no_repeat_ngram as no_repeat_ngram

_FACTOR = _arguments.finite(_arguments.TINY, "pass 1 for no penalty")
_SHIFT = _arguments.finite(-_arguments.HUGE, "pass 0 for no penalty")
_MULTIPLIER = _arguments.finite(0, "pass 0 for no penalty")
_BASE = _arguments.finite(1, "pass 1 for a penalty that does not grow")
_BIAS = _arguments.finite(-float("inf"), "pass -inf to ban a token")
_SCALE = _arguments.finite(-_arguments.HUGE, "pass 1 for no guidance")

# A base to the power of this over its logarithm is finite in float32.
_LOG_LARGEST = 88.0


def repetition(logits: ArrayLike, tokens: ArrayLike, penalty: ArrayLike) -> jax.Array:
    r"""Makes every token seen so far less likely, by a factor on its logit.

    $$z_i \leftarrow \begin{cases} z_i\, r & z_i < 0 \\ z_i / r & z_i \ge 0 \end{cases}
    \qquad \text{for every } i \text{ seen, once}$$

    The result depends on the common offset of the logits; for one that does not, pass
    log-probabilities, or use `presence`.

    Args:
        logits: `[*batch, V]`.
        tokens: `[*batch, T]`, usually with the prompt.
        penalty: $r$ in (0, inf), per row; above 1 discourages, 1 is off.

    Returns:
        Logits of the same shape and dtype.

    Raises:
        TypeError: `logits` are not real floating, `tokens` not integers or `penalty`
            not real.
        ValueError: A shape does not fit, or a concrete value is out of range.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxtemp.sampling import penalties
        >>> logits = jnp.array([-0.25, 0.5, 1.0])
        >>> print(penalties.repetition(logits, jnp.array([0, 1, 1, -1]), 2.0))
        [-0.5   0.25  1.  ]

    Source:
        Keskar et al. 2019, *CTRL*, section 4.1, with the sign rule of Hugging Face.
    """
    logits, tokens = _arguments.logits_and_tokens(logits, tokens)
    factor = _arguments.row("penalty", penalty, logits, _FACTOR)
    factor = jnp.where(_history.counts(tokens, logits.shape[-1]) > 0, factor, 1)
    return _penalised(logits, lambda z: jnp.where(z < 0, z * factor, z / factor))


def presence(logits: ArrayLike, tokens: ArrayLike, penalty: ArrayLike) -> jax.Array:
    r"""Lowers the logit of every token seen so far, once.

    $$z_i \leftarrow z_i - \alpha\,[n_i > 0], \qquad n_i = \#\{t : x_t = i\}$$

    Args:
        logits: `[*batch, V]`.
        tokens: `[*batch, T]`, usually without the prompt.
        penalty: $\alpha$ in (-inf, inf), in the unit of the logits, per row; negative
            ones encourage, 0 is off.

    Returns:
        Logits of the same shape and dtype.

    Raises:
        TypeError: As `repetition`.
        ValueError: As `repetition`.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxtemp.sampling import penalties
        >>> print(penalties.presence(jnp.zeros(3), jnp.array([0, 1, 1, -1]), 0.5))
        [-0.5 -0.5  0. ]

    Source:
        OpenAI's API reference, `presence_penalty`.
    """
    logits, tokens = _arguments.logits_and_tokens(logits, tokens)
    shift = _arguments.row("penalty", penalty, logits, _SHIFT)
    seen = _history.counts(tokens, logits.shape[-1]) > 0
    return _penalised(logits, lambda z: z - jnp.where(seen, shift, 0))


def frequency(logits: ArrayLike, tokens: ArrayLike, penalty: ArrayLike) -> jax.Array:
    r"""Lowers the logit of every token by how often it was seen so far.

    $$z_i \leftarrow z_i - \alpha\, n_i, \qquad n_i = \#\{t : x_t = i\}$$

    Args:
        logits: `[*batch, V]`.
        tokens: `[*batch, T]`, usually without the prompt.
        penalty: $\alpha$ in (-inf, inf), in the unit of the logits, per row; negative
            ones encourage, 0 is off.

    Returns:
        Logits of the same shape and dtype.

    Raises:
        TypeError: As `repetition`.
        ValueError: As `repetition`.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxtemp.sampling import penalties
        >>> print(penalties.frequency(jnp.zeros(3), jnp.array([0, 1, 1, -1]), 0.5))
        [-0.5 -1.   0. ]

    Source:
        OpenAI's API reference, `frequency_penalty`.
    """
    logits, tokens = _arguments.logits_and_tokens(logits, tokens)
    shift = _arguments.row("penalty", penalty, logits, _SHIFT)
    counts = _history.counts(tokens, logits.shape[-1])
    return _penalised(logits, lambda z: z - shift * counts.astype(z.dtype))


def dry(
    logits: ArrayLike,
    tokens: ArrayLike,
    multiplier: ArrayLike,
    base: ArrayLike = 1.75,
    allowed_length: ArrayLike = 2,
    *,
    breakers: Sequence[Sequence[int]] = (),
) -> jax.Array:
    r"""Lowers the logit of every token that would continue a repetition: DRY.

    $$z_i \leftarrow z_i - m\, b^{\,\ell_i - a} \quad \text{where } \ell_i \ge a$$

    $\ell_i$ is the length of the longest end of the history that $i$ has followed
    before. It stops at the last breaker, a word across which nothing counts as a
    repetition, and the exponent at $88 / \log b$, so that the power is finite. A
    breaker of one token is never penalised itself.

    This is llama.cpp's rule but for two corners: of breakers that contain each other
    the one that ends last counts, and with an allowed length of 0 the first token of
    the history counts as seen too. Time grows with the longest repetition.

    Args:
        logits: `[*batch, V]`.
        tokens: `[*batch, T]`, with the prompt.
        multiplier: $m$ in [0, inf), in the unit of the logits, per row; 0 is off.
        base: $b$ in [1, inf), per row.
        allowed_length: $a$, an integer >= 0, per row: the longest repetition that is
            free is one of $a$ tokens, the new one included.
        breakers: Words, sequences of ids that are known when traced.

    Returns:
        Logits of the same shape and dtype.

    Raises:
        TypeError: As `repetition`, or `breakers` are not lists of ids.
        ValueError: As `repetition`, or a breaker is empty.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxtemp.sampling import penalties
        >>> tokens = jnp.array([0, 1, 2, 0, 1])  # 2 would repeat 0, 1, 2
        >>> print(penalties.dry(jnp.zeros(4), tokens, 1.5))
        [ 0.   0.  -1.5  0. ]
        >>> print(penalties.dry(jnp.zeros(4), tokens, 1.5, breakers=[[0, 1]]))
        [0. 0. 0. 0.]

    Source:
        p-e-w 2024, oobabooga/text-generation-webui#5677; llama.cpp,
        `llama_sampler_dry_apply`.
    """
    logits, tokens = _arguments.logits_and_tokens(logits, tokens)
    multiplier = _arguments.row("multiplier", multiplier, logits, _MULTIPLIER)
    base = _arguments.row("base", base, logits, _BASE)
    classes = logits.shape[-1]
    words = _arguments.words("breakers", breakers, classes)
    packed = _history.pack(tokens)
    slots = packed.shape[-1]
    allowed = _arguments.count("allowed_length", allowed_length, logits, most=slots)
    exponents = jnp.minimum(_LOG_LARGEST / jnp.log(base), slots).astype(jnp.int32)
    limit = jnp.minimum(_history.since(packed, words), allowed + exponents)
    exponent = _history.continuations(packed, limit, classes) - allowed
    spared = np.isin(np.arange(classes), [w[0] for w in words if len(w) == 1])
    repeats = (exponent >= 0) & ~spared
    power = jnp.where(repeats, exponent, 0).astype(base.dtype)
    penalty = multiplier * base**power
    return _penalised(logits, lambda z: z - jnp.where(repeats, penalty, 0))


def logit_bias(logits: ArrayLike, ids: ArrayLike, values: ArrayLike) -> jax.Array:
    r"""Adds a number to the logits of some tokens.

    $$z_i \leftarrow z_i + \sum_{k\,:\,\mathrm{ids}_k = i} \mathrm{values}_k$$

    Args:
        logits: `[*batch, V]`.
        ids: `[K]` for all rows alike, or `[*batch, K]`; -1 for none.
        values: Broadcasts to `[*batch, K]`, in [-inf, inf); `-inf` bans.

    Returns:
        Logits of the same shape and dtype.

    Raises:
        TypeError: `logits` are not floating, `ids` not integers or `values` not real.
        ValueError: A shape does not fit, or a concrete value is out of range.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxtemp.sampling import penalties
        >>> print(penalties.logit_bias(jnp.zeros(3), [0, 2], [1.5, -jnp.inf]))
        [ 1.5  0.  -inf]

    Source:
        OpenAI's API reference, `logit_bias`.
    """
    logits = _arguments.logits_array(logits)
    ids = _arguments.token_ids("ids", ids, logits, shared=True)
    values = _arguments.entries("values", values, logits, ids.shape, _BIAS)
    banning = values == -jnp.inf
    banned = _history.totals(ids, banning.astype(jnp.int32), logits.shape[-1]) > 0
    bias = _history.totals(ids, jnp.where(banning, 0, values), logits.shape[-1])
    return ban(_penalised(logits, lambda z: z + bias), banned)


def guidance(
    logits: ArrayLike, unconditional: ArrayLike, scale: ArrayLike
) -> jax.Array:
    r"""Moves a distribution away from an unconditional one: classifier-free guidance.

    $$z_i \leftarrow \log q_i + \gamma\,(\log p_i - \log q_i), \qquad
    p = \mathrm{softmax}(\mathrm{logits}),\;
    q = \mathrm{softmax}(\mathrm{unconditional})$$

    A token that either of them excludes is excluded. Where the scale is 1 the
    unconditional logits are not used and the result is $\log p$. A row of logits
    without a distribution stays as it is; unconditional ones make theirs NaN.

    Args:
        logits: Conditional logits, `[*batch, V]`.
        unconditional: Logits without the prompt, or with a negative one, of that shape.
        scale: $\gamma$ in (-inf, inf), per row; above 1 follows the prompt more.

    Returns:
        Logits of the same shape and dtype; log-probabilities only if the scale is 1.

    Raises:
        TypeError: `logits` or `unconditional` are not floating, or `scale` not real.
        ValueError: A shape does not fit, or a concrete scale is not finite.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxtemp.sampling import penalties
        >>> z = penalties.guidance(
        ...     jnp.array([1.0, 1.0, 1.0]), jnp.array([1.0, 0.0, 1.5]), 1.5
        ... )
        >>> [f"{x:.4f}" for x in z]
        ['-1.0959', '-0.5959', '-1.3459']

    Source:
        Ho and Salimans 2022, *Classifier-free diffusion guidance*, equation 6; Sanchez
        et al. 2023, *Stay on topic with classifier-free guidance*, section 2.
    """
    logits = _arguments.logits_array(logits)
    unconditional = floating_array("unconditional", unconditional)
    _arguments.same_shape("unconditional", unconditional, logits)
    scale = _arguments.row("scale", scale, logits, _SCALE)
    aim = boltzmann.log_softmax(upcast(logits))
    away = boltzmann.log_softmax(unconditional.astype(aim.dtype))
    away = jnp.where(scale == 1, aim, away)
    excluded = (aim == -jnp.inf) | (away == -jnp.inf)
    p, q = jnp.where(excluded, 0, aim), jnp.where(excluded, 0, away)
    guided = _penalised(logits, lambda z: q + scale * (p - q))
    return ban(jnp.where(jnp.isnan(aim), logits, guided), excluded)


def _penalised(logits: jax.Array, change: Callable) -> jax.Array:
    """The finite logits, changed but still finite, and the others as they are."""
    finite = jnp.isfinite(logits)
    # What stands for the others keeps inf * 0 out of the derivatives.
    changed = change(upcast(jnp.where(finite, logits, 0)))
    most = float(jnp.finfo(logits.dtype).max)
    changed = jnp.clip(changed, -most, most).astype(logits.dtype)
    return jnp.where(finite, changed, logits)
