"""The probability of what a draw without replacement gave, in order or as a set."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.typing import ArrayLike

from .. import _checks
from .._derivatives import logsumexp, softmax
from .._rows import Folded, fold, upcast
from .._scale import over

_SMALL = -9.0  # where two terms of a series in e^y give log(1 - exp(-e^y))


def ordered_log_prob(
    logits: ArrayLike,
    ids: ArrayLike,
    temperature: ArrayLike = 1.0,
    *,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""Log-probability of classes drawn one after the other, in this order.

    $$\log P(i_1, \dots, i_k) = \sum_j \log \frac{p_{i_j}}{1 - \sum_{l<j} p_{i_l}},
    \qquad p = \operatorname{softmax}(z / \tau)$$

    Each term is a log-softmax over what is left, so nothing cancels when almost all
    probability has been drawn. The time is that of k passes over the logits.

    Args:
        logits: Real floating array; `axis` holds the V >= 1 classes.
        ids: Integers `[*batch, k]`, as `gumbel_top_k` gives them. -1 is no draw and
            counts as probability 1; traced and outside of [-1, V), so does any other.
        temperature: τ in [0, inf], broadcasts to the batch shape.
        axis: The class axis.
        where: Boolean mask that broadcasts to the logits' shape; `False` excludes.

    Returns:
        One number a row: the batch shape, in the logits' dtype. It is `-inf` where an
        id is masked or stands twice.

    Raises:
        TypeError: An array is not real floating, `ids` are not integers, or `where` is
            not boolean.
        ValueError: A shape does not fit, or a concrete id or temperature is outside of
            its range.

    Examples:
        >>> import jax, jaxtemp
        >>> logits = jax.numpy.log(jax.numpy.array([0.1, 0.2, 0.3, 0.4]))
        >>> ids = jax.numpy.array([3, 2])
        >>> log_p = jax.jit(jaxtemp.random.ordered_log_prob)(logits, ids)
        >>> f"{jax.numpy.exp(log_p):.4f}"
        '0.2000'

    Source:
        Plackett, *The analysis of permutations*, 1975.
    """
    rows = fold(logits, temperature, axis=axis, where=where)
    ids = _ids(ids, rows)
    tau = rows.temperature

    @jax.checkpoint
    def draw(left, chosen):
        z = jnp.where(left, upcast(rows.logits), -jnp.inf)
        log_p = _at(softmax(z, tau, True, None, None), chosen)
        left &= jnp.arange(left.shape[-1]) != chosen[..., None]
        return left, jnp.where(chosen < 0, 0, log_p)

    left = jnp.ones(rows.logits.shape, bool)
    _, log_p = lax.scan(draw, left, jnp.moveaxis(ids, -1, 0))
    total = jnp.sum(log_p, axis=0)
    never = _impossible(ids, rows) | (total == -jnp.inf)
    return jnp.where(never, -jnp.inf, total).astype(rows.logits.dtype)


