"""What the memory of a device gives: a copy and a read, measured in the same run.

They are what the limit of a case is made of, on an array of one size, so that the
results of different days can be told apart from days of different bandwidth.
"""

from __future__ import annotations

import statistics
from typing import Any

import jax
import jax.numpy as jnp

from bench import jax_side, limit
from bench.sizes import FILL
from bench.timing import Plan, measure

_CLASSES = 1 << 16


def bandwidth(device: Any, plan: Plan, *, quick: bool) -> dict[str, float]:
    """Bytes of the array, and GB/s of a copy, both ways counted, and of a read."""
    rows = 16 if quick else FILL // 4 // _CLASSES
    key = jax.device_put(jax.random.key(0), device)
    z = jax.jit(lambda key: jax.random.normal(key, (rows, _CLASSES), jnp.float32))(key)
    moved = {"copy": 2 * z.nbytes, "read": z.nbytes}
    programs = [jax_side.prepare(getattr(limit, name), (z,)) for name in moved]
    for ready in programs:
        ready.fence(ready.call())
    times = measure(programs, plan)
    found = {
        f"{name}_gb_per_s": float(f"{moved[name] / median / 1e9:.5g}")
        for name, t in zip(moved, times, strict=True)
        if (median := statistics.median(t.seconds))
    }
    return {"bytes": z.nbytes, **found}
