"""The Mosaic GPU kernel of filtered draws: the ids of the XLA form, and its cost."""

import functools

import jax
import numpy as np
import pytest

import jaxtemp
from jaxtemp.kernels import _tiles
from jaxtemp.kernels.sample.primitive import sample
from tests.kernels import mosaic_gpu
from tests.kernels.draws import BAD, KINDS, copies, operands
from tests.random.test_categorical import g_test
from tests.sampling.test_sample import kept

pytestmark = mosaic_gpu.needed


@pytest.mark.parametrize(
    ("rows", "classes", "dtype", "first", "kind"),
    [
        (9, 129, "float32", True, "top-k and min-p"),
        (20, 1000, "bfloat16", False, "all"),
        (3, 1024, "float16", True, "top-p"),  # blocks become rows
    ],
)
def test_ids_are_those_of_the_xla_form(rows, classes, dtype, first, kind):
    given, params = operands(rows, classes, dtype, first), KINDS[kind]
    with mosaic_gpu.interpreted([sample]):
        (ids,) = sample(*given, first=first, **params)
    (want,) = jax.jit(functools.partial(sample.xla, first=first, **params))(*given)
    if rows > BAD:
        assert (np.asarray(ids)[:BAD] == -1).all()
        assert (np.asarray(ids)[BAD:] >= 0).all()
    # A uniform number may fall between two roundings of one boundary.
    assert np.mean(np.asarray(ids) != np.asarray(want)) <= 0.01


def test_frequencies_are_those_of_what_is_kept(monkeypatch):
    # The interpreter goes through every block: few, of many rows.
    monkeypatch.setattr(_tiles, "_BLOCKS", 1)
    monkeypatch.setattr(_tiles, "_WORTH", 512)
    form = functools.partial(sample, first=True, **KINDS["all"])
    given, z, numbers = copies()
    with mosaic_gpu.interpreted([sample]):
        (ids,) = form(*given)
    counts = np.bincount(np.asarray(ids), minlength=z.size)
    assert g_test(counts.astype(float), kept(z, *numbers)) > 1e-4


def draw(key, z, tau, k, p):
    return jaxtemp.sample(key, z, tau, top_k=k, top_p=p, min_p=0.1)


@pytest.mark.parametrize("classes", [1000, 32_000, 131_072, 262_144])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_draw_reads_the_logits_once(classes, dtype):
    """Before the loop without min-p and then with it, and in the loop.

    The search for a row's own top-k reads it besides.
    """
    z = jax.ShapeDtypeStruct((512, classes), dtype)
    row = jax.ShapeDtypeStruct((512,), "float32")
    k = jax.ShapeDtypeStruct((512,), "int32")
    given = jax.eval_shape(lambda: jax.random.key(0)), z, row, k, row
    found = mosaic_gpu.count(draw, *given)
    searched = found.pop("kth", 0)
    assert (searched, found) == (classes <= 32_768, {"block_masses": 3})
    logits = classes * z.dtype.itemsize
    blocks = -(-classes // 128)
    # 1/τ, a logit and an index; the largest, and how far a class may be below it.
    numbers = [3 + 2 * blocks, 5 + blocks, 4 + blocks]
    numbers += searched * [3]  # k, and the bound
    moved = sorted((512 * (logits + 4 * n) for n in numbers), reverse=True)
    assert mosaic_gpu.moved(draw, *given) == moved


def test_an_op_that_has_no_limits_to_search_for_reads_twice():
    z = jax.ShapeDtypeStruct((8, 1000), "bfloat16")
    key = jax.eval_shape(lambda: jax.random.key(0))
    nucleus = functools.partial(jaxtemp.sample, top_p=0.9)
    assert mosaic_gpu.count(nucleus, key, z) == {"block_masses": 2}
