"""Newton's method for a smooth convex function of many variables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.scipy.sparse.linalg import cg

_MOST_STEPS = 50
_MOST_CG_STEPS = 100
_SMALLEST_STEP = 2.0**-20
_ARMIJO = 1e-4


class Minimum(NamedTuple):
    """Where a search ended, in how many steps, and whether at the minimum."""

    at: Any
    steps: jax.Array
    converged: jax.Array


class _State(NamedTuple):
    x: jax.Array
    steps: jax.Array
    converged: jax.Array
    stuck: jax.Array


def minimize(function: Callable[[Any], jax.Array], start: Any) -> Minimum:
    """The minimum of a convex function of a tree of arrays.

    Each direction solves Newton's equation by conjugate gradients, which need products
    with the Hessian alone; each step is halved until the function falls as it should.
    It ends where a whole step would gain less than the function's rounding.
    """
    first, unravel = ravel_pytree(start)

    def flat(x: jax.Array) -> jax.Array:
        return function(unravel(x))

    def step(now: _State) -> _State:
        value, slope = jax.value_and_grad(flat)(now.x)
        direction, _ = cg(
            lambda v: jax.jvp(jax.grad(flat), (now.x,), (v,))[1],
            -slope,
            tol=1e-4,
            maxiter=_MOST_CG_STEPS,
        )
        gain = -slope @ direction
        converged = gain <= 4 * jnp.finfo(value.dtype).eps * (1 + jnp.abs(value))

        def too_long(size: jax.Array) -> jax.Array:
            fallen = flat(now.x + size * direction) <= value - _ARMIJO * size * gain
            return ~fallen & (size > _SMALLEST_STEP)

        size = lax.while_loop(too_long, lambda size: size / 2, jnp.ones_like(value))
        stuck = size <= _SMALLEST_STEP
        x = jnp.where(converged | stuck, now.x, now.x + size * direction)
        return _State(x, now.steps + 1, converged, stuck)

    def unfinished(now: _State) -> jax.Array:
        return ~now.converged & ~now.stuck & (now.steps < _MOST_STEPS)

    found = lax.while_loop(
        unfinished,
        step,
        _State(first, jnp.int32(0), jnp.bool_(False), jnp.bool_(False)),
    )
    return Minimum(unravel(found.x), found.steps, found.converged)
