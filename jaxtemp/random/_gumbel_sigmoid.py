"""Relaxed draws of a bit: sigmoid of perturbed logits, and straight through."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from .. import _checks
from .._rows import accumulator
from .._scale import over, quotient
from ._carry import carry
from ._keys import typed
from ._standard import logistic


def gumbel_sigmoid(
    key: jax.Array,
    logits: ArrayLike,
    temperature: ArrayLike = 1.0,
    *,
    hard: bool = False,
    bits: str = "default",
) -> jax.Array:
    r"""Draws from the binary Concrete distribution: a bit, relaxed to (0, 1).

    $$y = \operatorname{sigmoid}\Big(\frac{z + \ell}{\tau}\Big), \qquad
    \frac{\partial y}{\partial \tau} = -\frac{y (1 - y)}{\tau} \log\frac{y}{1 - y}$$

    with independent standard logistic noise $\ell$. This is the first entry of
    `gumbel_softmax` with logits $(z, 0)$, the difference of two Gumbel variables being
    logistic. $y > 1/2$ has probability $\operatorname{sigmoid}(z)$, whatever $\tau$ is.
    At $\tau = 0$ the sample is 0 or 1, at $\tau = \infty$ it is 1/2. There is no class
    axis: every entry is a draw of its own.

    Args:
        key: One key, or an array of keys of the logits' shape.
        logits: Real floating array. `-inf` and `inf` give exactly 0 and 1, with
            gradient zero.
        temperature: τ in [0, inf], a number or an array that broadcasts to the logits'
            shape.
        hard: Whether to return 1 where y > 1/2, else 0, with the gradient of the
            relaxed sample: the straight-through estimator.
        bits: `"default"` or the faster `"fast"`; see `random.gumbel`.

    Returns:
        Numbers in [0, 1], of the logits' shape and dtype; NaN where a logit is.

    Raises:
        TypeError: `key` is not a key, or `logits` or `temperature` not real floating.
        ValueError: A shape does not fit, a concrete temperature is negative or NaN, or
            `bits` is unknown.

    Examples:
        >>> import jax, jaxtemp
        >>> logits = jax.numpy.full(100_000, 1.0)
        >>> y = jaxtemp.random.gumbel_sigmoid(jax.random.key(0), logits, 0.5)
        >>> f"{(y > 0.5).mean():.2f} {jax.nn.sigmoid(1.0):.2f}"
        '0.73 0.73'

    Source:
        Maddison, Mnih and Teh, *The Concrete distribution*, 2017, appendix B.
    """
    x, tau, dtype = _draw(key, logits, temperature, bits)
    soft = _sigmoid(x, tau, False).astype(dtype)
    return carry(_bit(x), soft) if hard else soft


def log_gumbel_sigmoid(
    key: jax.Array,
    logits: ArrayLike,
    temperature: ArrayLike = 1.0,
    *,
    bits: str = "default",
) -> jax.Array:
    r"""The logarithm of `gumbel_sigmoid`, finite where that has underflowed to zero.

    $$\log y = -\log\big(1 + e^{-(z + \ell)/\tau}\big)$$

    Args:
        key: One key, or an array of keys of the logits' shape.
        logits: Real floating array.
        temperature: τ in [0, inf], broadcasts to the logits' shape.
        bits: `"default"` or the faster `"fast"`; see `random.gumbel`.

    Returns:
        Numbers in [-inf, 0], of the logits' shape and dtype; `-inf` only at τ = 0 and
        for a logit of `-inf`.

    Raises:
        TypeError: As for `gumbel_sigmoid`.
        ValueError: As for `gumbel_sigmoid`.

    Examples:
        >>> import jax, jaxtemp
        >>> key, logits = jax.random.key(0), jax.numpy.zeros(4)
        >>> log_y = jaxtemp.random.log_gumbel_sigmoid(key, logits, 1e-3)
        >>> bool(jax.numpy.isfinite(log_y).all())
        True

    Source:
        Maddison, Mnih and Teh, *The Concrete distribution*, 2017, appendix B.
    """
    x, tau, dtype = _draw(key, logits, temperature, bits)
    return _sigmoid(x, tau, True).astype(dtype)


def _draw(key, logits, temperature, bits: str):
    """Perturbed logits, the temperature of each, and the dtype of the result."""
    logits = _checks.floating_array("logits", logits)
    wide = accumulator(logits.dtype)
    tau = _temperature(temperature, logits.shape, wide)
    key = typed(key, logits.shape)
    shape = (*logits.shape, 1) if key.shape == logits.shape else logits.shape
    noise = logistic(key, shape, wide, bits=bits).reshape(logits.shape)
    return logits.astype(wide) + noise, tau, logits.dtype


def _temperature(value, shape: tuple[int, ...], dtype) -> jax.Array:
    have = np.shape(value)
    try:
        fits = np.broadcast_shapes(have, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"`temperature` must broadcast to the logits' shape {shape}, got shape "
            f"{have}; pass one number, or one for each logit."
        )
    return _checks.temperature(value, shape, dtype)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _sigmoid(x: jax.Array, tau: jax.Array, log: bool) -> jax.Array:
    """`sigmoid(x / τ)`, or its logarithm."""
    u = quotient(x, tau)
    return -jnp.logaddexp(-u, 0) if log else lax.logistic(u)


@_sigmoid.defjvp
def _sigmoid_jvp(log: bool, primals, tangents):
    x, tau = primals
    dx, dtau = tangents
    infinite = jnp.isinf(x)
    largest = float(jnp.finfo(x.dtype).max)
    # Far below overflow: a power of it is taken for derivatives of higher order.
    u = jnp.clip(over(jnp.where(infinite, 0, x), tau), -(largest**0.25), largest**0.25)
    slope = lax.logistic(-u) if log else lax.logistic(u) * lax.logistic(-u)
    slope = jnp.where(infinite, 0, slope)
    # Divided by τ before they meet a tangent: a zero stays zero.
    along_tau = jnp.clip(over(slope * u, tau), -largest, largest)
    return _sigmoid(x, tau, log), over(slope, tau) * dx - along_tau * dtau


def _bit(x: jax.Array) -> jax.Array:
    return jnp.where(jnp.isnan(x), jnp.nan, x > 0)
