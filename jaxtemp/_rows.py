"""Rows: the canonical form of every op, and reductions along a row.

An op sees logits whose last axis holds the classes; every other axis is batch.
Nothing is reshaped, so that a sharded batch axis stays as it is.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from . import _checks


@dataclasses.dataclass(frozen=True)
class Folded:
    """Logits with the classes last, one temperature a row, and the way back."""

    logits: jax.Array
    temperature: jax.Array
    axis: int
    where: jax.Array | None

    def parameter(self, name: str, value, rule: _checks.Rule, dtype=None) -> jax.Array:
        """Check a number of every row, and lay it out as the rows are."""
        shape, dtype = self.logits.shape[:-1], dtype or self.temperature.dtype
        return beside(_checks.per_row(name, value, shape, dtype, rule), self.logits)

    def unfold(self, wide: jax.Array) -> jax.Array:
        """Put the class axis of a result of the logits' shape back."""
        if self.where is not None:
            wide = _blind_below(self.where, wide)
        return jnp.moveaxis(wide, -1, self.axis)


def fold(logits, temperature, *, axis: int, where) -> Folded:
    """Check the arguments and bring them to rows."""
    logits = _checks.floating_array("logits", logits)
    axis = _checks.class_axis(axis, logits.shape)
    batch_shape = logits.shape[:axis] + logits.shape[axis + 1 :]
    temperature = _checks.temperature(
        temperature, batch_shape, accumulator(logits.dtype)
    )
    if where is not None:
        where = _checks.mask(where, logits.shape)
        where = jnp.moveaxis(jnp.broadcast_to(where, logits.shape), axis, -1)
    logits = jnp.moveaxis(logits, axis, -1)
    if where is not None:
        logits = _exclude(where, logits)
    return Folded(logits, beside(temperature, logits), axis, where)


def beside(numbers: jax.Array, logits: jax.Array) -> jax.Array:
    """Numbers of rows, laid out over an explicit mesh as the logits' rows are."""
    sharding = jax.typeof(logits).sharding
    more = (None,) * (numbers.ndim - (logits.ndim - 1))
    rows = PartitionSpec(*sharding.spec[:-1], *more)
    if jax.typeof(numbers).sharding.spec == rows:
        return numbers
    return jax.reshard(numbers, NamedSharding(sharding.mesh, rows))


def accumulator(dtype) -> jnp.dtype:
    """The type in which rows of `dtype` are summed: float64 stays, others float32."""
    return jnp.dtype(jnp.float64 if dtype == jnp.float64 else jnp.float32)


def upcast(x: jax.Array) -> jax.Array:
    """`x` in the type in which its rows are summed."""
    return x.astype(accumulator(x.dtype))


@jax.custom_jvp
def _exclude(where: jax.Array, logits: jax.Array) -> jax.Array:
    """Logits, -inf where masked, which is as good as not being there."""
    return jnp.where(where, logits, -jnp.inf)


@jax.custom_jvp
def _blind_below(where: jax.Array, wide: jax.Array) -> jax.Array:
    """`wide`, whose masked entries are constants and pass no derivative on.

    A cotangent of 0 * inf from outside would otherwise make its whole row NaN.
    """
    del where
    return wide


def _masked_jvp(function, primals, tangents):
    # The checkpoint keeps the zeros from being stored for the backward pass.
    kept = jax.checkpoint(lambda where, dx: jnp.where(where, dx, 0))
    return function(*primals), kept(primals[0], tangents[1])


_exclude.defjvp(functools.partial(_masked_jvp, _exclude))
_blind_below.defjvp(functools.partial(_masked_jvp, _blind_below))


@dataclasses.dataclass(frozen=True)
class Rows:
    """Reductions along the last axis, which keep it with length one."""

    def max(self, x: jax.Array) -> jax.Array:
        """The largest entry of each row."""
        return jnp.max(x, axis=-1, keepdims=True)

    def sum(self, x: jax.Array) -> jax.Array:
        """The sum of each row."""
        return jnp.sum(x, axis=-1, keepdims=True)

    def spread(self, row: jax.Array, like: jax.Array) -> jax.Array:
        """A per-row number, ready to meet entries of `like`."""
        del like
        return row

    def constant(self, value: float, tau: jax.Array) -> jax.Array:
        """One number for every row, of which `tau` has the temperature."""
        return jnp.asarray(value, tau.dtype)

    def fence(self, *arrays: jax.Array) -> tuple[jax.Array, ...]:
        """The same arrays, in a form whose results are computed anew."""
        return arrays

    def again(self, x: jax.Array, result: jax.Array) -> tuple[Rows, Any, Any]:
        """What reduces rows a second time: an operand computed anew, and a result."""
        (x,) = self.fence(x)
        return self, x, result


@dataclasses.dataclass(frozen=True)
class SplitRows(Rows):
    """Rows whose classes are split over a mesh axis: only scalars a row travel."""

    axis_name: str

    def max(self, x: jax.Array) -> jax.Array:
        return lax.pmax(super().max(x), self.axis_name)

    def sum(self, x: jax.Array) -> jax.Array:
        return lax.psum(super().sum(x), self.axis_name)


def reductions(axis_name: str | None) -> Rows:
    """Reductions of whole rows, or of rows split over `axis_name`."""
    return Rows() if axis_name is None else SplitRows(axis_name)
