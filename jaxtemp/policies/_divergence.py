"""Kullback-Leibler divergence of two policies."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from .._derivatives import softmax
from .._scale import over
from ._boltzmann import Boltzmann, check_policy


def kl_divergence(p: Boltzmann, q: Boltzmann) -> jax.Array:
    r"""Kullback-Leibler divergence of two policies, also of nearly equal ones.

    $$KL(p \| q) = \sum_a p_a \log \frac{p_a}{q_a}
        = \sum_a p_a \big(d_a + e^{-d_a} - 1\big), \qquad d = \log p - \log q$$

    No term of the second sum is negative, so that nothing cancels. And $d$ is
    made of differences of the logits and of the temperatures, if these are within a
    factor of two; otherwise of $u = z / \tau$ of both, with an error of $10^{-7} |u|$
    in float32.

    Args:
        p: The policy whose actions are averaged over.
        q: The policy to compare with; its logits' shape broadcasts with that of p.

    Returns:
        One number a row, in nats and in the wider of both dtypes: infinite where p may
        take an action that q never takes. Actions that neither takes do not count.

    Raises:
        TypeError: `p` or `q` is not a `Boltzmann`.
        ValueError: Their shapes do not fit.

    Examples:
        >>> import jax, jaxtemp
        >>> q = jax.numpy.array([1.0, 0.8, 0.2])
        >>> old, new = (jaxtemp.policies.Boltzmann(q, tau) for tau in (0.5, 0.4999))
        >>> f"{jax.jit(jaxtemp.policies.kl_divergence)(new, old):.4e}"
        '4.6731e-09'

    Source:
        Schulman, *Approximating KL divergence* (2020), for the form of the sum.
    """
    check_policy("p", p)
    check_policy("q", q)
    dtype = jnp.promote_types(p.logits.dtype, q.logits.dtype)
    return _divergence(*_joint(p, q)).astype(dtype)


# The coefficients of (d + exp(-d) - 1) / d² in powers of -d, the highest first.
_SERIES = [1 / math.factorial(n + 2) for n in range(12)][::-1]
_SMALL = 0.25


def _divergence(z, tau, w, sigma) -> jax.Array:
    """`KL(softmax(z / τ) | softmax(w / σ))` along the last axis."""
    p, q = softmax(z, tau, False, None, None), softmax(w, sigma, False, None, None)
    supported = softmax(z, tau, True, None, None) > -jnp.inf
    d = jnp.where(supported, _log_ratio(z, tau, w, sigma), 0)
    small, impossible = supported & (jnp.abs(d) < _SMALL), d == jnp.inf
    near, far = jnp.where(small, d, 0), jnp.where(small | impossible, 0, d)
    series = near * near * jnp.polyval(jnp.asarray(_SERIES, d.dtype), -near)
    terms = jnp.where(small, p * series, p * far + (q - p))
    return jnp.where(jnp.any(impossible, axis=-1), jnp.inf, jnp.sum(terms, axis=-1))


@jax.custom_jvp
def _log_ratio(z, tau, w, sigma) -> jax.Array:
    """`log p - log q`, to rounding also where it is nearly zero.

    With p ∝ q exp(δ) it is δ - log Σ q exp(δ).
    """
    both = (z > -jnp.inf) & (w > -jnp.inf)
    delta = jnp.where(both, _exponent_difference(z, tau, w, sigma, both), 0)
    change = jnp.sum(softmax(w, sigma, False, None, None) * jnp.expm1(delta), axis=-1)
    same = jnp.all((z > -jnp.inf) == (w > -jnp.inf), axis=-1)
    close = same & (tau > 0) & (sigma > 0) & (jnp.abs(change) < 0.5)
    plain = softmax(z, tau, True, None, None) - softmax(w, sigma, True, None, None)
    return jnp.where(close[..., None], delta - jnp.log1p(change)[..., None], plain)


def _exponent_difference(z, tau, w, sigma, both) -> jax.Array:
    """`z / τ - w / σ` where `both` are finite, less what it is in one class."""
    a, b = jnp.where(both, z, 0), jnp.where(both, w, 0)
    lead = jnp.argmax(jnp.where(both, z, -jnp.inf), axis=-1, keepdims=True)

    def from_lead(x):
        return x - jnp.take_along_axis(x, lead, axis=-1)

    plain = over(from_lead(a), tau[..., None]) - over(from_lead(b), sigma[..., None])
    # At like temperatures, of the differences of logits and of temperatures. What
    # rounding takes from the former is `lost`, exactly: their offsets may differ.
    difference = a - b
    taken = difference - a
    lost = (a - (difference - taken)) - (b + taken)
    gap = from_lead(difference) + from_lead(lost)
    slower = over(over(sigma - tau, tau), sigma)[..., None]
    alike = (tau <= 2 * sigma) & (sigma <= 2 * tau) & (tau < jnp.inf)
    fine = over(gap, tau[..., None]) + from_lead(b) * slower
    return jnp.where(alike[..., None], fine, plain)


@_log_ratio.defjvp
def _log_ratio_jvp(primals, tangents):
    (z, tau, w, sigma), (dz, dtau, dw, dsigma) = primals, tangents

    def log_softmax(z, tau):
        return softmax(z, tau, True, None, None)

    _, dlog_p = jax.jvp(log_softmax, (z, tau), (dz, dtau))
    _, dlog_q = jax.jvp(log_softmax, (w, sigma), (dw, dsigma))
    return _log_ratio(*primals), dlog_p - dlog_q


def _joint(p: Boltzmann, q: Boltzmann) -> tuple[jax.Array, ...]:
    """Logits and temperatures of both, of one shape and dtype."""
    first, second = p.rows(), q.rows()
    try:
        shape = np.broadcast_shapes(first.z.shape, second.z.shape)
        fits = first.z.shape[-1] == second.z.shape[-1]
    except ValueError:
        shape, fits = (), False
    if not fits:
        raise ValueError(
            f"`q` must have a batch shape that broadcasts with that of `p`, "
            f"{first.tau.shape}, and as many actions, {first.z.shape[-1]}, got "
            f"{second.tau.shape} and {second.z.shape[-1]}; "
            "compare policies over the same actions."
        )
    dtype = jnp.promote_types(first.z.dtype, second.z.dtype)
    return tuple(
        jnp.broadcast_to(x.astype(dtype), shape[: len(shape) - row])
        for rows in (first, second)
        for row, x in enumerate((rows.z, rows.tau))
    )
