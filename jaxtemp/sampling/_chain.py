"""Chains: steps one after another, and a draw at the end."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import overload

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .._rows import fold, upcast
from ..random._keys import fold_in, typed
from . import filters
from ._divide import divided
from ._sample import sample
from ._step import Context, Step

# What `sample` does in one pass, in its order.
_FUSED = (divided, filters.top_k, filters.top_p, filters.min_p)


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["steps"], meta_fields=[]
)
@dataclasses.dataclass(frozen=True, repr=False)
class Chain:
    r"""Steps that run in the order written, then a draw; see `chain`, which makes it.

    A chain is a tuple of steps and a pytree of their numbers: pass it through `jit`,
    `vmap` or `tree_map`, and change numbers without compiling again. The logits are
    `[*batch, V]`, the tokens so far int32 `[*batch, T]` with -1 for "no token".
    Between the steps logits are float32 (float64 if they are given so).

    Randomness: `key` is one key, or an array of keys of the batch shape. Without a
    random step the draw uses `key` itself, as `sample` does; with one, the draw and
    each random step use keys of their own, folded in from it.

    Attributes:
        steps: The steps.
    """

    steps: tuple[Step, ...]

    def __call__(
        self,
        key: jax.Array,
        logits: ArrayLike,
        tokens: ArrayLike | None = None,
        *,
        prompt_length: ArrayLike | None = None,
        where: ArrayLike | None = None,
    ) -> jax.Array:
        """Draw one token a row from the logits after all steps.

        Args:
            key: One key, or an array of keys of the batch shape.
            logits: Real floating `[*batch, V]`; `-inf` is not allowed.
            tokens: The tokens so far, int32 `[*batch, T]`, -1 where there is none;
                steps that look at them need it.
            prompt_length: How many positions of `tokens` the prompt takes, one number
                or one a row; steps with `over="output"` need it.
            where: Boolean mask that broadcasts to the logits; `False` excludes.

        Returns:
            Ids, int32 of the batch shape; -1 for a row without a distribution.

        Raises:
            TypeError: The chain has state, or the logits are not real floating.
            ValueError: A step misses what it looks at, or a shape does not fit.

        Examples:
            >>> import jax
            >>> from jaxtemp.sampling import chain, steps
            >>> greedy = chain(steps.repetition(2.0), steps.top_k(1))
            >>> logits = jax.numpy.array([2.0, 1.5])
            >>> greedy(jax.random.key(0), logits, jax.numpy.array([0]))
            Array(1, dtype=int32)
        """
        self._refuse_state()
        ids, _ = self.sample(
            key, logits, (), tokens, prompt_length=prompt_length, where=where
        )
        return ids

    def apply(
        self,
        logits: ArrayLike,
        tokens: ArrayLike | None = None,
        *,
        prompt_length: ArrayLike | None = None,
        key: jax.Array | None = None,
    ) -> jax.Array:
        """The logits after all steps, whose softmax is what a call draws from.

        Args:
            logits: As in a call.
            tokens: As in a call.
            prompt_length: As in a call.
            key: As in a call, where the chain has a random step: the same key gives
                the logits that the call draws from.

        Returns:
            Logits of the same shape and dtype, `-inf` where a step removed a class.

        Raises:
            TypeError: As in a call.
            ValueError: As in a call.

        Examples:
            >>> import jax
            >>> from jaxtemp.sampling import chain, steps
            >>> logits = jax.numpy.array([3.0, 2.0, 1.0])
            >>> chain(steps.temperature(0.5), steps.top_p(0.8)).apply(logits)
            Array([  6., -inf, -inf], dtype=float32)
            >>> chain(steps.top_p(0.8), steps.temperature(0.5)).apply(logits)
            Array([  6.,   4., -inf], dtype=float32)
        """
        self._refuse_state()
        rows = _rows(logits, None)
        key = None if key is None else typed(key, rows.shape[:-1])
        out = self._run(self.steps, rows, Context(key, tokens, prompt_length), ())
        # The shift, if any, keeps logits beyond the range of a half type finite.
        return divided(out, 1.0, dtype=jnp.asarray(logits).dtype)

    def init(self, batch_shape: tuple[int, ...] = ()) -> tuple:
        """The state before the first token, for a chain with `mirostat`.

        Args:
            batch_shape: The logits' shape without the class axis.

        Returns:
            A tuple of the state of each step that has one, a pytree; `()` if none has.

        Examples:
            >>> from jaxtemp.sampling import chain, steps
            >>> chain(steps.top_k(50)).init((4,))
            ()
        """
        return tuple(step.init(batch_shape) for step in self._stateful())

    def sample(
        self,
        key: jax.Array,
        logits: ArrayLike,
        state: tuple,
        tokens: ArrayLike | None = None,
        *,
        prompt_length: ArrayLike | None = None,
        where: ArrayLike | None = None,
    ) -> tuple[jax.Array, tuple]:
        """Draw one token a row, and what the chain has learned from it.

        Args:
            key: As in a call.
            logits: As in a call.
            state: What `init` or the last `sample` returned.
            tokens: As in a call.
            prompt_length: As in a call.
            where: As in a call.

        Returns:
            The ids and the new state.

        Raises:
            TypeError: As in a call, but for a chain with state.
            ValueError: As in a call, or the state is not one of this chain.

        Examples:
            >>> import jax
            >>> from jaxtemp.sampling import chain, steps
            >>> surprising = chain(steps.temperature(0.8), steps.mirostat(5.0, 0.1))
            >>> state = surprising.init()
            >>> logits = jax.numpy.array([2.0, 1.0, 0.0])
            >>> id, state = surprising.sample(jax.random.key(0), logits, state)
            >>> 0 <= id < 3
            Array(True, dtype=bool)
        """
        self._check_state(state)
        rows = _rows(logits, where)
        key = typed(key, rows.shape[:-1])
        context = Context(key, tokens, prompt_length)
        # What a step with state learns depends on the logits that were drawn from.
        start = len(self.steps) if self._stateful() else _fused_start(self.steps)
        filtered = self._run(self.steps[:start], rows, context, state)
        fused = {step.name: step.numbers[0] for step in self.steps[start:]}
        key = fold_in(key, 0) if self._random() else key
        ids = sample(key, filtered, **fused)
        pairs = zip(self._stateful(), state, strict=True)
        return ids, tuple(step.update(old, filtered, ids) for step, old in pairs)

    def _run(self, steps, logits, context: Context, state: tuple) -> jax.Array:
        """The logits after `steps`, the first of this chain's."""
        states = iter(state)
        for index, step in enumerate(steps):
            if step.wants == "key" and context.key is not None:
                own = context._replace(key=fold_in(context.key, index + 1))
            else:
                own = context._replace(state=next(states) if step.stateful else None)
            logits = step(logits, own)
        return logits

    def _stateful(self) -> list:
        return [step for step in self.steps if step.stateful]

    def _random(self) -> bool:
        return any(step.wants == "key" for step in self.steps)

    def _refuse_state(self) -> None:
        if not self._stateful():
            return
        raise TypeError(
            f"`{self!r}` has state, which a call cannot hand on; use "
            "`state = chain.init(batch_shape)`, then "
            "`ids, state = chain.sample(key, logits, state)`."
        )

    def _check_state(self, state) -> None:
        count = len(self._stateful())
        if isinstance(state, tuple) and len(state) == count:
            return
        raise ValueError(
            f"`state` must be a tuple of {count} for this chain, got {state!r}; "
            "pass what `chain.init(batch_shape)` or the last `chain.sample` returned."
        )

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    @overload
    def __getitem__(self, index: int) -> Step: ...
    @overload
    def __getitem__(self, index: slice) -> Chain: ...
    def __getitem__(self, index):
        chosen = self.steps[index]
        return Chain(chosen) if isinstance(index, slice) else chosen

    def __repr__(self) -> str:
        return f"chain({', '.join(map(repr, self.steps))})"


