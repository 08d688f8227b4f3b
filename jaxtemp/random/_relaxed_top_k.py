"""A relaxed draw of k of V classes: numbers in [0, 1] that sum to k."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .._rows import fold, upcast
from .._scale import over, quotient
from .._threshold import centred, root
from ._carry import carry
from ._noise import row_gumbel


def relaxed_top_k(
    key: jax.Array,
    logits: ArrayLike,
    k: int,
    temperature: ArrayLike = 1.0,
    *,
    hard: bool = False,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""Draws a relaxed set of `k` classes: every number in [0, 1], their sum `k`.

    With standard Gumbel noise $g$ and a threshold $\nu$ a row,

    $$y_i = \sigma\Bigl(\frac{z_i + g_i - \nu}{\tau}\Bigr), \qquad \sum_i y_i = k.$$

    These are the inclusion weights of the most entropy. The k largest of them are, at
    every $\tau$, the set that
    [`gumbel_top_k`][jaxtemp.random.gumbel_top_k] draws with the same key at
    temperature 1: as in the Gumbel-softmax, $\tau$ says how soft the set is, not which
    one it is. At $\tau = 0$ it is the set itself, at $\tau = \infty$ every allowed
    class has the same share.

    Args:
        key: One key for the batch, or an array of keys of the batch shape.
        logits: Real floating array; `axis` holds the V >= 1 classes.
        k: How many to choose, 0 < k <= V. A row that allows fewer gets them all.
        temperature: τ in [0, inf], broadcasts to the batch shape.
        hard: Return the set itself, exactly 0 and 1, with the derivative of the
            relaxed one (straight-through).
        axis: The class axis.
        where: Boolean mask that broadcasts to the logits' shape; `False` excludes.

    Returns:
        The relaxed set, of the logits' shape and dtype.

    Raises:
        TypeError: `key` is not a key, `k` not an int, an array not real floating, or
            `where` not boolean.
        ValueError: A shape does not fit, `k` is not in [1, V], or a concrete
            temperature is negative or NaN.

    Examples:
        >>> import jax, jaxtemp
        >>> logits = jax.numpy.array([2.0, 1.0, 0.5, 0.1])
        >>> draw = jax.jit(jaxtemp.random.relaxed_top_k, static_argnums=2)
        >>> y = draw(jax.random.key(0), logits, 2, 0.5)
        >>> f"{y.sum():.4f}", bool(y.max() <= 1)
        ('2.0000', True)
        >>> draw(jax.random.key(0), logits, 2, 0.0)
        Array([1., 0., 1., 0.], dtype=float32)

    Source:
        The projection: Amos, Koltun and Kolter, *The limited multi-label projection
        layer*, 2019. The noise: Xie and Ermon, *Reparameterizable subset sampling via
        continuous relaxations*, 2019.
    """
    rows = fold(logits, temperature, axis=axis, where=where)
    k = _size(k, rows.logits.shape[-1])
    z, tau = upcast(rows.logits), rows.temperature
    top = jnp.max(lax.stop_gradient(z), axis=-1, keepdims=True)
    shift = jnp.where(top == -jnp.inf, 0, top)
    score = lax.stop_gradient(z) - shift + row_gumbel(key, rows)
    chosen, exponents = _solve(score, lax.stop_gradient(tau), k)
    y = _sigmoid(_attached(z, tau, exponents))
    if hard:
        y = carry(chosen, y)
    y = jnp.where(jnp.isfinite(top), y, jnp.nan)
    return rows.unfold(y.astype(rows.logits.dtype))


def _size(k, classes: int) -> int:
    if not hasattr(k, "__index__"):
        raise TypeError(
            f"`k` must be an int, got {k!r}; it is a shape, which cannot be traced."
        )
    if not 0 < k.__index__() <= classes:
        raise ValueError(
            f"`k` must be in [1, {classes}] to choose among {classes} classes, got "
            f"{k}; ask for fewer."
        )
    return k.__index__()


def _solve(score, tau, k: int) -> tuple[jax.Array, jax.Array]:
    """The k largest scores as booleans, and the exponents `(score - ν) / τ`.

    ν is the root of `log A = log B`, where A is what the k largest miss of 1 and B what
    the others have: nothing cancels, however hard the set is. Counted from midway
    between the k-th score and the next, ν / τ is less than log 2V from 0.
    """
    size = score.shape[-1]
    # With one more that is masked, there always is a next score.
    found, ids = lax.top_k(_one_more(score), k + 1)
    last, following = found[..., k - 1 : k], found[..., k:]
    chosen = jnp.zeros((*score.shape[:-1], size + 1), bool)
    chosen = jnp.put_along_axis(chosen, ids[..., :k], True, axis=-1, inplace=False)
    chosen = chosen[..., :size] & (score != -jnp.inf)

    # Beyond `far` a sigmoid is 0 or 1.
    far = -2 * math.log(float(jnp.finfo(score.dtype).tiny))
    u = quotient(score - last + (last - following) / 2, tau[..., None])
    u = jnp.clip(jnp.where(score == -jnp.inf, -far, u), -far, far)
    u = jnp.where(following == -jnp.inf, jnp.where(chosen, far, -far), u)

    def excess(nu):
        x = u - nu
        missing, missed = _total(jax.nn.log_sigmoid(-x), chosen, jax.nn.sigmoid(x))
        extra, left = _total(jax.nn.log_sigmoid(x), ~chosen, jax.nn.sigmoid(-x))
        return missing - extra, missed + left

    zero = jnp.zeros_like(last)
    bound = math.log(2 * size) + 1e-3
    nu = root(excess, zero - bound, zero + bound, zero)
    alone = following == -jnp.inf
    return chosen, jnp.where(alone, u, u - nu)


def _one_more(score):
    return jnp.pad(
        score, [(0, 0)] * (score.ndim - 1) + [(0, 1)], constant_values=-jnp.inf
    )


def _total(log_terms, among, x):
    """The logarithm of a sum of terms, and the mean of `x` that they weigh."""
    log_terms = jnp.where(among, log_terms, -jnp.inf)
    top = jnp.max(log_terms, axis=-1, keepdims=True)
    terms = jnp.exp(log_terms - top)
    total = jnp.sum(terms, axis=-1, keepdims=True)
    mean = jnp.sum(terms * x, axis=-1, keepdims=True) / total
    return top + jnp.log(total), mean


@jax.custom_jvp
def _attached(z, tau, exponents):
    """The exponents, with the derivatives that a threshold gives them."""
    del z, tau
    return exponents


@_attached.defjvp
def _attached_jvp(primals, tangents):
    x = _attached(*primals)
    dz, dtau, _ = tangents
    return x, jax.checkpoint(_tangent)(x, primals[1], dz, dtau)


def _tangent(x, tau, dz, dtau):
    share = jax.nn.softmax(jax.nn.log_sigmoid(x) + jax.nn.log_sigmoid(-x))
    tau = tau[..., None]
    largest = float(jnp.finfo(x.dtype).max)
    along_tau = jnp.clip(over(centred(x, share), tau), -largest, largest)
    return over(centred(dz, share), tau) - along_tau * dtau[..., None]


@jax.custom_jvp
def _sigmoid(x):
    return jax.nn.sigmoid(x)


@_sigmoid.defjvp
def _sigmoid_jvp(primals, tangents):
    """The slope is that of the smaller side, which does not cancel."""
    (x,), (dx,) = primals, tangents
    slope = _sigmoid(x) * _sigmoid(-x)
    return _sigmoid(x), jnp.where(slope > 0, slope * dx, 0)
