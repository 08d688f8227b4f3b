"""The projection of a learned temperature as a step of an optax chain."""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from .._extras import missing_extra
from ._parametrization import Parametrization, check_parametrization

if TYPE_CHECKING:
    import optax


def clamp(parametrization: Parametrization) -> "optax.GradientTransformation":
    """Keeps learned temperatures within their bounds: the last step of an optax chain.

    It shortens the update so that the updated parameter is
    `parametrization.project(parameter + update)`. The gradient is left alone, so a
    parameter at its bound leaves it on the first step that points inwards.

    It acts on every array that it is given. Where the temperature is one parameter
    among many, wrap it in `optax.masked`.

    Args:
        parametrization: the map whose bounds to keep.

    Returns:
        An `optax.GradientTransformation` without state, whose `update` needs `params`.

    Raises:
        ImportError: if optax is not installed.
        TypeError: if `parametrization` is not a `learning.Parametrization`.

    >>> import optax
    >>> from jaxtemp import learning
    >>> scale = learning.LogScale(lower=0.01, upper=1.0)  # as CLIP
    >>> optimizer = optax.chain(optax.sgd(1.0), learning.clamp(scale))
    >>> raw = scale.init(0.07)
    >>> outwards = -5.0
    >>> update, _ = optimizer.update(outwards, optimizer.init(raw), raw)
    >>> f"{scale.value(optax.apply_updates(raw, update)):.4f}"
    '0.0100'
    """
    check_parametrization(parametrization)
    try:
        import optax
    except ModuleNotFoundError as error:
        raise missing_extra("optax", "learn", "jaxtemp.learning.clamp") from error

    def shorten(update: jax.Array, parameter: jax.Array) -> jax.Array:
        wanted = (parameter + update).astype(jnp.result_type(parameter))
        allowed = parametrization.project(wanted)
        # An update that stays inside is returned bit for bit.
        return jnp.where(allowed == wanted, update, allowed - parameter)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        if params is None:
            raise ValueError(
                "`params` must be passed to `update` of a chain with "
                "`learning.clamp`, got None; call `update(updates, state, params)`."
            )
        return jax.tree.map(shorten, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
