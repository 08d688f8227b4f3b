"""Relaxed draws of permutations: doubly stochastic matrices, with a report."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .. import _checks
from .._rows import Folded, fold, upcast
from .._scale import exponent, over
from .._threshold import centred
from ._noise import row_gumbel

_TOLERANCE = _checks.Rule(0, 1, "pass the largest error of a sum that counts as none")
_BALANCED = 0.1  # a largest error with which a matrix may cool


class GumbelSinkhorn(NamedTuple):
    r"""A relaxed permutation, and how well it is one.

    Attributes:
        matrix: `[*batch, n, n]`, in the logits' dtype; every row and column sums to 1
            within `error`.
        log_matrix: Its logarithm; `-inf` where masked.
        iterations: int32, of the batch shape: how many steps were made.
        error: The largest $|\text{sum} - 1|$ of a row or a column, before rounding to
            the logits' dtype.
        converged: Whether `error` is at most the tolerance. Where it is not, the
            derivatives are not those of the matrix.
    """

    matrix: jax.Array
    log_matrix: jax.Array
    iterations: jax.Array
    error: jax.Array
    converged: jax.Array


def gumbel_sinkhorn(
    key: jax.Array,
    logits: ArrayLike,
    temperature: ArrayLike = 1.0,
    *,
    iterations: int = 100,
    tolerance: ArrayLike = 1e-5,
    where: ArrayLike | None = None,
) -> GumbelSinkhorn:
    r"""Draws a relaxed permutation: the matrix nearest to perturbed logits.

    With independent standard Gumbel noise $G$, it is the doubly stochastic matrix

    $$P = \operatorname*{argmax}_P \; \langle P, Z + G \rangle + \tau H(P)
      = \exp\bigl((Z + G)/\tau + f 1^\top + 1 g^\top\bigr).$$

    Each step moves the potentials, by Sinkhorn's rule or by Newton's, whichever raises
    the dual objective more, while the temperature halves until it is $\tau$. Sinkhorn's
    rule alone would take a number of steps that grows like
    $e^{\text{gap}/\tau}$. The derivatives in `logits` and `temperature` are those of
    the matrix, not of the steps: one linear system of size n gives them, forward and
    reverse and to any order, and nothing of the steps is kept.

    At $\tau = 0$ it is the permutation that solves the assignment problem of $Z + G$,
    at $\tau = \infty$ all entries are $1/n$.

    Args:
        key: One key for the batch, or an array of keys of the batch shape.
        logits: Real floating array `[*batch, n, n]`.
        temperature: τ in [0, inf], broadcasts to the batch shape.
        iterations: Most steps to make, at least 1.
        tolerance: Largest error of a row's or a column's sum, in [0, 1]. What float32
            can reach is near 1e-6.
        where: Boolean mask that broadcasts to the logits' shape; `False` excludes. If
            no permutation is left, no matrix is found, which the report says.

    Returns:
        A `GumbelSinkhorn` of arrays.

    Raises:
        TypeError: `key` is not a key, `iterations` not an int, an array not real
            floating, or `where` not boolean.
        ValueError: The logits are not square, a shape does not fit, or a concrete
            number is outside of its range.

    Examples:
        >>> import jax, jaxtemp
        >>> logits = jax.numpy.array(
        ...     [[2.0, 1.0, 0.0], [0.0, 1.0, 2.0], [1.0, 1.0, 1.0]]
        ... )
        >>> draw = jax.jit(jaxtemp.random.gumbel_sinkhorn)
        >>> drawn = draw(jax.random.key(0), logits, 0.1)
        >>> bool(drawn.converged), bool(drawn.error < 1e-5)
        (True, True)

    Source:
        Mena, Belanger, Linderman and Snoek, *Learning latent permutations with
        Gumbel-Sinkhorn networks*, 2018; Newton's step: Brauer, Clason, Lorenz and
        Wirth, *A Sinkhorn-Newton method for entropic optimal transport*, 2017.
    """
    rows, shape = _flat(logits, temperature, where)
    steps = _count(iterations)
    tau = rows.temperature
    tolerance = _checks.per_row(
        "tolerance", tolerance, tau.shape, tau.dtype, _TOLERANCE
    )
    z = upcast(rows.logits)
    score = lax.stop_gradient(z) + row_gumbel(key, rows)
    found, taken = _balance(
        score.reshape(shape), lax.stop_gradient(tau), steps, tolerance
    )
    log_matrix = _attached(z.reshape(shape), tau, found)
    matrix = jnp.exp(log_matrix)
    error = _error(lax.stop_gradient(matrix))
    return GumbelSinkhorn(
        matrix.astype(rows.logits.dtype),
        log_matrix.astype(rows.logits.dtype),
        taken,
        error,
        error <= tolerance,
    )


def _flat(logits, temperature, where) -> tuple[Folded, tuple[int, ...]]:
    """Every matrix as one row, and the shape of all of them."""
    logits = _checks.floating_array("logits", logits)
    shape = logits.shape
    if len(shape) < 2 or shape[-1] != shape[-2] or not shape[-1]:
        raise ValueError(
            f"`logits` must hold square matrices along the last two axes, got shape "
            f"{shape}; pad the smaller side and mask nothing of it."
        )
    flat = (*shape[:-2], shape[-1] ** 2)
    if where is not None:
        where = jnp.broadcast_to(_checks.mask(where, shape), shape).reshape(flat)
    logits = logits.reshape(flat)
    return fold(logits, temperature, axis=-1, where=where), shape


def _count(iterations) -> int:
    if not hasattr(iterations, "__index__"):
        raise TypeError(
            f"`iterations` must be an int, got {iterations!r}; pass one number for all."
        )
    if iterations.__index__() < 1:
        raise ValueError(
            f"`iterations` must be at least 1, got {iterations}; 100 are enough for "
            "most temperatures."
        )
    return iterations.__index__()


def _balance(score, tau, steps: int, tolerance) -> tuple[jax.Array, jax.Array]:
    """The logarithm of the matrix, its columns normalised, and the number of steps.

    The matrix itself is updated, not its potentials: where an entry is near 1, its
    logarithm is near 0, and the next sums are right to the last digits. A matrix that
    is far from balanced waits for it before it cools, up to the last quarter of the
    steps.
    """
    allowed = score > -jnp.inf
    x = score - jnp.max(score, axis=(-2, -1), keepdims=True)
    spread = -jnp.min(jnp.where(allowed, x, 0), axis=(-2, -1))
    # Colder than this, rounding of the scores says which one is the permutation.
    coldest = spread * float(jnp.finfo(x.dtype).eps) * 1e-3
    tau = jnp.where(tau >= 0, jnp.maximum(tau, coldest), jnp.nan)
    t = jnp.maximum(tau, spread)
    scaled = exponent(x, t[..., None, None])
    a, _ = _with_columns(jnp.where(allowed, scaled, -jnp.inf))

    def move(state):
        step, a, t, taken, moving = state
        row = jax.nn.logsumexp(a, axis=-1)
        by_sinkhorn, gain = _moved(a, -row)
        by_newton, more = _moved(a, _potentials(jnp.exp(a), -jnp.expm1(row)))
        best = jnp.where((more > gain)[..., None, None], by_newton, by_sinkhorn)
        error = _error(jnp.exp(best))
        # Half of it, as the sums of the result are rounded once more.
        done = (t <= tau) & (error <= tolerance / 2)

        ready = (error < _BALANCED) | (4 * step > 3 * steps)
        colder = jnp.where(4 * step > 3 * steps, tau, jnp.maximum(t / 2, tau))
        colder = jnp.where(ready, colder, t)
        ratio = jnp.where(colder < t, t / colder, 1)
        best, _ = _with_columns(best * ratio[..., None, None])
        a = jnp.where(moving[..., None, None], best, a)
        t = jnp.where(moving, colder, t)
        # A NaN is not worth another step.
        return (
            step + 1,
            a,
            t,
            taken + moving.astype(taken.dtype),
            moving & ~done & ~jnp.isnan(error),
        )

    def unfinished(state):
        return (state[0] < steps) & jnp.any(state[4])

    none = jnp.zeros(t.shape, jnp.int32)
    begin = (jnp.int32(0), a, t, none, none == 0)
    _, a, _, taken, _ = lax.while_loop(unfinished, move, begin)
    return a, taken


def _with_columns(a: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Log-entries of a matrix with columns that sum to 1, and what was taken off."""
    total = jax.nn.logsumexp(a, axis=-2)
    return a - total[..., None, :], total


