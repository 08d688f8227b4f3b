"""Parametrisations: how an unconstrained parameter becomes a temperature."""

import abc
import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike

from .._checks import floating_array
from . import _checks


@jax.custom_jvp
def _clip_through(x: jax.Array, lower: jax.Array, upper: jax.Array) -> jax.Array:
    """Clips `x`, with the derivative of the identity.

    `jnp.clip` has derivative 0 beyond its limits, so an optimiser that has stepped out
    once gets no gradient ever after. This one always says which way leads back.
    """
    return jnp.clip(x, lower, upper)


@_clip_through.defjvp
def _clip_through_jvp(primals, tangents):
    return _clip_through(*primals), tangents[0]


@dataclasses.dataclass(frozen=True)
class Parametrization(abc.ABC):
    r"""A map from an unconstrained parameter to a temperature within bounds.

    Subclasses are [`Log`][jaxtemp.learning.Log],
    [`Softplus`][jaxtemp.learning.Softplus], [`Bounded`][jaxtemp.learning.Bounded] and
    [`LogScale`][jaxtemp.learning.LogScale]. An instance is an immutable, hashable
    constant; the parameter itself is an array that you hold and your optimiser moves.

    With $f$ the map and $P$ the projection of the parameter onto the interval
    that the bounds allow, the temperature is $\tau = f(P(r))$ and its derivative is
    taken as $d\tau/dr = f'(P(r))$. So

    - the bounds hold exactly, at every step, whatever the optimiser did;
    - the gradient is never killed: beyond a bound it is the one at the bound, whereas
      clipping in the forward pass has gradient 0 there and the parameter stays stuck;
    - inside the bounds and on them it is the true derivative. To stay there, project
      the parameter after each update (`project`, or
      [`clamp`][jaxtemp.learning.clamp] in an optax chain). Without that the
      parameter winds up beyond the bound while the loss pushes outwards, and needs
      as many steps to come back.

    Attributes:
        lower: the least temperature, at least 0. With 0 the temperature stays at or
            above the smallest positive normal number of the parameter's dtype.
        upper: the greatest temperature, above `lower`; `inf` for none.

    Raises:
        ValueError: if not `0 <= lower < upper` with `lower` finite.
    """

    lower: float = 0.0
    upper: float = math.inf

    # Whether the bounds themselves are temperatures that the map can reach.
    _closed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _checks.check_bounds(self.lower, self.upper)

    def init(
        self,
        initial: ArrayLike = 1.0,
        shape: int | tuple[int, ...] = (),
        dtype: DTypeLike | None = None,
    ) -> jax.Array:
        """Returns the parameter whose temperature is `initial`.

        Args:
            initial: the temperature to start from: a number, or an array that
                broadcasts to `shape`. Concrete, not traced.
            shape: the parameter's shape: `()` for one temperature, `(heads, 1)` for
                one per attention head with logits `(heads, queries, keys)`.
            dtype: a floating-point dtype, JAX's default if `None`. Keep float32 or
                wider: in bfloat16 neighbouring temperatures are percents apart.

        Returns:
            An array of that shape and dtype.

        Raises:
            ValueError: if `initial` is not positive and finite, lies outside of the
                bounds, or does not broadcast to `shape`.
            TypeError: if `dtype` is not floating point or `initial` is traced.

        >>> [f"{raw:.4f}" for raw in Log().init([0.5, 2.0], shape=(2,))]
        ['-0.6931', '0.6931']
        """
        dtype = _checks.check_dtype(dtype)
        shape = _checks.check_shape(shape)
        values = _checks.check_broadcast(_checks.check_initial(initial), shape)
        lower, upper = self._temperature_limits(dtype)
        _checks.check_inside(values, lower, upper, closed=self._closed)
        return self.project(jnp.asarray(self._raw(values), dtype))

    def value(self, raw: ArrayLike) -> jax.Array:
        """Returns the temperature of a parameter, of the same shape and dtype.

        Args:
            raw: the parameter, as `init` made it and an optimiser moved it.

        Returns:
            Temperatures within `[lower, upper]`, differentiable in `raw`.

        Raises:
            TypeError: if `raw` is not floating point.

        >>> half = Log(lower=0.5)
        >>> temperature, slope = jax.value_and_grad(half.value)(-3.0)  # out of bounds
        >>> print(temperature, slope)
        0.5 0.5
        """
        raw = floating_array("raw", raw)
        inside = _clip_through(raw, *self._raw_limits(raw.dtype))
        # At a bound the map itself may round to the wrong side of it.
        limits = np.asarray(self._temperature_limits(raw.dtype), raw.dtype)
        return _clip_through(self._temperature(inside), *limits)

    def project(self, raw: ArrayLike) -> jax.Array:
        """Returns the nearest parameter whose temperature the bounds allow.

        To be applied after an optimiser's update, as CLIP does with its scale.

        Args:
            raw: the parameter.

        Returns:
            An array of the same shape and dtype.

        Raises:
            TypeError: if `raw` is not floating point.

        >>> half = Log(lower=0.5)
        >>> print(half.value(half.project(-3.0)))
        0.5
        """
        raw = floating_array("raw", raw)
        return jnp.clip(raw, *self._raw_limits(raw.dtype))

    @abc.abstractmethod
    def _temperature(self, raw: jax.Array) -> jax.Array:
        """The map itself, for parameters within their limits."""

    @abc.abstractmethod
    def _raw(self, temperature: np.ndarray) -> np.ndarray:
        """The map's inverse, in float64."""

    def _temperature_limits(self, dtype: np.dtype) -> tuple[float, float]:
        """The bounds, no wider than the positive normal numbers of `dtype`."""
        info = jnp.finfo(dtype)
        lower = max(self.lower, float(info.tiny))
        upper = min(self.upper, float(info.max))
        if not lower < upper:
            raise ValueError(
                f"no temperature in [{self.lower:g}, {self.upper:g}] is a normal "
                f"number of {dtype}; widen the bounds or use a wider `dtype`."
            )
        return lower, upper

    def _raw_limits(self, dtype: np.dtype) -> np.ndarray:
        """The least and the greatest parameter that the bounds allow, in `dtype`."""
        ends = np.sort(self._raw(np.asarray(self._temperature_limits(dtype))))
        limits = ends.astype(dtype)
        inwards = np.asarray([np.inf, -np.inf], dtype)
        # Rounded to the outside, the parameter's map could overflow.
        outside = (limits.astype(np.float64) - ends) * [1, -1] < 0
        return np.where(outside, np.nextafter(limits, inwards), limits)


