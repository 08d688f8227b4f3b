"""Cross-entropy of a linear layer's logits, which are never held together."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .. import _checks as checks
from .._rows import Folded, beside
from . import _checks
from ._layer import read_layer
from ._linear_row_loss import row_loss
from ._options import row_option, z_penalty
from ._targets import Labels, read_labels, target


def linear_cross_entropy(
    hidden: ArrayLike,
    weight: ArrayLike,
    labels: ArrayLike,
    temperature: ArrayLike = 1.0,
    *,
    bias: ArrayLike | None = None,
    where: ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: ArrayLike = 0.0,
    z_loss: ArrayLike = 0.0,
    logit_soft_cap: float | None = None,
    class_weights: ArrayLike | None = None,
    return_logsumexp: bool = False,
    axis_name: str | None = None,
) -> jax.Array | tuple[jax.Array, jax.Array]:
    r"""Cross-entropy of labels and a linear layer's logits, without holding these.

    $$L = \sum_k c_k \Big(\ell - \frac{z_k}{\tau}\Big) + \zeta\, \ell^2, \qquad
      z = h W + b, \qquad \ell = \log \sum_k e^{z_k/\tau}, \qquad
      c_k = w_k \Big((1 - \epsilon)\, [k = y] + \frac{\epsilon}{n}\Big)$$

    It is `cross_entropy(hidden @ weight + bias, labels, …)` with the logits in float32
    (float64 for float64), taken a chunk of classes at a time: of the size of all logits
    nothing is made, neither forward nor backward. More than 32 768 rows are taken in
    parts too, if a small number divides them. A backward pass computes the chunks anew,
    four matrix products in all where a plain one takes three.

    Derivatives in `hidden`, `weight`, `bias`, `temperature` and every option that is an
    array exist in forward and reverse mode and to any order. They, masks and limits are
    as for `cross_entropy`.

    Args:
        hidden: Real floating array `(..., H)`; all axes but the last are batch.
        weight: Real floating array `(H, V)`, the V >= 1 classes along its last axis.
        labels: Integers in [0, V) of the batch shape. A traced integer outside makes
            its row NaN, and with it the gradient of `weight`.
        temperature: τ in [0, inf], broadcasts to the batch shape.
        bias: Real floating array `(V,)`; `-inf` excludes a class.
        where: Boolean mask that broadcasts to the logits' shape `(..., V)`; `False`
            excludes. One of shape `(V,)` stays of that shape.
        ignore_index: An integer label whose rows have loss and gradient 0. What such a
            row holds is read as zeros where it is not finite.
        label_smoothing: ε in [0, 1], broadcasts to the batch shape.
        z_loss: ζ in [0, inf], broadcasts to the batch shape.
        logit_soft_cap: A bound c for the logits, a positive Python number:
            c tanh(z/c) takes the place of z.
        class_weights: One number for each class, `(V,)`. The sum over rows is not
            divided by their weights.
        return_logsumexp: Whether to return ℓ too.
        axis_name: Inside `shard_map`, the mesh axis over which the classes are split:
            those of `weight`, `bias`, `where` and `class_weights`. Labels count over
            all devices. Only numbers per row are exchanged, and backward the gradient
            of `hidden`.

    Returns:
        The loss of each row, of the batch shape, in the type of the sums: float32, or
        float64 if `hidden` or `weight` is. With `return_logsumexp`, the pair of it
        and ℓ.

    Raises:
        TypeError: An array is not of the kind that it must be, or `ignore_index` or
            `logit_soft_cap` is not known when traced.
        ValueError: A shape does not fit, there is no class, or a concrete number is
            outside its range.

    Examples:
        >>> import jax, jaxtemp
        >>> hidden = jax.numpy.array([[1.0, 0.5], [-0.5, 2.0]])
        >>> weight = jax.numpy.array([[2.0, 1.0, 0.0], [0.0, 1.0, 0.2]])
        >>> labels = jax.numpy.array([0, 2])
        >>> loss = jaxtemp.losses.linear_cross_entropy(hidden, weight, labels, 0.5)
        >>> [f"{x:.4f}" for x in loss]
        ['0.3295', '2.3111']

    Source:
        Wijmans et al., *Cut your losses in large-vocabulary language models* (2025),
        section 4, for the chunks.
    """
    checks.mesh_axis(axis_name)
    cap = _checks.logit_soft_cap(logit_soft_cap)
    layer = read_layer(hidden, weight, bias, where)
    batch_shape, classes = layer.shape[:-1], layer.shape[-1]
    tau = checks.temperature(temperature, batch_shape, layer.dtype)
    tau = beside(tau, layer.hidden)
    known = _read_labels(labels, layer.shape, ignore_index, axis_name)
    weights = None
    if class_weights is not None:
        weights = _checks.class_weights(class_weights, classes)
    rows = Folded(layer.hidden, tau, -1, None)
    smoothing = row_option("label_smoothing", label_smoothing, rows, _checks.SMOOTHING)
    penalty = row_option("z_loss", z_loss, rows, _checks.Z_LOSS)

    if known.ignored is not None:
        layer = layer._replace(hidden=_readable(layer.hidden, known.ignored))
    even = None
    if smoothing is not None:
        even = jnp.ones(classes, tau.dtype) if weights is None else weights
    found = row_loss(layer, tau, known.values, even, cap=cap, axis_name=axis_name)
    goal = target(
        known,
        tau.dtype,
        smoothing=smoothing,
        allowed=found.allowed,
        weights=weights,
        axis_name=axis_name,
    )
    loss = _times(goal.tilt, found.label)
    if found.even is not None and goal.even is not None:
        loss += _times(goal.even, found.even)
    # As that of a label which is not allowed: it stays so, whatever moves.
    loss = jnp.where(jnp.isposinf(loss), jnp.inf, loss)
    if penalty is not None:
        loss += z_penalty(penalty, found.logsumexp)
    if known.ignored is not None:
        loss = jnp.where(known.ignored, 0, loss)
    return (loss, found.logsumexp) if return_logsumexp else loss


def _read_labels(labels, shape, ignore_index, axis_name) -> Labels:
    if jnp.issubdtype(jnp.result_type(labels), jnp.floating):
        raise TypeError(
            "`labels` must be integers, got dtype "
            f"{jnp.result_type(labels)}; a number for each class is as large as the "
            "logits: pass these to `cross_entropy`."
        )
    return read_labels(labels, shape, ignore_index=ignore_index, axis_name=axis_name)


def _readable(hidden: jax.Array, ignored: jax.Array) -> jax.Array:
    """`hidden`, zero in ignored rows that are not finite: 0 times those is NaN."""
    finite = jnp.isfinite(hidden).all(axis=-1)
    return jnp.where((ignored & ~finite)[..., None], 0, hidden)


def _times(weight: jax.Array, loss: jax.Array) -> jax.Array:
    """`weight loss`, where no weight counts nothing even of an infinite loss."""
    unseen = (weight == 0) & jnp.isinf(loss)
    return weight * jnp.where(unseen, 0, loss)
