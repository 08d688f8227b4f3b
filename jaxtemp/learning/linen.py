"""A learned temperature as a module of `flax.linen`."""

import jax
from jax.typing import ArrayLike, DTypeLike

from .._extras import missing_extra
from ._parametrization import Log, Parametrization, check_parametrization

try:
    from flax import linen
except ModuleNotFoundError as error:
    raise missing_extra("flax", "learn", "jaxtemp.learning.linen") from error


class Temperature(linen.Module):
    """A learned temperature. Applying it returns the temperature.

    It has one parameter, `raw`, and needs no random key to be initialised with. The
    ops broadcast a temperature against the logits' batch shape; see
    `jaxtemp.learning.nnx.Temperature` for temperatures per head and per group.

    Attributes:
        initial: the temperature to start from, a number or an array that broadcasts to
            `shape`.
        shape: the shape of the temperature.
        parametrization: how it is learned and within which bounds.
        dtype: the parameter's dtype, JAX's default if `None`.

    Raises:
        ValueError: when initialised, if `initial` or `shape` does not fit.
        TypeError: when initialised, if `parametrization` or `dtype` is of another kind.

    >>> import jax, jax.numpy as jnp, jaxtemp
    >>> temperature = Temperature(0.5)
    >>> variables = temperature.init(jax.random.key(0))
    >>> tau = temperature.apply(variables)
    >>> probs = jaxtemp.softmax(jnp.array([1.0, 0.0]), tau)
    >>> [f"{p:.4f}" for p in probs]
    ['0.8808', '0.1192']
    """

    initial: ArrayLike = 1.0
    shape: int | tuple[int, ...] = ()
    parametrization: Parametrization = Log()
    dtype: DTypeLike | None = None

    @linen.compact
    def __call__(self) -> jax.Array:
        """Returns the temperature, of the shape and dtype of the parameter."""
        check_parametrization(self.parametrization)
        raw = self.param(
            "raw",
            lambda key: self.parametrization.init(self.initial, self.shape, self.dtype),
        )
        return self.parametrization.value(raw)
