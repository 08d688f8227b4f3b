"""Decoding: a loop that lets a model read a token and draws the next one."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.typing import ArrayLike

from ..random._keys import fold_in, one_a_row
from ._chain import Chain
from ._decode import StepFn, count, end_ids, read, token_ids


class Generated(NamedTuple):
    """What [`generate`][jaxtemp.sampling.generate] returns.

    Attributes:
        tokens: int32 `[*batch, P + length]`, each row its prompt, then its new tokens
            without a gap, then -1.
        lengths: int32 `[*batch]`, the tokens of each row, prompt and end token
            included.
        state: the model's state. It has read all of a row but its last token, and that
            as well, maybe often, if other rows went on.
    """

    tokens: jax.Array
    lengths: jax.Array
    state: Any


class _Progress(NamedTuple):
    """The loop's state. `lengths` counts the whole prompt from the start."""

    step: jax.Array
    tokens: jax.Array
    lengths: jax.Array
    running: jax.Array
    state: Any
    chain_state: Any


def generate(
    key: jax.Array,
    step_fn: StepFn,
    state: Any,
    prompt: ArrayLike,
    chain: Chain | None = None,
    *,
    length: int,
    eos: int | tuple[int, ...] | None = None,
    seen: ArrayLike = 0,
) -> Generated:
    r"""Continue prompts with tokens drawn from a model, one position after another.

    $$x_t \sim \mathrm{chain}\bigl(z(x_0, \dots, x_{t-1})\bigr)$$

    One compiled loop of static shape reads the prompt and draws the rest. All rows
    move together: where one has used up its prompt, its next token is drawn; where
    not, the prompt has it. A row stops at an end token, after `length` new tokens, or
    where its logits allow no token; the loop stops when every row has.

    The token at index $t$ of a row is drawn with the row's key folded with $t$: a
    row's text depends on its own key and prompt, and neither on the other rows nor on
    how its prompt is padded.

    A pure function, meant to be called under `jax.jit`, for example
    `jax.jit(generate, static_argnames=("step_fn", "length", "eos"))`: outside of it,
    every call compiles the loop again.

    Args:
        key: One key, which is split over the rows, or an array of keys of the batch
            shape.
        step_fn: `step_fn(ids, position, state) -> (logits, state)`: reads one token
            of each row, `ids` of the batch shape, and returns logits `[*batch, V]`
            for the token after it. `position` is their index in the row: a scalar if
            `seen` is one, else of the batch shape. A stopped row goes on reading its
            last token, and what comes of it is not used.
        state: Any pytree: caches, hidden states.
        prompt: Integers `[*batch, P]` with at least one token a row, padded with -1 on
            the right.
        chain: What draws a token from logits; `None` draws from the softmax.
        length: The largest number of new tokens in a row.
        eos: The id, or the ids, of tokens that end a row.
        seen: How many tokens of the prompt `state` has read, a number or one for each
            row; fewer than the row has. After a prefill of the whole prompt it is the
            prompt's length minus 1, and the last token is read twice: a key-value
            cache overwrites it with itself.

    Returns:
        A [`Generated`][jaxtemp.sampling.Generated]. A row of a traced prompt without
        any token stays empty.

    Raises:
        TypeError: `prompt` or `seen` are not integers, `length` is not an int, or
            `chain` is not a chain.
        ValueError: a concrete prompt has an empty row or a gap, `seen` is not below a
            row's length, `eos` is not a token, or a shape does not fit.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from jaxtemp import sampling
        >>> table = jnp.log(jnp.eye(4).at[:3, 1:].add(jnp.eye(3)))  # stay or go on
        >>> def step_fn(ids, position, state):
        ...     return table[ids], state
        >>> keys = jax.random.split(jax.random.key(2), 2)
        >>> prompt = jnp.array([[0, 0], [2, -1]])
        >>> out = sampling.generate(keys, step_fn, (), prompt, length=6, eos=3)
        >>> bool(jnp.all(jnp.diff(out.tokens[0, : out.lengths[0]]) >= 0))
        True
    """
    prompt = token_ids("prompt", prompt)
    length, eos_ids = count("length", length), end_ids(eos)
    batch_shape = _check_prompt(prompt)
    given = jnp.cumprod(prompt >= 0, axis=-1).sum(axis=-1, dtype=jnp.int32)
    seen = _check_seen(seen, given)
    chain = _check_chain(chain)
    keys = one_a_row(key, batch_shape)
    last = given + length

    def advance(now: _Progress) -> _Progress:
        at = jnp.clip(seen + now.step, 0, now.lengths - 1)
        ids = jnp.take_along_axis(now.tokens, at[..., None], axis=-1)[..., 0]
        position = seen + now.step if seen.ndim == 0 else at
        logits, state = read(step_fn, jnp.maximum(ids, 0), position, now.state, eos_ids)
        due = now.running & (at + 1 == now.lengths)
        new, chain_state = _draw(chain, keys, logits, now, given, due)
        kept = due & (new >= 0)
        here = jnp.arange(now.tokens.shape[-1]) == now.lengths[..., None]
        lengths = now.lengths + kept.astype(now.lengths.dtype)
        stopped = due & ((new < 0) | jnp.isin(new, eos_ids) | (lengths == last))
        return _Progress(
            step=now.step + 1,
            tokens=jnp.where(kept[..., None] & here, new[..., None], now.tokens),
            lengths=lengths,
            running=now.running & ~stopped,
            state=state,
            chain_state=chain_state,
        )

    start = _Progress(
        step=jnp.int32(0),
        tokens=_buffer(prompt, given, length),
        lengths=given,
        running=given > 0,
        state=state,
        chain_state=chain.init(batch_shape),
    )
    end = lax.while_loop(lambda now: jnp.any(now.running), advance, start)
    return Generated(end.tokens, end.lengths, end.state)


