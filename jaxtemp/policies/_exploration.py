"""Policies to explore with: of a given entropy, or with a share of chance."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from .. import _checks, learning
from .._derivatives import softmax
from .._rows import beside, upcast
from ._boltzmann import Boltzmann, check_policy

_SHARE = _checks.Rule(0, 1, "pass the share of uniform actions, 0 for none")


def with_entropy(
    logits: ArrayLike,
    target_entropy: ArrayLike,
    *,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> Boltzmann:
    r"""The Boltzmann policy of a given entropy, one temperature for each row.

    The policy of this entropy that has the largest mean value: its temperature is that
    of [`learning.solve_temperature`][jaxtemp.learning.solve_temperature], and
    differentiable in logits and target. $e^S$ is the number of actions that a policy is
    effectively spread over. A divergence of ε from the uniform policy over n actions is
    the entropy $\log n - \varepsilon$.

    Args:
        logits: As in `Boltzmann`.
        target_entropy: $S$ in nats, in [0, inf], a number or an array that broadcasts
            to the batch shape. Beyond what a row can have, its τ is 0 or ∞.
        axis: The axis of the actions.
        where: Boolean mask that broadcasts to the logits' shape; `False` excludes.

    Returns:
        The policy; NaN in the rows that allow nothing or have a NaN or `+inf`.

    Raises:
        TypeError: As for `Boltzmann`; also of `target_entropy`.
        ValueError: As for `Boltzmann`; also of `target_entropy`.

    Examples:
        >>> import jax, jaxtemp
        >>> q = jax.numpy.array([[1.0, 0.8, 0.2], [100.0, 80.0, 20.0]])
        >>> policy = jaxtemp.policies.with_entropy(q, 0.9)
        >>> [f"{tau:.3f}" for tau in policy.temperature]
        ['0.423', '42.262']
        >>> [f"{s:.3f}" for s in policy.entropy()]
        ['0.900', '0.900']

    Source:
        Jaynes, *Information theory and statistical mechanics* (1957), for the largest
        mean at a given entropy; Haarnoja et al., *Soft actor-critic algorithms and
        applications* (2018), section 5, for entropy as the target.
    """
    flat = Boltzmann(logits, axis=axis, where=where)
    # In float32 at least: a temperature in half precision would miss the entropy.
    tau = learning.solve_temperature(
        upcast(flat.logits), target_entropy, axis=flat.axis
    )
    # A row without an action has no policy at any temperature, and a NaN is refused.
    tau = jnp.where(flat.mode() < 0, 1, tau)
    return jax.tree.unflatten(jax.tree.structure(flat), (flat.logits, tau))


def mix(policy: Boltzmann, epsilon: ArrayLike) -> Boltzmann:
    r"""The policy that with probability ε takes any allowed action instead.

    $$\pi_\varepsilon(a) = (1 - \varepsilon)\, \pi(a) + \frac{\varepsilon}{n}$$

    with n allowed actions. Of a policy at τ = 0 this is ε-greedy exploration.

    Args:
        policy: What to mix with the uniform policy.
        epsilon: ε in [0, 1], a number or an array that broadcasts to the batch shape.
            A traced one outside makes its rows NaN.

    Returns:
        A policy at τ = 1 whose logits are its log-probabilities, float32 at least: so
        its `value` is 0. At ε = 0 the derivative in ε leaves out the actions that
        `policy` never takes.

    Raises:
        TypeError: `policy` is not a `Boltzmann`, or `epsilon` is not real.
        ValueError: A concrete `epsilon` is outside, or its shape does not fit.

    Examples:
        >>> import jax, jaxtemp
        >>> q = jax.numpy.array([1.0, 2.0, 2.0, 0.0])
        >>> greedy = jaxtemp.policies.Boltzmann(q, 0.0)
        >>> [f"{p:.3f}" for p in jaxtemp.policies.mix(greedy, 0.1).probs()]
        ['0.025', '0.475', '0.475', '0.025']

    Source:
        Sutton and Barto, *Reinforcement learning* (2018), section 2.2.
    """
    check_policy("policy", policy)
    rows = policy.rows()
    epsilon = _checks.per_row(
        "epsilon", epsilon, rows.tau.shape, rows.tau.dtype, _SHARE
    )
    epsilon = jnp.where((epsilon >= 0) & (epsilon <= 1), epsilon, jnp.nan)
    epsilon = beside(epsilon, rows.z)[..., None]
    p, log_p = (softmax(rows.z, rows.tau, log, None, None) for log in (False, True))
    count = jnp.sum(rows.allowed, axis=-1, keepdims=True)
    share = (1 - epsilon) * p + epsilon * jnp.where(rows.allowed, 1 / count, 0)
    # Nothing is mixed in where p is zero or subnormal and stayed there: its log has
    # all digits, also in a derivative.
    rest = share < jnp.finfo(share.dtype).tiny
    log_share = jnp.where(rest, log_p, jnp.log(jnp.where(rest, 1, share)))
    return Boltzmann(jnp.moveaxis(log_share, -1, policy.axis), axis=policy.axis)
