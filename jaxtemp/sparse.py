r"""Sparse relatives of softmax: at a finite temperature they give exact zeros.

They maximise $\langle p, z \rangle + \tau H_\alpha(p)$ over all distributions, as
softmax does, with an entropy of another family (Tsallis):

$$H_\alpha(p) = \frac{1}{\alpha(\alpha - 1)} \sum_i (p_i - p_i^\alpha), \qquad
  H_1(p) = -\sum_i p_i \log p_i.$$

`temperature`, `axis` and `where` mean what they mean for
[`softmax`][jaxtemp.softmax], and so do the limits, the masks and the derivatives.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from . import _checks
from ._rows import fold, upcast
from ._scale import exponent, over
from ._threshold import centred, root

_ALPHA = _checks.Rule(1, 2, "pass 1 for softmax, 1.5, or 2 for sparsemax")
_FAR = -1e30  # an exponent beyond which nothing is left, with room to be scaled
_NEAR = 0.5


def sparsemax(
    logits: ArrayLike,
    temperature: ArrayLike = 1.0,
    *,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""The point of the simplex nearest to `logits / temperature`.

    $$p_i = \max(0, z_i/\tau - \theta), \qquad \sum_i p_i = 1$$

    Classes far below the largest get exactly 0. If the largest logit is alone and leads
    by $\tau$ or more, it gets exactly 1. On the support $S$ the derivative is
    $\partial p_i/\partial\tau = -(z_i - \bar z_S)/\tau^2$, and 0 elsewhere.

    Args:
        logits: Real floating array; `axis` holds the V >= 1 classes, every other axis
            is batch.
        temperature: τ in [0, inf], broadcasts to the batch shape.
        axis: The class axis.
        where: Boolean mask that broadcasts to the logits' shape; `False` excludes.

    Returns:
        Probabilities, of the logits' shape and dtype.

    Raises:
        TypeError: `logits` or `temperature` is not real floating, or `where` is not
            boolean.
        ValueError: A shape does not fit, the class axis is empty, or a concrete
            temperature is negative or NaN.

    Examples:
        >>> import jax, jaxtemp
        >>> logits = jax.numpy.array([2.0, 1.5, 0.5, 0.1])
        >>> [f"{p:.4f}" for p in jaxtemp.sparsemax(logits)]
        ['0.7500', '0.2500', '0.0000', '0.0000']
        >>> jaxtemp.sparsemax(logits, 0.5)
        Array([1., 0., 0., 0.], dtype=float32)

    Source:
        Martins and Astudillo, *From softmax to sparsemax*, 2016.
    """
    return _op(logits, temperature, 2.0, axis, where, _ramp)