def _buffer(prompt: jax.Array, given: jax.Array, length: int) -> jax.Array:
    """The prompts, with -1 behind them and room for `length` tokens more."""
    columns = jnp.arange(prompt.shape[-1])
    prompt = jnp.where(columns < given[..., None], prompt, -1)
    room = jnp.full((*given.shape, length), -1, prompt.dtype)
    return jnp.concatenate([prompt, room], axis=-1)


def _draw(
    chain: Chain,
    keys: jax.Array,
    logits: jax.Array,
    now: _Progress,
    given: jax.Array,
    due: jax.Array,
) -> tuple[jax.Array, Any]:
    """The next token of the rows where it is due, and the state of their chain."""

    def draw() -> tuple[jax.Array, Any]:
        here = fold_in(keys, now.lengths)
        ids, state = chain.sample(
            here, logits, now.chain_state, now.tokens, prompt_length=given
        )
        return ids, jax.tree.map(keep, state, now.chain_state)

    def keep(new: jax.Array, old: jax.Array) -> jax.Array:
        # A row that still reads its prompt must not advance its chain.
        return jnp.where(
            due.reshape(due.shape + (1,) * (new.ndim - due.ndim)), new, old
        )

    def skip() -> tuple[jax.Array, Any]:
        return jnp.full(due.shape, -1, jnp.int32), now.chain_state

    return lax.cond(jnp.any(due), draw, skip)


def _check_chain(chain: Chain | None) -> Chain:
    """The chain to draw with: one without steps if none is given."""
    if chain is None:
        return Chain(())
    if not isinstance(chain, Chain):
        raise TypeError(
            f"`chain` must be a chain or None, got {type(chain).__name__}; "
            "make one, for example `chain(steps.top_k(50))`."
        )
    return chain


def _check_prompt(prompt: jax.Array) -> tuple[int, ...]:
    """The batch shape of prompts that have a token each and no gap."""
    if prompt.ndim == 0 or prompt.shape[-1] == 0:
        raise ValueError(
            "`prompt` must have a last axis with at least one token, got shape "
            f"{prompt.shape}; begin with a start token."
        )
    if isinstance(prompt, Tracer):
        return prompt.shape[:-1]
    given = np.asarray(prompt) >= 0
    if not given[..., 0].all():
        raise ValueError(
            "`prompt` must begin with a token in every row, got -1; pad it with -1 on "
            "the right, and give an empty row a start token."
        )
    if (given[..., 1:] > given[..., :-1]).any():
        raise ValueError(
            "`prompt` must be padded with -1 on the right, got a token after a -1; "
            "close the gap."
        )
    return prompt.shape[:-1]


def _check_seen(seen: ArrayLike, given: jax.Array) -> jax.Array:
    """`seen` as a scalar, or as an array of the batch shape."""
    seen = token_ids("seen", seen)
    if seen.shape not in ((), given.shape):
        raise ValueError(
            f"`seen` must be one number or have the batch shape {given.shape}, got "
            f"shape {seen.shape}; pass how many tokens the state has read."
        )
    if isinstance(seen, Tracer) or isinstance(given, Tracer):
        return seen
    wrong = np.asarray((seen < 0) | (seen >= given))
    if wrong.any():
        raise ValueError(
            "`seen` must be at least 0 and less than the length of every prompt, got "
            f"{np.broadcast_to(seen, wrong.shape)[wrong][0]}; leave the last token of "
            "a prompt to the loop."
        )
    return seen
