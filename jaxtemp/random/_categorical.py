"""`categorical`: exact draws from softmax(z / τ)."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .. import _checks, kernels
from .._rows import Folded, beside, fold
from ..kernels.categorical import primitive, split
from ._gumbel import top_k
from ._keys import row_words


def categorical(
    key: jax.Array,
    logits: ArrayLike,
    temperature: ArrayLike = 1.0,
    *,
    axis: int = -1,
    shape: tuple[int, ...] | None = None,
    where: ArrayLike | None = None,
    replace: bool = True,
    ties: str = "random",
    axis_name: str | None = None,
    implementation: str | None = None,
) -> jax.Array:
    r"""Draws class ids from the Boltzmann distribution at a temperature.

    $$P(i) = \frac{e^{z_i/\tau}}{\sum_j e^{z_j/\tau}}$$

    One pass over the logits sums blocks of classes; the draw goes down from the whole
    row to one block to one class, with random bits of its own at every step. Nothing
    of the logits' size is drawn, and a class is as likely as it should be down to
    about $10^{-19}$ of its neighbours.

    Args:
        key: One key for the batch, or an array of keys of the batch shape. With an
            array, a row's ids depend on its key, its logits and its temperature alone:
            not on the other rows, its place among them, or masked classes appended.
        logits: Real floating array; `axis` holds the V >= 1 classes, every other axis
            is batch.
        temperature: τ in [0, inf], a number or an array that broadcasts to the batch
            shape. At 0 a row's largest logit is taken.
        axis: The class axis.
        shape: The result's shape, which ends in the batch shape; axes before it are
            further draws from the same rows. `None` for the batch shape.
        where: Boolean mask that broadcasts to the logits' shape; `False` excludes.
        replace: `False` draws the ids of `shape`'s leading axes without replacement,
            in the order of drawing (see `random.gumbel_top_k`).
        ties: At τ = 0, `"random"` draws among equal largest logits, `"index"` takes
            the first. Of no effect with `replace=False`.
        axis_name: Inside `shard_map`, the mesh axis over which the classes are split;
            a few hundred numbers a row are exchanged. The ids are those of the whole.
        implementation: `None` for the fastest that works, or a name from
            `kernels.available()` to insist.

    Returns:
        int32 ids, of the batch shape or `shape`; -1 where nothing is allowed or a
        logit is NaN or `+inf`.

    Raises:
        TypeError: `key` is not a key, `logits` or `temperature` not real floating, or
            `where` not boolean.
        ValueError: A shape does not fit, the class axis is empty, a concrete
            temperature is negative or NaN, more ids are asked for than there are
            classes without replacement, or the implementation cannot be used.

    Examples:
        >>> import jax, jaxtemp
        >>> logits = jax.numpy.array([2.0, 1.0, 0.5, 0.1])
        >>> ids = jaxtemp.categorical(jax.random.key(0), logits, 0.5, shape=(10_000,))
        >>> f"{(ids == 0).mean():.2f}"
        '0.83'
        >>> jaxtemp.categorical(jax.random.key(0), logits, 0.0)
        Array(0, dtype=int32)
        >>> keys = jax.random.split(jax.random.key(0), 3)
        >>> jaxtemp.categorical(keys, jax.numpy.zeros((3, 100))).shape
        (3,)

    Source:
        Inversion by a tree of sums, Devroye, *Non-uniform random variate generation*,
        1986, III.2; random bits by Salmon et al., 2011.
    """
    _checks.mesh_axis(axis_name)
    _checks.implementation(implementation, kernels.available())
    _checks.one_of("ties", ties, ("random", "index"))
    rows = fold(logits, temperature, axis=axis, where=where)
    batch_shape = rows.temperature.shape
    prefix = _checks.draws(shape, batch_shape)
    count = math.prod(prefix)
    if replace or count == 1:
        greedy = _checks.known_zero(temperature)
        kernel = primitive.greedy if greedy else primitive.categorical
        ids = _drawn(key, rows, count, ties, axis_name, kernel, implementation)
    else:
        _no_split(axis_name)
        ids = top_k(key, rows, count).ids
    return jnp.moveaxis(ids, -1, 0).reshape(*prefix, *batch_shape)


def _drawn(key, rows: Folded, count: int, ties, axis_name, kernel, implementation):
    """Ids `[*batch, count]`."""
    words = row_words(key, rows.temperature.shape, count)
    z, tau = lax.stop_gradient((rows.logits, rows.temperature))
    operands = (z, tau, *(beside(word, z) for word in words))
    first = ties == "index"
    if axis_name is not None:
        return split.forward(*operands, first=first, axis_name=axis_name)
    return kernel(*operands, first=first, implementation=implementation)[0]


def _no_split(axis_name) -> None:
    if axis_name is not None:
        raise ValueError(
            "`replace` must be True where `axis_name` splits the classes, got False; "
            "gather the logits first."
        )
