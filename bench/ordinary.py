"""Ordinary logits and temperatures, what a case is run on."""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor

import jax.numpy as jnp
import numpy as np

from bench.cases import Case


def logits(case: Case, rng: np.random.Generator) -> np.ndarray:
    """`3 N(0, 1)`, in the case's dtype."""
    drawn = 3 * normal(rng, (case.rows, case.classes))
    return drawn.astype(jnp.dtype(case.dtype))


def temperature(case: Case, rng: np.random.Generator) -> np.ndarray:
    """From 0.5 to 2, log-uniform: one a row, or one; or zero."""
    if case.temperature == "zero":
        return np.zeros((), np.float32)
    shape = (case.rows,) if case.temperature == "row" else ()
    drawn = rng.uniform(math.log(0.5), math.log(2.0), shape)
    return np.asarray(np.exp(drawn), np.float32)


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal numbers, drawn by all cores: an accelerator's case has 10⁸."""
    out = np.empty(shape, np.float32)
    parts = np.array_split(out.reshape(-1), os.cpu_count() or 1)
    with ThreadPoolExecutor(len(parts)) as pool:
        list(pool.map(_fill, rng.spawn(len(parts)), parts))
    return out


def _fill(rng: np.random.Generator, part: np.ndarray) -> None:
    rng.standard_normal(dtype=np.float32, out=part)
