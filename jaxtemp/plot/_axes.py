"""What all pictures share: colours, axes, the legend, a temperature axis."""

from typing import TYPE_CHECKING

import numpy as np
from jax.typing import ArrayLike

from .._extras import missing_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
GREY = "#666666"


def axes_or_new(ax: "Axes | None") -> "Axes":
    """The axes given, or the only axes of a new figure that belongs to nobody else."""
    if ax is not None:
        return ax
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise missing_extra("matplotlib", "plot", "jaxtemp.plot") from error
    return Figure(figsize=(6.4, 4.8), layout="constrained").subplots()


def legend_below(ax: "Axes", handles: list, columns: int, title: str = "") -> None:
    """Puts the legend below the axes, where it covers nothing."""
    ax.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.12),
        ncols=columns,
        title=title or None,
        frameon=False,
        fontsize="small",
    )


def temperature_axis(ax: "Axes", temperatures: np.ndarray) -> None:
    """Makes the horizontal axis one of temperature, logarithmic."""
    from matplotlib.ticker import LogLocator

    ax.set(xscale="log", xlabel="temperature (units of the logits)")
    ax.set(xlim=temperatures[[0, -1]])
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter("")
    ax.grid(alpha=0.3)


def check_temperatures(temperatures: ArrayLike) -> np.ndarray:
    """Returns sorted temperatures that a logarithmic axis can show, or raises."""
    values = np.asarray(temperatures, np.float64)
    if values.ndim != 1 or values.size < 2:
        raise ValueError(
            f"`temperatures` must be a sequence of at least two, got shape "
            f"{values.shape}; pass for example `numpy.geomspace(0.1, 10.0, 100)`."
        )
    wrong = ~((values > 0.0) & np.isfinite(values))
    if wrong.any():
        raise ValueError(
            "`temperatures` must be positive and finite, for a logarithmic axis, got "
            f"{float(values[wrong][0])!r}; leave it out."
        )
    return np.sort(values)