def entmax(
    logits: ArrayLike,
    temperature: ArrayLike = 1.0,
    alpha: ArrayLike = 1.5,
    *,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""Softmax at α = 1, sparsemax at α = 2, and what lies between.

    $$p_i = \max\bigl(0, (\alpha - 1) z_i/\tau - \theta\bigr)^{1/(\alpha - 1)},
      \qquad \sum_i p_i = 1$$

    The derivatives, in `logits`, `temperature` and `alpha`, are finite up to both ends:
    $\partial p_i/\partial\alpha$ at α = 1 is
    $-\tfrac12 p_i (\log^2 p_i - \langle \log^2 p \rangle)$. Beyond α = 2 an entmax has
    no bounded derivative, and so no accurate value: there is none here.

    Args:
        logits: Real floating array; `axis` holds the V >= 1 classes, every other axis
            is batch.
        temperature: τ in [0, inf], broadcasts to the batch shape.
        alpha: α in [1, 2], broadcasts to the batch shape; traced and outside, it makes
            its rows NaN.
        axis: The class axis.
        where: Boolean mask that broadcasts to the logits' shape; `False` excludes.

    Returns:
        Probabilities, of the logits' shape and dtype.

    Raises:
        TypeError: `logits`, `temperature` or `alpha` is not real floating, or `where`
            is not boolean.
        ValueError: A shape does not fit, the class axis is empty, or a concrete
            temperature or α is outside of its range.

    Examples:
        >>> import jax, jaxtemp
        >>> logits = jax.numpy.array([2.0, 1.5, 0.5, 0.1])
        >>> [f"{p:.4f}" for p in jaxtemp.entmax(logits)]
        ['0.6712', '0.3240', '0.0048', '0.0000']
        >>> first = lambda alpha: jaxtemp.entmax(logits, 1.0, alpha)[0]
        >>> f"{jax.jit(jax.grad(first))(1.0):.4f}"
        '0.3131'

    Source:
        Peters, Niculae and Martins, *Sparse sequence-to-sequence models*, 2019; the
        derivative in α: Correia, Niculae and Martins, *Adaptively sparse transformers*,
        2019.
    """
    return _op(logits, temperature, alpha, axis, where, _deformed_exponential)


def _op(logits, temperature, alpha, axis, where, exponential):
    """Entmax between two folds."""
    rows = fold(logits, temperature, axis=axis, where=where)
    z, tau = upcast(rows.logits), rows.temperature
    alpha = rows.parameter("alpha", alpha, _ALPHA)
    found = _solve(*lax.stop_gradient((z, tau, alpha)), exponential)
    p = _attached(z, tau, alpha, found)
    return rows.unfold(p.astype(rows.logits.dtype))


def _solve(z, tau, alpha, exponential):
    """Entmax by the logarithm of its largest probability.

    With a = α - 1, u <= 0 the scaled logits and P the largest probability, all are
    `P e(u / P^a)`, where `e(v) = (1 + a v)^(1/a)` is an exponential at a = 0. There,
    one step finds P.
    """
    a = _order(alpha)[..., None]
    u = exponent(z - jnp.max(z, axis=-1, keepdims=True), tau[..., None])
    u = jnp.where(z > -jnp.inf, jnp.maximum(u, _FAR), _FAR)

    def excess(log_top):
        both = exponential(u * jnp.exp(-a * log_top), a)
        total, slope = (jnp.sum(x, axis=-1, keepdims=True) for x in both)
        return log_top + jnp.log(total), slope / total

    high = jnp.zeros_like(u[..., :1])
    # A flat row ends at the lower end, but for rounding.
    low = high - 1e-3 - math.log(u.shape[-1])
    log_top = root(excess, low, high, high)
    w, _ = exponential(u * jnp.exp(-a * log_top), a)
    p = w / jnp.sum(w, axis=-1, keepdims=True)
    return jnp.where(jnp.max(z, axis=-1, keepdims=True) == -jnp.inf, jnp.nan, p)


def _deformed_exponential(v, a):
    """`e(v) = (1 + a v)^(1/a)`, and its derivative, `e(v)^(1 - a)`."""
    x = jnp.maximum(a * v, -1)
    safe = jnp.where(x == 0, 1, x)
    log_e = v * jnp.where(x == 0, 1, jnp.log1p(safe) / safe)
    return jnp.exp(log_e), jnp.where(x > -1, jnp.exp((1 - a) * log_e), 0)


def _ramp(v, a):
    """The same at a = 1."""
    e = jnp.maximum(1 + a * v, 0)
    return e, (e > 0).astype(e.dtype)


@jax.custom_jvp
def _attached(z, tau, alpha, found):
    """`found`, with the derivatives of entmax, which it is."""
    del z, tau, alpha
    return found


@_attached.defjvp
def _attached_jvp(primals, tangents):
    p = _attached(*primals)
    return p, jax.checkpoint(_tangent)(p, *primals[:3], *tangents[:3])


def _tangent(p, z, tau, alpha, dz, dtau, dalpha):
    """The tangent of entmax: slopes times what its exponents change, centred.

    The exponents are `(p^a - 1) / a` up to a shift; a logarithm at a = 0.
    """
    a = _order(alpha)[..., None]
    empty = jnp.max(z, axis=-1, keepdims=True) == -jnp.inf
    p = jnp.where(empty, 1, p)
    log_p = jnp.log(jnp.where(p == 0, 1, p))
    s = jnp.where(p == 0, 0, jnp.exp((1 - a) * log_p))
    share = s / jnp.sum(s, axis=-1, keepdims=True)
    exponents = log_p * _expm1_over(a * log_p)
    bend = log_p * log_p * _expm1_over_slope(a * log_p)
    along_z = over(s, tau[..., None]) * centred(dz, share)
    along_tau = over(s * centred(exponents, share), tau[..., None])
    along_alpha = s * centred(bend, share)
    out = along_z - along_tau * dtau[..., None] - along_alpha * dalpha[..., None]
    return jnp.where(empty, 0, out)


def _order(alpha):
    """α - 1, NaN where α is out of range."""
    return jnp.where((alpha >= 1) & (alpha <= 2), alpha - 1, jnp.nan)


def _expm1_over(x):
    """`(exp(x) - 1) / x`."""
    safe = jnp.where(jnp.abs(x) < _NEAR, 1, x)
    return _near_zero(x, 1, jnp.expm1(safe) / safe)


def _expm1_over_slope(x):
    """The derivative of `(exp(x) - 1) / x`."""
    safe = jnp.where(jnp.abs(x) < _NEAR, 1, x)
    return _near_zero(x, 2, (jnp.exp(safe) - jnp.expm1(safe) / safe) / safe)


def _near_zero(x, order, elsewhere):
    """The series of one of the two at small x, where quotients lose their digits."""
    series = jnp.zeros_like(x)
    for k in reversed(range(15)):
        numerator = (k + 1) ** (order - 1)
        series = series * x + numerator / math.factorial(k + order)
    return jnp.where(jnp.abs(x) < _NEAR, series, elsewhere)
