"""Draws at a τ that is known to be zero: NumPy's argmax, and the same ids as traced."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxtemp

ROWS = 64
KEYS = jax.random.split(jax.random.key(1), ROWS)


def random_rows(classes: int, dtype, grid: float) -> np.ndarray:
    """Rows on a grid, so that some are tied, then rows that leave nothing to draw."""
    rng = np.random.default_rng(classes)
    z = np.round(rng.normal(size=(ROWS, classes)) / grid) * grid
    z[0, classes // 2] = np.nan
    z[1], z[2, 0] = -np.inf, np.inf
    z[3] = -np.inf
    z[3, -1] = 1.0
    z[4], z[4, ::2] = 3e4, -3e4  # sums that overflow float16
    return z.astype(dtype)


@pytest.mark.parametrize("classes", [1, 5, 128, 129, 1000, 5000])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_ties_by_index_are_those_of_argmax(classes, dtype):
    z = random_rows(classes, jnp.dtype(dtype), 0.5)
    top = np.where(np.isnan(z), -np.inf, z.astype(np.float64)).argmax(-1)
    want = np.where([row in (0, 1, 2) for row in range(ROWS)], -1, top)
    ids = jax.jit(lambda z: jaxtemp.categorical(KEYS, z, 0, ties="index"))(z)
    np.testing.assert_array_equal(ids, want)


@pytest.mark.parametrize("grid", [0.5, 1e-4], ids=["ties", "no ties"])
@pytest.mark.parametrize("ties", ["random", "index"])
@pytest.mark.parametrize("shape", [None, (3, ROWS)])
def test_ids_are_those_of_a_traced_zero(ties, shape, grid):
    def draw(z, temperature):
        return jaxtemp.categorical(KEYS, z, temperature, ties=ties, shape=shape)

    for classes in (100, 1000):
        z = random_rows(classes, np.float32, grid)
        known = jax.jit(lambda z: draw(z, 0))(z)
        np.testing.assert_array_equal(known, jax.jit(draw)(z, 0.0))


def test_vmap_and_a_permutation_without_ties():
    z = np.random.default_rng(0).permuted(np.tile(np.arange(2e4), (8, 1)), axis=-1)
    draw = jax.jit(lambda z: jaxtemp.categorical(KEYS[:8], z.astype(jnp.float32), 0))
    np.testing.assert_array_equal(draw(z), z.argmax(-1))
    batched = jax.vmap(lambda key, z: jaxtemp.categorical(key, z, 0))
    np.testing.assert_array_equal(batched(KEYS[:8], z.astype(np.float32)), draw(z))
