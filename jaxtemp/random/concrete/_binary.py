"""Relaxed bits: the binary Concrete distribution, as logits and as probabilities.

A bit is a class of two: everything here is what `_classes.py` gives for logits (z, 0),
in terms of one of the coordinates or of the difference of both in log space.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.nn import log_sigmoid
from jax.typing import ArrayLike

from ... import _checks
from ..._rows import accumulator, upcast
from .. import _noise
from .._gumbel_sigmoid import _sigmoid
from .._keys import row_words
from . import _family
from ._classes import Concrete
from ._family import Estimate


@dataclasses.dataclass(frozen=True, eq=False, init=False)
class Bits:
    """Logits of bits, and the temperature of each."""

    logits: jax.Array
    temperature: jax.Array

    def __init__(self, logits: ArrayLike, temperature: ArrayLike):
        logits = _checks.floating_array("logits", logits)
        _check_shape(np.shape(temperature), logits.shape)
        tau = _family.temperature(temperature, logits.shape, accumulator(logits.dtype))
        self.__dict__.update(logits=logits, temperature=tau)

    def classes(self) -> Concrete:
        """The same bits as two classes each, along a last axis."""
        z = self.logits
        pair = jnp.stack([jnp.minimum(z, 0), -jnp.maximum(z, 0)], axis=-1)
        return Concrete(pair, self.temperature)

    def _draw(self, key, shape) -> jax.Array:
        """Logistic noise, of as many draws of every bit."""
        shape, bits = _family.draws(shape), self.logits.shape
        left, right = (
            jnp.moveaxis(word, -1, 0).reshape(shape + bits)
            for word in row_words(key, bits, math.prod(shape))
        )
        noise = _noise.logistic((left, right), 1, self.temperature.dtype)[..., 0]
        # Where it is used several times, newer versions of XLA would take minutes to
        # compute it again for each, down to the bits.
        return lax.optimization_barrier(noise)

    def _perturbed(self, noise: jax.Array) -> jax.Array:
        return upcast(self.logits) + noise

    def _log_density(self, x: jax.Array) -> jax.Array:
        """Of points in logit space."""
        w = jnp.where(self._certain(), 0, upcast(self.logits)) - self.temperature * x
        return self._own_log_density(w)

    def _own_log_density(self, noise: jax.Array) -> jax.Array:
        """In logit space, of the draws that have this noise."""
        density = jnp.log(self.temperature) + _log_product(noise)
        density = jnp.where(self._certain(), 0, density)
        return jnp.where(jnp.isnan(self.logits), jnp.nan, density)

    def _certain(self) -> jax.Array:
        return jnp.isinf(self.logits)

    def _narrow(self, x: jax.Array) -> jax.Array:
        return x.astype(self.logits.dtype)


@_family.pytree
class LogitBinaryConcrete(Bits):
    r"""Logits of relaxed bits: the binary Concrete distribution in logit space.

    $$x = \frac{z + \ell}{\tau}, \qquad \ell \sim \text{Logistic}(0, 1)$$

    This is the logistic distribution about $z/\tau$ with scale $1/\tau$. A draw is
    positive with probability $\operatorname{sigmoid}(z)$, at every temperature.

    Every logit is one distribution: batch shape and the shape of a draw are the logits'
    shape. Logits of `inf` and `-inf` are certain: draws are the same infinity, with
    log-density and entropy 0. An instance is an immutable pytree of `logits` and
    `temperature`, one for each logit.

    Args:
        logits: Real floating array, log-odds of each bit.
        temperature: τ, finite and > 0, a number or an array that broadcasts to the
            logits' shape. A traced one outside gives NaN.

    Attributes:
        logits: The logits.
        temperature: One τ a logit, float32 (float64 for float64 logits).

    Raises:
        TypeError: `logits` or `temperature` is not real floating.
        ValueError: A shape does not fit, or a concrete temperature is not finite and
            > 0.

    Examples:
        >>> import jax, jaxtemp
        >>> logits = jax.numpy.array([2.0, -1.0, 0.5])
        >>> relaxed = jaxtemp.random.LogitBinaryConcrete(logits, 0.01)
        >>> x, log_p = relaxed.sample_and_log_prob(jax.random.key(0), (1000,))
        >>> bool(jax.numpy.allclose(log_p, relaxed.log_prob(x), atol=1e-5))
        True
        >>> f"{relaxed.entropy()[0]:.4f}"
        '6.6052'

    Source:
        Maddison, Mnih and Teh, *The Concrete distribution* (2017), appendix B.
    """

    def sample(self, key: jax.Array, shape: tuple[int, ...] = ()) -> jax.Array:
        """Draws logits, differentiable in `logits` and `temperature`.

        Args:
            key: One key, or an array of keys of the logits' shape: then the draws of a
                bit depend on its own key, logit and temperature alone.
            shape: How many independent draws, as axes before those of the logits.

        Returns:
            Real numbers, `[*shape, *logits.shape]`, in the logits' dtype.
        """
        return self._narrow(self._perturbed(self._draw(key, shape)) / self.temperature)

    def log_prob(self, x: ArrayLike) -> jax.Array:
        """Log-density.

        Args:
            x: Real numbers, of a shape that broadcasts with the logits'.

        Returns:
            One number for each, in the logits' dtype.
        """
        x = _family.point(x, self.logits.shape).astype(self.temperature.dtype)
        return self._narrow(self._log_density(x))

    def sample_and_log_prob(
        self, key: jax.Array, shape: tuple[int, ...] = ()
    ) -> tuple[jax.Array, jax.Array]:
        r"""Draws logits and computes their log-density from the noise, exactly.

        Both are differentiable: the derivative of the log-density is the one along the
        draw, $1/\tau$ in the temperature and 0 in the logits.

        Args:
            key: As in `sample`, whose draws these are.
            shape: As in `sample`.

        Returns:
            Draws and one log-density for each.
        """
        noise = self._draw(key, shape)
        x = self._perturbed(noise) / self.temperature
        return self._narrow(x), self._narrow(self._own_log_density(noise))

    def entropy(self) -> jax.Array:
        r"""Differential entropy, $2 - \log \tau$, whatever the logit.

        Returns:
            One number a logit, in nats.
        """
        entropy = jnp.where(self._certain(), 0, 2 - jnp.log(self.temperature))
        return self._narrow(jnp.where(jnp.isnan(self.logits), jnp.nan, entropy))

    def mean(self) -> jax.Array:
        r"""The mean, $z / \tau$, which is also the mode and the median.

        Returns:
            One number a logit.
        """
        return self._narrow(upcast(self.logits) / self.temperature)

    mode = mean


@_family.pytree
class BinaryConcrete(Bits):
    r"""Relaxed bits in (0, 1): the binary Concrete distribution.

    $$y = \operatorname{sigmoid}\left(\frac{z + \ell}{\tau}\right), \qquad
      \ell \sim \text{Logistic}(0, 1)$$

    This is `LogitBinaryConcrete` after a sigmoid; arguments, attributes and shapes are
    the same. In float32, logits above 17 round to 1 and those below -88 flush to 0, and
    then the array `y` no longer says which point was drawn: `sample_and_log_prob`
    knows, `log_prob` cannot. At low temperatures use `LogitBinaryConcrete`.

    There is no `mode`: for $\tau < 1$ the density is unbounded at 0 and 1.

    Args:
        logits: As in `LogitBinaryConcrete`.
        temperature: As in `LogitBinaryConcrete`.

    Attributes:
        logits: The logits.
        temperature: One τ a logit, float32 (float64 for float64 logits).

    Raises:
        TypeError: As in `LogitBinaryConcrete`.
        ValueError: As in `LogitBinaryConcrete`.

    Examples:
        >>> import jax, jaxtemp
        >>> relaxed = jaxtemp.random.BinaryConcrete(jax.numpy.zeros(3), 0.5)
        >>> y = relaxed.sample(jax.random.key(0), (1000,))
        >>> bool(((y >= 0) & (y <= 1)).all())
        True
        >>> f"{relaxed.log_prob(jax.numpy.array(0.25))[0]:.4f}"
        '-0.4800'

    Source:
        Maddison, Mnih and Teh, *The Concrete distribution* (2017), appendix B.
    """

    def sample(self, key: jax.Array, shape: tuple[int, ...] = ()) -> jax.Array:
        """Draws relaxed bits, differentiable in `logits` and `temperature`.

        Args:
            key: As in `LogitBinaryConcrete.sample`.
            shape: As in `LogitBinaryConcrete.sample`.

        Returns:
            Numbers in [0, 1], `[*shape, *logits.shape]`, in the logits' dtype.
        """
        return self._relax(self._perturbed(self._draw(key, shape)))

    def log_prob(self, x: ArrayLike) -> jax.Array:
        """Log-density.

        At 0 and 1 themselves it is 0 or infinite, so a number closer to them than the
        smallest normal number of its dtype, or than the largest number below 1, counts
        as that number.

        Args:
            x: Numbers in [0, 1], of a shape that broadcasts with the logits'.

        Returns:
            One number for each, in the logits' dtype.
        """
        x = _inside(_family.point(x, self.logits.shape), self.temperature.dtype)
        log_x, log_rest = jnp.log(x), jnp.log1p(-x)
        density = self._log_density(log_x - log_rest)
        return self._narrow(self._on_interval(density, log_x + log_rest))

    def sample_and_log_prob(
        self, key: jax.Array, shape: tuple[int, ...] = ()
    ) -> tuple[jax.Array, jax.Array]:
        """Draws relaxed bits and computes their log-density in logit space.

        It is that of the drawn point before it was rounded to 0 or 1, and finite for
        every draw. Derivatives are along the draw.

        Args:
            key: As in `LogitBinaryConcrete.sample`.
            shape: As in `LogitBinaryConcrete.sample`.

        Returns:
            Draws, as `sample` gives them, and one log-density for each.
        """
        noise = self._draw(key, shape)
        perturbed = self._perturbed(noise)
        certain = self._certain()
        x = jnp.where(certain, 0, perturbed) / self.temperature
        density = self._own_log_density(noise)
        return self._relax(perturbed), self._narrow(
            self._on_interval(density, _log_product(x))
        )

    def estimate_entropy(self, key: jax.Array, samples: int) -> Estimate:
        """Differential entropy, as in `Concrete.estimate_entropy` for two classes.

        Args:
            key: One key, or an array of keys of the logits' shape.
            samples: How many draws, at least 2.

        Returns:
            An `Estimate` of one number a logit, in nats; its value is differentiable.
        """
        return self.classes().estimate_entropy(key, samples)

    def _relax(self, perturbed: jax.Array) -> jax.Array:
        tau = jnp.broadcast_to(self.temperature, perturbed.shape)
        return self._narrow(_sigmoid(perturbed, tau, False))

    def _on_interval(self, density: jax.Array, log_product: jax.Array) -> jax.Array:
        return density - jnp.where(self._certain(), 0, log_product)


def _log_product(x: jax.Array) -> jax.Array:
    """The log of y (1 - y) at y = sigmoid(x), the density of the logistic law."""
    return log_sigmoid(x) + log_sigmoid(-x)


def _inside(x: jax.Array, dtype) -> jax.Array:
    largest = 1 - float(jnp.finfo(x.dtype).epsneg)
    return jnp.clip(_family.wide(x, dtype), float(jnp.finfo(dtype).tiny), largest)


def _check_shape(have: tuple[int, ...], shape: tuple[int, ...]) -> None:
    try:
        fits = np.broadcast_shapes(have, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"`temperature` must broadcast to the logits' shape {shape}, got shape "
            f"{have}; pass one number, or one for each logit."
        )
