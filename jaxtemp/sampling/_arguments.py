"""Checks of what penalties and bans are given, and their messages.

Values are checked where they are concrete. A traced id that is no class counts as no
token, like -1; a traced parameter outside its rule as the nearest number inside.
"""

from __future__ import annotations

import operator

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .. import _checks
from .._rows import accumulator
from ._history import Words

HUGE = float(np.finfo(np.float32).max)
TINY = float(np.finfo(np.float32).tiny)
_COUNT = _checks.Rule(0, float("inf"), "pass 0 for none", integer=True)


def finite(low: float, fix: str) -> _checks.Rule:
    """The rule for real numbers from `low` on, without infinity."""
    return _Finite(low, HUGE, fix)


class _Finite(_checks.Rule):
    def __str__(self) -> str:
        ends = {-HUGE: "(-inf", TINY: "(0"}
        return f"in {ends.get(self.low, f'[{self.low:g}')}, inf)"


def logits_array(value) -> jax.Array:
    """Logits with at least one class along the last axis."""
    logits = _checks.floating_array("logits", value)
    _checks.class_axis(-1, logits.shape)
    return logits


def logits_and_tokens(logits, tokens) -> tuple[jax.Array, jax.Array]:
    """Logits `[*batch, V]` and tokens, int32 `[*batch, T]`."""
    logits = logits_array(logits)
    return logits, token_ids("tokens", tokens, logits)


def row(name: str, value, logits: jax.Array, rule: _checks.Rule) -> jax.Array:
    """A real parameter of every row, `[*batch, 1]`."""
    dtype = accumulator(logits.dtype)
    array = _checks.per_row(name, value, logits.shape[:-1], dtype, rule)
    return _inside(array, rule)[..., None]


def count(name: str, value, logits: jax.Array, most=2**31 - 1) -> jax.Array:
    """A number of tokens for every row, int32 `[*batch, 1]`, cut at `most`."""
    array = _checks.per_row(name, value, logits.shape[:-1], jnp.int32, _COUNT)
    return jnp.clip(array, 0, most)[..., None]


def entries(name: str, value, logits, shape, rule: _checks.Rule) -> jax.Array:
    """Real numbers of that shape."""
    array = _broadcast(name, _checks._array(name, value), shape)
    dtype = accumulator(logits.dtype)
    return _inside(_checks.per_row(name, array, shape, dtype, rule), rule)


def token_ids(name: str, value, logits: jax.Array, *, shared=False) -> jax.Array:
    """Ids of every row, int32 `[*batch, ids]`, -1 where there is none.

    `shared` says that all rows may have the same ids, of shape `[ids]` or one number.
    """
    array = _integers(name, value)
    array = array[None] if shared and array.ndim == 0 else array
    batch, classes = logits.shape[:-1], logits.shape[-1]
    leading = {batch, ()} if shared else {batch}
    if array.ndim == 0 or array.shape[:-1] not in leading:
        shapes = [(*lead, "K" if shared else "T") for lead in sorted(leading, key=len)]
        wanted = " or ".join(str(shape).replace("'", "") for shape in shapes)
        raise ValueError(
            f"`{name}` must have the shape {wanted} for logits of shape "
            f"{logits.shape}, got {array.shape}; put a row's ids along the last axis."
        )
    _check_classes(name, array, classes)
    is_class = (array >= 0) & (array < classes)
    ids = jnp.where(is_class, array.astype(jnp.int32), -1)
    return jnp.broadcast_to(ids, (*batch, ids.shape[-1]))


def words(name: str, value, classes: int) -> Words:
    """Sequences of ids, known when traced."""
    bad, found = value, []
    try:
        for bad in value:
            found.append(tuple(map(operator.index, bad)))
    except TypeError:
        raise TypeError(
            f"`{name}` must be a list of lists of ids, known when traced, got {bad!r}; "
            "write a word of one token as [id]."
        ) from None
    for word in found:
        if not word or not all(0 <= token < classes for token in word):
            raise ValueError(
                f"`{name}` must hold words of one or more ids in [0, {classes}), got "
                f"{list(word)}; leave it out."
            )
    return tuple(found)


def class_mask(value, logits: jax.Array) -> jax.Array:
    """A boolean mask, of the logits' shape."""
    array = _checks._array("mask", value)
    if array.dtype != jnp.bool_:
        raise TypeError(
            f"`mask` must be boolean, got dtype {array.dtype}; "
            "compare first, for example `mask != 0`."
        )
    return _broadcast("mask", array, logits.shape)


def packed_mask(value, logits: jax.Array) -> jax.Array:
    """Words of 32 classes each, uint32 `[*batch, words]`."""
    array = _checks._array("words", value)
    if array.dtype not in (jnp.uint32, jnp.int32):
        raise TypeError(
            f"`words` must be uint32 or int32, got dtype {array.dtype}; "
            "pack 32 classes into each word, the first one into the lowest bit."
        )
    shape = (*logits.shape[:-1], -(-logits.shape[-1] // 32))
    if not array.ndim or array.shape[-1] != shape[-1]:
        raise ValueError(
            f"`words` must have {shape[-1]} words of 32 classes along the last axis "
            f"for {logits.shape[-1]} classes, got shape {array.shape}; "
            "pad the last word with zeros."
        )
    return jax.lax.bitcast_convert_type(_broadcast("words", array, shape), jnp.uint32)


def same_shape(name: str, array: jax.Array, logits: jax.Array) -> None:
    """Refuse an array of another shape than the logits."""
    if array.shape != logits.shape:
        raise ValueError(
            f"`{name}` must have the logits' shape {logits.shape}, got {array.shape}; "
            "pass one row of logits for each."
        )


def _inside(array: jax.Array, rule: _checks.Rule) -> jax.Array:
    """The numbers, or the nearest ones inside the rule."""
    # Not `clip`, which halves the derivative at its ends.
    array = jnp.where(array < rule.low, rule.low, array)
    return jnp.where(array > rule.high, rule.high, array)


def _integers(name: str, value) -> jax.Array:
    """An array of integers of at least 32 bits."""
    array = _checks._array(name, value)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(
            f"`{name}` must be integers, got dtype {array.dtype}; "
            "pass token ids, -1 for none."
        )
    return array.astype(jnp.int32) if array.dtype.itemsize < 4 else array


def _check_classes(name: str, array: jax.Array, classes: int) -> None:
    if isinstance(array, Tracer):
        return
    ids = np.asarray(array)
    bad = ids[~((ids >= -1) & (ids < classes))]
    if bad.size:
        raise ValueError(
            f"`{name}` must be in [0, {classes}), or -1 for none, got {bad[0]}; "
            "use -1 for padding."
        )


def _broadcast(name: str, array: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    try:
        return jnp.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(
            f"`{name}` must broadcast to shape {shape}, got shape {array.shape}; "
            "add or remove axes so that it does."
        ) from None
