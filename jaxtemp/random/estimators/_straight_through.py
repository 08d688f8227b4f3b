"""`straight_through`, `straight_through_gumbel`: a relaxed draw behind a hard one."""

from __future__ import annotations

import jax
from jax.typing import ArrayLike

from ..._rows import Folded, fold
from .._carry import carry
from .._categorical import categorical
from .._noise import row_gumbel
from . import _relaxed


def straight_through(
    key: jax.Array,
    logits: ArrayLike,
    temperature: ArrayLike = 1.0,
    *,
    relaxation: ArrayLike = 1.0,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""A one-hot draw with the gradient of the probabilities.

    $$D \sim \operatorname{softmax}(z/\tau), \qquad
    \partial D := \partial \operatorname{softmax}\!\left(\frac{z}{\tau\lambda}\right)$$

    Exact for an `f` that is linear in $D$, at $\lambda = 1$. The forward temperature τ
    sets how random the draw is, the backward temperature τλ how far its gradient
    spreads over the classes.

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
        >>> import jax, jaxtemp
        >>> from jaxtemp.random.estimators import straight_through
        >>> logits = jax.numpy.array([2.0, 1.0, 0.5, 0.1])
        >>> def second(z):
        ...     return straight_through(jax.random.key(0), z, 0.5)[1]
        >>> value, slope = jax.jit(jax.value_and_grad(second))(logits)
        >>> f"{value:.4f}", [f"{x:.4f}" for x in slope]
        ('0.0000', ['-0.1856', '0.1990', '-0.0092', '-0.0042'])

    Source:
        Bengio, Léonard and Courville, *Estimating or propagating gradients through
        stochastic neurons*, 2013; two temperatures: Shah and others, *Improving
        discrete optimisation via decoupled straight-through estimator*, 2024.
    """
    rows = fold(logits, temperature, axis=axis, where=where)
    rate = _relaxed.relaxation_of(relaxation, rows)
    ids = categorical(key, rows.logits, rows.temperature)
    return sample(rows, ids, _relaxed.relaxed(rows, 0.0, rate))


def straight_through_gumbel(
    key: jax.Array,
    logits: ArrayLike,
    temperature: ArrayLike = 1.0,
    *,
    relaxation: ArrayLike = 1.0,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""A one-hot draw with the gradient of its own relaxation.

    With independent standard Gumbel noise $g$,

    $$D = \operatorname{onehot} \arg\max_i \left(\frac{z_i}{\tau} + g_i\right), \qquad
    \partial D := \partial y, \qquad
    y = \operatorname{softmax}\!\left(\frac{z/\tau + g}{\lambda}\right).$$

    At $\tau = 1$ this is the Gumbel-softmax of temperature λ with `hard=True`. A
    smaller λ lowers the bias and raises the variance.
    [`gumbel_rao`][jaxtemp.random.estimators.gumbel_rao] has the same mean and less
    variance.

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
        >>> import jax, jaxtemp
        >>> from jaxtemp.random.estimators import straight_through_gumbel
        >>> logits = jax.numpy.array([2.0, 1.0, 0.5, 0.1])
        >>> straight_through_gumbel(jax.random.key(0), logits, relaxation=0.5).sum()
        Array(1., dtype=float32)

    Source:
        Jang, Gu and Poole, *Categorical reparameterization with Gumbel-softmax*, 2017,
        section 2.2.
    """
    rows = fold(logits, temperature, axis=axis, where=where)
    rate = _relaxed.relaxation_of(relaxation, rows)
    noise = row_gumbel(key, rows)
    ids = _relaxed.gumbel_winner(rows, noise)
    return sample(rows, ids, _relaxed.relaxed(rows, noise, rate))


def sample(rows: Folded, ids: jax.Array, surrogate: jax.Array) -> jax.Array:
    """One-hot rows in the logits' layout, with the derivative of `surrogate`."""
    hard = _relaxed.one_hot(ids, rows)
    return rows.unfold(carry(hard, surrogate.astype(hard.dtype)))
