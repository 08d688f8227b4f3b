"""Functions smoothed by noise, with the derivatives that this gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from .. import _checks
from .._rows import Folded, accumulator, fold, upcast
from .._scale import over
from ._keys import one_a_row, row_words
from ._noise import gumbel

_FINITE = _checks.Rule(0, float(jnp.finfo(jnp.float32).max), "pass a finite scale")


def perturbed(
    function: Callable[[jax.Array], Any],
    *,
    samples: int = 1000,
    noise: str = "gumbel",
) -> Callable[..., Any]:
    r"""Smooths any function of a row: its mean over noise of scale `temperature`.

    $$\bar f(z, \tau) = E\, f(z + \tau \varepsilon)
      \approx \frac1N \sum_s f(x_s), \qquad x_s = z + \tau \varepsilon_s$$

    `function` is never differentiated in the row: it may be a sort, a shortest path or
    the argmax of a solver. The derivatives are those of the density of $x$,

    $$\nabla_z \bar f = E\Bigl[\frac{f(x) - b}{\tau} s\Bigr], \qquad
      \frac{\partial \bar f}{\partial \tau} = E\Bigl[\frac{f(x) - b}{\tau}
      (\varepsilon \cdot s - d)\Bigr], \qquad s = -\nabla \log \mu(\varepsilon),$$

    where $d$ is the number of classes and the baseline $b$ of a sample is the mean of
    the others. Both are without bias, and so are all higher orders, forward and
    reverse. Derivatives in what `function` closes over are the usual ones.

    With Gumbel noise, the mean of `argmax` is `softmax(z / τ)` and that of `max` is
    $\tau (\log \sum_i e^{z_i/\tau} + \gamma)$.

    The variance of the derivatives grows like $1/\tau^2$ where samples differ. Where
    all are equal, as for a small $\tau$ and a function with steps, and at $\tau = 0$,
    the estimate is exactly 0.

    Args:
        function: Takes a row `[V]`, float32 (float64 for float64 logits), and returns
            an array or a pytree of arrays; it is mapped over rows and samples with
            `jax.vmap`.
        samples: N >= 2, how many are averaged.
        noise: `"gumbel"` or `"normal"`, standard.

    Returns:
        A function of `(key, logits, temperature=1.0, *, axis=-1, where=None)`, where
        the arguments mean what they mean for
        [`categorical`][jaxtemp.random.categorical], but $\tau$ must be finite. A masked
        class stays at `-inf`. Each result has the batch axes first.

    Raises:
        TypeError: `samples` is not an int.
        ValueError: `samples` is less than 2, or `noise` is unknown.

    Examples:
        >>> import jax, jaxtemp
        >>> largest = jaxtemp.random.perturbed(jax.numpy.max, samples=100_000)
        >>> logits = jax.numpy.array([2.0, 1.0, 0.5, 0.1])
        >>> mean = lambda tau: largest(jax.random.key(0), logits, tau)
        >>> value, slope = jax.jit(jax.value_and_grad(mean))(0.5)
        >>> f"{value:.2f}, {slope:.1f}"
        '2.38, 1.2'
        >>> f"{0.5 * (jaxtemp.logsumexp(logits, 0.5) + jax.numpy.euler_gamma):.2f}"
        '2.38'
        >>> f"{jaxtemp.entropy(logits, 0.5) + jax.numpy.euler_gamma:.1f}"
        '1.2'

    Source:
        Berthet, Blondel, Teboul, Cuturi, Vert and Bach, *Learning with differentiable
        perturbed optimizers*, 2020; the baseline: Kool, van Hoof and Welling, *Buy 4
        REINFORCE samples, get a baseline for free!*, 2019.
    """
    samples = _count(samples)
    _checks.one_of("noise", noise, tuple(_NOISES))
    draw, log_density = _NOISES[noise]

    def smoothed(
        key: jax.Array,
        logits: ArrayLike,
        temperature: ArrayLike = 1.0,
        *,
        axis: int = -1,
        where: ArrayLike | None = None,
    ) -> Any:
        rows = fold(logits, temperature, axis=axis, where=where)
        tau = rows.temperature
        _checks.per_row("temperature", temperature, tau.shape, tau.dtype, _FINITE)
        z = upcast(rows.logits)[..., None, :]
        tau = jnp.where((tau >= 0) & (tau < jnp.inf), tau, jnp.nan)[..., None, None]
        unit = draw(key, rows, samples)
        x = lax.stop_gradient(z + tau * unit)
        weights = _weights(z, tau, unit, log_density)
        batch = z.ndim - 2
        mapped = function
        for _ in range(batch + 1):
            mapped = jax.vmap(mapped)
        return jax.tree.map(lambda f: _mean(f, weights, batch), mapped(x))

    return smoothed


def _count(samples) -> int:
    if not hasattr(samples, "__index__"):
        raise TypeError(f"`samples` must be an int, got {samples!r}; it is a shape.")
    if samples.__index__() < 2:
        raise ValueError(
            f"`samples` must be at least 2, got {samples}; the baseline of each is the "
            "mean of the others."
        )
    return samples.__index__()


def _weights(z, tau, unit, log_density) -> jax.Array:
    """How much likelier each sample becomes: 1, with derivatives, `[*batch, N]`.

    The density of a sample that stays where it is, at other logits and temperature.
    Both enter through quotients of value 0, which are 0 to every order at τ = 0. So
    they are where sums of 1/τ would overflow.
    """
    allowed = z > -jnp.inf
    tau = jnp.where(tau < float(jnp.finfo(tau.dtype).tiny) * 2.0**40, 0, tau)
    shift = over(jnp.where(allowed, z - lax.stop_gradient(z), 0), tau)
    stretch = over(tau - lax.stop_gradient(tau), tau)
    moved = unit * (1 - stretch) - shift
    log_ratio = log_density(moved) - log_density(unit) + jnp.log1p(-stretch)
    return jnp.exp(jnp.sum(jnp.where(allowed, log_ratio, 0), axis=-1))


def _mean(f: jax.Array, weights: jax.Array, axis: int) -> jax.Array:
    """The mean over samples of one result, with the derivatives of its weights."""
    f = f.astype(jnp.promote_types(f.dtype, jnp.float32))
    first = lax.index_in_dim(f, 0, axis)
    # About the first, so that equal samples give their value and no derivative.
    mean = first + jnp.mean(f - first, axis=axis, keepdims=True)
    weights = weights.reshape(*weights.shape, *[1] * (f.ndim - weights.ndim))
    change = jnp.sum((f - mean) * (weights - 1), axis=axis) / (f.shape[axis] - 1)
    return jnp.squeeze(mean, axis) + change


def _gumbel(key, rows: Folded, samples: int) -> jax.Array:
    words = row_words(key, rows.temperature.shape, samples)
    return gumbel(words, rows.logits.shape[-1], accumulator(rows.logits.dtype))


def _normal(key, rows: Folded, samples: int) -> jax.Array:
    shape, dtype = (samples, rows.logits.shape[-1]), accumulator(rows.logits.dtype)
    one = jnp.vectorize(
        lambda k: jax.random.normal(k, shape, dtype), signature="()->(n,v)"
    )
    return one(one_a_row(key, rows.temperature.shape))


_NOISES = {
    "gumbel": (_gumbel, lambda e: -e - jnp.exp(-e)),
    "normal": (_normal, lambda e: -e * e / 2),
}
