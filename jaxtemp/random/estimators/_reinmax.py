"""`reinmax`: a second-order straight-through gradient."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from ..._rows import Folded, fold
from .._categorical import categorical
from . import _relaxed
from ._straight_through import sample


def reinmax(
    key: jax.Array,
    logits: ArrayLike,
    temperature: ArrayLike = 1.0,
    *,
    relaxation: ArrayLike = 1.0,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""A one-hot draw with a gradient that is exact for quadratic losses.

    With $J(q) = \operatorname{diag}(q) - q q^\top$, the Jacobian of a softmax,

    $$D \sim p = \operatorname{softmax}(z/\tau), \qquad
    \partial D := \left(2 J\!\left(\frac{D + p_\lambda}{2}\right) - \tfrac12 J(p)\right)
    \partial \frac{z}{\tau}, \qquad
    p_\lambda = \operatorname{softmax}\!\left(\frac{z}{\tau\lambda}\right).$$

    At $\lambda = 1$ the expected gradient is that of $E f(D)$ for every `f` of second
    order in $D$, in `logits` and in `temperature`: Heun's method where straight-through
    is Euler's. Other λ trade some of that for variance; λ has no gradient itself.

    Args:
        key: One key for the batch, or an array of keys of the batch shape.
        logits: Real floating array; `axis` holds the V >= 1 classes.
        temperature: τ in [0, inf], broadcasts to the batch shape.
        relaxation: λ in [0, inf], broadcasts to the batch shape.
        axis: The class axis.
        where: Boolean mask that broadcasts to the logits' shape; `False` excludes.

    Returns:
        One-hot rows, of the logits' shape and dtype; NaN where nothing can be drawn.

    Raises:
        TypeError: `key` is not a key, or an array is not real floating.
        ValueError: A shape does not fit, or a concrete τ or λ is negative or NaN.

    Examples:
        The average over draws of the gradient of a quadratic, and what it should be:

        >>> import jax, jaxtemp
        >>> from jaxtemp.random.estimators import reinmax
        >>> def loss(d):
        ...     return (d[0] - 0.45) ** 2
        >>> def slope(key, z):
        ...     return jax.grad(lambda z: loss(reinmax(key, z)))(z)[0]
        >>> z = jax.numpy.array([-2.0, 0.0])
        >>> keys = jax.random.split(jax.random.key(0), 200_000)
        >>> f"{jax.jit(jax.vmap(slope, (0, None)))(keys, z).mean():.4f}"
        '0.0105'
        >>> p = jaxtemp.softmax(z)[0]
        >>> f"{p * (1 - p) * (1 - 2 * 0.45):.4f}"
        '0.0105'

    Source:
        Liu and others, *Bridging discrete and backpropagation: straight-through and
        beyond*, 2023, algorithm 2.
    """
    rows = fold(logits, temperature, axis=axis, where=where)
    rate = _relaxed.relaxation_of(relaxation, rows)
    ids = categorical(key, rows.logits, rows.temperature)
    return sample(rows, ids, _surrogate(rows, ids, rate))


def _surrogate(rows: Folded, ids: jax.Array, rate: jax.Array) -> jax.Array:
    once = jnp.ones_like(rate)
    log_p = _relaxed.log_probabilities(rows)
    relaxed = _relaxed.relaxed(rows, 0.0, rate)
    mixed = (_relaxed.is_drawn(ids, rows).astype(relaxed.dtype) + relaxed) / 2
    # The noise that makes the mixture of the probabilities, so that a relaxed draw has
    # its Jacobian. Where a class is so unlikely that the noise would be as large as
    # what it rounds, there is none, and the class stays out.
    known = (mixed > 0) & (log_p > -(float(jnp.finfo(log_p.dtype).eps) ** -0.5))
    noise = jnp.where(known, jnp.log(jnp.where(known, mixed, 1)) - log_p, 0)
    heun = _relaxed.relaxed(rows, lax.stop_gradient(noise), once)
    return 2 * heun - _relaxed.relaxed(rows, 0.0, once) / 2
