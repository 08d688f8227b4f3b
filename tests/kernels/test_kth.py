"""The bound of the first k classes, against NumPy's stable sort."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from jaxtemp.kernels.kth import xla
from jaxtemp.kernels.kth.primitive import kth
from tests.sampling.filter_truth import random_rows
from tests.sampling.test_kept import extreme_rows


def truth(z, k, ties):
    """What is kept of each row, by sorting in float64."""
    z = np.asarray(z).astype(np.float64)
    order = np.argsort(-z, axis=-1, kind="stable")
    rank = np.argsort(order, axis=-1, kind="stable")
    k = np.where(k == 0, z.shape[-1], k)[:, None]
    if ties == "index":
        return (rank < k) & (z > -np.inf)
    last = np.take_along_axis(-np.sort(-z), np.minimum(k, z.shape[-1]) - 1, axis=-1)
    return (z >= last) & (z > -np.inf)


@functools.partial(jax.jit, static_argnames="ties")
def kept(z, k, ties):
    return before(z, *kth(z, k, first=ties == "index"))


def before(z, value, own):
    """What lies before a bound."""
    z, value, own = z.astype(value.dtype), value[:, None], own[:, None]
    return (z > value) | ((z == value) & (jnp.arange(z.shape[-1]) < own))


def counts(rows: int, classes: int) -> np.ndarray:
    """Off, one, all but one, all, more, and anything between."""
    rng = np.random.default_rng(classes)
    ends = rng.choice([0, 1, classes - 1, classes, classes + 1, 2**31 - 1], rows)
    k = np.where(rng.random(rows) < 0.3, ends, rng.integers(0, classes + 1, rows))
    return np.maximum(k, 0).astype(np.int32)


@pytest.mark.parametrize("ties", ["index", "all"])
@pytest.mark.parametrize(
    ("classes", "rows"), [(1, 1000), (65, 100_000), (128, 2000), (1000, 4000)]
)
def test_random_rows(classes, rows, ties):
    z, k = random_rows("float32", classes, rows), counts(rows, classes)
    np.testing.assert_array_equal(kept(z, k, ties), truth(z, k, ties))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_every_type(dtype):
    with jax.enable_x64(dtype == "float64"):
        z, k = random_rows(dtype, 700, 500), counts(500, 700)
        np.testing.assert_array_equal(kept(z, k, "index"), truth(z, k, "index"))


@pytest.mark.parametrize("classes", [32_000, 50_257])
def test_long_rows_with_many_ties(classes):
    rng = np.random.default_rng(classes)
    z = rng.normal(size=(8, classes)).astype(np.float32) * 3
    z[:3] = z[:3].round(1)
    z[3] = 1.0
    z[4, rng.random(classes) < 0.999] = -np.inf
    k = np.array([50, 2000, classes - 1, 777, 50, 1, 60, classes // 2], np.int32)
    for ties in ("index", "all"):
        np.testing.assert_array_equal(kept(z, k, ties), truth(z, k, ties))


@pytest.fixture
def passes(monkeypatch):
    """A list that grows by one with every pass over rows or their blocks."""
    count, seen = xla._reaching, []

    def counted(*arguments):
        jax.debug.callback(lambda: seen.append(1))
        return count(*arguments)

    monkeypatch.setattr(xla, "_reaching", counted)
    return seen


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
def test_extreme_rows_need_no_more_passes_than_bits(dtype, passes):
    with jax.enable_x64(dtype == "float64"):
        rows = extreme_rows(dtype)
        rows = rows[np.isfinite(rows).all(axis=-1)]
        k = np.random.default_rng(1).integers(1, 300, len(rows)).astype(np.int32)
        bits = 8 * rows.dtype.itemsize
        find = jax.jit(lambda z, k: xla.forward(z, k, first=True))
        for z, some in zip(rows[::3, None], k[::3, None], strict=True):
            passes.clear()
            value, own = find(z, some)
            jax.effects_barrier()
            got = (z > value) | ((z == value) & (np.arange(300) < own))
            np.testing.assert_array_equal(got, truth(z, some, "index"))
            # Three bits in two passes, over the blocks' maxima and over the rows.
            assert 2 <= len(passes) <= 2 * (2 * -(-bits // 3) + 1)


def test_ordinary_rows_need_few_passes(passes):
    z = np.random.default_rng(0).normal(size=(64, 32_000)).astype(np.float32)
    k = np.arange(20, 84, dtype=np.int32)
    jax.jit(lambda z, k: xla.forward(z, k, first=True))(z, k)
    jax.effects_barrier()
    assert len(passes) <= 16


def test_a_row_with_a_nan_or_an_infinity_leaves_the_others_alone():
    z = random_rows("float32", 300, 60)
    k = np.maximum(counts(60, 300), 1)
    spoilt = z.copy()
    spoilt[0, 7], spoilt[1, 8], spoilt[2] = np.nan, np.inf, np.nan
    spoilt[3] = -np.float32(np.nan)
    got = np.asarray(kept(spoilt, k, "index"))
    np.testing.assert_array_equal(got[4:], truth(z, k, "index")[4:])


def test_vmap_and_shard_map():
    z, k = random_rows("float32", 300, 64), counts(64, 300)
    want = truth(z, k, "index")
    call = functools.partial(kept, ties="index")
    np.testing.assert_array_equal(
        jax.vmap(call)(z.reshape(8, 8, -1), k.reshape(8, 8)).reshape(64, -1), want
    )
    mesh = jax.make_mesh((8,), ("rows",), (jax.sharding.AxisType.Auto,))
    spec = PartitionSpec("rows")
    split = jax.shard_map(call, mesh=mesh, in_specs=spec, out_specs=spec)
    np.testing.assert_array_equal(jax.jit(split)(z, k), want)
    one = jax.shard_map(
        lambda z: call(z, jnp.full(8, 5)), mesh=mesh, in_specs=spec, out_specs=spec
    )
    np.testing.assert_array_equal(jax.jit(one)(z), truth(z, np.full(64, 5), "index"))
