"""A learned temperature as a module of `flax.nnx`."""

import jax
from jax.typing import ArrayLike, DTypeLike

from .._extras import missing_extra
from ._parametrization import Log, Parametrization, check_parametrization

try:
    from flax import nnx
except ModuleNotFoundError as error:
    raise missing_extra("flax", "learn", "jaxtemp.learning.nnx") from error


class TemperatureParam(nnx.Param[jax.Array]):
    """The parameter behind a temperature, a kind of `nnx.Param` of its own.

    So `nnx.Optimizer(model, optimizer, wrt=TemperatureParam)` trains the temperatures
    of a model and nothing else, and a filter can exempt them from weight decay.
    """


class Temperature(nnx.Module):
    """A learned temperature. Calling it returns the temperature.

    It applies to nothing by itself, so that one temperature serves every op:
    `jaxtemp.softmax(logits, temperature())`.

    The ops broadcast a temperature against the logits' batch shape, which is their
    shape without the class axis. One per head for logits `(heads, queries, keys)` is
    `shape=(heads, 1)`; one per group of rows is `shape=(groups,)` and
    `temperature()[group_of_row]`.

    Attributes:
        raw: the parameter, a `TemperatureParam`.
        parametrization: the map from parameter to temperature, with its bounds.

    >>> import jax.numpy as jnp, jaxtemp
    >>> temperature = Temperature(0.5)
    >>> probs = jaxtemp.softmax(jnp.array([1.0, 0.0]), temperature())
    >>> [f"{p:.4f}" for p in probs]
    ['0.8808', '0.1192']

    One per head:

    >>> per_head = Temperature(8.0, shape=(4, 1))
    >>> jaxtemp.softmax(jnp.ones((4, 6, 5)), per_head()).shape
    (4, 6, 5)
    """

    def __init__(
        self,
        initial: ArrayLike = 1.0,
        *,
        shape: int | tuple[int, ...] = (),
        parametrization: Parametrization | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        """Makes the parameter; see [`init`][jaxtemp.learning.Parametrization.init].

        Args:
            initial: the temperature to start from, a number or an array that
                broadcasts to `shape`.
            shape: the shape of the temperature.
            parametrization: how it is learned and within which bounds, `Log()` if
                `None`.
            dtype: the parameter's dtype, JAX's default if `None`.

        Raises:
            ValueError: if `initial` or `shape` does not fit.
            TypeError: if `parametrization` or `dtype` is of another kind.
        """
        self.parametrization = Log() if parametrization is None else parametrization
        check_parametrization(self.parametrization)
        self.raw = TemperatureParam(self.parametrization.init(initial, shape, dtype))

    def __call__(self) -> jax.Array:
        """Returns the temperature, of the shape and dtype of the parameter."""
        return self.parametrization.value(self.raw[...])

    def project(self) -> None:
        """Moves the parameter back to its bounds, to be called after each update.

        The temperature keeps to its bounds without it; see
        [`Parametrization`][jaxtemp.learning.Parametrization] for what it adds. A chain
        that ends in [`clamp`][jaxtemp.learning.clamp] does not need it.
        """
        self.raw[...] = self.parametrization.project(self.raw[...])
