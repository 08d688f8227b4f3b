"""What a sampler may draw, in float64 NumPy, and how far its draws are from it.

The check is light, as a case has one id a row: each must be one that the filters keep,
and their log probabilities must add up to about what draws are expected to.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bench import check

# Sums of float32 numbers decide which class is the last one kept: an id counts as kept
# if filters looser by this much keep it.
_SLACK = 1e-3

# In standard deviations; far, as the log probability of one row's draw is not normal,
# but has a tail like e⁻ˣ.
TOLERANCE = 9.0


class Filters(NamedTuple):
    """`top_k`, `top_p` and `min_p`, each a number or one a row `[R]`; None is off."""

    top_k: Any = None
    top_p: Any = None
    min_p: Any = None


class Draws(NamedTuple):
    """What is expected of one draw a row.

    Attributes:
        log_p: Of each class before the filters, up to a constant of the row, `[R, V]`.
        least: The least `log_p` that may be drawn, `[R]`.
        mean: Of a draw's `log_p`, `[R]`.
        variance: Of a draw's `log_p`, `[R]`.
    """

    log_p: np.ndarray
    least: np.ndarray
    mean: np.ndarray
    variance: np.ndarray


def draws(logits: np.ndarray, temperature: np.ndarray, filters: Filters) -> Draws:
    """From logits `[R, V]` and temperatures `[R]`, none of them 0."""

    def part(rows: slice) -> Draws:
        own = (f[rows] if np.ndim(f) else f for f in filters)
        return _draws(logits[rows], temperature[rows], Filters(*own))

    parts = check.over_rows(part, logits.shape)
    return Draws(*map(np.concatenate, zip(*parts, strict=True)))


def _draws(logits: np.ndarray, temperature: np.ndarray, filters: Filters) -> Draws:
    u = np.asarray(logits, np.float64) / temperature[:, None]
    u -= u.max(-1, keepdims=True)
    filtered = any(f is not None for f in filters)
    falling = -np.sort(-u, axis=-1) if filtered else u
    kept = _kept(falling, filters, 0.0)
    loosely = _kept(falling, filters, _SLACK)
    weight = np.where(kept, np.exp(falling), 0)
    p = weight / weight.sum(-1, keepdims=True)
    mean = (p * falling).sum(-1)
    variance = (p * (falling - mean[:, None]) ** 2).sum(-1)
    return Draws(u, np.where(loosely, falling, np.inf).min(-1), mean, variance)


def draw_error(expected: Draws, outputs: list[np.ndarray]) -> float:
    """Of `[ids]`, in standard deviations; infinite if an id cannot be drawn."""
    found = _taken(expected.log_p, outputs)
    if found is None or (found < expected.least).any():
        return float("inf")
    deviation = np.sqrt(expected.variance.sum())
    return float(abs((found - expected.mean).sum()) / max(deviation, 1e-3))


def greedy_error(logits: np.ndarray, outputs: list[np.ndarray]) -> float:
    """Of `[ids]`: 0 if each is one of its row's largest logits, else infinite."""
    found = _taken(logits, outputs)
    right = found is not None and (found == logits.max(-1)).all()
    return 0.0 if right else float("inf")


def _taken(values: np.ndarray, outputs: list[np.ndarray]) -> np.ndarray | None:
    """Each row's value at its id, None if the outputs are not ids."""
    rows, classes = values.shape
    if [out.shape for out in outputs] != [(rows,)]:
        return None
    ids = outputs[0].astype(np.int64)
    if (ids != outputs[0]).any() or (ids < 0).any() or (ids >= classes).any():
        return None
    return values[np.arange(rows), ids]


def _kept(falling: np.ndarray, filters: Filters, slack: float) -> np.ndarray:
    """Which of the classes, in falling order and 0 the largest, the filters keep."""
    k, p, m = (None if f is None else np.reshape(f, (-1, 1)) for f in filters)
    weight = np.exp(falling)
    kept = np.ones(falling.shape, bool)
    if k is not None:
        kept &= np.arange(falling.shape[-1]) < k
    if p is not None:
        mass = np.cumsum(np.where(kept, weight, 0), axis=-1)
        kept &= mass - weight < (p + slack) * mass[:, -1:]
    if m is not None:
        kept &= weight >= m * (1 - slack)
    return kept
