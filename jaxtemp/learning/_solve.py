"""The temperature at which a row has a given entropy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .. import _derivatives
from .._checks import Rule
from .._newton import Move, search
from .._rows import fold, upcast
from .._scale import over
from ..kernels.moments.primitive import moments

_ENTROPY = Rule(0, float("inf"), "pass nats, at most the log of the number of classes")


def solve_temperature(
    logits: ArrayLike,
    target_entropy: ArrayLike,
    *,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""The temperature at which each row has a given entropy.

    It solves $S(\tau) = S^*$, where $S$ is [`entropy`][jaxtemp.entropy], by Newton's
    method in $\log \tau$ within a bracket that always holds the solution:

    $$\frac{\partial S}{\partial \log \tau} = C, \qquad
      \frac{\partial \tau}{\partial S^*} = \frac{\tau}{C}, \qquad
      \frac{\partial \tau}{\partial z_i} = \frac{p_i (u_i - \langle u \rangle)}{C},
      \qquad u = z / \tau$$

    with $C$ the [`heat_capacity`][jaxtemp.heat_capacity]. An entropy of at most
    $\log m$, of $m$ equal largest logits, has $\tau = 0$. One of at least $\log n$, of
    $n$ allowed classes, has $\tau = \infty$. So targets within rounding of these are
    taken for them, and derivatives are 0 there.

    Where $C$ is small a temperature is hard to tell from an entropy: a relative error
    $\epsilon$ of $S^*$ is one of $\epsilon\, S^* / C$ in $\tau$. The entropy at the
    result is right to rounding.

    Args:
        logits: Real floating array; `axis` holds the V >= 1 classes, every other axis
            is batch.
        target_entropy: $S^*$ in nats, in [0, inf]: a number or an array that
            broadcasts to the batch shape. A traced one that is negative or NaN makes
            its rows NaN.
        axis: The class axis.
        where: Boolean mask that broadcasts to the logits' shape; `False` excludes.

    Returns:
        One temperature a row, in [0, inf]: the batch shape, in the logits' dtype.
        A row with nothing allowed, a NaN or a `+inf` is NaN.

    Raises:
        TypeError: `logits` or `target_entropy` is not real floating, or `where` is not
            boolean.
        ValueError: A shape does not fit, the class axis is empty, or a concrete
            target is negative or NaN.

    Examples:
        >>> import jax, jaxtemp
        >>> logits = jax.numpy.array([2.0, 1.0, 0.5, 0.1])
        >>> tau = jaxtemp.learning.solve_temperature(logits, 1.0)
        >>> f"{tau:.4f}", f"{jaxtemp.entropy(logits, tau):.4f}"
        ('0.8091', '1.0000')

    Source:
        Newton's method with the fluctuation formula for $C$; Einstein (1909).
    """
    rows = fold(logits, 1.0, axis=axis, where=where)
    z = rows.logits
    target = rows.parameter("target_entropy", target_entropy, _ENTROPY)
    return _solve(z, target).astype(z.dtype)


@jax.custom_jvp
def _solve(z: jax.Array, target: jax.Array) -> jax.Array:
    """The temperature of each row of `z` at which its entropy is `target`."""
    z = upcast(z)
    gap = jnp.max(z, axis=-1, keepdims=True) - z
    ties, allowed, bad = (
        jnp.sum(chosen, axis=-1).astype(target.dtype)
        for chosen in (gap == 0, z > -jnp.inf, ~(z < jnp.inf))
    )
    rounding = 2 * jnp.finfo(target.dtype).eps
    cold = target <= jnp.log(ties) * (1 + rounding)
    hot = target >= jnp.log(allowed) * (1 - rounding)
    mean_gap = jnp.sum(jnp.where(z > -jnp.inf, gap / allowed[..., None], 0), axis=-1)
    start = jnp.where(cold | hot, 1, mean_gap)

    tau = _newton(z, target, start, jnp.log(ties), jnp.log(allowed), cold | hot)
    tau = jnp.where(hot, jnp.inf, tau)
    tau = jnp.where(cold, 0, tau)
    # Told by its members: on XLA's CPU the maximum of a row may leave a NaN out.
    return jnp.where((allowed > 0) & (bad == 0) & (target >= 0), tau, jnp.nan)


def _newton(z, target, start, least, most, done) -> jax.Array:
    """The solution between the entropies `least` and `most`, where not `done`."""

    def look(tau: jax.Array) -> Move:
        # In one pass what `entropy` and `heat_capacity` are made of.
        _, log_z, _, mean, capacity = moments(z, tau, implementation=None)
        entropy = log_z - mean
        # For log((S - least) / (most - S)), which is nearly a line in log τ where S
        # itself is nearly flat.
        above, below = entropy - least, most - entropy
        ratio = (target - least) / above * (below / (most - target))
        step = jnp.log(ratio) * above / (most - least) * (below / capacity)
        return Move(step, too_low=entropy < target)

    info = jnp.finfo(target.dtype)
    return search(look, jnp.clip(start, info.tiny, info.max), done).tau


@_solve.defjvp
def _solve_jvp(primals, tangents):
    z, target = primals
    dz, dtarget = tangents
    tau = _solve(z, target)
    finite = (tau > 0) & (tau < jnp.inf)
    safe = jnp.where(finite, tau, 1)
    wide, dwide = upcast(z), upcast(dz)

    _, dentropy = jax.jvp(
        lambda z: _derivatives.entropy(z, safe, None, None), (wide,), (dwide,)
    )
    capacity = _derivatives.heat_capacity(wide, safe, None, None)
    slope = jnp.where(finite, over(safe, capacity), 0)
    return tau, slope * (dtarget - dentropy)
