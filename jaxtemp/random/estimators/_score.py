"""`reinforce`: the score function, with the other samples as a baseline."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from ..._rows import fold
from .._carry import carry
from .._categorical import categorical
from . import _relaxed
from ._losses import Estimate, Loss, log_probability, loss_at


def reinforce(f: Loss, samples: int = 2) -> Estimate:
    r"""The mean loss of K draws, with the score-function gradient.

    With $D_k \sim p = \operatorname{softmax}(z/\tau)$, independent, the gradient is

    $$\frac1K \sum_k \left(f(D_k) - \frac{1}{K-1} \sum_{j \ne k} f(D_j)\right)
    \nabla \log p(D_k),$$

    unbiased for every `f`; with K = 1 there is no baseline.

    Args:
        f: Losses of one-hot rows: from an array of the logits' shape to one loss a row,
            `[*batch]`, or without the last axes of the batch: `[B]` from logits
            `[B, L, V]`, where L variables are drawn for each loss. It need not be
            differentiable in the sample. What it closes over has its own gradient.
        samples: K >= 1. `f` is mapped over them by `vmap`.

    Returns:
        A function of `(key, logits, temperature=1.0, *, axis=-1, where=None)`, the
        arguments of `categorical`, to losses, whose gradient is the estimate.

    Raises:
        TypeError: As `categorical`, or `f` does not return floating numbers.
        ValueError: As `categorical`, `f` returns another shape, or `samples` is not an
            int of at least 1.

    Examples:
        >>> import jax, jaxtemp
        >>> from jaxtemp.random import estimators
        >>> cost = jax.numpy.array([1.0, 2.0, 4.0])
        >>> loss = estimators.reinforce(lambda d: d @ cost, samples=100_000)
        >>> logits = jax.numpy.array([0.5, 0.0, -0.5])
        >>> found = jax.jit(jax.grad(loss, argnums=1))(jax.random.key(0), logits)
        >>> exact = jax.grad(lambda z: jaxtemp.softmax(z) @ cost)(logits)
        >>> [f"{x:.2f}" for x in found], [f"{x:.2f}" for x in exact]
        (['-0.44', '0.04', '0.40'], ['-0.44', '0.04', '0.40'])

    Source:
        Williams, *Simple statistical gradient-following algorithms*, 1992; Kool, van
        Hoof and Welling, *Buy 4 REINFORCE samples, get a baseline for free!*, 2019.
    """
    samples = _relaxed.count("samples", samples, 1)

    def estimate(
        key: jax.Array,
        logits: ArrayLike,
        temperature: ArrayLike = 1.0,
        *,
        axis: int = -1,
        where: ArrayLike | None = None,
    ) -> jax.Array:
        rows = fold(logits, temperature, axis=axis, where=where)
        shape = (samples, *rows.temperature.shape)
        ids = categorical(key, rows.logits, rows.temperature, shape=shape)
        losses = jax.vmap(lambda ids: loss_at(f, rows, ids))(ids)
        log_p = _relaxed.log_probabilities(rows)
        scores = jax.vmap(log_probability, (None, 0, 0))(log_p, ids, losses)
        total = jnp.sum(losses, axis=0) * float(samples > 1)
        # f_k less the mean of the others is K / (K - 1) times f_k less the mean of all.
        advantage = (samples * losses - total) / max(samples - 1, 1)
        through = (lax.stop_gradient(advantage) * scores).astype(losses.dtype)
        return carry(jnp.mean(losses, axis=0), jnp.mean(losses + through, axis=0))

    return estimate
