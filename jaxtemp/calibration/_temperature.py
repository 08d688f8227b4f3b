"""One temperature for all rows, by maximum likelihood."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from .. import _derivatives
from .._newton import Move, Search, search
from .._rows import upcast
from .._scale import exponent_scale, over
from ..boltzmann import log_softmax
from ._sample import Sample, by_blocks, labelled, read_sample, row_sums
from ._status import Status

# A factor of 20: where the likelihood is nearly flat, Newton's steps are wild.
_LONGEST_STEP = 3.0
# A sample of as many logits is first fitted to one row in so many, twice over.
_LARGE, _STRIDES = 2**22, (8, 8)


class TemperatureFit(NamedTuple):
    """A fitted temperature; arrays, so that fits can be batched by `vmap`.

    Attributes:
        temperature: τ, in [0, inf].
        beta: 1/τ.
        standard_error: of τ, if the model is right up to a temperature: NaN unless the
            status is CONVERGED.
        beta_standard_error: of 1/τ, likewise.
        nll_before: mean negative log-likelihood of the rows at τ = 1, in nats.
        nll_after: the same at the fitted temperature.
        iterations: passes over all rows that the search took.
        status: a [`Status`][jaxtemp.calibration.Status] code, int32.
    """

    temperature: jax.Array
    beta: jax.Array
    standard_error: jax.Array
    beta_standard_error: jax.Array
    nll_before: jax.Array
    nll_after: jax.Array
    iterations: jax.Array
    status: jax.Array

    def apply(self, logits: ArrayLike, *, where: ArrayLike | None = None) -> jax.Array:
        """Calibrated log-probabilities of rows of logits, in their shape and dtype."""
        return log_softmax(logits, self.temperature, where=where)


def fit_temperature(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> TemperatureFit:
    r"""The temperature at which the labels are likeliest.

    It minimises the weighted mean negative log-likelihood $L$, which is convex in
    $\beta = 1/\tau$, by Newton's method in $\log \beta$ within a bracket:

    $$\frac{\partial L}{\partial \beta} =
      \sum_n w_n \big(\langle z_n \rangle_\beta - z_{n y_n}\big), \qquad
      \frac{\partial^2 L}{\partial \beta^2} = \sum_n w_n \operatorname{Var}_\beta(z_n)$$

    Every step reads the logits once. Sums over rows keep the digits of a row, whatever
    their number. Where there is no such temperature the `status` says why: see
    [`Status`][jaxtemp.calibration.Status].

    The result is differentiable in `logits` and `weights`, by the implicit function
    theorem and to any order, with

    $$\frac{\partial \beta}{\partial z_{ni}} = -\frac{w_n}{V} \big(p_{ni} - [i = y_n] +
      \beta\, p_{ni} (z_{ni} - \langle z_n \rangle)\big), \quad
      V = \sum_n w_n \operatorname{Var}(z_n), \quad \mathrm{se}(\beta) = V^{-1/2}$$

    The standard error counts a weight of 2 as two rows. Use `jax.vmap` over `weights`
    for many folds or resamples of the same rows.

    Args:
        logits: Real floating array of shape `(..., classes)`; all rows are fitted
            together.
        labels: The class of each row, integers of shape `(...)`.
        weights: A number >= 0 for each row, broadcasts to the labels' shape. A row of
            weight 0 takes no part, whatever stands in it.
        where: Boolean mask that broadcasts to the logits' shape; `False` excludes a
            class from its row.

    Returns:
        A [`TemperatureFit`][jaxtemp.calibration.TemperatureFit] of scalars, in float32,
        or float64 for float64 logits.

    Raises:
        TypeError: `logits` are not real floating, `labels` not integers, or `where`
            not boolean.
        ValueError: A shape does not fit, there is no row, or a concrete label or weight
            is out of range.

    Examples:
        >>> import jax
        >>> from jaxtemp import calibration
        >>> logits = 3 * jax.random.normal(jax.random.key(0), (2000, 10))
        >>> labels = jax.random.categorical(jax.random.key(1), logits / 1.5)
        >>> fit = calibration.fit_temperature(logits, labels)
        >>> f"{fit.temperature:.3f} ± {fit.standard_error:.3f}"
        '1.490 ± 0.033'
        >>> calibration.Status(int(fit.status)).name
        'CONVERGED'
        >>> fit.apply(logits).shape
        (2000, 10)

    Source:
        Guo, Pleiss, Sun and Weinberger, *On calibration of modern neural networks*
        (2017), section 4.2.
    """
    return fitted(read_sample(logits, labels, weights, where))


@jax.jit
def fitted(sample: Sample) -> TemperatureFit:
    """The fit of each group of rows, or of all."""
    found = _optimum(sample)
    tau, converged = found.tau, found.status == Status.CONVERGED
    beta = jnp.where(tau == 0, jnp.inf, over(jnp.ones_like(tau), tau))
    beta = jnp.where(jnp.isnan(tau), tau, beta)
    relative = lax.rsqrt(jnp.where(converged, found.capacity, 1))
    return TemperatureFit(
        temperature=tau,
        beta=beta,
        standard_error=jnp.where(converged, tau * relative, jnp.nan),
        beta_standard_error=jnp.where(converged, beta * relative, jnp.nan),
        nll_before=found.nll_before,
        nll_after=found.nll,
        iterations=found.iterations,
        status=found.status,
    )


class _Optimum(NamedTuple):
    tau: jax.Array
    nll_before: jax.Array  # means
    nll: jax.Array
    capacity: jax.Array  # the sum of w C
    iterations: jax.Array
    status: jax.Array


@jax.custom_jvp
def _optimum(sample: Sample) -> _Optimum:
    edges, found = _fit_part(sample, _STRIDES)
    nll_before, *_ = _look(sample, edges, jnp.ones_like(found.tau))
    nll, capacity = found.seen
    status = jnp.where(found.done, edges.status, jnp.int32(Status.NOT_CONVERGED))
    return _Optimum(found.tau, nll_before, nll, capacity, found.steps, status)


def _fit_part(sample: Sample, strides: tuple[int, ...]) -> tuple[_Edges, Search]:
    """Fits all rows, if they are many from where fewer of them lead."""
    edges = _edges(sample)
    if not strides or sample.logits.size < _LARGE:
        return edges, _search(sample, edges, _first_step(sample, edges))
    first, *others = strides
    _, fewer = _fit_part(sample.thinned(first), tuple(others))
    usable = (fewer.tau > 0) & (fewer.tau < jnp.inf)
    return edges, _search(sample, edges, jnp.where(usable, fewer.tau, edges.tau))


class _Edges(NamedTuple):
    """What is known before a search.

    `tau` is the result or, if the status is CONVERGED, of the size of the logits. The
    rest is of the rows: the largest logit and how often it occurs, the label's and the
    mean below it.
    """

    status: jax.Array
    tau: jax.Array
    top: jax.Array
    ties: jax.Array
    own: jax.Array
    mean: jax.Array


def _edges(sample: Sample) -> _Edges:
    top, ties, own, mean = by_blocks(_row_edges, sample.logits, sample.labels)
    known = (sample.labels >= 0) & (sample.labels < sample.logits.shape[-1])
    counted = sample.weights > 0
    good = jnp.isfinite(mean + own) & known
    weighable = (sample.weights >= 0) & (sample.weights < jnp.inf)
    invalid = sample.count(~weighable | (counted & ~good)) > 0
    flat = sample.count(counted & (mean != 0)) == 0
    separable = sample.count(counted & (own != 0)) == 0

    # In units of it no sum overflows.
    size = jnp.max(jnp.where(counted & good, -mean, 0))
    tau = jnp.where(size > 0, size, 1)
    excess = sample.total((own - mean) / tau)

    tau = jnp.full_like(excess, tau)
    status = jnp.full_like(excess, Status.CONVERGED, jnp.int32)
    for ends, code, limit in (
        (~(excess > 0), Status.ANTI_CALIBRATED, jnp.inf),
        (separable, Status.SEPARABLE, 0.0),
        (flat, Status.FLAT, 1.0),
        (invalid, Status.INVALID, jnp.nan),
    ):
        status = jnp.where(ends, jnp.int32(code), status)
        tau = jnp.where(ends, limit, tau)
    return _Edges(status, tau, top, ties, own, mean)


def _first_step(sample: Sample, edges: _Edges) -> jax.Array:
    """Where Newton's method gets to from β = 0."""
    unit = jnp.where(edges.status == Status.CONVERGED, edges.tau, 1)
    z, size = upcast(sample.logits), sample.spread(unit)
    allowed = z != -jnp.inf
    deviation = (z - edges.top[:, None] - edges.mean[:, None]) / size[:, None]
    square = jnp.where(allowed, deviation**2, 0)
    count = jnp.sum(allowed, axis=-1).astype(z.dtype)
    spread = sample.total(jnp.sum(square, axis=-1) / count)
    excess = sample.total((edges.own - edges.mean) / size)
    info = jnp.finfo(z.dtype)
    return jnp.clip(unit * (spread / excess), info.tiny, info.max)


