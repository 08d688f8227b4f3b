"""`sample`: a token from tempered, truncated logits."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .. import _checks, kernels
from .._rows import beside, fold
from ..kernels.kth.primitive import kth
from ..kernels.sample.primitive import sample as kernel
from ..random._keys import row_words

_TOP_K = _checks.Rule(0, float("inf"), "pass 0 or None to keep all", integer=True)
_TOP_P = _checks.Rule(0, 1, "pass 1 or None to keep all, 0 for the likeliest")
_MIN_P = _checks.Rule(0, 1, "pass 0 or None to keep all")


def sample(
    key: jax.Array,
    logits: ArrayLike,
    temperature: ArrayLike = 1.0,
    *,
    top_k: ArrayLike | None = None,
    top_p: ArrayLike | None = None,
    min_p: ArrayLike | None = None,
    where: ArrayLike | None = None,
    axis: int = -1,
    ties: str = "index",
    implementation: str | None = None,
) -> jax.Array:
    r"""Draws class ids from the likeliest classes at a temperature.

    With $p = \operatorname{softmax}(z/\tau)$ and the classes in the order of their
    logits, equal ones by index, the steps are

    1. `temperature`: divide the logits by τ,
    2. `top_k`: keep the first k,
    3. `top_p`: of these, renormalised, keep the shortest run from the first whose mass
       reaches p,
    4. `min_p`: of these, keep $p_i \ge$ `min_p` $\cdot \max_j p_j$,
    5. draw from what is left.

    The first class is always kept. Nothing is sorted: a class is drawn, one pass sums
    the mass of the classes before it, and if that is too much, the next one is drawn
    from these.

    Args:
        key: One key for the batch, or an array of keys of the batch shape. With an
            array, a row's id depends on its key, logits and parameters alone.
        logits: Real floating array; `axis` holds the V >= 1 classes, every other axis
            is batch.
        temperature: τ in [0, inf], a number or an array that broadcasts to the batch
            shape, as have the next three. At 0 a largest logit is taken, of those kept.
        top_k: How many classes to keep; 0 and V or more keep all.
        top_p: The mass to keep, in [0, 1]; 1 keeps all.
        min_p: The smallest ratio to the largest probability, in [0, 1]; 0 keeps all.
        where: Boolean mask that broadcasts to the logits' shape; `False` excludes.
        axis: The class axis.
        ties: Where `top_k` or `top_p` cuts through equal logits, `"index"` keeps those
            of the smallest index, exactly as many as needed; `"all"` keeps all of them.
        implementation: `None` for the fastest that works, or a name from
            `kernels.available()` to insist.

    Returns:
        int32 ids, of the batch shape; -1 where nothing is allowed or a logit is NaN or
        `+inf`.

    Raises:
        TypeError: `key` is not a key, or a parameter has a wrong dtype.
        ValueError: A shape does not fit, a concrete parameter is out of its range, the
            class axis is empty, or the implementation cannot be used.

    Examples:
        >>> import jax, jaxtemp
        >>> logits = jax.numpy.array([[2.0, 1.0, 0.5, 0.1], [0.0, 3.0, 2.9, 1.0]])
        >>> keys = jax.random.split(jax.random.key(0), 2)
        >>> jaxtemp.sample(keys, logits, 0.7, top_k=jax.numpy.array([1, 0]), top_p=0.4)
        Array([0, 1], dtype=int32)

    Source:
        Top-k: Fan, Lewis and Dauphin, 2018. Top-p: Holtzman et al., *The curious case
        of neural text degeneration*, 2020. Min-p: Nguyen et al., 2024. Rejection
        without sorting: the FlashInfer authors, 2025.
    """
    _checks.implementation(implementation, kernels.available())
    _checks.one_of("ties", ties, ("index", "all"))
    rows = fold(logits, temperature, axis=axis, where=where)
    words = tuple(w[..., 0] for w in row_words(key, rows.temperature.shape))
    z, tau = lax.stop_gradient((rows.logits, rows.temperature))
    p = rows.parameter("top_p", 1.0 if top_p is None else top_p, _TOP_P)
    least = rows.parameter("min_p", 0.0 if min_p is None else min_p, _MIN_P)
    operands = (p, least, *(beside(word, z) for word in words))
    first = ties == "index"
    run = functools.partial(
        kernel,
        use_p=top_p is not None,
        use_min=min_p is not None,
        first=first,
        implementation=implementation,
    )
    everything = jnp.full_like(tau, -jnp.inf), jnp.zeros_like(tau, jnp.int32)
    if top_k is None:
        return run(z, tau, *everything, *operands, use_k=False)[0]
    k = rows.parameter("top_k", top_k, _TOP_K, jnp.int32)
    # XLA's CPU compiler sorts whole rows of any other type.
    searched = z.dtype != jnp.float32 or not first
    if isinstance(top_k, int) and not searched and 0 < top_k <= _FEW:
        z, ids = lax.top_k(z, min(top_k, z.shape[-1]))
        (drawn,) = run(z, tau, *everything, *operands, use_k=False)
        found = jnp.take_along_axis(ids, jnp.maximum(drawn, 0)[..., None], axis=-1)
        return jnp.where(drawn < 0, -1, found[..., 0])
    bound = kth(z, k, first=first, implementation=implementation)
    return run(z, tau, *bound, *operands, use_k=True)[0]


_FEW = 1024  # as many as `lax.top_k` finds faster than a search
