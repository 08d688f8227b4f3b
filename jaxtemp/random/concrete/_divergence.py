"""Kullback-Leibler divergence between two members of the family."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from ..._derivatives import logsumexp
from . import _family
from ._binary import BinaryConcrete, Bits, LogitBinaryConcrete
from ._classes import Concrete, ExpConcrete
from ._family import Estimate
from ._rows import Rows

Family = ExpConcrete | Concrete | LogitBinaryConcrete | BinaryConcrete


def kl_divergence(key: jax.Array, p: Family, q: Family, samples: int) -> Estimate:
    r"""Kullback-Leibler divergence of two Concrete distributions, by Monte Carlo.

    With logits $a$ and temperature $\tau$ of p, $b$ and $\sigma$ of q,
    $\rho = \sigma / \tau$, $d = b - \rho a$ and $K$ classes,

    $$KL(p \| q) = K\, \mathbb{E} \log \sum_i e^{d_i} u_i^{\rho} - \sum_i d_i
      - K (1 - \rho) \left(1 + \tfrac12 + \dots + \tfrac{1}{K-1}\right)
      - (K - 1) \log \rho$$

    with $u$ uniform on the simplex. Only the first term is estimated, as u is drawn, so
    the error is smaller than that of a mean of $\log p - \log q$, and zero at p = q. It
    is the same for both forms of a distribution, in log space and after the
    exponential. At equal temperatures it does not depend on them; two bits that differ
    in the logit by $\delta$ then have $KL = \delta \coth(\delta/2) - 2$ exactly.

    The derivative in all logits and temperatures is that of the estimate, along the
    draws. The score of p, whose mean is zero, is not part of it.

    Args:
        key: One key, or an array of keys of the batch shape.
        p: A member of the family.
        q: One of the same class, whose logits' shape broadcasts with that of p.
        samples: How many draws, at least 2.

    Returns:
        An `Estimate` of one number a row, in nats: infinite where p and q do not allow
        the same classes.

    Raises:
        TypeError: p and q are not two of the same class, or `key` is not a key.
        ValueError: A shape does not fit, or `samples` is not at least 2.

    Examples:
        >>> import jax, jaxtemp
        >>> posterior = jaxtemp.random.ExpConcrete(
        ...     jax.numpy.array([2.0, 1.0, 0.0]), 0.7
        ... )
        >>> prior = jaxtemp.random.ExpConcrete(jax.numpy.zeros(3), 0.5)
        >>> kl = jaxtemp.random.kl_divergence(
        ...     jax.random.key(0), posterior, prior, 10_000
        ... )
        >>> f"{kl.value:.2f} ± {kl.standard_error:.2f}"
        '0.56 ± 0.01'

    Source:
        Maddison, Mnih and Teh, *The Concrete distribution* (2017), appendix C.3, for
        the densities in log space.
    """
    _check_classes(p, q)
    dtype = jnp.promote_types(p.logits.dtype, q.logits.dtype)
    p_rows, q_rows = _joint(p, q)
    rho = q_rows.tau / p_rows.tau
    noise = _family.row_noise(key, _family.samples(samples), p_rows.z)
    both = p_rows.allowed & q_rows.allowed
    a, b = (jnp.where(both, rows.centred, 0) for rows in (p_rows, q_rows))
    d = b - rho[..., None] * a
    log_u = jnp.where(both, p_rows.log_softmax(-noise), 0)
    terms = jnp.where(both, d + rho[..., None] * log_u, -jnp.inf)
    log_sum = logsumexp(terms, jnp.ones_like(terms[..., 0]), None, None)
    count = p_rows.count + 0 * q_rows.count
    exact = -jnp.sum(d, axis=-1) - (count - 1) * jnp.log(rho)
    exact = exact - count * (1 - rho) * p_rows.harmonic()
    same = jnp.all(p_rows.allowed == q_rows.allowed, axis=-1)
    exact = jnp.where(same | jnp.isnan(count), exact, jnp.inf)
    return _family.estimate(exact, jnp.where(same, count * log_sum, 0), dtype)


def _joint(p: Family, q: Family) -> tuple[Rows, Rows]:
    """Both as rows of one shape, with the classes last."""
    first, second = ((x.classes() if isinstance(x, Bits) else x).rows() for x in (p, q))
    try:
        shape = np.broadcast_shapes(first.z.shape, second.z.shape)
        fits = first.z.shape[-1] == second.z.shape[-1]
    except ValueError:
        shape, fits = (), False
    if not fits:
        raise ValueError(
            f"`q` must have logits that broadcast with those of `p`, of shape "
            f"{p.logits.shape}, and as many classes, got shape {q.logits.shape}; "
            "compare distributions over the same classes."
        )
    return _spread(first, shape), _spread(second, shape)


def _spread(rows: Rows, shape: tuple[int, ...]) -> Rows:
    return Rows(jnp.broadcast_to(rows.z, shape), jnp.broadcast_to(rows.tau, shape[:-1]))


def _check_classes(p, q) -> None:
    if not isinstance(p, Family):
        raise TypeError(
            f"`p` must be of the Concrete family, got {type(p).__name__}; "
            "make one, for example `ExpConcrete(logits, temperature)`."
        )
    if type(q) is not type(p):
        raise TypeError(
            f"`q` must be of the same class as `p`, {type(p).__name__}, "
            f"got {type(q).__name__}; compare two of one class."
        )
