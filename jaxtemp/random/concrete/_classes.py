"""Relaxed one-hot vectors: the Concrete distribution, in log space and on the simplex.

Both compute in log space; see `_rows.py`.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from ..._rows import Folded, beside, fold, upcast
from . import _family
from ._density import log_density
from ._family import Estimate
from ._rows import Rows


@dataclasses.dataclass(frozen=True, eq=False, init=False)
class Classes:
    """Logits of classes, `-inf` where masked, and one temperature a row."""

    logits: jax.Array
    temperature: jax.Array
    # Counted from the end, so that axes may come and go before the others.
    axis: int = dataclasses.field(metadata={"static": True})

    def __init__(
        self,
        logits: ArrayLike,
        temperature: ArrayLike,
        *,
        axis: int = -1,
        where: ArrayLike | None = None,
    ):
        rows = fold(logits, 1.0, axis=axis, where=where)
        tau = _family.temperature(
            temperature, rows.temperature.shape, rows.temperature.dtype
        )
        self.__dict__.update(
            logits=jnp.moveaxis(rows.logits, -1, rows.axis),
            temperature=beside(tau, rows.logits),
            axis=rows.axis - rows.logits.ndim,
        )

    def rows(self) -> Rows:
        """The same with the classes last, in the type in which rows are summed."""
        return Rows(upcast(jnp.moveaxis(self.logits, self.axis, -1)), self.temperature)

    def _narrow(self, row: jax.Array) -> jax.Array:
        return row.astype(self.logits.dtype)

    def _unfold(self, rows: Rows, wide: jax.Array) -> jax.Array:
        where = jnp.broadcast_to(rows.allowed, wide.shape)
        axis = wide.ndim + self.axis
        return Folded(wide, rows.tau, axis, where).unfold(self._narrow(wide))

    def _joint(self, x: ArrayLike) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Logits, temperatures and a point as rows of one shape."""
        point = _family.point(x, self.logits.shape, self.axis)
        rows = self.rows()
        point = jnp.moveaxis(_family.wide(point, rows.z.dtype), self.axis, -1)
        # Constant logits would be folded at the size of the points, which takes long.
        z = lax.optimization_barrier(rows.z)
        z, point = jnp.broadcast_arrays(z, point)
        return z, jnp.broadcast_to(rows.tau, z.shape[:-1]), point


