"""The projection of a learned temperature as a step of an optax chain."""

import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from .._extras import missing_extra
from ._parametrization import LogScale, Parametrization, check_parametrization

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


def clamp_scale(
    maximum: float = 100.0, minimum: float = 1.0
) -> "optax.GradientTransformation":
    r"""Keeps a learned logit scale within bounds, as CLIP does after each update.

    The parameter is $\log s$ of a scale $s = 1/\tau$, and stays in
    $[\log \mathrm{minimum}, \log \mathrm{maximum}]$. It is `clamp` with
    `LogScale(lower=1 / maximum, upper=1 / minimum)`, and what `clamp` says holds.

    Args:
        maximum: the greatest scale. CLIP found 100 necessary to keep training stable.
        minimum: the least scale, 1 in CLIP's code; 0 for none.

    Returns:
        An `optax.GradientTransformation` without state, whose `update` needs `params`.

    Raises:
        ImportError: if optax is not installed.
        ValueError: if not `0 <= minimum < maximum < inf`.

    >>> import optax
    >>> from jaxtemp import learning
    >>> optimizer = optax.chain(optax.sgd(1.0), learning.clamp_scale(100.0))
    >>> log_scale = jnp.log(1 / 0.07)
    >>> update, _ = optimizer.update(-5.0, optimizer.init(log_scale), log_scale)
    >>> f"{jnp.exp(optax.apply_updates(log_scale, update)):.2f}"
    '100.00'

    Source: Radford et al. 2021, *Learning Transferable Visual Models From Natural
    Language Supervision*, section 2.5.
    """
    if not 0 <= minimum < maximum < math.inf:
        raise ValueError(
            f"`maximum` must be finite and above `minimum={minimum!r}`, which is at "
            f"least 0, got {maximum!r}; pass for example `maximum=100.0`."
        )
    return clamp(LogScale(1 / maximum, 1 / minimum if minimum else math.inf))