@dataclasses.dataclass(frozen=True)
class Log(Parametrization):
    r"""Learns the logarithm: $\tau = e^r$.

    A step of the optimiser changes the temperature by a factor, equally far up and
    down. The usual choice; weight decay pulls it towards 1, so exempt it from that.

    >>> f"{Log().value(-1.0):.4f}"  # 1 / e
    '0.3679'
    """

    def _temperature(self, raw: jax.Array) -> jax.Array:
        return jnp.exp(raw)

    def _raw(self, temperature: np.ndarray) -> np.ndarray:
        return np.log(temperature)


@dataclasses.dataclass(frozen=True)
class Softplus(Parametrization):
    r"""Learns through a softplus: $\tau = \log(1 + e^r)$.

    Like [`Log`][jaxtemp.learning.Log] at small temperatures, but a step adds to a
    large temperature instead of multiplying it, so it cannot run away.

    >>> f"{Softplus().value(0.0):.4f}"  # log 2
    '0.6931'
    """

    def _temperature(self, raw: jax.Array) -> jax.Array:
        return jax.nn.softplus(raw)

    def _raw(self, temperature: np.ndarray) -> np.ndarray:
        # log(exp(t) - 1), that neither overflows for large t nor cancels for small.
        return temperature + np.log(-np.expm1(-temperature))


@dataclasses.dataclass(frozen=True)
class Bounded(Parametrization):
    r"""Learns a position between two bounds, on a logarithmic scale.

    $\tau = \mathrm{lower}^{\,1-s}\,\mathrm{upper}^{\,s}$ with $s$ the logistic
    function of the parameter: smooth, never at a bound, the geometric mean of the
    bounds at 0. The price is a gradient that vanishes near the bounds; where a bound
    is likely to be active, prefer [`Log`][jaxtemp.learning.Log] with the same bounds.

    Attributes:
        lower: the infimum of the temperature, positive.
        upper: the supremum of the temperature, finite.

    Raises:
        ValueError: if not `0 < lower < upper < inf`.

    >>> f"{Bounded(0.01, 100.0).value(0.0):.4f}"
    '1.0000'
    """

    _closed: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.check_two_sided(self.lower, self.upper)

    def _temperature(self, raw: jax.Array) -> jax.Array:
        width = math.log(self.upper) - math.log(self.lower)
        return jnp.exp(math.log(self.lower) + width * jax.nn.sigmoid(raw))

    def _raw(self, temperature: np.ndarray) -> np.ndarray:
        below = np.log(temperature) - math.log(self.lower)
        above = math.log(self.upper) - np.log(temperature)
        return np.log(below) - np.log(above)

    def _raw_limits(self, dtype: np.dtype) -> np.ndarray:
        # Beyond this the logistic function is flat to the dtype's precision.
        flat = -math.log(jnp.finfo(dtype).eps)
        return np.asarray([-flat, flat], dtype)


@dataclasses.dataclass(frozen=True)
class LogScale(Parametrization):
    r"""Learns the logarithm of the inverse temperature: $1/\tau = e^r$.

    What contrastive models call `logit_scale`, so their checkpoints load as they are.
    The bounds are still those of the temperature: CLIP starts at 0.07 and keeps its
    scale within [1, 100], that is `LogScale(lower=0.01, upper=1.0)` with
    [`clamp`][jaxtemp.learning.clamp] after each update; SigLIP starts at 0.1 and has
    no bounds, that is `LogScale()`.

    Source: Radford et al. 2021, *Learning Transferable Visual Models From Natural
    Language Supervision*, section 2.5.

    >>> f"{LogScale(lower=0.01, upper=1.0).init(0.07):.4f}"  # log(1 / 0.07)
    '2.6593'
    """

    def _temperature(self, raw: jax.Array) -> jax.Array:
        return jnp.exp(-raw)

    def _raw(self, temperature: np.ndarray) -> np.ndarray:
        return -np.log(temperature)


def check_parametrization(parametrization: object) -> None:
    """Raises unless it is a `Parametrization`."""
    if not isinstance(parametrization, Parametrization):
        raise TypeError(
            "`parametrization` must be a learning.Parametrization, got "
            f"{parametrization!r}; pass for example `learning.Log()`."
        )
