"""Kullback-Leibler divergence of two policies."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from .._relative_entropy import relative_entropy
from ._boltzmann import Boltzmann, check_policy


def kl_divergence(p: Boltzmann, q: Boltzmann) -> jax.Array:
    r"""Kullback-Leibler divergence of two policies, also of nearly equal ones.

    $$KL(p \| q) = \sum_a p_a \log \frac{p_a}{q_a}
        = \sum_a p_a \big(d_a + e^{-d_a} - 1\big), \qquad d = \log p - \log q$$

    No term of the second sum is negative, so that nothing cancels. And $d$ is
    made of differences of the logits and of the temperatures, if these are within a
    factor of two; otherwise of $u = z / \tau$ of both, with an error of $10^{-7} |u|$
    in float32.

    Args:
        p: The policy whose actions are averaged over.
        q: The policy to compare with; its logits' shape broadcasts with that of p.

    Returns:
        One number a row, in nats and in the wider of both dtypes: infinite where p may
        take an action that q never takes. Actions that neither takes do not count.

    Raises:
        TypeError: `p` or `q` is not a `Boltzmann`.
        ValueError: Their shapes do not fit.

    Examples:
        >>> import jax, jaxtemp
        >>> q = jax.numpy.array([1.0, 0.8, 0.2])
        >>> old, new = (jaxtemp.policies.Boltzmann(q, tau) for tau in (0.5, 0.4999))
        >>> f"{jax.jit(jaxtemp.policies.kl_divergence)(new, old):.4e}"
        '4.6731e-09'

    Source:
        Schulman, *Approximating KL divergence* (2020), for the form of the sum.
    """
    check_policy("p", p)
    check_policy("q", q)
    dtype = jnp.promote_types(p.logits.dtype, q.logits.dtype)
    z, tau, w, sigma = _joint(p, q)
    return relative_entropy(z, w, tau, sigma, None).astype(dtype)


def _joint(p: Boltzmann, q: Boltzmann) -> tuple[jax.Array, ...]:
    """Logits and temperatures of both, of one shape and dtype."""
    first, second = p.rows(), q.rows()
    try:
        shape = np.broadcast_shapes(first.z.shape, second.z.shape)
        fits = first.z.shape[-1] == second.z.shape[-1]
    except ValueError:
        shape, fits = (), False
    if not fits:
        raise ValueError(
            f"`q` must have a batch shape that broadcasts with that of `p`, "
            f"{first.tau.shape}, and as many actions, {first.z.shape[-1]}, got "
            f"{second.tau.shape} and {second.z.shape[-1]}; "
            "compare policies over the same actions."
        )
    dtype = jnp.promote_types(first.z.dtype, second.z.dtype)
    return tuple(
        jnp.broadcast_to(x.astype(dtype), shape[: len(shape) - row])
        for rows in (first, second)
        for row, x in enumerate((rows.z, rows.tau))
    )
