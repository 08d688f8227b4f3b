"""Accuracy against confidence."""

from typing import TYPE_CHECKING

import numpy as np
from jax.typing import ArrayLike

from ..calibration import calibration_error, reliability_table
from ._axes import COLOURS, GREY, axes_or_new, legend_below

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def reliability_diagram(
    probs: ArrayLike,
    labels: ArrayLike,
    *,
    bins: int = 15,
    binning: str = "width",
    ax: "Axes | None" = None,
) -> "Axes":
    """Draws accuracy against confidence, bin by bin.

    A bar is the accuracy of a bin's rows, with their number at its foot if the bins
    have equal width; a diamond is at their mean confidence: on the diagonal the bin is
    calibrated, below it over-confident. Whiskers are 95 % Wilson intervals of the
    accuracy, so that a bin of few rows looks as uncertain as it is.

    Args:
        probs: Real floating array of shape `(..., classes)`, rows that sum to 1.
        labels: The class of each row, integers of shape `(...)`.
        bins: The number of bins, as in
            [`reliability_table`][jaxtemp.calibration.reliability_table].
        binning: `"width"` or `"mass"`, as there.
        ax: The axes to draw on, those of a new figure if `None`.

    Returns:
        The axes; `.figure.savefig(...)` writes them.

    Raises:
        ImportError: matplotlib is not installed.
        TypeError: `probs` are not floating point or `labels` not integers.
        ValueError: `labels` do not fit `probs`, `probs` are not probabilities, `bins`
            is not a positive integer or `binning` is unknown.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxtemp import plot
        >>> probs = jnp.array([[0.9, 0.1], [0.7, 0.3], [0.4, 0.6]])
        >>> ax = plot.reliability_diagram(probs, jnp.array([0, 1, 1]), bins=5)
        >>> ax.get_xlabel(), ax.get_ylabel()
        ('confidence', 'accuracy')
    """
    options = {"bins": bins, "binning": binning}
    table = reliability_table(probs, labels, **options)
    edges, rows, confidence, accuracy = map(np.asarray, table)
    filled = rows > 0
    error = 100 * float(calibration_error(probs, labels, **options))
    wide = binning == "width"

    ax = axes_or_new(ax)
    ax.bar(
        edges[:-1][filled],
        accuracy[filled],
        np.diff(edges)[filled],
        align="edge",
        color=COLOURS[5],
        edgecolor="white",
        lw=1 if wide else 0.5,
        label="accuracy, with its number of rows" if wide else "accuracy",
    )
    ax.plot([0, 1], [0, 1], "--", color=GREY, label="perfectly calibrated")
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
    # Bars of equal mass may be too narrow for a number, and have nearly the same one.
    for left, right, number in zip(edges[:-1], edges[1:], rows, strict=True):
        if number and wide:
            _write_in_bar(ax, (left + right) / 2, f"{number}")
    kind = "bins" if wide else "bins of equal mass"
    legend_below(
        ax,
        ax.get_legend_handles_labels()[0],
        columns=2,
        title=f"ECE {error:.2f} %, {rows.sum()} rows, {bins} {kind}",
    )
    return ax


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


def _wilson(share: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % score interval of a share (Wilson 1927), which stays within [0, 1]."""
    z = 1.959964
    centre = share + z**2 / (2 * count)
    half = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    scale = 1 + z**2 / count
    low = np.clip((centre - half) / scale, 0, share)
    return low, np.clip((centre + half) / scale, share, 1)
