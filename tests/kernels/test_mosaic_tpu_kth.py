"""The TPU kernel of the first k classes, interpreted: against NumPy's stable sort."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from jaxtemp.kernels.kth import mosaic_tpu
from tests.kernels.mosaic_tpu import interpreted, jit, rows_of
from tests.kernels.test_kth import before, counts, truth
from tests.sampling.filter_truth import random_rows
from tests.sampling.test_kept import extreme_rows


def check(z, k, ties, monkeypatch):
    """What lies before the bound is what is kept, where a row has no NaN."""
    form = functools.partial(mosaic_tpu.forward, first=ties == "index")
    with interpreted(monkeypatch):
        bound = jit(form)(z, k)
    # Compared as a kernel compares, which takes a subnormal number for zero.
    np.testing.assert_array_equal(jit(before)(z, *bound), truth(z, k, ties))


@pytest.mark.parametrize(
    ("rows", "classes", "dtype", "ties"),
    [
        (100, 129, "float32", "index"),
        (60, 1000, "bfloat16", "index"),
        (60, 1000, "float32", "all"),
        (9, 5000, "float32", "index"),
    ],
)
def test_random_rows(rows, classes, dtype, ties, monkeypatch):
    z, k = random_rows(dtype, classes, rows), counts(rows, classes)
    check(z, k, ties, monkeypatch)


def test_extreme_rows(monkeypatch):
    z = np.concatenate([extreme_rows("float32")[:30], extreme_rows("float32")[35:]])
    k = np.random.default_rng(1).integers(1, 300, len(z)).astype(np.int32)
    check(z, k, "index", monkeypatch)
    check(jnp.asarray(z, jnp.bfloat16), k, "index", monkeypatch)


def test_a_row_with_a_nan_or_an_infinity_leaves_the_others_alone(monkeypatch):
    z, k = rows_of("float32", 300, 20)[0], counts(20, 300)
    spoilt = z.copy()
    spoilt[0, 7], spoilt[1, 8], spoilt[2], spoilt[3] = np.nan, np.inf, np.nan, -np.nan
    form = jit(functools.partial(mosaic_tpu.forward, first=True))
    with interpreted(monkeypatch):
        for got, want in zip(form(spoilt, k), form(z, k), strict=True):
            np.testing.assert_array_equal(got[4:], want[4:])
