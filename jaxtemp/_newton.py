"""Newton's method for a temperature, in its logarithm, within a bracket.

It never leaves the bracket, which always holds the solution, so it ends on every
function that rises with temperature, however far from a line it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

# Newton roughly squares the error, so that a step this small is the last. What is left
# to bisection, from the smallest number to the largest, is 8 steps and 24 for digits.
_LAST_STEP = {4: 1e-4, 8: 5e-9}
_MOST_STEPS = 100


class Move(NamedTuple):
    """What is known at a temperature."""

    step: jax.Array  # Newton's, in log τ
    too_low: jax.Array  # whether the solution is above
    seen: Any = ()  # arrays of the temperature's shape to keep


class Search(NamedTuple):
    """The state of searches that run side by side, each until it is done."""

    tau: jax.Array
    low: jax.Array  # a temperature that is too low
    high: jax.Array  # a temperature that is not
    done: jax.Array
    steps: jax.Array
    seen: Any  # of the move that led to `tau`


def search(
    look: Callable[[jax.Array], Move], start: jax.Array, done: jax.Array | None = None
) -> Search:
    """The temperatures where `look` finds no step to take.

    Args:
        look: Of temperatures, what is known there.
        start: Where to look first.
        done: Those that are not to be looked at; none by default.

    Returns:
        The state after the last step; `done` is false where the steps ran out.
    """
    info = jnp.finfo(start.dtype)
    last_step = _LAST_STEP[start.dtype.itemsize]

    def move(now: Search) -> Search:
        step, too_low, seen = look(now.tau)
        low = jnp.where(too_low, now.tau, now.low)
        high = jnp.where(too_low, now.high, now.tau)
        found = jnp.abs(step) <= last_step
        tau = now.tau * jnp.exp(step)
        inside = found | ((tau >= low) & (tau <= high))
        tau = jnp.where(inside, tau, jnp.sqrt(low) * jnp.sqrt(high))
        still = jnp.abs(tau - now.tau) <= 4 * info.eps * tau
        moved = Search(tau, low, high, found | still, now.steps + 1, seen)
        return jax.tree.map(lambda new, old: jnp.where(now.done, old, new), moved, now)

    shapes = jax.eval_shape(look, start).seen
    first = Search(
        tau=start,
        low=jnp.full_like(start, info.tiny),
        high=jnp.full_like(start, info.max),
        done=jnp.zeros_like(start, bool) if done is None else done,
        steps=jnp.zeros_like(start, jnp.int32),
        seen=jax.tree.map(lambda x: jnp.zeros_like(start, x.dtype), shapes),
    )

    def unfinished(now: Search) -> jax.Array:
        return jnp.any(~now.done & (now.steps < _MOST_STEPS))

    return lax.while_loop(unfinished, move, first)
