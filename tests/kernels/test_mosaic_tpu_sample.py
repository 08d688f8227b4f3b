"""The TPU kernel of filtered draws, interpreted: the ids of the plain form."""

import functools

import numpy as np
import pytest

from jaxtemp.kernels import _mosaic_tpu_block
from jaxtemp.kernels.sample import mosaic_tpu, xla
from tests.kernels.draws import BAD, KINDS, copies, operands
from tests.kernels.mosaic_tpu import interpreted, jit
from tests.random.test_categorical import g_test
from tests.sampling.test_sample import kept

# Rows, classes, dtype, whether a row is split, whether ties go to the first, limits.
SHAPES = [
    (9, 129, "float32", False, True, "top-p"),
    (40, 1000, "bfloat16", False, False, "all"),
    (12, 1024, "float32", False, True, "top-k and min-p"),
    (9, 17_000, "float32", False, False, "all"),  # sums of sums
    (9, 20_000, "bfloat16", True, True, "all"),
    (9, 300, "float32", True, True, "top-k and min-p"),
]


@pytest.mark.parametrize(("rows", "classes", "dtype", "split", "first", "kind"), SHAPES)
def test_ids_are_those_of_the_plain_form(
    rows, classes, dtype, split, first, kind, monkeypatch
):
    given, params = operands(rows, classes, dtype, first), KINDS[kind]
    want = jit(functools.partial(xla.forward, first=first, **params))(*given)[0]
    with interpreted(monkeypatch, split):
        if split:
            monkeypatch.setattr(_mosaic_tpu_block, "CHUNK", 1024)
        form = functools.partial(mosaic_tpu.forward, first=first, **params)
        got = jit(form)(*given)[0]
    assert (np.asarray(got)[:BAD] == -1).all()
    assert (np.asarray(got)[BAD:] >= 0).all()
    # Sums in another order are rounded differently; few draws are that close.
    assert (np.asarray(got) == np.asarray(want)).mean() >= 0.95


def test_frequencies_are_those_of_what_is_kept(monkeypatch):
    form = functools.partial(mosaic_tpu.forward, first=True, **KINDS["all"])
    given, z, numbers = copies()
    with interpreted(monkeypatch):
        (ids,) = jit(form)(*given)
    counts = np.bincount(np.asarray(ids), minlength=z.size)
    assert g_test(counts.astype(float), kept(z, *numbers)) > 1e-4
