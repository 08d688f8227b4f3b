"""The main job's two pictures."""

import numpy as np
from matplotlib.figure import Figure

from ..boltzmann import softmax
from ..plot import reliability_diagram, temperature_sweep


def sweep_picture(logits: np.ndarray, labels: np.ndarray, temperature: float) -> Figure:
    """Draws the temperature sweep of a typical mistake.

    That is the wrongly classified row of median confidence.

    Args:
        logits: shape `(rows, 10)`.
        labels: the digit that each row shows.
        temperature: the learned one, marked with a line.

    Returns:
        The figure.
    """
    probs = np.asarray(softmax(logits))
    row = _typical(np.flatnonzero(probs.argmax(-1) != labels), probs.max(-1))
    figure = Figure(figsize=(8, 6), layout="constrained")
    ax = temperature_sweep(logits[row], names=list("0123456789"), ax=figure.subplots())
    for value, text in ((1.0, "before"), (temperature, "after")):
        ax.axvline(value, color="black", lw=1)
        ax.text(value, 0.5, f" {text} ", rotation=90, ha="right", va="center")
    read = probs[row].argmax()
    after = np.asarray(softmax(logits[row], temperature))[read]
    ax.set_title(
        f"Test row {row}: digit {labels[row]} read as {read}, "
        f"with probability {probs[row, read]:.3f} before, {after:.3f} after"
    )
    return figure


def reliability_picture(
    logits: np.ndarray, labels: np.ndarray, temperature: float, *, bins: int
) -> Figure:
    """Draws the reliability diagrams before and after, side by side.

    Args:
        logits: shape `(rows, 10)`.
        labels: the digit that each row shows.
        temperature: the learned one.
        bins: the number of bins.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    titles = ("before: temperature 1", f"after: temperature {temperature:.2f}")
    for ax, title, value in zip(
        figure.subplots(1, 2), titles, (1.0, temperature), strict=True
    ):
        reliability_diagram(softmax(logits, value), labels, bins=bins, ax=ax)
        ax.set_title(title)
    figure.suptitle(f"Confidence and accuracy on {len(labels)} test digits")
    return figure


def _typical(wrong: np.ndarray, confidence: np.ndarray) -> int:
    """The row of median confidence among the wrong ones, or among all if none is."""
    rows = wrong if wrong.size else np.arange(confidence.size)
    return int(rows[np.argsort(confidence[rows])[rows.size // 2]])
