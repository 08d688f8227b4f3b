"""`unordered_set`: distinct classes, weighted as if drawn with replacement."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from ..._rows import Folded, fold
from .._carry import carry
from .._gumbel import top_k
from . import _relaxed
from ._losses import Estimate, Loss, loss_at


def unordered_set(f: Loss, samples: int) -> Estimate:
    r"""The expected loss from a set of distinct classes, with its built-in baseline.

    K classes are drawn without replacement, from $p = \operatorname{softmax}(z/\tau)$.
    With $P$ the probability of the set $S$, $P_s$ that of $S \setminus s$ when $s$
    cannot be drawn, and $P_{ss'}$ the same of two,

    $$E f \approx \sum_{s \in S} p_s R_s f(s), \qquad
    \nabla E f \approx \sum_{s \in S} p_s R_s \nabla \log p_s
    \Big(f(s) - \sum_{s' \in S} p_{s'} R_{ss'} f(s')\Big),$$

    with $R_s = P_s / P$, $R_{ss'} = P_{ss'} / P_s$ and $R_{ss} = 1$: both are unbiased,
    and no class is evaluated twice. Where K classes are all there are, both are exact.
    There is one variable to a loss.

    Args:
        f: Losses of one-hot rows: from an array of the logits' shape to one loss a row,
            `[*batch]`. It need not be differentiable in the sample. What it closes over
            has its own gradient.
        samples: 2 <= K <= V. `f` is mapped over them by `vmap`.

    Returns:
        A function of `(key, logits, temperature=1.0, *, axis=-1, where=None)`, the
        arguments of `categorical`, to estimates of the expected loss, whose gradient is
        the estimate.

    Raises:
        TypeError: As `categorical`, or `f` does not return floating numbers.
        ValueError: As `categorical`, `f` returns another shape, or `samples` is not an
            int in [2, V].

    Examples:
        >>> import jax, jaxtemp
        >>> from jaxtemp.random import estimators
        >>> cost = jax.numpy.array([1.0, 2.0, 4.0])
        >>> logits = jax.numpy.array([0.5, 0.0, -0.5])
        >>> loss = estimators.unordered_set(lambda d: d @ cost, samples=3)
        >>> found = jax.jit(jax.grad(loss, argnums=1))(jax.random.key(0), logits)
        >>> exact = jax.grad(lambda z: jaxtemp.softmax(z) @ cost)(logits)
        >>> [f"{x:.4f}" for x in found], [f"{x:.4f}" for x in exact]
        (['-0.4387', '0.0411', '0.3976'], ['-0.4387', '0.0411', '0.3976'])

    Source:
        Kool, van Hoof and Welling, *Estimating gradients for discrete random variables
        by sampling without replacement*, 2020, section 4.
    """
    samples = _relaxed.count("samples", samples, 2)

    def estimate(
        key: jax.Array,
        logits: ArrayLike,
        temperature: ArrayLike = 1.0,
        *,
        axis: int = -1,
        where: ArrayLike | None = None,
    ) -> jax.Array:
        rows = fold(logits, temperature, axis=axis, where=where)
        _enough(rows.logits.shape[-1], samples)
        ids = top_k(key, rows, samples).ids
        losses = jax.vmap(lambda ids: _loss(f, rows, ids), -1, -1)(_filled(ids))
        log_p = _relaxed.log_probabilities(rows)
        scores = _of_set(log_p, ids)
        weights, baselines = _weights(*lax.stop_gradient((log_p, scores)), ids=ids)
        advantages = losses - jnp.einsum("...st,...t->...s", baselines, losses)
        # A class without probability has no weight, and its logarithm no finite slope.
        scores = jnp.where(weights > 0, scores, 0)
        through = jnp.sum(weights * lax.stop_gradient(advantages) * scores, axis=-1)
        value = jnp.sum(weights * losses, axis=-1).astype(losses.dtype)
        return carry(value, value + through.astype(losses.dtype))

    return estimate


def _enough(classes: int, samples: int) -> None:
    if samples > classes:
        raise ValueError(
            f"`samples` must be at most the number of classes, {classes}, got "
            f"{samples}; they are drawn without replacement."
        )


def _loss(f: Loss, rows: Folded, ids: jax.Array) -> jax.Array:
    losses = loss_at(f, rows, ids)
    if losses.shape != ids.shape:
        raise ValueError(
            f"`f` must return one loss a row, of the batch shape {ids.shape}, got "
            f"shape {losses.shape}; join variables that are drawn together into one."
        )
    return losses


def _filled(ids: jax.Array) -> jax.Array:
    """Ids in which those that no class was left for repeat the first."""
    return jnp.where(ids < 0, ids[..., :1], ids)


def _of_set(log_p: jax.Array, ids: jax.Array) -> jax.Array:
    """Log-probabilities of the drawn ids, -inf for -1."""
    own = jnp.take_along_axis(log_p, jnp.maximum(ids, 0), axis=-1)
    return jnp.where(ids < 0, -jnp.inf, own)


def _weights(log_p, own, *, ids) -> tuple[jax.Array, jax.Array]:
    """`p_s R_s`, `[*batch, K]`, and `p_s' R_ss'`, `[*batch, K, K]`.

    The three kinds of probabilities are integrals over the same threshold, the largest
    perturbed logit outside of the set: of products over those that must exceed it.
    """
    count = ids.shape[-1]
    absent = own == -jnp.inf
    ahead = jnp.where(absent, 0, own - _log_rest(log_p, ids))
    thresholds = jnp.asarray(_thresholds(count), own.dtype)
    exceeds = _log_exceeds(ahead[..., None] - thresholds)
    exceeds = jnp.where(absent[..., None], 0, exceeds)  # [*batch, K, thresholds]
    log_density = -thresholds - jnp.exp(-thresholds)
    every = log_density + jnp.sum(exceeds, axis=-2)
    but_one = every[..., None, :] - exceeds
    but_two = but_one[..., None, :] - exceeds[..., None, :, :]
    of_set, of_one, of_two = (
        jax.nn.logsumexp(terms, axis=-1) for terms in (every, but_one, but_two)
    )
    weights = jnp.exp(own + of_one - of_set[..., None])
    baselines = jnp.exp(own[..., None, :] + of_two - of_one[..., None])
    itself = jnp.eye(count, dtype=bool)
    return weights, jnp.where(itself, jnp.exp(own)[..., None], baselines)


def _log_rest(log_p: jax.Array, ids: jax.Array) -> jax.Array:
    """The log-probability of all classes that are not in the set, `[*batch, 1]`."""
    inside = ids[..., None] == jnp.arange(log_p.shape[-1])
    outside = jnp.where(jnp.any(inside, axis=-2), -jnp.inf, log_p)
    return jax.nn.logsumexp(outside, axis=-1, keepdims=True)


def _thresholds(count: int) -> np.ndarray:
    """Points at equal distances, whose sum is the integral to about 1e-12.

    On the left the integrand falls off doubly exponentially, on the right as exp(-t) at
    least; it is analytic, and no narrower than 1 / √(K + 1).
    """
    first, last = -np.log(count + 1) - 3, 40
    return np.arange(first, last, 0.4 / np.sqrt(count + 1))


def _log_exceeds(x: jax.Array) -> jax.Array:
    """`log(1 - exp(-exp(x)))`: that Gumbel noise is larger than -x."""
    return jnp.where(x < -30, x, jnp.log(-jnp.expm1(-jnp.exp(jnp.maximum(x, -30)))))
