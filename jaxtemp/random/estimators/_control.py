"""`rebar` and `relax`: the score function less a control variate, made unbiased."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from ... import _checks
from ..._derivatives import softmax
from ..._rows import Folded, fold
from .._carry import carry
from .._keys import fold_in, typed
from .._noise import row_gumbel
from . import _relaxed
from ._losses import Loss, log_probability, loss_at, over_groups

_SCALE = _checks.Rule(
    -float("inf"), float("inf"), "pass 0 for no control variate, 1 for all of it"
)


class Rebar(Protocol):
    """Losses of draws, whose gradient is REBAR's."""

    def __call__(
        self,
        key: jax.Array,
        logits: ArrayLike,
        temperature: ArrayLike = 1.0,
        *,
        scale: ArrayLike = 1.0,
        relaxation: ArrayLike = 0.5,
        axis: int = -1,
        where: ArrayLike | None = None,
    ) -> jax.Array: ...


class Relax(Protocol):
    """Losses of draws, whose gradient is RELAX's."""

    def __call__(
        self,
        key: jax.Array,
        logits: ArrayLike,
        temperature: ArrayLike = 1.0,
        *,
        params: Any,
        axis: int = -1,
        where: ArrayLike | None = None,
    ) -> jax.Array: ...


def rebar(f: Loss) -> Rebar:
    r"""The loss of one draw, with REBAR's gradient.

    With Gumbel noise $g$, $z' = \log p + g$ and
    $D = \operatorname{onehot} \arg\max z'$, let $\tilde z$ be another copy of $z'$
    given $D$. The control variate is the loss at a relaxed sample,
    $c(z') = \eta f(\operatorname{softmax}(z'/\lambda))$, and the gradient

    $$\left(f(D) - c(\tilde z)\right) \nabla \log p(D)
    + \nabla c(z') - \nabla c(\tilde z)$$

    is unbiased for every `scale`, η, and `relaxation`, λ. So they are free to reduce
    the variance, and their gradients are unbiased estimates of those of $E \|g\|^2$,
    where $g$ is the estimated gradient in $z/\tau$: an optimiser that minimises the
    loss over everything at once lowers the variance as it goes.

    Args:
        f: Losses of one-hot rows: from an array of the logits' shape to one loss a row,
            `[*batch]`, or without the last axes of the batch: `[B]` from logits
            `[B, L, V]`, where L variables are drawn for each loss. It must be
            differentiable at relaxed rows too, twice for the gradients of η and λ. What
            it closes over has the gradient of $f(D)$ alone.

    Returns:
        A function of `(key, logits, temperature=1.0, *, scale=1.0, relaxation=0.5,
        axis=-1, where=None)` to losses, whose gradient is the estimate. `scale`
        broadcasts to the losses, `relaxation` to the batch shape; where it is 0 there
        is no control variate.

    Raises:
        TypeError: As `categorical`, or `f` does not return floating numbers.
        ValueError: As `categorical`, or `f` returns another shape.

    Examples:
        >>> import jax
        >>> from jaxtemp.random import estimators
        >>> target = jax.numpy.linspace(0, 1, 100)
        >>> loss = estimators.rebar(lambda d: ((d[:, 1] - target) ** 2).sum())
        >>> def value(scale):
        ...     z = jax.numpy.zeros((100, 2))
        ...     return loss(jax.random.key(0), z, scale=scale, relaxation=0.3)
        >>> bool(jax.jit(jax.grad(value))(1.0) < 0)  # a larger scale has less variance
        True

    Source:
        Tucker and others, *REBAR: low-variance, unbiased gradient estimates for
        discrete latent variable models*, 2017.
    """

    def estimate(
        key: jax.Array,
        logits: ArrayLike,
        temperature: ArrayLike = 1.0,
        *,
        scale: ArrayLike = 1.0,
        relaxation: ArrayLike = 0.5,
        axis: int = -1,
        where: ArrayLike | None = None,
    ) -> jax.Array:
        rows = fold(logits, temperature, axis=axis, where=where)
        draw = _draw(key, rows, f)
        rate = _relaxed.relaxation_of(relaxation, rows)
        shape, dtype = draw.losses.shape, rate.dtype
        params = _checks.per_row("scale", scale, shape, dtype, _SCALE), rate

        def control(params, perturbed):
            scale, rate = params
            soft = softmax(perturbed, rate, False, None, None)
            relaxed_loss = f(rows.unfold(soft.astype(rows.logits.dtype)))
            # A hard sample has no derivative that could make up for what it takes away.
            hard = over_groups(rate == 0, draw.losses) > 0
            return jnp.where(hard, 0, scale * relaxed_loss)

        return _controlled(rows, draw, control, params)

    return estimate


