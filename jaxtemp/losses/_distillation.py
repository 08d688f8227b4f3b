"""Knowledge distillation at a temperature."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .. import _checks as checks
from .._relative_entropy import relative_entropy, scaled_relative_entropy
from .._rows import Folded, fold
from ._cross_entropy import cross_entropy

_HARD_WEIGHT = checks.Rule(0, 1, "pass the share of the labels' loss, for example 0.1")


def distillation(
    student_logits: ArrayLike,
    teacher_logits: ArrayLike,
    temperature: ArrayLike = 1.0,
    *,
    teacher_temperature: ArrayLike | None = None,
    divergence: str = "forward",
    scale_by_square: bool = True,
    labels: ArrayLike | None = None,
    hard_weight: ArrayLike = 0.0,
    axis: int = -1,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    r"""Divergence of a student's softened distribution from a teacher's, row by row.

    With student logits $z$, teacher logits $v$, $p = \operatorname{softmax}(z/\tau)$
    and $q = \operatorname{softmax}(v/\tau)$,

    $$L = (1 - \alpha)\, \tau^2\, KL(q \| p) + \alpha\, CE(y, z), \qquad
      KL(q \| p) = \sum_i q_i \log \frac{q_i}{p_i}$$

    where $\alpha$ is the hard weight and $CE$ the cross-entropy of the labels at
    temperature 1. The gradient of KL in $z$ is $(p - q)/\tau$, and $p - q$ falls as
    $1/\tau$ too. The factor $\tau^2$ makes up for both, so that gradients keep their
    size when τ changes beside another loss. As $\tau \to \infty$,

    $$\tau^2\, KL \to \frac{1}{2n} \sum_i (z_i - \bar z - v_i + \bar v)^2, \qquad
      \frac{\partial (\tau^2 KL)}{\partial z_i}
      \to \frac{1}{n} (z_i - \bar z - v_i + \bar v)$$

    over the $n$ allowed classes. τ = ∞ is that limit; in between, value and derivatives
    are right to the last digits, though KL is tiny.

    Everything is differentiable: in both logits, in both temperatures and in
    $\alpha$, in forward and reverse mode and to any order. No gradient is stopped:
    where the teacher is part of what is differentiated and is not to learn, pass
    `jax.lax.stop_gradient(teacher_logits)`.

    - A class that both exclude counts nothing, and one that the teacher alone excludes
      costs what the student gives it. One that the student alone excludes makes the
      loss `inf`, with derivatives 0. For `"reverse"` it is the other way round. At
      τ = ∞ either makes the scaled loss `inf`.
    - At τ = 0 the scaled loss is 0; its slope in τ is the gap
      $\max z - z_{\arg\max v}$. Unscaled, KL there is `inf` unless every largest logit
      of the teacher is one of the student's.
    - With a temperature for each, τ² is the student's, and at τ = 0 the scaled loss
      and its derivatives are 0, at τ = ∞ it is `inf` unless KL is 0.
    - A row with nothing allowed, a NaN or a `+inf` is NaN.

    Args:
        student_logits: Real floating array; `axis` holds the V >= 1 classes, every
            other axis is batch.
        teacher_logits: Real floating array of the same shape.
        temperature: τ in [0, inf], broadcasts to the batch shape; the teacher's too
            if `teacher_temperature` is `None`.
        teacher_temperature: The temperature of the teacher alone.
        divergence: `"forward"` for KL(teacher || student), which asks the student to
            cover all that the teacher does, or `"reverse"` for KL(student || teacher),
            which lets it choose.
        scale_by_square: Whether KL is multiplied by τ².
        labels: Integers of the batch shape, or a number for each class, for the hard
            part of the loss; see `cross_entropy`.
        hard_weight: α in [0, 1], broadcasts to the batch shape.
        axis: The class axis.
        where: Boolean mask that broadcasts to the logits' shape; `False` excludes a
            class from both.
        axis_name: Inside `shard_map`, the mesh axis over which the classes are split.
            Only numbers per row are exchanged.

    Returns:
        The loss of each row, of the batch shape and in the student logits' dtype.

    Raises:
        TypeError: The logits or a temperature are not real floating, `labels` are
            neither integers nor floating, or `where` is not boolean.
        ValueError: A shape does not fit, the class axis is empty, a concrete number is
            outside its range, `divergence` is unknown, or `hard_weight` comes without
            `labels`.

    Examples:
        >>> import jax, jaxtemp
        >>> student = jax.numpy.array([1.0, 0.5, 0.0])
        >>> teacher = jax.numpy.array([4.0, 2.0, -3.0])
        >>> loss = jax.jit(
        ...     lambda tau: jaxtemp.losses.distillation(student, teacher, tau)
        ... )
        >>> [f"{loss(tau):.4f}" for tau in (1.0, 1e2, 1e4, jax.numpy.inf)]
        ['0.3691', '3.2147', '3.2497', '3.2500']

    Source:
        Hinton, Vinyals and Dean, *Distilling the knowledge in a neural network* (2015),
        section 2; Gu et al., *MiniLLM* (2024), for the reverse divergence.
    """
    checks.mesh_axis(axis_name)
    checks.one_of("divergence", divergence, ("forward", "reverse"))
    _check_logits(student_logits, teacher_logits)
    if labels is None and not checks.known_zero(hard_weight):
        raise ValueError(
            "`labels` must be given where `hard_weight` is not 0, got None; "
            "pass the class of each row."
        )
    student = fold(student_logits, temperature, axis=axis, where=where)
    shared = teacher_temperature is None
    if not shared:
        teacher_temperature = student.parameter(
            "teacher_temperature", teacher_temperature, checks.TEMPERATURE
        )
    weight = student.parameter("hard_weight", hard_weight, _HARD_WEIGHT)
    own = temperature if shared else teacher_temperature
    teacher = fold(teacher_logits, own, axis=axis, where=where)
    sides = (teacher, student) if divergence == "forward" else (student, teacher)
    loss = _divergence(*sides, shared, scale_by_square, axis_name)
    if not shared and scale_by_square:
        loss = _weighed(jnp.square(student.temperature), loss)
    if labels is not None:
        hard = cross_entropy(
            student_logits, labels, axis=axis, where=where, axis_name=axis_name
        )
        loss = _weighed(1 - weight, loss) + _weighed(weight, hard.astype(loss.dtype))
    return loss.astype(student.logits.dtype)


def _divergence(
    first: Folded, second: Folded, shared: bool, scaled: bool, axis_name: str | None
) -> jax.Array:
    """KL(first || second) of each row, times τ² if both share it and it is scaled."""
    dtype = jnp.promote_types(first.temperature.dtype, second.temperature.dtype)
    sigma, tau = (side.temperature.astype(dtype) for side in (first, second))
    if not shared:
        return relative_entropy(first.logits, second.logits, sigma, tau, axis_name)
    if not scaled:
        return relative_entropy(first.logits, second.logits, None, tau, axis_name)
    return scaled_relative_entropy(first.logits, second.logits, tau, axis_name)


def _weighed(weight: jax.Array, loss: jax.Array) -> jax.Array:
    """`weight · loss`, zero where the weight is, also of an infinite loss."""
    infinite = jnp.isinf(loss)
    product = weight * jnp.where(infinite, 0, loss)
    return jnp.where(infinite & (weight != 0), jnp.inf, product)


def _check_logits(student, teacher) -> None:
    student = checks.floating_array("student_logits", student)
    teacher = checks.floating_array("teacher_logits", teacher)
    if student.shape != teacher.shape:
        raise ValueError(
            f"`teacher_logits` must have the shape of `student_logits` "
            f"{student.shape}, got shape {teacher.shape}; broadcast it first."
        )
