"""The linear layer whose logits a loss is of, and the checks of its arrays."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from .. import _checks as checks
from .._rows import accumulator


class Layer(NamedTuple):
    """What makes logits, and which of them count.

    Attributes:
        hidden: `[..., H]`.
        weight: `[H, V]`.
        bias: `[V]`; `None` for none.
        where: A mask of at least one axis that broadcasts to `[..., V]`; `None`
            excludes nothing.
    """

    hidden: jax.Array
    weight: jax.Array
    bias: jax.Array | None
    where: jax.Array | None

    @property
    def dtype(self) -> jnp.dtype:
        """The type in which logits are computed and their rows are summed."""
        return accumulator(jnp.result_type(self.hidden, self.weight))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the logits, `(..., V)`."""
        return (*self.hidden.shape[:-1], self.weight.shape[-1])


def read_layer(hidden, weight, bias, where) -> Layer:
    """The layer of checked arrays."""
    hidden = checks.floating_array("hidden", hidden)
    weight = checks.floating_array("weight", weight)
    _check_product(hidden.shape, weight.shape)
    layer = Layer(hidden, weight, None, None)
    if bias is not None:
        layer = layer._replace(bias=_bias(bias, weight.shape[-1]))
    if where is not None:
        where = jnp.atleast_1d(checks.mask(where, layer.shape))
        layer = layer._replace(where=where)
    return layer


def _check_product(hidden: tuple[int, ...], weight: tuple[int, ...]) -> None:
    if not hidden or hidden[-1] == 0:
        raise ValueError(
            "`hidden` must have the features of a row along its last axis, "
            f"got shape {hidden}; pass an array of shape `(..., H)`."
        )
    if len(weight) != 2 or weight[0] != hidden[-1]:
        message = (
            f"`weight` must have shape ({hidden[-1]}, V) for `hidden` of shape "
            f"{hidden}, got shape {weight}; "
        )
        if weight[1:] == hidden[-1:]:
            raise ValueError(message + "pass its transpose, `weight.T`.")
        raise ValueError(message + "put a column for each class.")
    if weight[1] == 0:
        raise ValueError(
            f"`weight` must have at least one class along its last axis, got shape "
            f"{weight}; an empty row has no distribution."
        )


def _bias(value, classes: int) -> jax.Array:
    array = checks.floating_array("bias", value)
    if array.shape != (classes,):
        raise ValueError(
            f"`bias` must have shape ({classes},), one number for each class, "
            f"got shape {array.shape}; add what differs by row to the logits of "
            "`cross_entropy`."
        )
    return array
