"""Argument checks: one grammar, the argument, what was got, the rule, the fix."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.experimental import checkify


def floating_array(name: str, value) -> jax.Array:
    """`value` as an array, if it is one of real floating numbers."""
    array = _array(name, value)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(
            f"`{name}` must be real floating point, got dtype {array.dtype}; "
            f"convert it first, for example `{name}.astype(jnp.float32)`."
        )
    return array


def class_axis(axis, shape: tuple[int, ...]) -> int:
    """The non-negative index of the class axis of logits of this shape."""
    try:
        index = axis.__index__()
    except AttributeError:
        raise TypeError(
            f"`axis` must be one int, got {axis!r}; "
            "reshape the logits to have a single class axis."
        ) from None
    ndim = len(shape)
    if ndim == 0:
        raise ValueError(
            "`logits` must have at least one axis, got a scalar; "
            "put the classes of a row along an axis."
        )
    if not -ndim <= index < ndim:
        raise ValueError(
            f"`axis` must be in [-{ndim}, {ndim}) for logits of shape {shape}, "
            f"got {index}; name the axis that holds the classes."
        )
    if shape[index] == 0:
        raise ValueError(
            f"`logits` must have at least one class along axis {index}, "
            f"got shape {shape}; an empty row has no distribution."
        )
    return index % ndim


def temperature(value, batch_shape: tuple[int, ...], dtype) -> jax.Array:
    """The temperature of every row, of `batch_shape` and `dtype`."""
    # A Python int may exceed every integer dtype: a temperature is a real number.
    value = float(value) if type(value) is int else value
    array = _array("temperature", value)
    if jnp.issubdtype(array.dtype, jnp.complexfloating) or array.dtype == jnp.bool_:
        raise TypeError(
            f"`temperature` must be real, got dtype {array.dtype}; "
            "pass a real number or array in [0, inf]."
        )
    _check_sign(value, array)
    array = array.astype(dtype)
    fits = array.ndim <= len(batch_shape) and all(
        have in (1, want)
        for have, want in zip(array.shape[::-1], batch_shape[::-1], strict=False)
    )
    if not fits:
        raise ValueError(_shape_message(array.shape, batch_shape))
    return jnp.broadcast_to(array, batch_shape)


def mask(where, shape: tuple[int, ...]) -> jax.Array:
    """`where` as a boolean array that broadcasts to `shape`."""
    array = _array("where", where)
    if array.dtype != jnp.bool_:
        raise TypeError(
            f"`where` must be boolean, got dtype {array.dtype}; "
            "compare first, for example `where=mask != 0`."
        )
    try:
        fits = np.broadcast_shapes(array.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"`where` must broadcast to the logits' shape {shape}, "
            f"got shape {array.shape}; add or remove axes so that it does."
        )
    return array


def implementation(name, available: dict[str, str]) -> None:
    """Accept `None` or the name of an implementation that works here."""
    if name is None or available.get(name) == "available":
        return
    if name in available:
        raise ValueError(
            f"`implementation` {name!r} cannot be used: {available[name]}; "
            "pass `implementation=None` for the fastest that works."
        )
    known = ", ".join(repr(known) for known in available)
    raise ValueError(
        f"`implementation` must be None or one of {known}, got {name!r}; "
        "pass `implementation=None` for the fastest that works."
    )


def mesh_axis(name) -> None:
    """Accept `None` or the name of a mesh axis that `shard_map` has split."""
    if name is None:
        return
    if not isinstance(name, str):
        raise TypeError(
            f"`axis_name` must be the name of one mesh axis, got {name!r}; "
            "pass the string that `shard_map` splits the classes over."
        )
    try:
        lax.axis_size(name)
    except NameError:
        raise ValueError(
            "`axis_name` must name a mesh axis of the surrounding `shard_map`, got "
            f"{name!r}; call the op inside a `shard_map` over that axis."
        ) from None


def _array(name: str, value) -> jax.Array:
    try:
        return jnp.asarray(value)
    except (TypeError, ValueError):
        raise TypeError(
            f"`{name}` must be an array or a number, got {type(value).__name__}; "
            "pass something that `jnp.asarray` accepts."
        ) from None


def _check_sign(value, array: jax.Array) -> None:
    """Refuse a temperature that is negative or NaN; traced ones only if `checked`."""
    if isinstance(array, Tracer):
        checkify.debug_check(
            jnp.all(array >= 0),
            "`temperature` must be in [0, inf], got a negative number or NaN.",
        )
        return
    # The value as it was given: a negative number may round to -0.0 in float32.
    given = np.asarray(value).astype(np.float64)
    bad = given[~(given >= 0)]
    if bad.size:
        raise ValueError(
            f"`temperature` must be in [0, inf], got {bad.flat[0]}; "
            "pass 0 for the most likely class, inf for all alike."
        )


def _shape_message(shape: tuple[int, ...], batch: tuple[int, ...]) -> str:
    message = (
        f"`temperature` must broadcast to the batch shape {batch} "
        f"(the logits' shape without the class axis), got shape {shape}; "
    )
    if shape and shape[-1] == 1 and shape[:-1] == batch:
        return message + "drop its last axis: `temperature[..., 0]`."
    if len(shape) == 1 and batch and shape[0] == batch[0]:
        ones = ", ".join(["None"] * (len(batch) - 1))
        return message + f"add an axis for each later one: `temperature[:, {ones}]`."
    return message + "pass one number, or one for each row."
