"""`gumbel_rao`: the straight-through Gumbel gradient, averaged given the draw."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from ..._rows import Folded, fold
from .._categorical import categorical
from .._keys import fold_in, typed
from .._noise import row_gumbel
from . import _relaxed
from ._straight_through import sample


def gumbel_rao(
    key: jax.Array,
    logits: ArrayLike,
    temperature: ArrayLike = 1.0,
    *,
    relaxation: ArrayLike = 1.0,
    samples: int = 10,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""A one-hot draw with the mean gradient of many relaxations of it.

    With K independent copies of Gumbel noise $g$, given that $z/\tau + g$ is largest at
    the class drawn,

    $$D \sim \operatorname{softmax}(z/\tau), \qquad
    \partial D := \frac1K \sum_{k=1}^{K} \partial
    \operatorname{softmax}\!\left(\frac{z/\tau + g^{(k)}}{\lambda}\right).$$

    The noise is held fixed in the derivative, although its law depends on $z$: so the
    mean is that of
    [`straight_through_gumbel`][jaxtemp.random.estimators.straight_through_gumbel], by
    Rao and Blackwell with less variance. `f` is evaluated once, whatever K; K relaxed
    draws of the logits' size are held in memory.

    Args:
        key: One key for the batch, or an array of keys of the batch shape.
        logits: Real floating array; `axis` holds the V >= 1 classes.
        temperature: τ in [0, inf], broadcasts to the batch shape.
        relaxation: λ in [0, inf], broadcasts to the batch shape.
        samples: K >= 1, how many relaxed draws are averaged.
        axis: The class axis.
        where: Boolean mask that broadcasts to the logits' shape; `False` excludes.

    Returns:
        One-hot rows, of the logits' shape and dtype; NaN where nothing can be drawn.

    Raises:
        TypeError: `key` is not a key, or an array is not real floating.
        ValueError: A shape does not fit, a concrete τ or λ is negative or NaN, or
            `samples` is not an int of at least 1.

    Examples:
        The spread of a slope over draws; with `samples=1` it is 0.18.

        >>> import jax, jaxtemp
        >>> from jaxtemp.random.estimators import gumbel_rao
        >>> def slope(key, z):
        ...     def loss(z):
        ...         d = gumbel_rao(key, z, relaxation=0.5, samples=100)
        ...         return (d[0] - 0.45) ** 2
        ...
        ...     return jax.grad(loss)(z)[0]
        >>> keys = jax.random.split(jax.random.key(0), 10_000)
        >>> z = jax.numpy.array([-2.0, 0.0])
        >>> f"{jax.jit(jax.vmap(slope, (0, None)))(keys, z).std():.2f}"
        '0.12'

    Source:
        Paulus, Maddison and Krause, *Rao-Blackwellizing the straight-through
        Gumbel-softmax gradient estimator*, 2021, section 3.
    """
    samples = _relaxed.count("samples", samples, 1)
    rows = fold(logits, temperature, axis=axis, where=where)
    rate = _relaxed.relaxation_of(relaxation, rows)
    ids = categorical(key, rows.logits, rows.temperature)
    noises = _noises(key, rows, ids, samples)
    draws = jax.vmap(lambda noise: _relaxed.relaxed(rows, noise, rate))(noises)
    return sample(rows, ids, jnp.mean(draws, axis=0))


def _noises(key, rows: Folded, ids: jax.Array, samples: int) -> jax.Array:
    """Gumbel noise that gives these ids, `[samples, *batch, V]`."""
    key = typed(key, rows.temperature.shape)
    log_p = lax.stop_gradient(_relaxed.log_probabilities(rows))
    drawn = _relaxed.is_drawn(ids, rows)

    def one(number):
        noise = row_gumbel(fold_in(key, number), rows)
        return _relaxed.conditional_noise(log_p, drawn, noise)

    return jax.vmap(one)(jnp.arange(samples))