def subset_log_prob(
    logits: ArrayLike,
    ids: ArrayLike,
    temperature: ArrayLike = 1.0,
    *,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""Log-probability of a set of classes drawn without replacement, in any order.

    The sum of k! orders is one integral: the set $S$ is drawn if all its perturbed
    logits exceed the largest of the rest $D$, which is itself a Gumbel variable,

    $$P(S) = \int_0^\infty e^{-t} \prod_{i \in S} \bigl(1 - e^{-t\,p_i/p_D}\bigr)\,dt,
    \qquad p_D = \sum_{i \notin S} p_i.$$

    In $\log t$ the integrand is log-concave and analytic, and the trapezoidal rule
    gives it to the last digits, with $O(\sqrt{k})$ points for any logits. The terms
    are all positive: nothing cancels.

    Args:
        logits: Real floating array; `axis` holds the V >= 1 classes.
        ids: Integers `[*batch, k]`, in any order. -1 is no member; traced and outside
            of [-1, V), neither is any other.
        temperature: τ in [0, inf], broadcasts to the batch shape.
        axis: The class axis.
        where: Boolean mask that broadcasts to the logits' shape; `False` excludes.

    Returns:
        One number a row: the batch shape, in the logits' dtype. It is `-inf` where an
        id is masked or stands twice.

    Raises:
        TypeError: An array is not real floating, `ids` are not integers, or `where` is
            not boolean.
        ValueError: A shape does not fit, or a concrete id or temperature is outside of
            its range.

    Examples:
        >>> import jax, jaxtemp
        >>> logits = jax.numpy.log(jax.numpy.array([0.1, 0.2, 0.3, 0.4]))
        >>> ids = jax.numpy.array([3, 2])
        >>> log_p = jax.jit(jaxtemp.random.subset_log_prob)(logits, ids)
        >>> f"{jax.numpy.exp(log_p):.4f}"
        '0.3714'

    Source:
        Kool, van Hoof and Welling, *Estimating gradients for discrete random variables
        by sampling without replacement*, 2020, appendix B.
    """
    rows = fold(logits, temperature, axis=axis, where=where)
    ids = _ids(ids, rows)
    total = _log_integral(_log_odds(ids, rows))
    total = jnp.where(_impossible(ids, rows), -jnp.inf, total)
    top = jnp.max(upcast(rows.logits), axis=-1)
    return jnp.where(jnp.isfinite(top), total, jnp.nan).astype(rows.logits.dtype)


def _ids(value, rows: Folded) -> jax.Array:
    """Ids of every row, int32 `[*batch, k]`, -1 where there is none."""
    ids = _checks._array("ids", value)
    if not jnp.issubdtype(ids.dtype, jnp.integer):
        raise TypeError(
            f"`ids` must be integers, got dtype {ids.dtype}; pass class ids, -1 for "
            "none."
        )
    batch, size = rows.logits.shape[:-1], rows.logits.shape[-1]
    if ids.ndim != len(batch) + 1 or ids.shape[:-1] != batch:
        wanted = ", ".join([*map(str, batch), "k"]) + ("," if not batch else "")
        raise ValueError(
            f"`ids` must have the shape ({wanted}) for logits of batch shape {batch}, "
            f"got {ids.shape}; put a row's ids along the last axis, and `jax.vmap` "
            "over several draws of it."
        )
    if not isinstance(ids, Tracer):
        given = np.asarray(ids)
        bad = given[~((given >= -1) & (given < size))]
        if bad.size:
            raise ValueError(
                f"`ids` must be in [0, {size}), or -1 for none, got {bad[0]}; "
                "use -1 for padding."
            )
    return jnp.where((ids >= 0) & (ids < size), ids, -1).astype(jnp.int32)


def _at(x: jax.Array, ids: jax.Array) -> jax.Array:
    """The entry of each row of `x` at its id, of the first class for -1."""
    return jnp.take_along_axis(x, jnp.maximum(ids, 0)[..., None], axis=-1)[..., 0]


def _impossible(ids: jax.Array, rows: Folded) -> jax.Array:
    """Whether an id of a row is masked or stands twice."""
    equal = (ids[..., None] == ids[..., None, :]) & (ids >= 0)[..., None]
    twice = jnp.sum(equal, axis=(-1, -2)) > jnp.sum(ids >= 0, axis=-1)
    allowed = rows.logits > -jnp.inf
    masked = (ids >= 0) & ~jnp.take_along_axis(allowed, jnp.maximum(ids, 0), axis=-1)
    return twice | jnp.any(masked, axis=-1)


def _log_odds(ids: jax.Array, rows: Folded) -> jax.Array:
    """`log p_i / p_D` of each id, a large number where nothing else could be drawn."""
    z, tau = upcast(rows.logits), rows.temperature
    chosen = jnp.any(ids[..., None] == jnp.arange(z.shape[-1]), axis=-2)
    rest = jnp.where(chosen, -jnp.inf, z)
    top = jnp.max(lax.stop_gradient(rest), axis=-1, keepdims=True)
    alone = top == -jnp.inf
    top = jnp.where(alone, 0, top)
    log_rest = logsumexp(jnp.where(alone, 0, rest - top), tau, None, None)[..., None]
    x = jnp.take_along_axis(z, jnp.maximum(ids, 0), axis=-1) - top

    odds = _quotient(x, tau[..., None]) - log_rest
    return jnp.where(alone | (ids < 0), _largest(z.dtype), odds)


@jax.custom_jvp
def _quotient(x, tau):
    """`x / τ`, or the largest number that leaves room to calculate."""
    # At τ = 0 `over` gives 0, not the limit; below 1 it may overflow.
    bound = _largest(x.dtype) * jnp.minimum(tau, 1)
    limit = _largest(x.dtype) * jnp.sign(x)
    return jnp.where(tau == 0, limit, over(jnp.clip(x, -bound, bound), tau))


@_quotient.defjvp
def _quotient_jvp(primals, tangents):
    x, tau = primals
    dx, dtau = tangents
    quotient, largest = _quotient(x, tau), _largest(x.dtype)
    slope = jnp.clip(over(quotient, tau), -largest, largest)
    return quotient, over(dx, tau) - slope * dtau


def _largest(dtype) -> float:
    """A number so large that it stands for infinity, with room for sums."""
    return float(jnp.finfo(dtype).max) * 2.0**-20


def _log_integral(odds: jax.Array) -> jax.Array:
    """`log ∫ exp(x - e^x) Π (1 - exp(-e^(x + odds))) dx` over the last axis of `odds`.

    The integrand is largest for some x in [0, log(k + 1)] and never wider than
    `exp(x - e^x)`, never narrower than `exp((k + 1) x - e^x)`. The mass beyond the ends
    and the error between the points are both below `exp(-digits)` of the whole.
    """
    k = odds.shape[-1]
    digits = 1 - math.log(float(jnp.finfo(odds.dtype).eps))
    spread = math.sqrt(2 * digits * (k + 1))
    low, high = -digits, math.log(k + 1 + spread + digits)
    step = 2 * math.pi / (spread + 2 * digits / math.pi)
    points = low + step * np.arange(math.ceil((high - low) / step) + 1)

    x = jnp.asarray(points, odds.dtype)[:, None]
    below = jnp.minimum(odds, 0)
    y = x + odds[..., None, :]
    small = y < _SMALL
    # Beyond the upper end the logarithm is 0.
    middle = jnp.log(-jnp.expm1(-jnp.exp(jnp.clip(y, _SMALL, 7))))
    t = jnp.exp(jnp.where(small, y, -jnp.inf))
    log_terms = jnp.where(
        small,
        x + jnp.maximum(odds, 0)[..., None, :] - t / 2 + t * t / 24,
        middle - below[..., None, :],
    )
    log_weights = (x - jnp.exp(x))[:, 0]
    log_sum = jax.nn.logsumexp(log_weights + jnp.sum(log_terms, axis=-1), axis=-1)
    # The weights' own sum is 1 / step but for rounding: P = 1 is exact.
    log_sum -= jax.nn.logsumexp(log_weights)
    total = log_sum + jnp.sum(below, axis=-1)
    return jnp.where(total <= -_largest(odds.dtype), -jnp.inf, total)
