"""Argument checks: one grammar, the argument, what was got, the rule, the fix."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.experimental import checkify

# Whether traced values are checked: not by default, as an effect in a compiled program
# costs each of its calls 50 µs. Part of the key of every `jit` cache.
checking = jax.make_user_context(default_value=False)


def floating_array(name: str, value) -> jax.Array:
    """`value` as an array, if it is one of real floating numbers."""
    array = _array(name, value)
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        raise TypeError(
            f"`{name}` must be real floating point, got a key; pass the key first."
        )
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


class Rule(NamedTuple):
    """What a parameter of rows must be, and what to do where it is not."""

    low: float
    high: float
    fix: str
    integer: bool = False

    def __str__(self) -> str:
        if not self.integer:
            return f"in [{self.low:g}, {self.high:g}]"
        return f"an integer >= {self.low:g}"


TEMPERATURE = Rule(
    0, float("inf"), "pass 0 for the most likely class, inf for all alike"
)


def temperature(value, batch_shape: tuple[int, ...], dtype) -> jax.Array:
    """The temperature of every row, of `batch_shape` and `dtype`."""
    return per_row("temperature", value, batch_shape, dtype, TEMPERATURE)


def per_row(
    name: str, value, batch_shape: tuple[int, ...], dtype, rule: Rule
) -> jax.Array:
    """A parameter of every row, of `batch_shape` and `dtype`."""
    array = _array(name, _representable(value) if rule.integer else _real(value))
    _check_kind(name, array, rule)
    _check_range(name, value, array, rule)
    array = array.astype(dtype)
    fits = array.ndim <= len(batch_shape) and all(
        have in (1, want)
        for have, want in zip(array.shape[::-1], batch_shape[::-1], strict=False)
    )
    if not fits:
        raise ValueError(_shape_message(name, array.shape, batch_shape))
    return jnp.broadcast_to(array, batch_shape)


def known_zero(value) -> bool:
    """Whether a parameter is zero for every row, and known to be so when traced."""
    return not isinstance(value, Tracer) and not np.any(np.asarray(value))


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


def one_of(name: str, value, known: tuple) -> None:
    """Accept one of the known values."""
    if value not in known:
        raise ValueError(
            f"`{name}` must be one of {', '.join(map(repr, known))}, got {value!r}; "
            "choose from these."
        )


def draws(shape, batch_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The axes that `shape` puts before the batch axes; none for `None`."""
    if shape is None:
        return ()
    try:
        sizes = tuple(size.__index__() for size in shape)
    except (AttributeError, TypeError):
        raise TypeError(
            f"`shape` must be a tuple of ints, got {shape!r}; "
            f"pass the draws before the batch shape, `(n, *{batch_shape})`."
        ) from None
    split = len(sizes) - len(batch_shape)
    if split < 0 or sizes[split:] != batch_shape or any(size < 0 for size in sizes):
        raise ValueError(
            f"`shape` must end in the batch shape {batch_shape}, got {sizes}; "
            f"pass the draws before it, `(n, *{batch_shape})`."
        )
    return sizes[:split]


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


def _real(value):
    """A Python int, which stands for a real number, as one."""
    return float(value) if type(value) is int else value


def _representable(value):
    """A Python int, which may exceed every integer dtype, cut at int32's ends."""
    return max(min(value, 2**31 - 1), -(2**31)) if type(value) is int else value


def _check_kind(name: str, array: jax.Array, rule: Rule) -> None:
    if rule.integer and not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(
            f"`{name}` must be an integer, got dtype {array.dtype}; {rule.fix}."
        )
    if jnp.issubdtype(array.dtype, jnp.complexfloating) or array.dtype == jnp.bool_:
        raise TypeError(
            f"`{name}` must be real, got dtype {array.dtype}; "
            f"pass a real number or array {rule}."
        )


def _check_range(name: str, value, array: jax.Array, rule: Rule) -> None:
    """Refuse a number that breaks the rule; a traced one only if `checked`."""
    if isinstance(array, Tracer):
        if checking.value:
            checkify.debug_check(
                jnp.all((array >= rule.low) & (array <= rule.high)),
                f"`{name}` must be {rule}, got a number outside or NaN.",
            )
        return
    # The value as it was given: a negative number may round to -0.0 in float32.
    given = np.asarray(value).astype(np.float64)
    bad = given[~((given >= rule.low) & (given <= rule.high))]
    if bad.size:
        got = int(bad.flat[0]) if rule.integer else bad.flat[0]
        raise ValueError(f"`{name}` must be {rule}, got {got}; {rule.fix}.")


def _shape_message(name: str, shape: tuple[int, ...], batch: tuple[int, ...]) -> str:
    message = (
        f"`{name}` must broadcast to the batch shape {batch} "
        f"(the logits' shape without the class axis), got shape {shape}; "
    )
    if shape and shape[-1] == 1 and shape[:-1] == batch:
        return message + f"drop its last axis: `{name}[..., 0]`."
    if len(shape) == 1 and batch and shape[0] == batch[0]:
        ones = ", ".join(["None"] * (len(batch) - 1))
        return message + f"add an axis for each later one: `{name}[:, {ones}]`."
    return message + "pass one number, or one for each row."
