"""Rows, limits and keys for draws of what is kept, of every kind that may be met."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxtemp.kernels.kth import xla as kth
from tests.random.test_categorical import g_test
from tests.sampling.test_sample import kept

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


def fit(sample) -> float:
    """How well draws from one row, by a form, fit what is kept: a probability."""
    z = np.random.default_rng(0).normal(size=300).astype(np.float32) * 2
    z[::5] = np.round(z[::5])
    numbers = 40, 1.3, 0.8, 0.05
    many = (np.full(1024, x) for x in numbers)
    given = _operands(jnp.tile(jnp.asarray(z), (1024, 1)), *many, first=True)
    counts = np.bincount(np.asarray(sample(*given)[0]), minlength=z.size)
    k, tau, p, least = numbers
    return g_test(counts.astype(float), kept(z, tau, k, p, least))


def _operands(z, k, tau, p, least, first):
    find = jax.jit(functools.partial(kth.forward, first=first))
    value, own = find(z, jnp.asarray(k, "int32"))
    keys = np.random.default_rng(1).integers(2**32, size=(2, len(z)), dtype=np.uint32)
    tau, p, least = (jnp.asarray(x, "float32") for x in (tau, p, least))
    return z, tau, value, own, p, least, *map(jnp.asarray, keys)
