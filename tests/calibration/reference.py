"""The metrics once more: slow, plain, in float64, one row at a time, without JAX.

A forecast is a Python float and an event a bool. Ranks are compared as fractions.
"""

import math
from fractions import Fraction

import numpy as np


def top_label(probs, labels):
    """Each row's largest probability, and whether the first such class is right."""
    rows = probs.tolist()
    confidence = [max(row) for row in rows]
    right = [
        row.index(top) == label
        for row, top, label in zip(rows, confidence, labels.tolist(), strict=True)
    ]
    return confidence, right


def bins_by_width(forecasts, bins, dtype):
    """The bin of each: (edge, next edge], where an edge is b / bins as `dtype` has it.

    Also 0, which has no bin below, and 1 and what rounding put above it.
    """
    edges = [float(dtype.type(b / bins)) for b in range(bins + 1)]
    return [
        next(b for b in range(bins) if forecast <= edges[b + 1] or b == bins - 1)
        for forecast in forecasts
    ]


def bins_by_mass(forecasts, bins):
    """The bin of each: (b / bins, (b + 1) / bins] for the share that is no greater."""
    found = {}
    for forecast in set(forecasts):
        no_greater = sum(other <= forecast for other in forecasts)
        share = Fraction(no_greater, len(forecasts))
        found[forecast] = next(b for b in range(bins) if share <= Fraction(b + 1, bins))
    return [found[forecast] for forecast in forecasts]


def groups(forecasts, events, bins, binning, dtype):
    """The (forecast, event) pairs of every bin."""
    if binning == "width":
        index = bins_by_width(forecasts, bins, dtype)
    else:
        index = bins_by_mass(forecasts, bins)
    inside = [[] for _ in range(bins)]
    for b, forecast, event in zip(index, forecasts, events, strict=True):
        inside[b].append((forecast, event))
    return inside


def means(group):
    """Mean forecast and share of events; NaN if there is none."""
    if not group:
        return math.nan, math.nan
    forecasts, events = zip(*group, strict=True)
    return math.fsum(forecasts) / len(group), sum(events) / len(group)


def gaps(inside):
    """Rows, and absolute difference of frequency and forecast, of the filled bins."""
    found = []
    for group in inside:
        if group:
            forecast, frequency = means(group)
            found.append((len(group), abs(frequency - forecast)))
    return found


def table(probs, labels, bins, binning):
    inside = groups(*top_label(probs, labels), bins, binning, probs.dtype)
    confidence, accuracy = zip(*map(means, inside), strict=True)
    return [len(group) for group in inside], confidence, accuracy


def calibration_error(probs, labels, bins, binning="width"):
    inside = groups(*top_label(probs, labels), bins, binning, probs.dtype)
    return math.fsum(rows * gap for rows, gap in gaps(inside)) / len(labels)


def maximum_calibration_error(probs, labels, bins, binning):
    inside = groups(*top_label(probs, labels), bins, binning, probs.dtype)
    return max(gap for _, gap in gaps(inside))


def of_class(probs, labels, k):
    return probs[:, k].tolist(), (labels == k).tolist()


def classwise_calibration_error(probs, labels, bins, binning):
    classes, total = probs.shape[1], 0.0
    for k in range(classes):
        inside = groups(*of_class(probs, labels, k), bins, binning, probs.dtype)
        total += math.fsum(rows * gap for rows, gap in gaps(inside)) / len(labels)
    return total / classes


def brier_score(probs, labels):
    total = 0.0
    for row, label in zip(probs.tolist(), labels.tolist(), strict=True):
        total += math.fsum((p - (k == label)) ** 2 for k, p in enumerate(row))
    return total / len(labels)


def brier_decomposition(probs, labels, bins, binning):
    """Reliability, resolution, uncertainty, variance and covariance within bins."""
    rows, parts = len(labels), np.zeros(5)
    for k in range(probs.shape[1]):
        forecasts, events = of_class(probs, labels, k)
        base = sum(events) / rows
        parts[2] += base * (1 - base)
        for group in groups(forecasts, events, bins, binning, probs.dtype):
            mean, frequency = means(group)
            for forecast, event in group:
                parts[0] += (mean - frequency) ** 2 / rows
                parts[1] += (frequency - base) ** 2 / rows
                parts[3] += (forecast - mean) ** 2 / rows
                parts[4] += 2 * (forecast - mean) * (event - frequency) / rows
    return parts


def smooth_error_at(width, forecasts, events, points=2000):
    """The smoothed residuals' mean size: Gaussians at every forecast and its images."""
    places = (np.arange(points) + 0.5) / points
    smoothed = np.zeros(points)
    reach = math.ceil(4 * width) + 1
    for forecast, event in zip(forecasts, events, strict=True):
        for shift in range(-reach, reach + 1):
            for image in (2 * shift + forecast, 2 * shift - forecast):
                bell = np.exp(-0.5 * ((places - image) / width) ** 2)
                smoothed += (event - forecast) * bell / (width * math.sqrt(2 * math.pi))
    return np.mean(np.abs(smoothed)) / len(forecasts)
