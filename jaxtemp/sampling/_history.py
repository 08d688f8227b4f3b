"""The tokens so far: counted, and compared with their own end.

Tokens are int32 `[*batch, T]`, -1 where there is none; results are per class, per
row or per word. All shapes are static, how many tokens there are is not.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Words = tuple[tuple[int, ...], ...]


def counts(tokens: jax.Array, size: int) -> jax.Array:
    """How often each class occurs, int32 `[*batch, size]`."""
    return totals(tokens, jnp.ones_like(tokens), size)


@functools.partial(jax.jit, static_argnames="size")
def totals(ids: jax.Array, values: jax.Array, size: int) -> jax.Array:
    """The sum of the values of each class, `[*batch, size]`."""

    def row(ids, values):
        sums = jnp.zeros(size, values.dtype).at[ids]
        return sums.add(values, mode="drop", wrap_negative_indices=False)

    return jnp.vectorize(row, signature="(t),(t)->(v)")(ids, values)


def pack(tokens: jax.Array) -> jax.Array:
    """The same tokens, at least one slot, with all empty slots moved to the front."""
    if not tokens.shape[-1]:
        return jnp.full((*tokens.shape[:-1], 1), -1, jnp.int32)
    keys = (tokens >= 0).astype(jnp.int32)
    return lax.sort((keys, tokens), num_keys=1, is_stable=True)[1]


@functools.partial(jax.jit, static_argnames="size")
def continuations(packed: jax.Array, limit: jax.Array, size: int) -> jax.Array:
    """How long a repetition each class would continue, int32 `[*batch, size]`.

    That is the length of the longest end of the history, of at most `limit` tokens,
    which this class has followed before; 0 if it only occurred, -1 if it never did.
    `limit` is int32 `[*batch, 1]`.
    """

    def row(ids, lengths):
        longest = jnp.full(size, -1, jnp.int32).at[ids]
        return longest.max(lengths, mode="drop", wrap_negative_indices=False)

    return jnp.vectorize(row, signature="(t),(t)->(v)")(packed, _repeats(packed, limit))


def since(packed: jax.Array, words: Words) -> jax.Array:
    """How many tokens follow the last end of any word, int32 `[*batch, 1]`.

    The number of slots if no word occurs.
    """
    slots = packed.shape[-1]
    # Of words of one token there may be thousands, of others there are few.
    ended = jnp.isin(packed, np.array([w[0] for w in words if len(w) == 1], np.int32))
    for word in words:
        if len(word) > 1:
            ended |= _ends(packed, word)
    ends = jnp.where(ended, jnp.arange(1, slots + 1, dtype=jnp.int32), 0)
    return slots - jnp.max(ends, axis=-1, keepdims=True)


def ends_with(packed: jax.Array, words: Words) -> jax.Array:
    """Whether the history ends with each of the words, bool `[*batch, words]`."""
    longest = max([1, *map(len, words)])
    anything = -2
    rows = [(anything,) * (longest - len(word)) + word for word in words]
    wanted = np.array(rows, np.int32).reshape(-1, longest)
    missing = max(0, longest - packed.shape[-1])
    tail = _padded(packed, missing)[..., None, -longest:]
    return jnp.all((wanted == anything) | (wanted == tail), axis=-1)


def _repeats(packed: jax.Array, limit: jax.Array) -> jax.Array:
    """For each slot, how many tokens before it agree with the last tokens.

    Time grows with the longest repetition there is, memory does not.
    """
    slots = packed.shape[-1]

    def unfinished(state):
        _, _, alike, _ = state
        return jnp.any(alike)

    def look_back(state):
        step, before, alike, length = state
        last = lax.dynamic_index_in_dim(packed, slots - 1 - step, axis=-1)
        alike &= (before == last) & (last >= 0) & (step < limit)
        return step + 1, _later(before, 1), alike, length + alike.astype(length.dtype)

    # Made from the tokens, so that they vary over a mesh as the tokens do.
    alike, length = packed >= -1, packed * 0
    start = jnp.int32(0), _later(packed, 1), alike, length
    return lax.while_loop(unfinished, look_back, start)[-1]


def _ends(packed: jax.Array, word: Sequence[int]) -> jax.Array:
    """Whether the word ends at each slot."""
    agree = [_later(packed, back) == token for back, token in enumerate(word[::-1])]
    return functools.reduce(operator.and_, agree)


def _later(packed: jax.Array, steps: int) -> jax.Array:
    """Every token some slots later; the last ones drop out."""
    return _padded(packed, steps)[..., : packed.shape[-1]]


def _padded(packed: jax.Array, slots: int) -> jax.Array:
    """More empty slots in front."""
    widths = [(0, 0)] * (packed.ndim - 1) + [(slots, 0)]
    return jnp.pad(packed, widths, constant_values=-1)