def _moved(a: jax.Array, rise: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The matrix after a rise of the rows' potentials, and that of the dual."""
    a, total = _with_columns(a + rise[..., None])
    return a, jnp.sum(rise, axis=-1) - jnp.sum(total, axis=-1)


def _error(p: jax.Array) -> jax.Array:
    """The largest error of a row's or a column's sum."""
    by_row, by_column = (jnp.abs(jnp.sum(p, axis=i) - 1) for i in (-1, -2))
    return jnp.maximum(jnp.max(by_row, axis=-1), jnp.max(by_column, axis=-1))


def _potentials(p: jax.Array, missing: jax.Array) -> jax.Array:
    """The change of the rows' potentials that adds `missing` to the rows' sums.

    It solves with I - P Pᵀ, where columns sum to 1: a graph's Laplacian, so its
    diagonal is made of the other entries and does not cancel. Constants, which change
    nothing, are taken as solved.
    """
    n = p.shape[-1]
    weights = jnp.matmul(p, jnp.swapaxes(p, -1, -2), precision="highest")
    weights = weights * (1 - jnp.eye(n, dtype=p.dtype))
    degree = jnp.sum(weights, axis=-1)
    scale = lax.stop_gradient(jnp.max(degree, axis=-1, keepdims=True))
    scale = jnp.where(scale > 0, scale, 1)
    weights, degree = weights / scale[..., None], degree / scale

    def laplacian(x):
        others = jnp.matmul(weights, x[..., None], precision="highest")[..., 0]
        return degree * x - others + jnp.mean(x, axis=-1, keepdims=True)

    def solve(times, b):
        w, d = lax.stop_gradient((weights, degree))
        eye = jnp.eye(n, dtype=p.dtype)
        small = n * float(jnp.finfo(p.dtype).eps)
        matrix = eye * (d[..., None] + small) - w + 1 / n
        lu = jax.scipy.linalg.lu_factor(matrix)
        x = _lu_solve(lu, b)
        for _ in range(2):  # without what made the matrix regular
            x = x + _lu_solve(lu, b - times(x))
        return x

    return lax.custom_linear_solve(laplacian, missing / scale, solve, symmetric=True)


def _lu_solve(lu, b: jax.Array) -> jax.Array:
    return jax.scipy.linalg.lu_solve(lu, b[..., None])[..., 0]


@jax.custom_jvp
def _attached(z, tau, found):
    """`found`, with the derivatives of the logarithm of the balanced matrix."""
    del z, tau
    return found


@_attached.defjvp
def _attached_jvp(primals, tangents):
    a = _attached(*primals)
    dz, dtau, _ = tangents
    return a, jax.checkpoint(_tangent)(a, primals[1], dz, dtau)


def _tangent(a, tau, dz, dtau):
    """The exponents' tangents, with what keeps the sums of rows and columns.

    The exponents are the log-entries themselves, up to potentials.
    """
    p, allowed, tau = jnp.exp(a), a > -jnp.inf, tau[..., None, None]
    largest = float(jnp.finfo(a.dtype).max) * 2.0**-20
    cooling = jnp.clip(over(jnp.where(allowed, a, 0), tau), -largest, largest)
    out = over(dz, tau) - cooling * dtau[..., None, None]
    out = _centred_columns(jnp.where(allowed, out, 0), p)
    rise = _potentials(p, -jnp.sum(p * out, axis=-1))
    out = _centred_columns(out + rise[..., None], p)
    return jnp.where(allowed, out, 0)


def _centred_columns(x, p):
    columns = centred(jnp.swapaxes(x, -1, -2), jnp.swapaxes(p, -1, -2))
    return jnp.swapaxes(columns, -1, -2)
