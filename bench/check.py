"""How far a contender's outputs are from the truth, over all rows of a case."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from bench import truth

_CHUNK = 1 << 18  # elements: a float64 chunk and its temporaries stay in a core's cache

# Of the scale that `truth` gives. Sums of 131 072 float32 terms, added one by one, are
# good to about 1e-5; a result rounded to bfloat16 to 2e-3, and two such in a product.
TOLERANCE = {"float32": 1e-4, "bfloat16": 2e-2}


def relative_error(output: np.ndarray, expected: truth.Expected) -> float:
    """Largest error over its scale; infinite if an element is not finite."""
    output = np.asarray(output, np.float64)
    if output.shape != expected.value.shape or not np.isfinite(output).all():
        return float("inf")
    tiny = np.finfo(np.float32).tiny  # where the scale is 0, so is the truth
    errors = np.abs(output - expected.value) / np.maximum(expected.scale, tiny)
    return float(errors.max(initial=0.0))


def forward_error(
    op: str, logits: np.ndarray, temperature: np.ndarray, outputs: Sequence[np.ndarray]
) -> float:
    """Error of `[y]`; `temperature` has shape `[R]` or `[]`."""
    if len(outputs) != 1 or outputs[0].shape[:1] != logits.shape[:1]:
        return float("inf")
    tau = np.broadcast_to(temperature, logits.shape[:1])

    def part(rows: slice) -> float:
        return relative_error(
            outputs[0][rows], truth.value(op, logits[rows], tau[rows])
        )

    return max(over_rows(part, logits.shape))


def gradient_error(
    op: str,
    logits: np.ndarray,
    temperature: np.ndarray,
    weights: np.ndarray,
    outputs: Sequence[np.ndarray],
) -> float:
    """Error of `[loss, dlogits, dtemperature]`, `dtemperature` shaped like τ.

    A backward pass alone has no loss.
    """
    shapes = [(), logits.shape, temperature.shape]
    if [out.shape for out in outputs] not in (shapes, shapes[1:]):
        return float("inf")
    *total, dz, to_tau = outputs
    tau = np.broadcast_to(temperature, logits.shape[:1])

    def part(rows: slice) -> tuple[float, truth.Gradient]:
        found = truth.gradient(op, logits[rows], tau[rows], weights[rows])
        return relative_error(dz[rows], found.logits), found

    parts = over_rows(part, logits.shape)
    loss = _joined([found.loss for _, found in parts])
    dtau = _joined([found.temperature for _, found in parts])
    return max(
        *(error for error, _ in parts),
        *(relative_error(out, _summed(loss)) for out in total),
        relative_error(to_tau, dtau if temperature.ndim else _summed(dtau)),
    )


def over_rows(part: Callable[[slice], Any], shape: tuple[int, ...]) -> list[Any]:
    """What `part` finds of some rows at a time, for all rows of `[R, V]`."""
    rows, classes = shape
    step = max(1, _CHUNK // classes)
    chunks = [slice(k, k + step) for k in range(0, rows, step)]
    # NumPy lets go of the interpreter inside its loops, so threads share the work.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(part, chunks))


def _joined(parts: list[truth.Expected]) -> truth.Expected:
    return truth.Expected(
        np.concatenate([part.value for part in parts]),
        np.concatenate([part.scale for part in parts]),
    )


def _summed(rows: truth.Expected) -> truth.Expected:
    # Roundings of different rows are independent: their sum grows like a random walk.
    return truth.Expected(rows.value.sum(), np.sqrt((rows.scale**2).sum()))
