"""What the decoding loops share: tokens, end tokens, calls of the model."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from .. import _checks

State = Any
StepFn = Callable[[jax.Array, jax.Array, State], tuple[jax.Array, State]]
"""`step_fn(ids, position, state) -> (logits, state)`: a model that reads one token."""


def token_ids(name: str, value: ArrayLike) -> jax.Array:
    """`value` as an int32 array, if it is one of integers."""
    array = jnp.asarray(value)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(
            f"`{name}` must be integers, got dtype {array.dtype}; pass token ids."
        )
    return array.astype(jnp.int32)


def count(name: str, value) -> int:
    """`value` as a positive Python int."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(
            f"`{name}` must be an int, got {type(value).__name__}; it sets the shape "
            "of the result, so it cannot be traced."
        ) from None
    if number < 1:
        raise ValueError(f"`{name}` must be at least 1, got {number}; pass a count.")
    return number


def end_ids(eos: int | Sequence[int] | None) -> np.ndarray:
    """The ids of the tokens that end a sequence, each once."""
    if eos is None:
        return np.zeros(0, np.int32)
    if isinstance(eos, Tracer):
        raise TypeError(
            "`eos` must be known when the loop is compiled, got a traced array; "
            "pass a Python int or a sequence of them."
        )
    ids = np.unique(np.asarray(eos))
    if ids.size and (not np.issubdtype(ids.dtype, np.integer) or ids[0] < 0):
        raise ValueError(
            f"`eos` must be a token id, or several, of at least 0, got {eos!r}; "
            "pass `eos=None` if nothing ends a sequence."
        )
    return ids.astype(np.int32)


def read(
    step_fn: StepFn, ids: jax.Array, position: jax.Array, state: State, eos: np.ndarray
) -> tuple[jax.Array, State]:
    """Let the model read one token a row, and check the logits that it returns."""
    logits, state = step_fn(ids, position, state)
    logits = _checks.floating_array("logits", logits)
    if logits.shape[:-1] != ids.shape or logits.ndim == 0:
        raise ValueError(
            f"`step_fn` must return logits of shape {(*ids.shape, 'V')} for ids of "
            f"shape {ids.shape}, got shape {logits.shape}; put the classes last."
        )
    if eos.size and eos[-1] >= logits.shape[-1]:
        raise ValueError(
            f"`eos` must be below the number of classes {logits.shape[-1]}, "
            f"got {eos[-1]}; pass the id that the model's tokenizer gives it."
        )
    return logits, state
