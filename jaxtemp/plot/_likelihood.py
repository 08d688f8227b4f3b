"""The likelihood of a whole set of rows against temperature."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from ..calibration import TemperatureFit, fit_temperature, negative_log_likelihood
from ._axes import (
    COLOURS,
    GREY,
    axes_or_new,
    check_temperatures,
    legend_below,
    temperature_axis,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def nll_curve(
    logits: ArrayLike,
    labels: ArrayLike,
    temperatures: ArrayLike | None = None,
    *,
    fit: TemperatureFit | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draws the mean negative log-likelihood against temperature.

    A square marks temperature 1, the model as it is, and a dot the fitted temperature
    if it is positive and finite: the minimum, if it was fitted to these rows.

    Args:
        logits: Real floating array of shape `(..., classes)`.
        labels: The class of each row, integers of shape `(...)`.
        temperatures: Where to evaluate, positive and finite; if `None`, 121 from a
            third of the lower mark to three times the upper one, evenly spaced on a
            logarithmic axis.
        fit: What `calibration.fit_temperature` found, perhaps on other rows; fitted to
            these if `None`.
        ax: The axes to draw on, those of a new figure if `None`.

    Returns:
        The axes; `.figure.savefig(...)` writes them.

    Raises:
        ImportError: matplotlib is not installed.
        TypeError: `logits` are not floating point or `labels` not integers.
        ValueError: `labels` do not fit `logits`, or a temperature cannot be drawn.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxtemp import plot
        >>> logits = jnp.array([[3.0, 0.0], [0.0, 2.0], [1.0, 0.0]])
        >>> ax = plot.nll_curve(logits, jnp.array([0, 1, 1]))
        >>> ax.get_ylabel()
        'mean negative log-likelihood (nats)'
    """
    if fit is None:
        fit = fit_temperature(logits, labels)
    best = float(fit.temperature)
    marks = [1.0, best] if 0 < best < np.inf else [1.0]
    if temperatures is None:
        temperatures = np.geomspace(min(marks) / 3, max(marks) * 3, 121)
    temperatures = check_temperatures(temperatures)
    at_marks = [float(negative_log_likelihood(logits, labels, t)) for t in marks]
    nll = np.asarray(_nll_at(logits, labels, jnp.asarray(temperatures)))

    ax = axes_or_new(ax)
    temperature_axis(ax, temperatures)
    ax.plot(temperatures, nll, color=COLOURS[0], lw=2)
    ax.set(ylabel="mean negative log-likelihood (nats)")
    styles = (("s", GREY, "as it is"), ("o", COLOURS[1], "fitted"))
    for mark, value, (marker, colour, name) in zip(
        marks, at_marks, styles, strict=False
    ):
        ax.plot(
            [mark],
            [value],
            marker,
            color=colour,
            markersize=8,
            label=f"{name}: temperature {mark:.4g}, {value:.4f} nats",
        )
    legend_below(ax, ax.get_legend_handles_labels()[0], columns=2)
    return ax


@jax.jit
def _nll_at(logits, labels, temperatures: jax.Array) -> jax.Array:
    """The likelihood at each temperature, one after the other to save memory."""
    return lax.map(lambda t: negative_log_likelihood(logits, labels, t), temperatures)
