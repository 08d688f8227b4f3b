"""The TPU kernels of categorical draws, interpreted: the ids of the plain form."""

import functools

import numpy as np
import pytest
from numpy import inf, nan

from jaxtemp.kernels import _mosaic_tpu_block
from jaxtemp.kernels.categorical import greedy as plain_greedy
from jaxtemp.kernels.categorical import greedy_mosaic_tpu as greedy
from jaxtemp.kernels.categorical import mosaic_tpu, xla
from tests.kernels.mosaic_tpu import interpreted, jit, rows_of

# Rows, classes, dtype, whether a row is split, which none of less than 16384 is, and
# whether ties go to the first.
SHAPES = [
    (7, 100, "float32", False, False),
    (15, 129, "bfloat16", False, True),
    (30, 1000, "float32", False, False),
    (15, 16_400, "float32", False, True),
    (15, 40_000, "bfloat16", True, False),
    (7, 300, "float16", False, True),
]


def keys_for(count: int, draws: int):
    words = np.random.default_rng(count).integers(2**32, size=(2, count, draws))
    return words.astype(np.uint32)


@pytest.mark.parametrize(("count", "classes", "dtype", "split", "first"), SHAPES)
def test_ids_are_those_of_the_plain_form(
    count, classes, dtype, split, first, monkeypatch
):
    z, tau, _ = rows_of(dtype, classes, count)
    z[0], z[1, classes // 2], z[2, -1] = -inf, nan, inf
    operands = z, tau, *keys_for(count, 3)
    want = jit(functools.partial(xla.forward, first=first))(*operands)[0]
    with interpreted(monkeypatch, split):
        if split:
            monkeypatch.setattr(_mosaic_tpu_block, "CHUNK", 1024)
        got = jit(functools.partial(mosaic_tpu.forward, first=first))(*operands)[0]
    assert (np.asarray(got)[:3] == -1).all()
    # Sums in another order are rounded differently; few draws are that close.
    assert (np.asarray(got) == np.asarray(want)).mean() >= 0.95
    np.testing.assert_array_equal(np.asarray(got) < 0, np.asarray(want) < 0)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize(("classes", "split"), [(1, False), (129, False), (1000, True)])
def test_greedy_ids_are_those_of_the_plain_form(classes, split, first, monkeypatch):
    """With ties and without, at the top and in later blocks, and with bad rows."""
    z = np.random.default_rng(classes).normal(size=(30, classes)).astype(np.float32)
    z[10:20] = np.round(z[10:20])
    z[20:, classes // 2 :] = z[20:, :1]
    bad = z.copy()
    bad[0], bad[1, classes // 2], bad[2, -1] = -inf, nan, inf
    others = np.zeros(30, np.float32), *keys_for(30, 2)
    ours, plain = (
        jit(functools.partial(module.forward, first=first))
        for module in (greedy, plain_greedy)
    )
    with interpreted(monkeypatch, split):
        for logits in (z, bad):
            got, want = ours(logits, *others)[0], plain(logits, *others)[0]
            np.testing.assert_array_equal(got, want)
            if first:
                np.testing.assert_array_equal(got[3:, 0], z[3:].argmax(-1))


def test_block_sums_are_those_of_the_truth(monkeypatch):
    """What the draws choose from, to the last digits."""
    z, tau, _ = rows_of("float32", 1000, 15)
    z[:, 0] = 0
    seen = []
    monkeypatch.setattr(mosaic_tpu, "levels", lambda sums: seen.append(sums) or (sums,))

    @jit
    def sums(z, tau, *keys):
        mosaic_tpu.forward(z, tau, *keys, first=False)
        return seen[0]

    with interpreted(monkeypatch):
        got = sums(z, tau, *keys_for(15, 1))
    scale = np.minimum(1 / np.maximum(tau.astype(np.float64), 1e-45), 3.4e38)
    e = np.exp((z.astype(np.float64) - z.max(-1, keepdims=True)) * scale[:, None])
    want = np.pad(e, [(0, 0), (0, 24)]).reshape(15, 8, 128).sum(-1)
    np.testing.assert_allclose(got, want, rtol=3e-5, atol=1e-12)
