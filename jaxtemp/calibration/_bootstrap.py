"""How far a metric would move with other rows from the same source."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from ..random._keys import typed
from . import _checks


class Interval(NamedTuple):
    """A metric and what the choice of rows does to it.

    Attributes:
        value: The metric of the rows as they are.
        low: The lower end of the interval.
        high: The upper end.
        standard_error: The standard deviation over the resamples.
    """

    value: Any
    low: Any
    high: Any
    standard_error: Any


def bootstrap(
    metric: Callable[..., Any],
    key: jax.Array,
    *arrays: ArrayLike,
    samples: int = 1000,
    level: float = 0.95,
) -> Interval:
    r"""A metric with a bootstrap interval, whatever the metric is.

    $$\big[\, 2\hat\theta - q_{(1 + \ell)/2},\; 2\hat\theta - q_{(1 - \ell)/2} \,\big]$$

    for the level $\ell$, with the metric's value $\hat\theta$ and the quantiles $q$ of
    the same metric over resamples: as many rows, drawn with replacement, the same for
    all arrays. This is the basic interval. It takes off the bias that the resampling
    shows, which calibration errors have: chance alone makes them larger than 0. So it
    may not contain the value, and may reach below 0.

    The metric runs under `jit`, one resample after the other. It is compiled once for
    each function object: define a function rather than a new `lambda` in a loop.

    Args:
        metric: A function of the arrays that JAX can trace, for example
            [`calibration_error`][jaxtemp.calibration.calibration_error]; with options,
            `functools.partial(metric, bins=10)`. It may return an array or
            a tree of them, such as `brier_decomposition` does: each entry gets its own
            interval, all from the same resamples.
        key: A JAX random key.
        arrays: What the metric takes, rows on the first axis of each.
        samples: The number of resamples.
        level: The share of such intervals that is meant to contain what infinitely
            many rows would give.

    Returns:
        An [`Interval`][jaxtemp.calibration.Interval], each part
        what the metric returns, in shape and kind.

    Raises:
        TypeError: `key` is not a key, or the metric refuses the arrays.
        ValueError: There is no array or no row, the arrays' numbers of rows differ,
            `samples` is not an integer above 1 or `level` not between 0 and 1.

    Examples:
        >>> import jax
        >>> from jaxtemp import calibration
        >>> probs = jax.random.dirichlet(jax.random.key(0), jax.numpy.ones(3), (500,))
        >>> labels = jax.random.categorical(jax.random.key(1), jax.numpy.log(probs))
        >>> score = calibration.bootstrap(
        ...     calibration.brier_score, jax.random.key(2), probs, labels
        ... )
        >>> f"{score.value:.3f}, {score.low:.3f} to {score.high:.3f}"
        '0.496, 0.461 to 0.530'

    Source:
        Davison and Hinkley, *Bootstrap methods and their application* (1997), equation
        5.6.
    """
    key = typed(key, ())
    columns = _checks.check_columns(arrays)
    samples = _checks.check_samples(samples)
    level = _checks.check_level(level)
    value = metric(*arrays)
    draws = _resampled(metric, key, samples, *columns)

    def mirrored(value: jax.Array, draws: jax.Array, tail: float) -> jax.Array:
        return 2 * value - jnp.quantile(draws, tail, axis=0)

    return Interval(
        value,
        low=jax.tree.map(partial(mirrored, tail=(1 + level) / 2), value, draws),
        high=jax.tree.map(partial(mirrored, tail=(1 - level) / 2), value, draws),
        standard_error=jax.tree.map(partial(jnp.std, axis=0, ddof=1), draws),
    )


@partial(jax.jit, static_argnums=(0, 2))
def _resampled(metric, key, samples, *arrays) -> jax.Array:
    """The metric of each resample."""
    rows = len(arrays[0])

    def draw(key: jax.Array) -> jax.Array:
        chosen = jax.random.randint(key, (rows,), 0, rows)
        return metric(*(array[chosen] for array in arrays))

    return lax.map(draw, jax.random.split(key, samples))
