"""Rows, limits and keys for draws of what is kept, of every kind that may be met."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxtemp.kernels.kth import xla as kth

KINDS = {
    "top-p": {"use_k": False, "use_p": True, "use_min": False},
    "top-k and min-p": {"use_k": True, "use_p": False, "use_min": True},
    "all": {"use_k": True, "use_p": True, "use_min": True},
}
BAD = 3  # the first rows, of which nothing can be drawn


def operands(rows: int, classes: int, dtype: str, first: bool) -> tuple[jax.Array, ...]:
    """Operands of the primitive `sample`, with numbers of its own for every row."""
    rng = np.random.default_rng([rows, classes])
    z = rng.normal(size=(rows, classes)) * 3
    z[rng.random(z.shape) < 0.2] = -np.inf
    z[:, 0] = 1.0
    if rows > BAD:
        z[0], z[1, classes // 2], z[2, -1] = -np.inf, np.nan, np.inf
        z[BAD], z[BAD + 1] = 1.0, np.round(z[BAD + 1])
    k = np.resize([50, 0, 3, classes // 2, classes], rows)
    tau = np.resize([1.0, 0.5, 2.0, 1.0, 1.0, 0.0, np.inf, 0.3], rows)
    p = np.resize([0.9, 0.5, 0.9, 0.4, 0.8, 0.99, 0.0, 1.0, 0.3], rows)
    least = np.resize([0.01, 0.0, 1.0, 0.2, 0.05], rows)
    return _operands(jnp.asarray(z, dtype), k, tau, p, least, first)


def copies() -> tuple[tuple[jax.Array, ...], np.ndarray, tuple[float, ...]]:
    """Operands of 1024 copies of a row, the row, and its τ, k, p and least."""
    z = np.random.default_rng(0).normal(size=300).astype(np.float32) * 2
    z[::5] = np.round(z[::5])
    numbers = 1.3, 40, 0.8, 0.05
    tau, k, p, least = (np.full(1024, x) for x in numbers)
    rows = jnp.tile(jnp.asarray(z), (1024, 1))
    return _operands(rows, k, tau, p, least, first=True), z, numbers


def _operands(z, k, tau, p, least, first):
    find = jax.jit(functools.partial(kth.forward, first=first))
    value, own = find(z, jnp.asarray(k, "int32"))
    keys = np.random.default_rng(1).integers(2**32, size=(2, len(z)), dtype=np.uint32)
    tau, p, least = (jnp.asarray(x, "float32") for x in (tau, p, least))
    return z, tau, value, own, p, least, *map(jnp.asarray, keys)
