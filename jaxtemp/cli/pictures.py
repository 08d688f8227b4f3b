"""The pictures that commands draw."""

from collections.abc import Sequence

import numpy as np
from jax.typing import ArrayLike
from matplotlib.figure import Figure

from ..boltzmann import softmax
from ..calibration import TemperatureFit
from ..plot import nll_curve, reliability_diagram, temperature_sweep
from .report import BINS


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
    probs: Sequence[ArrayLike], labels: np.ndarray, *, after: str, title: str
) -> Figure:
    """Draws the reliability diagrams before and after, side by side.

    Args:
        probs: the probabilities at temperature 1, and those at a better one.
        labels: the class of each row.
        after: what the better temperature is.
        title: of the whole.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    names = ("before: temperature 1", f"after: {after}")
    for ax, name, rows in zip(figure.subplots(1, 2), names, probs, strict=True):
        reliability_diagram(rows, labels, bins=BINS, ax=ax)
        ax.set_title(name)
    figure.suptitle(title)
    return figure


def curve_picture(
    logits: ArrayLike, labels: np.ndarray, fit: "TemperatureFit"
) -> Figure:
    """Draws the likelihood against temperature, with the fitted one marked.

    Args:
        logits: shape `(rows, classes)`.
        labels: the class of each row.
        fit: the temperature of these rows.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(8, 5.6), layout="constrained")
    ax = nll_curve(logits, labels, fit=fit, ax=figure.subplots())
    ax.set_title(f"Negative log-likelihood on {len(labels)} rows")
    return figure


def _typical(wrong: np.ndarray, confidence: np.ndarray) -> int:
    """The row of median confidence among the wrong ones, or among all if none is."""
    rows = wrong if wrong.size else np.arange(confidence.size)
    return int(rows[np.argsort(confidence[rows])[rows.size // 2]])
