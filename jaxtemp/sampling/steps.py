"""Steps of a chain: each filter and penalty, made with its numbers.

A step is a pytree whose leaves are its numbers, so a chain of steps can be an argument
of a jitted function, and vmapped over its numbers. A number is a Python number or an
array that broadcasts to the logits' batch shape; a concrete one outside its range is a
`ValueError` when the step is made. Settings such as `ties` are constants.

What a step does, and what its numbers mean, stands at the function that it is named
after in `jaxtemp.sampling.filters` or `jaxtemp.sampling.penalties`.

Steps that look at the tokens so far take `over`: `"all"` of them, `"output"` for those
after the prompt, or an int for so many of the last ones.

Examples:
    >>> import jax
    >>> from jaxtemp.sampling import chain, steps
    >>> once = steps.repetition(1.5, over=64)
    >>> once
    repetition(1.5, over=64)
    >>> jax.tree.map(lambda penalty: 2 * penalty, once)
    repetition(3.0, over=64)
    >>> steps.top_p(1.5)
    Traceback (most recent call last):
    ...
    ValueError: `p` must be in [0, 1], got 1.5; ...
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .. import _checks
from . import _adaptive, _arguments, filters, penalties
from ._divide import divided
from ._step import Context, Step, step

_Over = str | int
_SCALARS = int | float | np.generic | np.ndarray


def temperature(temperature: ArrayLike) -> Step:
    """Divides the logits by a temperature, 0 and infinity included.

    Args:
        temperature: τ in [0, inf], a number or an array of the batch shape.

    Returns:
        The step.

    Examples:
        >>> from jaxtemp.sampling import chain, steps
        >>> chain(steps.temperature(0.5)).apply(jax.numpy.array([1.0, 2.0]))
        Array([2., 4.], dtype=float32)
    """
    number = _number("temperature", temperature, _checks.TEMPERATURE)
    return step("temperature", divided, number)


def top_k(k: ArrayLike, *, ties: str = "index", min_tokens_to_keep: int = 1) -> Step:
    """Keeps the k most likely tokens: `filters.top_k`."""
    options: dict[str, Any] = {"ties": ties, "min_tokens_to_keep": min_tokens_to_keep}
    return step("top_k", filters.top_k, _number("k", k, filters._TOP_K), **options)


def top_p(p: ArrayLike, *, ties: str = "index", min_tokens_to_keep: int = 1) -> Step:
    """Keeps the most likely tokens that together reach p: `filters.top_p`."""
    options: dict[str, Any] = {"ties": ties, "min_tokens_to_keep": min_tokens_to_keep}
    return step("top_p", filters.top_p, _number("p", p, filters._TOP_P), **options)


def min_p(p: ArrayLike, *, min_tokens_to_keep: int = 1) -> Step:
    """Keeps tokens at least p times as likely as the likeliest: `filters.min_p`."""
    options: dict[str, Any] = {"min_tokens_to_keep": min_tokens_to_keep}
    return step("min_p", filters.min_p, _number("p", p, filters._MIN_P), **options)


def typical_p(p: ArrayLike, *, min_tokens_to_keep: int = 1) -> Step:
    """Keeps the tokens whose surprise is most usual: `filters.typical_p`."""
    options: dict[str, Any] = {"min_tokens_to_keep": min_tokens_to_keep}
    return step(
        "typical_p", filters.typical_p, _number("p", p, filters._TOP_P), **options
    )


def top_h(h: ArrayLike) -> Step:
    """Keeps the most likely tokens within a budget of entropy: `filters.top_h`."""
    return step("top_h", filters.top_h, _number("h", h, filters._TOP_H))


def epsilon_cutoff(epsilon: ArrayLike, *, min_tokens_to_keep: int = 1) -> Step:
    """Keeps tokens of at least that probability: `filters.epsilon_cutoff`."""
    options: dict[str, Any] = {"min_tokens_to_keep": min_tokens_to_keep}
    number = _number("epsilon", epsilon, filters._EPSILON)
    return step("epsilon_cutoff", filters.epsilon_cutoff, number, **options)


def eta_cutoff(epsilon: ArrayLike, *, min_tokens_to_keep: int = 1) -> Step:
    """Keeps tokens above a cutoff that falls with entropy: `filters.eta_cutoff`."""
    options: dict[str, Any] = {"min_tokens_to_keep": min_tokens_to_keep}
    number = _number("epsilon", epsilon, filters._EPSILON)
    return step("eta_cutoff", filters.eta_cutoff, number, **options)


def top_n_sigma(n: ArrayLike) -> Step:
    """Keeps logits within n deviations of the largest: `filters.top_n_sigma`."""
    return step("top_n_sigma", filters.top_n_sigma, _number("n", n, filters._SIGMAS))


def xtc(
    threshold: ArrayLike, probability: ArrayLike, *, min_tokens_to_keep: int = 1
) -> Step:
    """Removes, at times, all likely tokens but the least likely: `filters.xtc`."""
    numbers = (
        _number("threshold", threshold, _adaptive._THRESHOLD),
        _number("probability", probability, _adaptive._PROBABILITY),
    )
    options: dict[str, Any] = {"min_tokens_to_keep": min_tokens_to_keep}
    return step("xtc", filters.xtc, *numbers, wants="key", **options)


def dynamic_temperature(
    low: ArrayLike, high: ArrayLike, exponent: ArrayLike = 1.0
) -> Step:
    """Divides by one that grows with entropy: `filters.dynamic_temperature`."""
    numbers = (
        _number("low", low, _adaptive._TEMPERATURE),
        _number("high", high, _adaptive._TEMPERATURE),
        _number("exponent", exponent, _adaptive._EXPONENT),
    )
    return step("dynamic_temperature", filters.dynamic_temperature, *numbers)


def mirostat(tau: ArrayLike = 5.0, eta: ArrayLike = 0.1) -> Step:
    """Keeps surprise near `tau` bits; the chain has state: `filters.mirostat`."""
    numbers = (
        _number("tau", tau, _adaptive._SURPRISE),
        _number("eta", eta, _adaptive._RATE),
    )
    return _Mirostat("mirostat", filters.mirostat, numbers)


def repetition(penalty: ArrayLike, *, over: _Over = "all") -> Step:
    """Makes tokens seen less likely, by a factor: `penalties.repetition`."""
    number = _number("penalty", penalty, penalties._FACTOR)
    return _history("repetition", penalties.repetition, number, over=over)


def presence(penalty: ArrayLike, *, over: _Over = "all") -> Step:
    """Lowers the logits of tokens seen, once: `penalties.presence`."""
    number = _number("penalty", penalty, penalties._SHIFT)
    return _history("presence", penalties.presence, number, over=over)


def frequency(penalty: ArrayLike, *, over: _Over = "all") -> Step:
    """Lowers the logits of tokens by how often they came: `penalties.frequency`."""
    number = _number("penalty", penalty, penalties._SHIFT)
    return _history("frequency", penalties.frequency, number, over=over)


def dry(
    multiplier: ArrayLike,
    base: ArrayLike = 1.75,
    allowed_length: ArrayLike = 2,
    *,
    breakers: Sequence[Sequence[int]] = (),
    over: _Over = "all",
) -> Step:
    """Lowers the logits of tokens that would go on repeating: `penalties.dry`."""
    numbers = (
        _number("multiplier", multiplier, penalties._MULTIPLIER),
        _number("base", base, penalties._BASE),
        _number("allowed_length", allowed_length, _arguments._COUNT),
    )
    options = {"breakers": _words(breakers)}
    return _history("dry", penalties.dry, *numbers, over=over, **options)


def no_repeat_ngram(n: ArrayLike, *, over: _Over = "all") -> Step:
    """Bans what would repeat an n-gram: `penalties.no_repeat_ngram`."""
    number = _number("n", n, _arguments._COUNT)
    return _history("no_repeat_ngram", penalties.no_repeat_ngram, number, over=over)


def bad_words(sequences: Sequence[Sequence[int]], *, over: _Over = "all") -> Step:
    """Bans the last token of a word that has begun: `penalties.bad_words`."""
    words = _words(sequences)
    return _history("bad_words", penalties.bad_words, over=over, sequences=words)


def logit_bias(ids: ArrayLike, values: ArrayLike) -> Step:
    """Adds numbers to the logits of some tokens: `penalties.logit_bias`."""
    numbers = jnp.asarray(ids), _number("values", values, penalties._BIAS)
    return step("logit_bias", penalties.logit_bias, *numbers)


def allowed(mask: ArrayLike) -> Step:
    """Bans every token outside of a mask: `penalties.allowed`."""
    return step("allowed", penalties.allowed, jnp.asarray(mask))


def bitmask(words: ArrayLike) -> Step:
    """Bans every token outside of a mask of bits: `penalties.bitmask`."""
    return step("bitmask", penalties.bitmask, jnp.asarray(words))


def min_length(minimum: ArrayLike, eos: ArrayLike, *, over: _Over = "all") -> Step:
    """Bans the end of the text for so many tokens: `penalties.min_length`."""
    numbers = _number("minimum", minimum, _arguments._COUNT), jnp.asarray(eos)
    return step("min_length", penalties.min_length, *numbers, wants="length", over=over)


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["numbers"],
    meta_fields=["name", "function", "settings", "wants", "over"],
)
@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class _Mirostat(Step):
    """The one step that learns from what was drawn."""

    stateful: ClassVar[bool] = True

    def init(self, batch_shape: tuple[int, ...]) -> filters.Mirostat:
        return filters.mirostat_init(self.numbers[0], batch_shape)

    def __call__(self, logits: jax.Array, context: Context) -> jax.Array:
        return filters.mirostat(logits, context.state)

    def update(self, state, logits: jax.Array, ids: jax.Array) -> filters.Mirostat:
        tau, eta = self.numbers
        return filters.mirostat_update(state, logits, ids, tau=tau, eta=eta)


def _history(name: str, function, *numbers, over: _Over, **options) -> Step:
    return step(name, function, *numbers, wants="tokens", over=over, **options)


def _number(name: str, value, rule: _checks.Rule):
    """The number as it is, if the rule allows it."""
    value = value if isinstance(value, _SCALARS) else jnp.asarray(value)
    _checks.per_row(name, value, np.shape(value), jnp.float32, rule)
    return value


def _words(words: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """Sequences of ids as a constant; what is none is left for the function to say."""
    return tuple(tuple(word) for word in words)
