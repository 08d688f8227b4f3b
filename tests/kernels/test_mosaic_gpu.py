"""The Mosaic GPU kernels: interpreted against the truth, and lowered for CUDA."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxtemp
from jaxtemp.kernels import _tiles
from jaxtemp.kernels._row_program import Program, cut
from jaxtemp.kernels.moments.primitive import moments
from jaxtemp.kernels.softmax import primitive as softmax
from tests import cases
from tests.kernels import mosaic_gpu
from tests.truth import SCALAR_OPS, VECTOR_OPS

pytestmark = mosaic_gpu.needed
KERNELS = {
    "softmax": softmax.softmax,
    "pull": softmax.pull,
    "push": softmax.push,
    "moments": moments,
}


@pytest.fixture
def interpreted():
    with mosaic_gpu.interpreted(KERNELS.values()):
        yield


@pytest.fixture(params=mosaic_gpu.HELD)
def held(request, monkeypatch):
    monkeypatch.setattr(_tiles, "_HELD", mosaic_gpu.HELD[request.param])


def arguments(rows, classes, dtype):
    """Logits, τ, and as many tangents, with masks and every kind of row."""
    rng = np.random.default_rng([rows, classes])
    z, g, dz = rng.normal(size=(3, rows, classes)) * 3
    z[rng.random(z.shape) < 0.2] = -np.inf
    z[:, 0] = rng.normal(size=rows)
    tau = np.resize([1.0, 0.3, 5.0, 0.0, 1e-45, 1e-3, 1e3, np.inf, 1.0], rows)
    if rows >= len(KINDS):
        z[KINDS.index("tied")] = 2.0
        z[KINDS.index("all masked")] = -np.inf
        z[KINDS.index("nan"), classes // 2] = np.nan
        z[KINDS.index("inf"), classes - 1] = np.inf
        tau[KINDS.index("nan τ")] = np.nan
        tau[KINDS.index("negative τ")] = -1.0
    dtau = rng.normal(size=rows)
    rows = (jnp.asarray(x, "float32") for x in (tau, dtau))
    return *(jnp.asarray(x, dtype) for x in (z, g, dz)), *rows


KINDS = ["tied", "all masked", "nan", "inf", "nan τ", "negative τ"]


def close(got, want, dtype):
    """Equal but for rounding, and NaN or infinite in the same places."""
    within = 2e-6 if dtype == "float32" else 2.0 ** (-7 if dtype == "bfloat16" else -10)
    for a, b in zip(got, want, strict=True):
        a, b = (np.asarray(x, np.float64) for x in (a, b))
        scale = np.abs(np.where(np.isfinite(b), b, 0)).max(initial=1e-3)
        np.testing.assert_allclose(a, b, rtol=within, atol=within * scale)


@pytest.mark.parametrize(
    ("dtype", "classes", "held"),
    [
        ("float32", 1, "as chosen"),
        ("float32", 2, "as chosen"),
        ("float32", 65, "as chosen"),
        ("float32", 1024, "split"),
        ("float16", 129, "split"),
        ("bfloat16", 1000, "as chosen"),
    ],
    indirect=["held"],
)
def test_softmax_meets_the_conformance_suite(dtype, classes, held, interpreted):
    rows, truth = cases.case(dtype, classes, row_count(classes))
    cotangents = {op: rows.cotangents()[op] for op in VECTOR_OPS}
    values, gradients = cases.pull(rows.arguments, cotangents)
    cases.check(rows, 2e-6, {op: (truth.value(op), values[op]) for op in VECTOR_OPS})
    cases.check(rows, 1e-5, cases.gradient_pairs(truth, cotangents, gradients))


@pytest.mark.parametrize(
    ("classes", "held"),
    [(1, "as chosen"), (127, "as chosen"), (1024, "split")],
    indirect=["held"],
)
def test_per_row_quantities_meet_the_conformance_suite(classes, held, interpreted):
    rows, truth = cases.case("float32", classes, row_count(classes))
    for op in SCALAR_OPS:
        values = cases.one(op, *rows.arguments)
        cases.check(rows, 2e-6, {op: (truth.value(op), values)})


@pytest.mark.parametrize(
    ("rows", "classes", "dtype"),
    [
        (1, 128, "float16"),
        (7, 129, "float32"),
        (130, 2, "float32"),
        (9, 1000, "bfloat16"),
    ],
)
def test_kernels_compute_what_their_xla_form_does(rows, classes, dtype, interpreted):
    z, g, dz, tau, dtau = arguments(rows, classes, dtype)
    assert cut(Program(), z) is not None
    for log in (False, True):
        close(run("softmax", z, tau, log=log), xla("softmax", z, tau, log=log), dtype)
        given = z, tau, g
        close(run("pull", *given, log=log), xla("pull", *given, log=log), dtype)
        given = z, tau, dz, dtau
        close(run("push", *given, log=log), xla("push", *given, log=log), dtype)
    # XLA's CPU compiler may leave a NaN out of a maximum, the first of the results.
    close(run("moments", z, tau)[1:], xla("moments", z, tau)[1:], "float32")


def row_count(classes):
    """Enough for a tile, and few where the interpreter goes through every block."""
    return 150 if classes < 3 else 30 if classes < 200 else 15


def run(name, *operands, **params):
    return mosaic_gpu.form(KERNELS[name])(*operands, **params)


def xla(name, *operands, **params):
    return jax.jit(functools.partial(KERNELS[name].xla, **params))(*operands)


def test_a_bad_row_spoils_no_other(interpreted):
    z, *_, tau, _ = arguments(9, 300, "float32")
    good = np.array([row >= len(KINDS) or row == 0 for row in range(9)])
    p = np.asarray(run("softmax", z, tau, log=False)[0])
    assert np.isfinite(p[good]).all()
    assert np.isnan(p[~good]).all()


@pytest.mark.parametrize("classes", [1000, 32_000, 131_072, 262_144])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_kernel_is_lowered_for_cuda(classes, dtype):
    z = jax.ShapeDtypeStruct((512, classes), dtype)
    row = jax.ShapeDtypeStruct((512,), "float32")
    assert mosaic_gpu.count(jaxtemp.softmax, z, row) == {"softmax": 1}
    assert mosaic_gpu.count(jaxtemp.log_softmax, z, row) == {"log_softmax": 1}
    assert mosaic_gpu.count(jaxtemp.entropy, z, row) == {"moments": 1}

    def pull(z, tau, g):
        return jax.vjp(jaxtemp.softmax, z, tau)[1](g)

    def push(z, tau, dz, dtau):
        return jax.jvp(jaxtemp.log_softmax, (z, tau), (dz, dtau))[1]

    assert mosaic_gpu.count(pull, z, row, z) == {"softmax_pull": 1}
    assert mosaic_gpu.count(push, z, row, z, row) == {"log_softmax_push": 1}


def test_vmap_adds_rows_to_one_kernel():
    z = jax.ShapeDtypeStruct((4, 128, 1000), "bfloat16")
    row = jax.ShapeDtypeStruct((128,), "float32")
    assert mosaic_gpu.count(jax.vmap(jaxtemp.softmax, (0, None)), z, row) == {
        "softmax": 1
    }


def test_a_program_for_several_platforms_has_the_kernel_for_cuda():
    z, tau = np.ones((8, 256), np.float32), np.ones(8, np.float32)
    program = jax.jit(jaxtemp.softmax)
    exported = jax.export.export(program, platforms=("cpu", "cuda", "tpu"))(z, tau)
    assert exported.mlir_module().count("custom_call @mosaic_gpu") == 1
    np.testing.assert_allclose(exported.call(z, tau), z / 256, rtol=1e-6)


def test_what_the_kernels_are_not_made_for_runs_in_the_xla_form():
    row = jax.ShapeDtypeStruct((3,), "float32")
    few = jax.ShapeDtypeStruct((3, 7), "float32")
    assert not mosaic_gpu.count(jaxtemp.softmax, few, row)
    with jax.enable_x64(True):
        wide = jax.ShapeDtypeStruct((3, 1000), "float64")
        assert not mosaic_gpu.count(
            jaxtemp.softmax, wide, jax.ShapeDtypeStruct((3,), "float64")
        )
    insisted = functools.partial(jaxtemp.softmax, implementation="xla")
    assert not mosaic_gpu.count(
        insisted, jax.ShapeDtypeStruct((3, 1000), "float32"), row
    )


@pytest.mark.parametrize(
    ("op", "classes", "wide", "numbers"),
    [
        # In and out once, and 1/τ; a row too long for four warpgroups twice in.
        (jaxtemp.softmax, 32_768, 2, 1),
        (jaxtemp.softmax, 262_144, 3, 1),
        (jaxtemp.log_softmax, 1000, 2, 2),
        (jaxtemp.entropy, 1000, 1, 8),
        (jaxtemp.entropy, 262_144, 1, 8),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_bytes_of_the_cost_estimate(op, classes, wide, numbers, dtype):
    z = jax.ShapeDtypeStruct((512, classes), dtype)
    row = jax.ShapeDtypeStruct((512,), "float32")
    each = jnp.dtype(dtype).itemsize
    assert mosaic_gpu.moved(op, z, row) == [512 * (classes * each * wide + 4 * numbers)]


@pytest.mark.parametrize(("classes", "wide"), [(1000, 3), (16_384, 3), (32_768, 5)])
def test_bytes_of_the_backward_pass(classes, wide):
    z = jax.ShapeDtypeStruct((512, classes), "bfloat16")
    row = jax.ShapeDtypeStruct((512,), "float32")

    def pull(z, tau, g):
        return jax.vjp(jaxtemp.softmax, z, tau)[1](g)

    assert mosaic_gpu.moved(pull, z, row, z) == [512 * (classes * 2 * wide + 4 * 3)]
