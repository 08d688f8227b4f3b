"""Contrastive losses of two sets of embeddings, with temperature as an argument."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .. import _checks as checks
from .._rows import accumulator
from .._scale import quotient
from ._cross_entropy import cross_entropy

_BIAS = checks.Rule(-math.inf, math.inf, "pass a number, for example -10.0")


def info_nce(
    queries: ArrayLike,
    keys: ArrayLike,
    temperature: ArrayLike,
    *,
    symmetric: bool = True,
    normalize: bool = True,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    r"""InfoNCE: each query has to find its key among all keys.

    With the similarities $s_{ij} = q_i \cdot k_j$ of N queries and N keys, of which the
    i-th belong together,

    $$L_i = -\log \frac{e^{s_{ii}/\tau}}{\sum_j e^{s_{ij}/\tau}}$$

    and if `symmetric` the mean of this and of the same with queries and keys exchanged,
    as in CLIP. Derivatives in embeddings and τ, limits and masks are those of
    `cross_entropy`. The mean over the pairs is the loss of the papers.

    CLIP learns the logarithm of $1/\tau$, from τ = 0.07, and keeps the scale
    $1/\tau$ in [1, 100]: that is `learning.LogScale` with `learning.clamp_scale`.

    Args:
        queries: Real floating array `(..., N, D)`; the axes before the last two are
            batches of their own.
        keys: Real floating array of the same shape.
        temperature: τ in [0, inf], broadcasts to `(..., N)`.
        symmetric: Whether keys have to find their queries too.
        normalize: Whether embeddings are divided by their lengths, so that $s$ is
            the cosine. A zero embedding stays zero.
        where: Boolean mask of pairs, broadcasts to `(..., N, N)`; `False` takes key j
            out of query i's sum, for example a second copy of its own. A query and a
            key without any `True` are not read, and the loss of such a pair is NaN.
        axis_name: Inside `shard_map`, the mesh axis over which the pairs are split: the
            embeddings of all devices are gathered. `where` then has this device's
            queries and the keys of all.

    Returns:
        The loss of each pair, of shape `(..., N)` and in the queries' dtype. Products
        are summed in float32, or float64 if the embeddings are.

    Raises:
        TypeError: The embeddings or the temperature are not real floating, or `where`
            is not boolean.
        ValueError: A shape does not fit, or a concrete temperature is negative or NaN.

    Examples:
        >>> import jax, jaxtemp
        >>> queries = jax.numpy.array([[3.0, 0.0], [0.0, 2.0]])
        >>> keys = jax.numpy.array([[1.0, 0.0], [1.0, 1.0]])
        >>> loss = jaxtemp.losses.info_nce(queries, keys, 0.5)
        >>> [f"{x:.4f}" for x in loss]
        ['0.2847', '0.4554']

    Source:
        van den Oord, Li and Vinyals, *Representation learning with contrastive
        predictive coding* (2018), equation 4; Radford et al., *Learning transferable
        visual models from natural language supervision* (2021), figure 3.
    """
    pairs = _read(queries, keys, temperature, normalize, where, axis_name)
    there = _similarities(pairs)
    loss = _find(pairs, there, pairs.where)
    if symmetric:
        loss = (loss + _find(pairs, _back(pairs, there), pairs.where_back)) / 2
    return loss.astype(pairs.dtype)


def sigmoid_contrastive(
    queries: ArrayLike,
    keys: ArrayLike,
    temperature: ArrayLike,
    bias: ArrayLike = 0.0,
    *,
    normalize: bool = True,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    r"""SigLIP's loss: whether each query and each key, by themselves, belong together.

    With the similarities $s_{ij} = q_i \cdot k_j$ of N queries and N keys, of which the
    i-th belong together, and $y_{ij} = 1$ for $i = j$, else $-1$,

    $$L_i = \sum_j \log\Big(1 + e^{-y_{ij} (s_{ij}/\tau + b)}\Big)$$

    The mean over the N queries is the loss of the paper: all pairs, over N. It is
    symmetric in queries and keys. Derivatives exist in embeddings, τ and b, in forward
    and reverse mode and to any order. At τ = 0 a pair costs nothing or `inf`, at τ = ∞
    it costs what the bias alone does; derivatives in embeddings and τ are 0 at both.

    SigLIP starts from b = -10 and τ = 0.1, and learns $\log(1/\tau)$ without bounds:
    that is `learning.LogScale()`. The bias makes up for N - 1 of N pairs that do not
    belong together.

    Args:
        queries: Real floating array `(..., N, D)`; the axes before the last two are
            batches of their own.
        keys: Real floating array of the same shape.
        temperature: τ in [0, inf], broadcasts to `(..., N)`.
        bias: b, broadcasts to `(..., N)`.
        normalize: Whether embeddings are divided by their lengths, so that $s$ is
            the cosine. A zero embedding stays zero.
        where: Boolean mask of pairs, broadcasts to `(..., N, N)`; `False` leaves a pair
            out of the sum. A query and a key without any `True` are not read.
        axis_name: Inside `shard_map`, the mesh axis over which the pairs are split: the
            keys of all devices are gathered. `where` then has this device's queries
            and the keys of all.

    Returns:
        The loss of each query, of shape `(..., N)` and in the queries' dtype. Products
        are summed in float32, or float64 if the embeddings are.

    Raises:
        TypeError: The embeddings, the temperature or the bias are not real floating, or
            `where` is not boolean.
        ValueError: A shape does not fit, a concrete temperature is negative or NaN, or
            a concrete bias is NaN.

    Examples:
        >>> import jax, jaxtemp
        >>> queries = jax.numpy.array([[3.0, 0.0], [0.0, 2.0]])
        >>> keys = jax.numpy.array([[1.0, 0.0], [1.0, 1.0]])
        >>> loss = jaxtemp.losses.sigmoid_contrastive(queries, keys, 0.1, -10.0)
        >>> [f"{x:.4f}" for x in loss]
        ['0.7452', '2.9811']

    Source:
        Zhai et al., *Sigmoid loss for language image pre-training* (2023), equation 1
        and algorithm 1.
    """
    pairs = _read(queries, keys, temperature, normalize, where, axis_name)
    shape, dtype = pairs.temperature.shape, pairs.temperature.dtype
    bias = checks.per_row("bias", bias, shape, dtype, _BIAS)
    similarities = _similarities(pairs)
    logits = quotient(similarities, pairs.temperature[..., None]) + bias[..., None]
    place = lax.broadcasted_iota(jnp.int32, logits.shape, logits.ndim - 1)
    logits = jnp.where(place == pairs.labels[..., None], -logits, logits)
    each = jax.nn.softplus(logits)
    if pairs.where is not None:
        each = jnp.where(pairs.where, each, 0)
    return each.sum(axis=-1).astype(pairs.dtype)


class _Pairs(NamedTuple):
    """Checked embeddings of this device, in the type in which they are summed.

    Attributes:
        queries: `[..., n, D]`.
        keys: `[..., n, D]`.
        temperature: τ of each pair, `[..., n]`.
        labels: The index of each pair among those of all devices, `[..., n]`.
        where: Which keys of all devices each query meets, `[..., n, N]`, or `None`.
        where_back: Which queries of all devices each key meets, or `None`.
        dtype: The type of the result.
        axis_name: The mesh axis over which the pairs are split, or `None`.
    """

    queries: jax.Array
    keys: jax.Array
    temperature: jax.Array
    labels: jax.Array
    where: jax.Array | None
    where_back: jax.Array | None
    dtype: jnp.dtype
    axis_name: str | None


def _read(queries, keys, temperature, normalize, where, axis_name) -> _Pairs:
    checks.mesh_axis(axis_name)
    queries, keys = _embeddings(queries, keys)
    dtype = queries.dtype
    wide = accumulator(jnp.promote_types(dtype, keys.dtype))
    batch_shape = queries.shape[:-1]
    temperature = checks.temperature(temperature, batch_shape, wide)
    count, first, devices = batch_shape[-1], 0, 1
    if axis_name is not None:
        devices = lax.axis_size(axis_name)
        first = lax.axis_index(axis_name).astype(jnp.int32) * count
    where_back = None
    if where is not None:
        shape = (*batch_shape, count * devices)
        where = jnp.broadcast_to(checks.mask(where, shape), shape)
        where_back = _transposed(where, axis_name)
        # Zero times a NaN that no pair may see would be one in the cotangents.
        queries = jnp.where(where.any(axis=-1, keepdims=True), queries, 0)
        keys = jnp.where(where_back.any(axis=-1, keepdims=True), keys, 0)
    queries, keys = queries.astype(wide), keys.astype(wide)
    if normalize:
        queries, keys = _unit(queries), _unit(keys)
    labels = jnp.broadcast_to(jnp.arange(count, dtype=jnp.int32) + first, batch_shape)
    return _Pairs(
        queries, keys, temperature, labels, where, where_back, dtype, axis_name
    )


def _embeddings(queries, keys) -> tuple[jax.Array, jax.Array]:
    queries = checks.floating_array("queries", queries)
    keys = checks.floating_array("keys", keys)
    if queries.ndim < 2:
        raise ValueError(
            f"`queries` must have at least two axes, got shape {queries.shape}; "
            "put the numbers of an embedding along the last and the pairs before it."
        )
    if keys.shape != queries.shape:
        raise ValueError(
            f"`keys` must have the shape of `queries` {queries.shape}, got shape "
            f"{keys.shape}; pass the key of each query at its index."
        )
    return queries, keys


def _similarities(pairs: _Pairs) -> jax.Array:
    """Of this device's queries and all keys, `[..., n, N]`."""
    return pairs.queries @ _gathered(pairs.keys, pairs.axis_name).mT


