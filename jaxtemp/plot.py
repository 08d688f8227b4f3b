"""Pictures of what temperature does. Needs matplotlib (`jaxtemp[plot]`).

Every function draws on the axes that it is given, or makes a figure of its own, and
returns the axes; nothing touches pyplot's global state, so they work without a screen.
Colours are those of Okabe and Ito, which colour-blind readers tell apart, and no line
is told from another by colour alone.
"""

import math
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from ._extras import missing_extra
from .boltzmann import entropy, softmax
from .calibration import calibration_error, reliability_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
_GREY = "#666666"


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
        logits: one row, shape `(classes,)`.
        temperatures: where to evaluate, positive and finite; 241 from 0.05 to 50,
            evenly spaced on a logarithmic axis, if `None`.
        names: the classes' names, `class 0` and so on if `None`.
        ax: the axes to draw on, those of a new figure if `None`.

    Returns:
        The axes; `.figure.savefig(...)` writes them.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: if an argument has the wrong shape or a temperature cannot be drawn.

    >>> ax = temperature_sweep([2.0, 1.0, 0.5, 0.1])
    >>> ax.get_xlabel()
    'temperature (units of the logits)'
    """
    logits = _check_row(logits)
    temperatures = _check_temperatures(temperatures)
    names = _check_names(names, logits.size)
    rows = jnp.broadcast_to(logits, (temperatures.size, logits.size))
    probs = np.asarray(softmax(rows, temperatures))

    ax = _axes(ax)
    lines = _lines(probs, np.argsort(-logits, kind="stable"), names)
    for (name, line), colour, dash in zip(lines, _COLOURS, _DASHES, strict=False):
        ax.plot(temperatures, line, color=colour, linestyle=dash, lw=2, label=name)
    ax.set(xscale="log", xlabel="temperature (units of the logits)")
    ax.set(xlim=temperatures[[0, -1]], ylabel="probability", ylim=(0, 1.02))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.grid(alpha=0.3)

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
    _legend(ax, handles, columns=4)
    return ax


def reliability_diagram(
    probs: ArrayLike, labels: ArrayLike, *, bins: int = 15, ax: "Axes | None" = None
) -> "Axes":
    """Draws accuracy against confidence, bin by bin.

    A bar is the accuracy of a bin's rows, with their number at its foot; a diamond is
    at their mean confidence: on the diagonal the bin is calibrated, below it
    over-confident. Whiskers are 95 % Wilson intervals of the accuracy, so that a bin of
    few rows looks as uncertain as it is.

    Args:
        probs: shape `(..., classes)`, floating point, rows that sum to 1.
        labels: the class of each row, integers of shape `(...)`.
        bins: the number of bins, as in
            [`reliability_table`][jaxtemp.calibration.reliability_table].
        ax: the axes to draw on, those of a new figure if `None`.

    Returns:
        The axes; `.figure.savefig(...)` writes them.

    Raises:
        ImportError: if matplotlib is not installed.
        TypeError: if `probs` are not floating point or `labels` not integers.
        ValueError: if `labels` do not fit `probs`, `probs` are not probabilities or
            `bins` is not a positive integer.

    >>> probs = jnp.array([[0.9, 0.1], [0.7, 0.3], [0.4, 0.6]])
    >>> ax = reliability_diagram(probs, jnp.array([0, 1, 1]), bins=5)
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('confidence', 'accuracy')
    """
    table = reliability_table(probs, labels, bins=bins)
    edges, rows, confidence, accuracy = map(np.asarray, table)
    filled = rows > 0
    error = 100 * float(calibration_error(probs, labels, bins=bins))

    ax = _axes(ax)
    ax.bar(
        edges[:-1][filled],
        accuracy[filled],
        np.diff(edges)[filled],
        align="edge",
        color="#56B4E9",
        edgecolor="white",
        label="accuracy, with its number of rows",
    )
    ax.plot([0, 1], [0, 1], "--", color=_GREY, label="perfectly calibrated")
    low, high = _wilson(accuracy[filled], rows[filled])
    ax.errorbar(
        confidence[filled],
        accuracy[filled],
        yerr=(accuracy[filled] - low, high - accuracy[filled]),
        fmt="D",
        color="black",
        markersize=4,
        lw=1,
        label="at mean confidence, 95 % interval",
    )
    ax.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))
    for left, right, number in zip(edges[:-1], edges[1:], rows, strict=True):
        if number:
            _write_in_bar(ax, (left + right) / 2, f"{number}")
    _legend(
        ax,
        ax.get_legend_handles_labels()[0],
        columns=2,
        title=f"ECE {error:.2f} %, {rows.sum()} rows, {bins} bins",
    )
    return ax


def _axes(ax: "Axes | None") -> "Axes":
    """The axes given, or the only axes of a new figure that belongs to nobody else."""
    if ax is not None:
        return ax
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise missing_extra("matplotlib", "plot", "jaxtemp.plot") from error
    return Figure(figsize=(6.4, 4.8), layout="constrained").subplots()


def _legend(ax: "Axes", handles: list, columns: int, title: str = "") -> None:
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


def _write_in_bar(ax: "Axes", x: float, text: str) -> None:
    ax.text(
        x,
        0.015,
        text,
        rotation=90,
        ha="center",
        va="bottom",
        fontsize="x-small",
        # White, for the number to be read across a whisker that ends there.
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8},
    )


def _lines(
    probs: np.ndarray, order: np.ndarray, names: list[str]
) -> list[tuple[str, np.ndarray]]:
    """A name and a line for each class, or for the likeliest and for the rest."""
    if order.size <= len(_COLOURS):
        return [(names[i], probs[:, i]) for i in order]
    own, rest = np.split(order, [len(_COLOURS) - 1])
    shared = (f"the other {rest.size} together", probs[:, rest].sum(-1))
    return [(names[i], probs[:, i]) for i in own] + [shared]


def _wilson(share: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % score interval of a share (Wilson 1927), which stays within [0, 1]."""
    z = 1.959964
    centre = share + z**2 / (2 * count)
    half = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    scale = 1 + z**2 / count
    low = np.clip((centre - half) / scale, 0, share)
    return low, np.clip((centre + half) / scale, share, 1)


def _check_row(logits: ArrayLike) -> np.ndarray:
    row = np.asarray(logits, np.float32)
    if row.ndim != 1 or row.size == 0:
        raise ValueError(
            f"`logits` must be one row of logits, got shape {row.shape}; "
            "pass for example `logits[0]`."
        )
    return row


def _check_temperatures(temperatures: ArrayLike | None) -> np.ndarray:
    if temperatures is None:
        return np.geomspace(0.05, 50.0, 241)
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


def _check_names(names: "Sequence[str] | None", classes: int) -> list[str]:
    if names is None:
        return [f"class {i}" for i in range(classes)]
    if len(names) != classes:
        raise ValueError(
            f"`names` must hold one name per class, got {len(names)} names for "
            f"{classes} classes; pass all of them or none."
        )
    return list(names)
