"""What the sample of every estimator is made of: draws, noise and relaxed draws."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from ... import _checks
from ..._derivatives import softmax
from ..._rows import Folded, upcast
from ..._scale import over

_RELAXATION = _checks.Rule(0, float("inf"), "pass 1 for the temperature of the draw")


def relaxation_of(value, rows: Folded) -> jax.Array:
    """λ of every row."""
    tau = rows.temperature
    return _checks.per_row("relaxation", value, tau.shape, tau.dtype, _RELAXATION)


def count(name: str, value, least: int) -> int:
    """`value` as an int, if it is one and not too small."""
    if not hasattr(value, "__index__") or value.__index__() < least:
        raise ValueError(
            f"`{name}` must be an int of at least {least}, got {value!r}; "
            "it is how many samples an estimate is made of."
        )
    return value.__index__()


def relaxed(rows: Folded, noise: jax.Array | float, rate: jax.Array) -> jax.Array:
    """`softmax((z / τ + noise) / λ)`, for constant noise and λ = `rate`."""
    score, scale = _perturbed(rows, noise)
    return softmax(score, _product(rate, scale[..., 0]), False, None, None)


def _product(rate: jax.Array, scale: jax.Array) -> jax.Array:
    """`rate * scale`, 0 where the scale is, whatever the rate; no slope overflows."""
    large = 2.0 ** (jnp.finfo(rate.dtype).maxexp // 2)
    infinite = (rate == jnp.inf) & (scale > 0)
    return jnp.where(infinite, jnp.inf, jnp.minimum(rate, large) * scale)


def gumbel_winner(rows: Folded, noise: jax.Array) -> jax.Array:
    """The id of the largest of `z / τ + noise` in a row, or -1: a draw."""
    return winner(_perturbed(rows, noise)[0], noise)


def winner(score: jax.Array, noise: jax.Array) -> jax.Array:
    """The id of a row's largest score, of equal ones the one of most noise, or -1."""
    best = jnp.max(score, axis=-1, keepdims=True)
    ids = jnp.argmax(jnp.where(score == best, noise, -jnp.inf), axis=-1)
    return jnp.where(best[..., 0] > -jnp.inf, ids, -1)


def _perturbed(rows: Folded, noise) -> tuple[jax.Array, jax.Array]:
    """Scores and their scale, whose quotient is `z / τ + noise` up to a shift.

    Neither overflows, and nothing is divided by a small τ before it is multiplied.
    """
    z, tau = upcast(rows.logits), rows.temperature[..., None]
    x = z - jnp.max(lax.stop_gradient(z), axis=-1, keepdims=True)
    hot = tau > 1
    divisor, scale = jnp.where(hot, tau, 1), jnp.where(hot, 1, tau)
    masked = z == -jnp.inf
    score = over(jnp.where(masked, 0, x), divisor) + scale * noise
    return jnp.where(masked, -jnp.inf, score), scale


def log_probabilities(rows: Folded) -> jax.Array:
    """`log softmax(z / τ)`, in the type in which rows are summed."""
    return softmax(upcast(rows.logits), rows.temperature, True, None, None)


def one_hot(ids: jax.Array, rows: Folded) -> jax.Array:
    """Ids as one-hot rows of the logits' dtype; NaN for -1."""
    hot = is_drawn(ids, rows).astype(rows.logits.dtype)
    return jnp.where(ids[..., None] < 0, jnp.nan, hot)


def is_drawn(ids: jax.Array, rows: Folded) -> jax.Array:
    """Which class was drawn, as booleans of the logits' shape."""
    return ids[..., None] == jnp.arange(rows.logits.shape[-1])


def conditional_noise(log_p: jax.Array, drawn: jax.Array, noise: jax.Array):
    r"""Gumbel noise given which class it makes the largest of `log p + noise`.

    With independent exponential variables $E$ it is $-\log(p_D E_D)$ for the class $D$
    that was drawn and $-\log(E_i + p_i E_D)$ for the others. In the logarithm of $E$,
    which is minus the unconditional `noise`, no step overflows.
    """
    top = jnp.sum(jnp.where(drawn, noise, 0), axis=-1, keepdims=True)
    below = -jnp.logaddexp(log_p - top, -noise)
    return jnp.where(drawn, noise - log_p, below)
