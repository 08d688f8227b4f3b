"""Cross-entropy at a temperature."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .. import _checks as checks
from .. import kernels
from .._rows import Folded, fold, reductions
from . import _checks
from ._options import row_option, z_penalty
from ._row_loss import row_loss
from ._targets import read_labels, target


def cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    temperature: ArrayLike = 1.0,
    *,
    axis: int = -1,
    where: ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: ArrayLike = 0.0,
    z_loss: ArrayLike = 0.0,
    logit_soft_cap: float | None = None,
    class_weights: ArrayLike | None = None,
    return_logsumexp: bool = False,
    axis_name: str | None = None,
    implementation: str | None = None,
) -> Any:
    r"""Cross-entropy of labels and the Boltzmann distribution of logits, row by row.

    $$L = \sum_k c_k \Big(\ell - \frac{z_k}{\tau}\Big) + \zeta\, \ell^2, \qquad
      \ell = \log \sum_k e^{z_k/\tau}, \qquad
      c_k = w_k \Big((1 - \epsilon)\, q_k + \frac{\epsilon}{n} \sum_j q_j\Big)$$

    where $q$ is one at an integer label and zero elsewhere, or given; $\epsilon$ is the
    smoothing over the $n$ allowed classes, $w$ are the class weights and $\zeta$ is the
    weight of the z-loss. With a soft cap $c$, $c \tanh(z/c)$ takes the place of $z$.
    The derivatives are

    $$\frac{\partial L}{\partial z_k} = \frac{1}{\tau} \big((C + 2 \zeta \ell)\, p_k
      - c_k\big), \qquad C = \sum_k c_k, \qquad
      \frac{\partial L}{\partial \tau} = -\frac{1}{\tau} \sum_k
      \frac{\partial L}{\partial z_k} z_k$$

    in forward and reverse mode and to any order, also in soft labels and in every
    option that is an array. Where the label has nearly all probability,
    $p_k - 1$ is not the difference of two numbers, and neither is the loss. A backward
    pass keeps only the arguments and a few numbers a row.

    - A label on a class that is not allowed has loss `inf`, not NaN; derivatives of
      that cross-entropy are 0. An excluded class without a label counts nothing.
    - At $\tau = 0$ the loss of a label is $\log m$ if it is one of $m$ equal largest
      logits, else `inf`; at $\tau = \infty$ it is $\log n$. Derivatives are 0 at both.
    - A row with nothing allowed, a NaN or a `+inf` is NaN, unless it is ignored.

    Args:
        logits: Real floating array; `axis` holds the V >= 1 classes, every other axis
            is batch.
        labels: Integers in [0, V) of the batch shape, or a number for each class, of
            the logits' shape, which need not add up to 1. A traced integer outside
            makes its row NaN.
        temperature: τ in [0, inf], broadcasts to the batch shape.
        axis: The class axis.
        where: Boolean mask that broadcasts to the logits' shape; `False` excludes.
        ignore_index: An integer label whose rows have loss and gradient 0, whatever
            their logits are.
        label_smoothing: ε in [0, 1], broadcasts to the batch shape.
        z_loss: ζ in [0, inf], broadcasts to the batch shape.
        logit_soft_cap: A bound for the logits, a positive Python number. Capped logits
            are rounded once more before the maximum is subtracted.
        class_weights: One number for each class, `(V,)`; with smoothing each class has
            its own, as in PyTorch. The sum over rows is not divided by their weights.
        return_logsumexp: Whether to return ℓ too.
        axis_name: Inside `shard_map`, the mesh axis over which the classes are split,
            with those of soft labels and of `class_weights`. Integer labels count over
            all devices. Only numbers per row are exchanged.
        implementation: `None` for the fastest that works, or a name from
            `kernels.available()` to insist.

    Returns:
        The loss of each row, of the batch shape and in the logits' dtype; with
        `return_logsumexp`, the pair of it and ℓ. For a mean over many rows of
        half-precision logits, sum in float32: `loss.mean(dtype=jnp.float32)`.

    Raises:
        TypeError: `logits`, `temperature` or an option is not real floating, `labels`
            are neither integers nor floating, `where` is not boolean, or
            `ignore_index` or `logit_soft_cap` is not known when traced.
        ValueError: A shape does not fit, the class axis is empty, a concrete number is
            outside its range, or the implementation cannot be used.

    Examples:
        >>> import jax, jaxtemp
        >>> logits = jax.numpy.array([[2.0, 1.0, 0.5, 0.1], [0.0, 3.0, 0.0, 0.0]])
        >>> labels = jax.numpy.array([0, 2])
        >>> loss = jaxtemp.losses.cross_entropy(logits, labels, 0.5)
        >>> [f"{x:.4f}" for x in loss]
        ['0.1885', '6.0074']
        >>> total = lambda tau: jaxtemp.losses.cross_entropy(logits, labels, tau).sum()
        >>> f"{jax.grad(total)(0.5):.4f}"
        '-11.0749'

    Source:
        Szegedy et al., *Rethinking the Inception architecture* (2016), section 7, for
        smoothing; Chowdhery et al., *PaLM* (2022), section 5, for the z-loss.
    """
    checks.mesh_axis(axis_name)
    checks.implementation(implementation, kernels.available())
    cap = _checks.logit_soft_cap(logit_soft_cap)
    rows = fold(logits, temperature, axis=axis, where=where)
    z, tau = rows.logits, rows.temperature
    known = read_labels(
        labels,
        jnp.shape(logits),
        axis=axis,
        ignore_index=ignore_index,
        axis_name=axis_name,
    )
    weights = None
    if class_weights is not None:
        weights = _checks.class_weights(class_weights, z.shape[-1])
    smoothing = row_option("label_smoothing", label_smoothing, rows, _checks.SMOOTHING)
    goal = target(
        known,
        tau.dtype,
        smoothing=smoothing,
        allowed=1.0 if smoothing is None else _count_allowed(rows, axis_name),
        weights=weights,
        axis_name=axis_name,
    )
    loss, lse = row_loss(
        z, tau, goal, cap=cap, axis_name=axis_name, implementation=implementation
    )
    penalty = row_option("z_loss", z_loss, rows, _checks.Z_LOSS)
    if penalty is not None:
        # What is ignored may be NaN.
        counted = lse if known.ignored is None else jnp.where(known.ignored, 0, lse)
        loss += z_penalty(penalty, counted)
    if known.ignored is not None:
        loss = jnp.where(known.ignored, 0, loss)
    loss = loss.astype(z.dtype)
    return (loss, lse.astype(z.dtype)) if return_logsumexp else loss


def _count_allowed(rows: Folded, axis_name: str | None) -> jax.Array:
    """The number of allowed classes of each row, on all devices."""
    allowed = (rows.logits > -jnp.inf).astype(rows.temperature.dtype)
    return reductions(axis_name).sum(allowed)[..., 0]
