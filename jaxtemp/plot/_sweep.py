"""One row's probabilities and entropy against temperature."""

import math
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ..boltzmann import entropy, softmax
from ._axes import (
    COLOURS,
    DASHES,
    axes_or_new,
    check_temperatures,
    legend_below,
    temperature_axis,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes


def temperature_sweep(
    logits: ArrayLike,
    temperatures: ArrayLike | None = None,
    *,
    names: "Sequence[str] | None" = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draws the probabilities of one row, and their entropy, against temperature.

    With more than six classes, the five likeliest have a line each and the others
    share one, their sum. The entropy has an axis of its own, on the right.

    Args:
        logits: One row, shape `(classes,)`.
        temperatures: Where to evaluate, positive and finite; 241 from 0.05 to 50,
            evenly spaced on a logarithmic axis, if `None`.
        names: The classes' names, `class 0` and so on if `None`.
        ax: The axes to draw on, those of a new figure if `None`.

    Returns:
        The axes; `.figure.savefig(...)` writes them.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: An argument has the wrong shape or a temperature cannot be drawn.

    Examples:
        >>> from jaxtemp import plot
        >>> ax = plot.temperature_sweep([2.0, 1.0, 0.5, 0.1])
        >>> ax.get_xlabel()
        'temperature (units of the logits)'
    """
    logits = _check_row(logits)
    if temperatures is None:
        temperatures = np.geomspace(0.05, 50.0, 241)
    temperatures = check_temperatures(temperatures)
    names = _check_names(names, logits.size)
    rows = jnp.broadcast_to(logits, (temperatures.size, logits.size))
    probs = np.asarray(softmax(rows, temperatures))

    ax = axes_or_new(ax)
    lines = _lines(probs, np.argsort(-logits, kind="stable"), names)
    for (name, line), colour, dash in zip(lines, COLOURS, DASHES, strict=False):
        ax.plot(temperatures, line, color=colour, linestyle=dash, lw=2, label=name)
    temperature_axis(ax, temperatures)
    ax.set(ylabel="probability", ylim=(0, 1.02))

    right = ax.twinx()
    right.plot(
        temperatures,
        np.asarray(entropy(rows, temperatures)),
        color="black",
        lw=3,
        alpha=0.6,
        label="entropy (right axis)",
    )
    right.set(ylabel="entropy (nats)", ylim=(0, 1.02 * math.log(max(logits.size, 2))))
    handles = ax.get_legend_handles_labels()[0] + right.get_legend_handles_labels()[0]
    legend_below(ax, handles, columns=4)
    return ax


def _lines(
    probs: np.ndarray, order: np.ndarray, names: list[str]
) -> list[tuple[str, np.ndarray]]:
    """A name and a line for each class, or for the likeliest and for the rest."""
    if order.size <= len(COLOURS):
        return [(names[i], probs[:, i]) for i in order]
    own, rest = np.split(order, [len(COLOURS) - 1])
    shared = (f"the other {rest.size} together", probs[:, rest].sum(-1))
    return [(names[i], probs[:, i]) for i in own] + [shared]


def _check_row(logits: ArrayLike) -> np.ndarray:
    row = np.asarray(logits, np.float32)
    if row.ndim != 1 or row.size == 0:
        raise ValueError(
            f"`logits` must be one row of logits, got shape {row.shape}; "
            "pass for example `logits[0]`."
        )
    return row


def _check_names(names: "Sequence[str] | None", classes: int) -> list[str]:
    if names is None:
        return [f"class {i}" for i in range(classes)]
    if len(names) != classes:
        raise ValueError(
            f"`names` must hold one name per class, got {len(names)} names for "
            f"{classes} classes; pass all of them or none."
        )
    return list(names)
