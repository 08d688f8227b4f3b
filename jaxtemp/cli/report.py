"""The main job's numbers, and how they read."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np

from ..boltzmann import softmax
from ..calibration import brier_score, calibration_error, negative_log_likelihood

BINS = 15
# The learned and the solved-for temperature agree if they are closer than this. It is
# far within the standard error of either, and far beyond what float32 rounds away.
TOLERANCE = 1e-3


class Scores(NamedTuple):
    """How good probabilities are.

    Attributes:
        accuracy: the share of rows whose likeliest class is right.
        nll: the mean negative log-likelihood, in nats.
        ece: the expected calibration error of the likeliest class, 15 equal bins.
        brier: the Brier score, summed over the classes.
    """

    accuracy: float
    nll: float
    ece: float
    brier: float


def score(logits: np.ndarray, labels: np.ndarray, temperature: float) -> Scores:
    """Scores `softmax(logits, temperature)` against the labels.

    Args:
        logits: shape `(rows, classes)`.
        labels: the class of each row.
        temperature: one number.

    Returns:
        The four scores.

    >>> score(np.array([[3.0, 0.0], [0.0, 3.0]], np.float32), np.array([0, 1]), 1.0)
    Scores(accuracy=1.0, nll=0.0485..., ece=0.0474..., brier=0.0044...)
    """
    return Scores(*map(float, _scores(logits, labels, temperature)))


@jax.jit
def _scores(
    logits: jax.Array, labels: jax.Array, temperature: jax.Array
) -> tuple[jax.Array, ...]:
    probs = softmax(logits, temperature)
    return (
        (probs.argmax(-1) == labels).mean(),
        negative_log_likelihood(logits, labels, temperature),
        calibration_error(probs, labels, bins=BINS),
        brier_score(probs, labels),
    )


def agree(learned: float, solved: float) -> bool:
    """Whether two temperatures agree within the tolerance.

    Args:
        learned: one temperature.
        solved: the other, that the difference is relative to.

    Returns:
        True if their relative difference is at most 0.001.

    >>> agree(2.001, 2.0), agree(2.003, 2.0)
    (True, False)
    """
    return abs(learned - solved) <= TOLERANCE * solved


def agreement_lines(learned: float, solved: float, error: float) -> Iterator[str]:
    """Yields the lines that compare the two temperatures.

    Args:
        learned: the temperature that was learned.
        solved: the one that the independent solver found.
        error: the relative standard error of both.

    Yields:
        Lines of text.
    """
    verdict = "agree" if agree(learned, solved) else "do not agree"
    difference = abs(learned - solved) / solved
    yield f"  learned by gradient descent   {learned:.6f}"
    yield f"  one-dimensional solver        {solved:.6f}"
    yield f"  relative difference           {difference:.1e}"
    yield f"  verdict at tolerance {TOLERANCE:g}    {verdict}"
    yield f"  standard error                {100 * error:.1f} %"


def score_lines(before: Scores, after: Scores, learned: float) -> Iterator[str]:
    """Yields the table of scores before and after.

    Args:
        before: the scores at temperature 1.
        after: those at the learned temperature.
        learned: the learned temperature.

    Yields:
        Lines of text.
    """
    rows = (
        ("temperature", "", 1.0, learned),
        ("accuracy", "fraction of rows", before.accuracy, after.accuracy),
        ("negative log-likelihood", "nats", before.nll, after.nll),
        ("expected calibration error", f"{BINS} bins", before.ece, after.ece),
        ("Brier score", "sum over classes", before.brier, after.brier),
    )
    yield f"  {'':<28}{'before':>9}{'after':>9}"
    for name, note, first, second in rows:
        yield f"  {name:<28}{first:>9.4f}{second:>9.4f}  {note}".rstrip()
