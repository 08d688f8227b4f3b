"""GPU blocks that share a row: against the truth and the XLA form, and their cost."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxtemp
from jaxtemp.kernels._row_program import Program, cut
from jaxtemp.kernels.categorical.primitive import greedy
from tests import cases
from tests.kernels import mosaic_gpu, test_mosaic_gpu_draws
from tests.kernels.test_mosaic_gpu import KERNELS, arguments, close, run, xla
from tests.truth import VECTOR_OPS

pytestmark = mosaic_gpu.needed


def shared(z):
    """How rows are cut, between several blocks."""
    tiles = cut(Program(), z)
    assert tiles is not None
    assert tiles.splits > 1
    return tiles


@pytest.mark.parametrize(
    ("rows", "classes", "dtype", "options"),
    [
        (9, 701, "float32", {}),
        (1, 4099, "float16", {"multiprocessors": 2, "warpgroups": 2}),
    ],
)
def test_kernels_compute_what_their_xla_form_does(
    rows, classes, dtype, options, monkeypatch
):
    """With every kind of row; and with several warpgroups, which read several tiles."""
    mosaic_gpu.share_rows(monkeypatch, **options)
    z, g, dz, tau, dtau = arguments(rows, classes, dtype)
    tiles = shared(z)
    assert (tiles.steps > 1, tiles.warpgroups > 1) == (bool(options),) * 2
    with mosaic_gpu.interpreted(KERNELS.values()):
        close(run("moments", z, tau)[1:], xla("moments", z, tau)[1:], "float32")
        for name, log, *given in (
            ("softmax", False, z, tau),
            ("pull", True, z, tau, g),
            ("push", False, z, tau, dz, dtau),
        ):
            close(run(name, *given, log=log), xla(name, *given, log=log), dtype)


def test_conformance_suite(monkeypatch):
    mosaic_gpu.share_rows(monkeypatch)
    rows, truth = cases.case("float32", 701, 8)
    shared(rows.arguments[0])
    cotangents = {op: rows.cotangents()[op] for op in VECTOR_OPS}
    with mosaic_gpu.interpreted(KERNELS.values()):
        values, gradients = cases.pull(rows.arguments, cotangents)
        entropy = cases.one("entropy", *rows.arguments)
    cases.check(rows, 2e-6, {op: (truth.value(op), values[op]) for op in VECTOR_OPS})
    cases.check(rows, 1e-5, cases.gradient_pairs(truth, cotangents, gradients))
    cases.check(rows, 2e-6, {"entropy": (truth.value("entropy"), entropy)})


def test_the_largest_class_is_that_of_the_whole_row(monkeypatch):
    mosaic_gpu.share_rows(monkeypatch)
    z, _, *keys = test_mosaic_gpu_draws.arguments(9, 701, "float32")
    z = z.at[5].set(jnp.round(z[5])).at[6, 300:].set(z[6].max())
    shared(z)
    given = z, jnp.zeros(9), *keys
    with mosaic_gpu.interpreted([greedy]):
        (ids,) = greedy(*given, first=True)
    (want,) = jax.jit(lambda *x: greedy.xla(*x, first=True))(*given)
    np.testing.assert_array_equal(ids, want)


@pytest.mark.parametrize("classes", [131_072, 1_000_000, 1_000_003])
@pytest.mark.parametrize("rows", [1, 8, 64])
def test_logits_are_read_as_often_as_by_one_block(rows, classes):
    z = jax.ShapeDtypeStruct((rows, classes), "float32")
    row = jax.ShapeDtypeStruct((rows,), "float32")
    parts = shared(z).splits

    def pull(z, tau, g):
        return jax.vjp(jaxtemp.softmax, z, tau)[1](g)

    moved = functools.partial(_moved, rows)
    # Both τ; statistics of each part, and of the row.
    assert moved(jaxtemp.entropy, z, row) == [4 * (classes + 2 + 6 * parts)]
    assert moved(jaxtemp.softmax, z, row) == [
        4 * (2 * classes + 1 + 2),
        4 * (classes + 1 + 2 * parts),
    ]
    assert mosaic_gpu.count(pull, z, row, z) == {"softmax_pull": 2}


def _moved(rows, *called):
    """Of one row."""
    return [bytes_ / rows for bytes_ in mosaic_gpu.moved(*called)]