def _search(sample: Sample, edges: _Edges, start: jax.Array) -> Search:
    """Newton's search, unless the result is known; it sees the mean nll and Σ w C."""
    unknown = edges.status == Status.CONVERGED

    def look(tau: jax.Array) -> Move:
        nll, slope, capacity = _look(sample, edges, tau)
        step = jnp.clip(slope / capacity, -_LONGEST_STEP, _LONGEST_STEP)
        return Move(jnp.where(unknown, step, 0), slope > 0, (nll, capacity))

    return search(look, jnp.where(unknown, start, edges.tau))


def _look(sample: Sample, edges: _Edges, tau: jax.Array) -> tuple[jax.Array, ...]:
    """At a temperature: the mean nll, its summed slope in log β, and Σ w C."""
    scale = exponent_scale(sample.spread(tau))
    rest, first, second = by_blocks(_row_sums, sample.logits, edges.top, scale)
    rest = rest + (edges.ties - 1)
    mean = first / (1 + rest)
    capacity = second / (1 + rest) - mean**2
    # Finite, however cold: a sum is scaled by its largest term.
    own = jnp.maximum(edges.own * scale, -1e30)
    rows = sample.total(jnp.ones_like(own))
    nll = sample.total(jnp.log1p(rest) - own) / rows
    return nll, sample.total(mean - own), sample.total(capacity)