def _back(pairs: _Pairs, there: jax.Array) -> jax.Array:
    """Of this device's keys and all queries, `[..., n, N]`."""
    if pairs.axis_name is None:
        return there.mT
    return pairs.keys @ _gathered(pairs.queries, pairs.axis_name).mT


def _find(pairs: _Pairs, similarities: jax.Array, where) -> jax.Array:
    """The cross-entropy of each row's partner."""
    return cross_entropy(similarities, pairs.labels, pairs.temperature, where=where)


def _gathered(x: jax.Array, axis_name: str | None) -> jax.Array:
    if axis_name is None:
        return x
    return lax.all_gather(x, axis_name, axis=x.ndim - 2, tiled=True)


def _transposed(where: jax.Array, axis_name: str | None) -> jax.Array:
    """From a row for each of this device's queries to one for each of its keys."""
    if axis_name is not None:
        last = where.ndim - 1
        where = lax.all_to_all(where, axis_name, last, last - 1, tiled=True)
    return where.mT


def _unit(x: jax.Array) -> jax.Array:
    """`x` over its length; of a zero `x`, zero."""
    largest = lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1, keepdims=True))
    # So that squares neither over- nor underflow.
    x = x / jnp.where(largest > 0, largest, 1)
    square = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    return x * lax.rsqrt(jnp.where(square > 0, square, 1))