@_family.pytree
class ExpConcrete(Classes):
    r"""Logarithms of a relaxed one-hot vector: the Concrete distribution in log space.

    $$x = \log \operatorname{softmax}\left(\frac{z + g}{\tau}\right), \qquad
      g_i \sim \text{Gumbel}(0, 1)$$

    $$\log p(x) = \log (K-1)! + (K-1) \log \tau + \sum_i \ell_i, \qquad
      \ell = \log \operatorname{softmax}(z - \tau x)$$

    The largest coordinate is that of class $i$ with probability
    $\operatorname{softmax}(z)_i$, at every temperature. A draw is a point $x$ with
    $\log \sum_i e^{x_i} = 0$, and the density is with respect to the measure
    $\delta(\log \sum_i e^{x_i}) \prod_i dx_i$, which treats all classes alike. A
    constant added to $x$ does not change `log_prob`.

    A row is one distribution over its K allowed classes: the batch shape is the logits'
    shape without `axis`, and a draw has the shape of the logits. Masked classes are
    `-inf` in a draw, and what a point has there is not looked at. An instance is an
    immutable pytree of `logits` and `temperature`, one for each row: it passes through
    `jit`, `vmap` over leading axes, and `grad`.

    Args:
        logits: Real floating array of unnormalised log-probabilities; `axis` holds the
            classes, `-inf` is not allowed.
        temperature: τ, finite and > 0, a number or an array that broadcasts to the
            batch shape. A traced one outside makes its rows NaN.
        axis: The class axis.
        where: Boolean mask that broadcasts to the logits' shape; `False` excludes.

    Attributes:
        logits: The logits, `-inf` where not allowed.
        temperature: One τ a row, float32 (float64 for float64 logits).
        axis: The class axis, counted from the end.

    Raises:
        TypeError: `logits` or `temperature` is not real floating, or `where` is not
            boolean.
        ValueError: A shape does not fit, the class axis is empty, or a concrete
            temperature is not finite and > 0.

    Examples:
        >>> import jax, jaxtemp
        >>> logits = jax.numpy.array([2.0, 1.0, 0.5, 0.1])
        >>> relaxed = jaxtemp.random.ExpConcrete(logits, 0.01)
        >>> x = relaxed.sample(jax.random.key(0), (1000,))
        >>> x.shape, bool(jax.numpy.isfinite(relaxed.log_prob(x)).all())
        ((1000, 4), True)
        >>> f"{relaxed.entropy():.4f}"
        '19.3571'

    Source:
        Maddison, Mnih and Teh, *The Concrete distribution* (2017), appendix C.3.
    """

    def sample(self, key: jax.Array, shape: tuple[int, ...] = ()) -> jax.Array:
        """Draws points, differentiable in logits and temperature.

        Args:
            key: One key, or an array of keys of the batch shape: then a row's draws
                depend on its own key, logits and temperature alone.
            shape: How many independent draws, as axes before those of the logits.

        Returns:
            Points in log space, `[*shape, *logits.shape]`, in the logits' dtype; NaN
            for a row that allows nothing or has a NaN.
        """
        rows = self.rows()
        noise = _family.row_noise(key, _family.draws(shape), rows.z)
        return self._unfold(rows, rows.draw(noise, log=True))

    def log_prob(self, x: ArrayLike) -> jax.Array:
        """Log-density at points in log space.

        Args:
            x: Points, of a shape that broadcasts with the logits', all classes on
                `axis`.

        Returns:
            One number a row, in the logits' dtype; `-inf` where an allowed class has
            `-inf`.
        """
        return self._narrow(log_density(*self._joint(x), False))

    def sample_and_log_prob(
        self, key: jax.Array, shape: tuple[int, ...] = ()
    ) -> tuple[jax.Array, jax.Array]:
        r"""Draws points and computes their log-density from the noise, exactly.

        Both are differentiable: the derivative of the log-density is the one along the
        draw, $(K-1)/\tau$ in the temperature and 0 in the logits. The score of a fixed
        point is the derivative of `log_prob`.

        Args:
            key: As in `sample`, whose draws these are.
            shape: As in `sample`.

        Returns:
            Points, as `sample` gives them, and one log-density for each.
        """
        rows = self.rows()
        noise = _family.row_noise(key, _family.draws(shape), rows.z)
        x = self._unfold(rows, rows.draw(noise, log=True))
        return x, self._narrow(rows.own_log_density(noise))

    def entropy(self) -> jax.Array:
        r"""Differential entropy, which does not depend on the logits.

        $$H = K \left(1 + \frac12 + \dots + \frac{1}{K-1}\right) - \log (K-1)!
          - (K-1) \log \tau$$

        Returns:
            One number a row, in nats.
        """
        return self._narrow(self.rows().entropy())

    def mode(self) -> jax.Array:
        r"""The point of the largest density, $\log \operatorname{softmax}(z / \tau)$.

        Returns:
            A point in log space, of the logits' shape.
        """
        rows = self.rows()
        return self._unfold(rows, rows.draw(jnp.zeros_like(rows.z), log=True))


