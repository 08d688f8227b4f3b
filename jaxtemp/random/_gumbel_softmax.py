"""Relaxed draws of a class: softmax of perturbed logits, and its straight-through form.

The perturbed logits are float32 or float64 whatever the logits are. They are all that a
backward pass holds; nothing is drawn twice.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .. import _checks, _derivatives, kernels
from .._rows import Folded, fold, upcast
from ._carry import carry
from ._noise import row_gumbel


def gumbel_softmax(
    key: jax.Array,
    logits: ArrayLike,
    temperature: ArrayLike = 1.0,
    *,
    axis: int = -1,
    hard: bool = False,
    where: ArrayLike | None = None,
    bits: str = "default",
    implementation: str | None = None,
) -> jax.Array:
    r"""Draws from the Concrete distribution: a class, relaxed to the simplex.

    $$y = \operatorname{softmax}\Big(\frac{z + g}{\tau}\Big), \qquad
    \frac{\partial y}{\partial \tau} = -\frac{y}{\tau} \big(\log y + H(y)\big)$$

    with independent standard Gumbel noise $g$. The largest entry of $y$ is at class
    $i$ with probability $\operatorname{softmax}(z)_i$, whatever $\tau$ is: temperature
    decides how close to a corner $y$ is, not which. At $\tau = 0$ it is the corner, at
    $\tau = \infty$ all allowed classes share alike.

    The noise is that of `random.gumbel`, drawn in float32 or float64 for logits of any
    dtype; for one key the same as `random.gumbel(key, shape)`, with the class axis of
    the shape last. The derivatives are those of `softmax`: in logits and temperature,
    forward and reverse, to any order.

    Args:
        key: One key for the batch, or an array of keys of the batch shape: then a
            row's sample depends on its own key, logits and temperature alone.
        logits: Real floating array; `axis` holds the V >= 1 classes, every other axis
            is batch. They are the log-probabilities of the classes up to a constant,
            and are not divided by a temperature before noise is added.
        temperature: τ in [0, inf], a number or an array that broadcasts to the batch
            shape.
        axis: The class axis.
        hard: Whether to return the one-hot vector of the largest entry, with the
            gradient of the relaxed sample: the straight-through estimator.
        where: Boolean mask that broadcasts to the logits' shape; `False` excludes.
        bits: `"default"` or the faster `"fast"`; see `random.gumbel`.
        implementation: `None` for the fastest that works, or a name from
            `kernels.available()` to insist.

    Returns:
        A point of the simplex for each row, of the logits' shape and dtype; NaN in a
        row with nothing allowed, a NaN or a `+inf`.

    Raises:
        TypeError: `key` is not a key, `logits` or `temperature` not real floating, or
            `where` not boolean.
        ValueError: A shape does not fit, the class axis is empty, a concrete
            temperature is negative or NaN, `bits` is unknown, or the implementation
            cannot be used.

    Examples:
        >>> import jax, jaxtemp
        >>> logits = jax.numpy.array([2.0, 1.0, 0.5, 0.1])
        >>> key = jax.random.key(0)
        >>> y = jaxtemp.gumbel_softmax(key, logits, 0.5)
        >>> f"{y.sum():.3f}"
        '1.000'
        >>> jaxtemp.gumbel_softmax(key, logits, 0.5, hard=True).max()
        Array(1., dtype=float32)
        >>> keys = jax.random.split(key, 100_000)
        >>> draw = jax.vmap(lambda key: jaxtemp.gumbel_softmax(key, logits, 5.0))
        >>> share = (draw(keys).argmax(axis=-1) == 0).mean()
        >>> bool(abs(share - jaxtemp.softmax(logits)[0]) < 0.01)
        True

    Source:
        Maddison, Mnih and Teh, *The Concrete distribution*, 2017; Jang, Gu and Poole,
        *Categorical reparameterization with Gumbel-softmax*, 2017.
    """
    rows, perturbed = _draw(key, logits, temperature, axis, where, bits, implementation)
    soft = _softmax(rows, perturbed, False, implementation)
    return rows.unfold(carry(_one_hot(perturbed), soft) if hard else soft)


def log_gumbel_softmax(
    key: jax.Array,
    logits: ArrayLike,
    temperature: ArrayLike = 1.0,
    *,
    axis: int = -1,
    where: ArrayLike | None = None,
    bits: str = "default",
    implementation: str | None = None,
) -> jax.Array:
    r"""The logarithm of `gumbel_softmax`, finite where that has underflowed to zero.

    $$\log y = \frac{z + g}{\tau} - \log \sum_j e^{(z_j + g_j)/\tau}$$

    This is the Concrete distribution in log space. With the same key, its exponential
    is the sample of `gumbel_softmax`. The logarithm of that one is `-inf` wherever two
    perturbed logits are more than 87 τ apart in float32; this one is only at
    $\tau = 0$ and where a class is excluded.

    Args:
        key: One key for the batch, or an array of keys of the batch shape.
        logits: Real floating array; `axis` holds the V >= 1 classes.
        temperature: τ in [0, inf], broadcasts to the batch shape.
        axis: The class axis.
        where: Boolean mask that broadcasts to the logits' shape; `False` excludes.
        bits: `"default"` or the faster `"fast"`; see `random.gumbel`.
        implementation: `None` for the fastest that works, or a name from
            `kernels.available()` to insist.

    Returns:
        Logarithms of a point of the simplex for each row, of the logits' shape and
        dtype.

    Raises:
        TypeError: As for `gumbel_softmax`.
        ValueError: As for `gumbel_softmax`.

    Examples:
        >>> import jax, jaxtemp
        >>> logits = jax.numpy.array([2.0, 1.0, 0.5, 0.1])
        >>> key = jax.random.key(0)
        >>> jaxtemp.random.gumbel_softmax(key, logits, 1e-3)
        Array([1., 0., 0., 0.], dtype=float32)
        >>> log_y = jaxtemp.random.log_gumbel_softmax(key, logits, 1e-3)
        >>> [f"{x:.0f}" for x in log_y]
        ['0', '-2756', '-205', '-2142']

    Source:
        Maddison, Mnih and Teh, *The Concrete distribution*, 2017, appendix C.
    """
    rows, perturbed = _draw(key, logits, temperature, axis, where, bits, implementation)
    return rows.unfold(_softmax(rows, perturbed, True, implementation))


def _draw(key, logits, temperature, axis, where, bits, implementation):
    """Folded rows and their perturbed logits."""
    _checks.implementation(implementation, kernels.available())
    rows = fold(logits, temperature, axis=axis, where=where)
    z = upcast(rows.logits)
    top = lax.stop_gradient(jnp.max(z, axis=-1, keepdims=True))
    # A row in which nothing is allowed has no finite maximum.
    top = jnp.where(top == -jnp.inf, 0, top)
    return rows, _perturb(z, top, row_gumbel(key, rows, bits))


@jax.custom_jvp
def _perturb(z: jax.Array, top: jax.Array, noise: jax.Array) -> jax.Array:
    """`z + noise`, up to the constant `top`, without the rounding of large `z`."""
    x = z - top
    # As if there was a choice: without it XLA's CPU compiler takes the sum apart, to
    # reduce it, and with it the noise, which it would then compute twice.
    return jnp.where(x > -jnp.inf, x + noise, x)


@_perturb.defjvp
def _perturb_jvp(primals, tangents):
    return _perturb(*primals), tangents[0]


def _softmax(rows: Folded, perturbed: jax.Array, log: bool, implementation):
    y = _derivatives.softmax(perturbed, rows.temperature, log, None, implementation)
    return y.astype(rows.logits.dtype)


def _one_hot(x: jax.Array) -> jax.Array:
    """One at the first largest entry of each row; NaN where softmax is NaN."""
    x = lax.stop_gradient(x)
    top = jnp.max(x, axis=-1, keepdims=True)
    place = lax.broadcasted_iota(jnp.int32, x.shape, x.ndim - 1)
    first = jnp.where(x == top, place, x.shape[-1]).min(axis=-1, keepdims=True)
    return jnp.where(jnp.isfinite(top), (place == first).astype(x.dtype), jnp.nan)
