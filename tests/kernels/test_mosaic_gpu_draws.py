"""The Mosaic GPU kernel of draws: the ids of the XLA form, lowered, and its cost."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxtemp
from jaxtemp.kernels import _tiles
from jaxtemp.kernels.categorical.primitive import categorical, greedy
from tests.kernels import mosaic_gpu

pytestmark = mosaic_gpu.needed


def arguments(rows, classes, dtype):
    """Logits of every kind of row, τ, and seven keys a row."""
    rng = np.random.default_rng([rows, classes])
    z = rng.normal(size=(rows, classes)) * 4
    z[rng.random(z.shape) < 0.3] = -np.inf
    if rows > 5:
        z[1], z[4] = -np.inf, 1.0
        z[2, 3], z[3, 5] = np.nan, np.inf
    tau = np.resize([1.0, 0.0, 0.5, 2.0, 1e3, 1e-3, np.inf], rows)
    keys = rng.integers(2**32, size=(2, rows, 7), dtype=np.uint32)
    return jnp.asarray(z, dtype), jnp.asarray(tau, "float32"), *map(jnp.asarray, keys)


@pytest.mark.parametrize(
    ("rows", "classes", "dtype", "first"),
    [
        (9, 129, "float32", False),
        (8, 1000, "bfloat16", True),
        (1, 1024, "float16", False),
        (5, 640, "float32", True),
        (4, 128 * 130 + 7, "float32", False),  # a tree of three levels
    ],
)
def test_ids_are_those_of_the_xla_form(rows, classes, dtype, first):
    given = arguments(rows, classes, dtype)
    with mosaic_gpu.interpreted([categorical]):
        (ids,) = categorical(*given, first=first)
    (want,) = jax.jit(lambda *x: categorical.xla(*x, first=first))(*given)
    # A uniform number may fall between two roundings of one boundary.
    assert np.mean(np.asarray(ids) != np.asarray(want)) <= 0.01
    if rows > 5:
        assert (np.asarray(ids)[1:4] == -1).all()


def test_frequencies_are_the_probabilities():
    """Of 10⁶ draws from the masses that the kernel found."""
    z = np.random.default_rng(0).normal(size=(1, 1024)).astype(np.float32) * 2
    rng = np.random.default_rng(1)
    keys = rng.integers(2**32, size=(2, 1, 10**6), dtype=np.uint32)
    with mosaic_gpu.interpreted([categorical]):
        (ids,) = categorical(jnp.asarray(z), jnp.ones(1), *keys, first=False)
    p = np.exp(z[0].astype(float))
    expected = 10**6 * p / p.sum()
    counts = np.bincount(np.asarray(ids)[0], minlength=1024)
    assert 1e-6 < stats.chisquare(counts, expected).pvalue < 1 - 1e-6


@pytest.mark.parametrize(
    ("rows", "classes", "dtype", "held", "first"),
    [
        (30, 129, "float32", "as chosen", False),
        (9, 1000, "bfloat16", "as chosen", True),
        (9, 2000, "float32", "split", True),
    ],
)
def test_greedy_ids_are_those_of_the_xla_form(
    rows, classes, dtype, held, first, monkeypatch
):
    """With ties and without, and with bad rows."""
    z, _, *keys = arguments(rows, classes, dtype)
    z = z.at[5].set(jnp.round(z[5])).at[6, classes // 2 :].set(z[6].max())
    monkeypatch.setattr(_tiles, "_HELD", mosaic_gpu.HELD[held])
    given = z, jnp.zeros(rows), *keys
    with mosaic_gpu.interpreted([greedy]):
        (ids,) = greedy(*given, first=first)
    (want,) = jax.jit(lambda *x: greedy.xla(*x, first=first))(*given)
    np.testing.assert_array_equal(ids, want)
    if first:
        top = np.asarray(z, np.float64)[5:].argmax(-1)
        np.testing.assert_array_equal(np.asarray(ids)[5:, 0], top)


@pytest.mark.parametrize("classes", [1000, 32_000, 131_072, 262_144])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_logits_are_read_once(classes, dtype):
    z = jax.ShapeDtypeStruct((512, classes), dtype)
    row = jax.ShapeDtypeStruct((512,), "float32")
    key = jax.eval_shape(lambda: jax.random.key(0))
    blocks = -(-classes // 128)
    numbers = 512 * (2 * blocks + 1)

    assert mosaic_gpu.count(jaxtemp.categorical, key, z, row) == {"block_masses": 1}
    moved = mosaic_gpu.moved(jaxtemp.categorical, key, z, row)
    logits = 512 * classes * jnp.dtype(dtype).itemsize
    assert moved == [logits + 4 * numbers]

    largest = functools.partial(jaxtemp.categorical, temperature=0, ties="index")
    assert mosaic_gpu.count(largest, key, z) == {"greedy": 1}
    assert mosaic_gpu.moved(largest, key, z) == [logits + 4 * 4 * 512]


def test_one_row_of_unaligned_blocks_runs_in_the_xla_form():
    z = jax.ShapeDtypeStruct((1, 1000), "float32")
    key = jax.eval_shape(lambda: jax.random.key(0))
    assert not mosaic_gpu.count(jaxtemp.categorical, key, z)