def relax(f: Loss, control: Callable[[Any, jax.Array], jax.Array]) -> Relax:
    r"""The loss of one draw, with RELAX's gradient.

    As [`rebar`][jaxtemp.random.estimators.rebar], with a control variate $c_\phi(z')$
    of your own: unbiased for every $c$ and $\phi$, and the gradient of `params`,
    $\phi$, is an unbiased estimate of that of $E \|g\|^2$. `f` is evaluated once, at
    the draw, and need not be differentiable.

    Args:
        f: Losses of one-hot rows: from an array of the logits' shape to one loss a row,
            `[*batch]`, or without the last axes of the batch: `[B]` from logits
            `[B, L, V]`, where L variables are drawn for each loss. What it closes over
            has the gradient of $f(D)$.
        control: From `params` and perturbed log-probabilities $z' = \log p + g$ of the
            logits' shape, `-inf` where masked, to numbers of the losses' shape. It must
            be differentiable in both, and twice for the gradient of `params`; what it
            closes over has no gradient.

    Returns:
        A function of `(key, logits, temperature=1.0, *, params, axis=-1, where=None)`
        to losses, whose gradient is the estimate. `params` is any pytree of arrays.

    Raises:
        TypeError: As `categorical`, or `f` does not return floating numbers.
        ValueError: As `categorical`, or `f` or `control` returns another shape.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from jaxtemp.random import estimators
        >>> cost = jnp.array([1.0, 2.0, 4.0])
        >>> def network(params, perturbed):
        ...     return (
        ...         jnp.tanh(jax.nn.softmax(perturbed) @ params["in"]) @ params["out"]
        ...     )
        >>> loss = estimators.relax(lambda d: d @ cost, network)
        >>> params = {"in": jnp.eye(3), "out": jnp.ones(3)}
        >>> def value(logits, params):
        ...     return loss(jax.random.key(0), logits, params=params)
        >>> gradient = jax.jit(jax.grad(value, argnums=(0, 1)))
        >>> of_logits, of_params = gradient(jnp.zeros(3), params)
        >>> of_logits.shape, sorted(of_params)
        ((3,), ['in', 'out'])

    Source:
        Grathwohl and others, *Backpropagation through the void*, 2018.
    """

    def estimate(
        key: jax.Array,
        logits: ArrayLike,
        temperature: ArrayLike = 1.0,
        *,
        params: Any,
        axis: int = -1,
        where: ArrayLike | None = None,
    ) -> jax.Array:
        rows = fold(logits, temperature, axis=axis, where=where)
        return _controlled(
            rows,
            _draw(key, rows, f),
            lambda params, perturbed: control(params, rows.unfold(perturbed)),
            params,
        )

    return estimate


class _Draw(NamedTuple):
    ids: jax.Array
    losses: jax.Array
    noise: jax.Array  # of which the ids are the winners
    other: jax.Array  # independent


def _draw(key, rows: Folded, f: Loss) -> _Draw:
    key = typed(key, rows.temperature.shape)
    noise, other = row_gumbel(key, rows), row_gumbel(fold_in(key, 1), rows)
    log_p = lax.stop_gradient(_relaxed.log_probabilities(rows))
    ids = _relaxed.winner(log_p + noise, noise)
    return _Draw(ids, loss_at(f, rows, ids), noise, other)


def _controlled(rows: Folded, draw: _Draw, control: Callable, params) -> jax.Array:
    """Losses, with the gradient in the logits, and that of its square in `params`."""
    log_p = _relaxed.log_probabilities(rows)
    fixed = lax.stop_gradient(log_p)
    losses = draw.losses
    slope = _slope(rows, draw, _frozen(control, params, fixed), params, fixed)
    held = lax.stop_gradient(slope)
    through = over_groups(jnp.where(held != 0, held * log_p, 0), losses)
    surrogate = losses + (through + over_groups(slope**2, losses)).astype(losses.dtype)
    return carry(losses, surrogate)


def _frozen(function: Callable, *example) -> Callable:
    """`function`, which passes no gradient to what it closes over.

    `example` is arguments as it will be called with. A closure's variables are out of
    reach of `stop_gradient` until they are arguments.
    """
    pure, closed_over = jax.closure_convert(function, *example)
    return lambda *arguments: pure(*arguments, *lax.stop_gradient(closed_over))


def _slope(rows: Folded, draw: _Draw, control: Callable, params, log_p) -> jax.Array:
    """The estimated gradient in z / τ, as a function of `params`."""
    losses = lax.stop_gradient(draw.losses).astype(log_p.dtype)
    drawn = _relaxed.is_drawn(draw.ids, rows)

    def pieces(log_p):
        given = log_p + _relaxed.conditional_noise(log_p, drawn, draw.other)
        of_draw = _checked(control(params, log_p + draw.noise), losses)
        of_given = _checked(control(params, given), losses)
        return of_draw, of_given, log_probability(log_p, draw.ids, losses)

    (_, of_given, _), pull = jax.vjp(pieces, log_p)
    one = jnp.ones_like(losses)
    slope = jnp.where(log_p == -jnp.inf, 0, pull((one, -one, losses - of_given))[0])
    return slope - jnp.exp(log_p) * jnp.sum(slope, axis=-1, keepdims=True)


def _checked(controls, losses: jax.Array) -> jax.Array:
    if jnp.shape(controls) != losses.shape:
        raise ValueError(
            f"`control` must return numbers of the shape of the losses {losses.shape}, "
            f"got shape {jnp.shape(controls)}; give each loss one."
        )
    return controls.astype(losses.dtype)
