"""The GPU kernel of the first k classes: against NumPy's stable sort, and its cost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxtemp
from jaxtemp.kernels import _tiles
from jaxtemp.kernels.kth.primitive import kth
from tests.kernels import mosaic_gpu
from tests.kernels.test_kth import before, counts, truth
from tests.sampling.filter_truth import random_rows
from tests.sampling.test_kept import extreme_rows

pytestmark = mosaic_gpu.needed


def bound(z, k, ties="index"):
    with mosaic_gpu.interpreted([kth]):
        return kth(jnp.asarray(z), jnp.asarray(k), first=ties == "index")


def check(z, k, ties="index"):
    kept = jax.jit(before)(z, *bound(z, k, ties))
    np.testing.assert_array_equal(kept, truth(z, k, ties))


@pytest.mark.parametrize(
    ("rows", "classes", "dtype", "ties"),
    [
        (130, 2, "float32", "index"),
        (100, 129, "float32", "index"),
        (60, 1000, "bfloat16", "index"),
        (30, 1000, "float16", "all"),
    ],
)
def test_random_rows(rows, classes, dtype, ties):
    check(random_rows(dtype, classes, rows), counts(rows, classes), ties)


@pytest.mark.parametrize(("classes", "warpgroups"), [(2000, 2), (3999, 4)])
@pytest.mark.parametrize("ties", ["index", "all"])
def test_warpgroups_count_together(classes, warpgroups, ties, monkeypatch):
    monkeypatch.setattr(_tiles, "_HELD", mosaic_gpu.HELD["split"])
    tiles = _tiles.choose(9, classes, 4)
    assert tiles is not None
    assert (tiles.warpgroups, tiles.held) == (warpgroups, True)
    check(random_rows("float32", classes, 9), counts(9, classes), ties)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_extreme_rows(dtype):
    z = extreme_rows(dtype)
    z = z[np.isfinite(z).all(axis=-1)][::3]
    check(z, np.random.default_rng(1).integers(1, 300, len(z)).astype(np.int32))


def test_a_row_with_a_nan_or_an_infinity_leaves_the_others_alone():
    z, k = random_rows("float32", 300, 20), counts(20, 300)
    spoilt = z.copy()
    spoilt[0, 7], spoilt[1, 8], spoilt[2], spoilt[3] = np.nan, np.inf, np.nan, -np.nan
    for got, want in zip(bound(spoilt, k), bound(z, k), strict=True):
        np.testing.assert_array_equal(got[4:], want[4:])


def search(z, k):
    return kth(z, k, first=True)


@pytest.mark.parametrize("classes", [1000, 32_000, 32_768])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rows_that_a_block_holds_are_read_once(classes, dtype):
    z = jax.ShapeDtypeStruct((512, classes), dtype)
    k = jax.ShapeDtypeStruct((512,), "int32")
    assert mosaic_gpu.count(search, z, k) == {"kth": 1}
    # k, and the two numbers of the bound.
    assert mosaic_gpu.moved(search, z, k) == [512 * (classes * z.dtype.itemsize + 12)]


@pytest.mark.parametrize(("rows", "classes"), [(512, 32_769), (3, 100)])
def test_longer_rows_and_too_few_run_in_the_xla_form(rows, classes):
    z = jax.ShapeDtypeStruct((rows, classes), "float32")
    assert not mosaic_gpu.count(search, z, jax.ShapeDtypeStruct((rows,), "int32"))


def test_top_k_of_every_row_is_searched_for_by_it():
    z = jax.ShapeDtypeStruct((512, 32_000), "float32")
    k = jax.ShapeDtypeStruct((512,), "int32")
    key = jax.eval_shape(lambda: jax.random.key(0))
    found = mosaic_gpu.count(lambda *x: jaxtemp.sample(*x[:2], top_k=x[2]), key, z, k)
    assert found["kth"] == 1