def _row_edges(z: jax.Array, labels: jax.Array) -> tuple[jax.Array, ...]:
    """The largest logit and its ties, the label's and the mean below it."""
    wide = upcast(z)
    top = jnp.max(wide, axis=-1, keepdims=True)
    allowed = wide != -jnp.inf  # a NaN is, so that it shows
    count = jnp.sum(allowed, axis=-1).astype(top.dtype)
    ties = jnp.sum(wide == top, axis=-1).astype(top.dtype)
    own = upcast(labelled(z, labels)) - top[:, 0]
    # Divided first, or the sum of a row might overflow.
    below = jnp.where(allowed, (wide - top) / count[:, None], 0)
    return top[:, 0], ties, own, row_sums(below)


def _row_sums(z, top, scale) -> tuple[jax.Array, ...]:
    """Σ e^u of all but the largest logits, Σ u e^u and Σ u² e^u."""
    x = upcast(z) - top[:, None]
    u = jnp.maximum(x * scale[:, None], -1e4)
    # Stored, as XLA would compute it anew for every sum.
    e = lax.optimization_barrier(jnp.where(x < 0, jnp.exp(u), 0))
    return row_sums(e), row_sums(e * u), row_sums(e * u * u)


@_optimum.defjvp
def _optimum_jvp(primals, tangents):
    (sample,), (dsample,) = primals, tangents
    found = _optimum(sample)
    inside = found.status == Status.CONVERGED
    at = sample.logits, sample.weights
    along = dsample.logits, dsample.weights

    safe = jnp.where(inside, found.tau, 1)
    _, dresidual = jax.jvp(lambda z, w: _residual(sample, z, w, safe), at, along)
    dtau = jnp.where(inside, dresidual / jnp.where(inside, found.capacity, 1), 0)
    one = jnp.ones_like(safe)
    _, (dbefore, _) = jax.jvp(lambda z, w: likelihood(sample, z, w, one), at, along)
    _, (dnll, dcapacity) = jax.jvp(
        partial(likelihood, sample), (*at, found.tau), (*along, dtau)
    )
    none: Any = np.zeros(found.status.shape, jax.dtypes.float0)
    return found, _Optimum(dtau, dbefore, dnll, dcapacity, none, none)


def _residual(sample: Sample, logits, weights, tau) -> jax.Array:
    """The likelihood's slope in β."""
    x, own = _below_the_top(logits, sample.labels)
    mean = -_derivatives.mean_energy(x, sample.spread(tau), None, None)
    return dataclasses.replace(sample, weights=weights).total(mean - own)


def likelihood(sample: Sample, logits, weights, tau) -> tuple[jax.Array, jax.Array]:
    """The mean negative log-likelihood and the summed heat capacity."""
    x, own = _below_the_top(logits, sample.labels)
    by_row = sample.spread(tau)
    nll = _derivatives.logsumexp(x, by_row, None, None) - over(own, by_row)
    capacity = _derivatives.heat_capacity(x, by_row, None, None)
    sample = dataclasses.replace(sample, weights=weights)
    rows = sample.total(jnp.ones_like(own))
    return sample.total(nll) / rows, sample.total(capacity)


def _below_the_top(logits, labels) -> tuple[jax.Array, jax.Array]:
    """Rows less their largest logit, which changes no derivative, and the labels'."""
    z = upcast(logits)
    x = z - jnp.max(lax.stop_gradient(z), axis=-1, keepdims=True)
    return x, labelled(x, labels)