@_family.pytree
class Concrete(Classes):
    r"""Relaxed one-hot vectors: the Concrete or Gumbel-softmax distribution.

    $$y = \operatorname{softmax}\left(\frac{z + g}{\tau}\right), \qquad
      g_i \sim \text{Gumbel}(0, 1)$$

    $$p(y) = (K-1)!\, \tau^{K-1} \frac{\prod_i e^{z_i} y_i^{-\tau-1}}
      {\left(\sum_i e^{z_i} y_i^{-\tau}\right)^K}$$

    This is `ExpConcrete` after an exponential, with density in K - 1 of the
    coordinates; arguments, attributes, shapes and masks are the same. Where the
    coordinates are small enough to flush to zero, the array `y` no longer says which
    point was drawn: `sample_and_log_prob` knows, `log_prob` cannot. At low temperatures
    (τ < 0.1 in float32) use `ExpConcrete`.

    There is no `mode`: for $\tau < K - 1$ the density is unbounded at the vertices.

    Args:
        logits: As in `ExpConcrete`.
        temperature: As in `ExpConcrete`.
        axis: As in `ExpConcrete`.
        where: As in `ExpConcrete`.

    Attributes:
        logits: The logits, `-inf` where not allowed.
        temperature: One τ a row, float32 (float64 for float64 logits).
        axis: The class axis, counted from the end.

    Raises:
        TypeError: As in `ExpConcrete`.
        ValueError: As in `ExpConcrete`.

    Examples:
        >>> import jax, jaxtemp
        >>> logits = jax.numpy.array([2.0, 1.0, 0.5, 0.1])
        >>> relaxed = jaxtemp.random.Concrete(logits, 0.5)
        >>> y, log_p = relaxed.sample_and_log_prob(jax.random.key(0), (1000,))
        >>> bool(jax.numpy.allclose(y.sum(-1), 1))
        True
        >>> bool(jax.numpy.allclose(log_p, relaxed.log_prob(y), atol=1e-3))
        True

    Source:
        Maddison, Mnih and Teh, *The Concrete distribution* (2017), equation 10; Jang,
        Gu and Poole, *Categorical reparameterization with Gumbel-softmax* (2017).
    """

    def sample(self, key: jax.Array, shape: tuple[int, ...] = ()) -> jax.Array:
        """Draws points of the simplex, differentiable in logits and temperature.

        Args:
            key: As in `ExpConcrete.sample`.
            shape: As in `ExpConcrete.sample`.

        Returns:
            Probability vectors, `[*shape, *logits.shape]`, in the logits' dtype; 0
            where masked, NaN for a row that allows nothing or has a NaN.
        """
        rows = self.rows()
        noise = _family.row_noise(key, _family.draws(shape), rows.z)
        return self._unfold(rows, rows.draw(noise, log=False))

    def log_prob(self, x: ArrayLike) -> jax.Array:
        """Log-density at points of the simplex.

        A coordinate below the smallest normal number of its dtype (1.2e-38 in float32,
        below which a CPU has only zero) counts as that number: on the boundary itself
        the density is 0 or infinite. So the result is finite, and is that of the
        nearest point inside.

        Args:
            x: Points, of a shape that broadcasts with the logits', all classes on
                `axis`. That they sum to one is not checked.

        Returns:
            One number a row, in the logits' dtype.
        """
        return self._narrow(log_density(*self._joint(x), True))

    def sample_and_log_prob(
        self, key: jax.Array, shape: tuple[int, ...] = ()
    ) -> tuple[jax.Array, jax.Array]:
        """Draws points and computes their log-density in log space.

        It is that of the drawn point before any coordinate was flushed to zero, and
        finite for every draw. Derivatives are along the draw, as in `ExpConcrete`.

        Args:
            key: As in `ExpConcrete.sample`.
            shape: As in `ExpConcrete.sample`.

        Returns:
            Points, as `sample` gives them, and one log-density for each.
        """
        rows = self.rows()
        noise = _family.row_noise(key, _family.draws(shape), rows.z)
        log_y = rows.draw(noise, log=True)
        log_p = rows.own_log_density(noise) - rows.sum(log_y)
        y = self._unfold(rows, rows.draw(noise, log=False))
        return y, self._narrow(log_p)

    def estimate_entropy(self, key: jax.Array, samples: int) -> Estimate:
        r"""Differential entropy, for which no closed form is known.

        $$H = H_{\text{Exp}} + \frac1\tau \sum_i \log \operatorname{softmax}(z)_i
          + K\, \mathbb{E} \log \max_i y_i$$

        Only the last term is estimated. It lies in $[-K \log K, 0]$ and vanishes as
        $\tau \to 0$, and so does the error.

        Args:
            key: One key, or an array of keys of the batch shape.
            samples: How many draws, at least 2.

        Returns:
            An `Estimate` of one number a row, in nats; its value is differentiable.
        """
        rows = self.rows()
        noise = _family.row_noise(key, _family.samples(samples), rows.z)
        top = jnp.max(rows.draw(noise, log=True), axis=-1)
        exact = rows.entropy() + rows.sum(rows.log_softmax(rows.z)) / rows.tau
        return _family.estimate(exact, rows.count * top, self.logits.dtype)