def chain(*steps: Step | Chain) -> Chain:
    """Compose steps, run in the order written.

    The order matters: a nucleus at a low temperature is smaller than the same nucleus
    taken before the temperature. A last run of `temperature`, `top_k`, `top_p` and
    `min_p`, each at most once and in that order, is drawn from in one pass by `sample`.

    Args:
        *steps: Steps made by `jaxtemp.sampling.steps`, or chains, whose steps are
            taken over.

    Returns:
        A `Chain`: call it with a key and logits for ids, or `apply` it to logits.

    Raises:
        TypeError: Something is neither a step nor a chain.

    Examples:
        >>> import jax
        >>> from jaxtemp.sampling import chain, steps
        >>> draw = chain(steps.temperature(0.7), steps.top_k(50), steps.top_p(0.9))
        >>> draw
        chain(temperature(0.7), top_k(50), top_p(0.9))
        >>> draw(jax.random.key(0), jax.numpy.array([[9.0, 0.0], [0.0, 9.0]]))
        Array([0, 1], dtype=int32)

    Source:
        Composition as in Holtzman et al., *The curious case of neural text
        degeneration* (2020), where temperature comes before the nucleus.
    """
    flat: list[Step] = []
    for step in steps:
        if not isinstance(step, Step | Chain):
            raise TypeError(
                f"`steps` must be steps or chains, got {step!r}; "
                "make one, for example `steps.top_k(50)`."
            )
        flat += [step] if isinstance(step, Step) else step.steps
    return Chain(tuple(flat))


def _rows(logits, where) -> jax.Array:
    """Logits as the steps see them: checked, masked, in the type of sums."""
    return upcast(fold(logits, 1.0, axis=-1, where=where).logits)


def _fused_start(steps: tuple[Step, ...]) -> int:
    """The index of the first of the last steps that `sample` runs in one pass."""
    start, before = len(steps), len(_FUSED)
    for step in reversed(steps):
        if step.settings or step.function not in _FUSED[:before]:
            return start
        before = _FUSED.index(step.function)
        start -= 1
    return start
