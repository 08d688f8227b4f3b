"""What a chain is made of: steps, and what they may look at beside the logits."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from .._checks import Rule, per_row

_PROMPT_LENGTH = Rule(
    0, float("inf"), "pass how many positions of `tokens` the prompt takes", True
)


class Context(NamedTuple):
    """What a step may look at beside the logits `[*batch, V]`.

    Attributes:
        key: One key, or an array of keys of the batch shape; random steps need it.
        tokens: The tokens so far, int32 `[*batch, T]`, -1 where there is none.
        prompt_length: How many positions of `tokens` the prompt takes, for each row.
        state: The state of a step that has one.
    """

    key: Any = None
    tokens: Any = None
    prompt_length: Any = None
    state: Any = None


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["numbers"],
    meta_fields=["name", "function", "settings", "wants", "over"],
)
@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Step:
    """A function of the logits with the numbers that it was given, a pytree of them.

    The constructors in `jaxtemp.sampling.steps` make steps. One of your own is
    `Step("halve", lambda logits, factor: factor * logits, (0.5,))`.

    Attributes:
        name: What the step is called in a `repr`.
        function: Called as `function(logits, *numbers, **settings)`, with a key before
            or the tokens after the logits if it `wants` them. Keep it the same object
            from call to call: `jit` compiles anew for another.
        numbers: Numbers and arrays, the leaves of the pytree.
        settings: Pairs of a name and a hashable constant.
        wants: `"logits"` alone, or also `"key"`, `"tokens"` or `"length"`, the number
            of tokens so far.
        over: The tokens that it sees: `"all"`, `"output"` for those after the prompt,
            or an int for so many of the last ones.

    Examples:
        >>> from jaxtemp import sampling
        >>> halve = sampling.Step("halve", lambda logits, by: by * logits, (0.5,))
        >>> halve
        halve(0.5)
        >>> sampling.chain(halve).apply(jax.numpy.array([2.0, 1.0]))
        Array([1. , 0.5], dtype=float32)
    """

    name: str
    function: Callable[..., jax.Array]
    numbers: tuple = ()
    settings: tuple[tuple[str, Any], ...] = ()
    wants: str = "logits"
    over: str | int = "all"

    stateful: ClassVar[bool] = False

    def __call__(self, logits: jax.Array, context: Context) -> jax.Array:
        """The logits after this step."""
        arguments = _ARGUMENTS[self.wants](self, logits, context)
        return self.function(*arguments, *self.numbers, **dict(self.settings))

    def __eq__(self, other) -> bool:
        return self._fixed() == getattr(other, "_fixed", tuple)() and all(
            mine is theirs or (not hasattr(mine, "shape") and mine == theirs)
            for mine, theirs in zip(self.numbers, other.numbers, strict=True)
        )

    def __hash__(self) -> int:
        return hash(self._fixed())

    def _fixed(self) -> tuple:
        """All but the numbers, of which arrays have neither equality nor a hash."""
        parts = type(self), self.name, self.function, self.settings
        return (*parts, self.wants, self.over, len(self.numbers))

    def __repr__(self) -> str:
        options = dict(self.settings)
        if self.over != "all":
            options["over"] = self.over
        parts = [_brief(number) for number in self.numbers]
        parts += [f"{name}={value!r}" for name, value in options.items()]
        return f"{self.name}({', '.join(parts)})"


def step(
    name: str,
    function: Callable[..., jax.Array],
    *numbers,
    wants: str = "logits",
    over: str | int = "all",
    **settings: Any,
) -> Step:
    """A step without the settings that are the function's own defaults."""
    defaults = inspect.signature(function).parameters
    changed = tuple(
        (option, value)
        for option, value in settings.items()
        if value != defaults[option].default
    )
    return Step(name, function, numbers, changed, wants, check_over(over))


def check_over(over) -> str | int:
    """Accept "all", "output", or how many of the last tokens to see."""
    if over in ("all", "output") or (type(over) is int and over >= 1):
        return over
    raise ValueError(
        f'`over` must be "all", "output" or an int >= 1, got {over!r}; '
        "pass an int to see so many of the last tokens."
    )


def _brief(number) -> str:
    """A number as it is; an array, which may be traced, by its type."""
    if not hasattr(number, "shape"):
        return repr(number)
    return f"{number.dtype}[{','.join(map(str, number.shape))}]"


def _needed(step: Step, name: str, value, fix: str):
    if value is None:
        raise ValueError(
            f"`{name}` must be given to a chain with {step!r}, got None; {fix}."
        )
    return value


def _key(step: Step, context: Context):
    return _needed(
        step, "key", context.key, "pass a key, or one for each row of the logits"
    )


def _tokens(step: Step, logits: jax.Array, context: Context) -> jax.Array:
    """The tokens so far, -1 for those that the step does not see."""
    tokens = _needed(
        step, "tokens", context.tokens, "pass the ids so far, -1 where there is none"
    )
    tokens = jnp.asarray(tokens)
    if step.over == "all":
        return tokens
    return jnp.where(_seen(step, tokens, logits, context), tokens, -1)


def _seen(step: Step, tokens: jax.Array, logits: jax.Array, context: Context):
    if step.over != "output":
        valid = (tokens >= 0).astype(jnp.int32)
        after = jnp.cumsum(valid[..., ::-1], axis=-1)[..., ::-1]
        return after <= int(step.over)
    prompt_length = _needed(
        step,
        "prompt_length",
        context.prompt_length,
        "pass how many positions of `tokens` the prompt takes",
    )
    start = per_row(
        "prompt_length", prompt_length, logits.shape[:-1], jnp.int32, _PROMPT_LENGTH
    )
    return jnp.arange(tokens.shape[-1]) >= start[..., None]


def _length(step: Step, logits: jax.Array, context: Context) -> jax.Array:
    tokens = _tokens(step, logits, context)
    return jnp.sum(tokens >= 0, axis=-1, dtype=jnp.int32)


_ARGUMENTS: dict[str, Callable[[Step, jax.Array, Context], tuple]] = {
    "logits": lambda step, logits, context: (logits,),
    "key": lambda step, logits, context: (_key(step, context), logits),
    "tokens": lambda step, logits, context: (logits, _tokens(step, logits, context)),
    "length": lambda step, logits, context: (logits, _length(step, logits, context)),
}
