"""Median, quartiles, and ratios paired round by round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Quartiles(NamedTuple):
    """First quartile, median and third quartile, interpolated linearly."""

    q1: float
    median: float
    q3: float


def quartiles(values: Sequence[float]) -> Quartiles:
    """Quartiles of at least one finite number."""
    if len(values) == 0:
        raise ValueError("quartiles of no values")
    q1, median, q3 = np.quantile(np.asarray(values, np.float64), (0.25, 0.5, 0.75))
    return Quartiles(float(q1), float(median), float(q3))


def paired_ratio(theirs: Sequence[float], ours: Sequence[float]) -> Quartiles:
    """Quartiles of `theirs / ours`, each from one round: at least 1 if ours is as fast.

    A slow moment of the machine falls on both times of a round and cancels in their
    ratio; the ratio of two medians would keep it.
    """
    if len(theirs) != len(ours):
        raise ValueError(f"{len(theirs)} times cannot be paired with {len(ours)}")
    return quartiles([t / o for t, o in zip(theirs, ours, strict=True)])
