"""The seam between an op and its kernels, on a kernel made for the purpose."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from jaxtemp import kernels
from jaxtemp.kernels._primitive import RowKernel

WIDE = np.arange(12.0, dtype=np.float32).reshape(2, 2, 3)
ROW = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)


def _plain(wide, row, *, power):
    return wide * row[..., None] ** power, wide.sum(-1) * row


def _marked(wide, row, *, power):
    """What another platform would run, told apart by its sign."""
    return tuple(-x for x in _plain(wide, row, power=power))


@pytest.fixture
def kernel(request):
    # Lowered programs are cached by the primitive: one of its own for each test.
    return RowKernel(f"toy_{request.node.name}", _plain)


def _agree(got, want):
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
def test_it_computes_what_its_plain_form_does(kernel, wrap):
    _agree(
        wrap(lambda x, r: kernel(x, r, power=2))(WIDE, ROW), _plain(WIDE, ROW, power=2)
    )


@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0), (1, 1), (1, 0)])
def test_vmap_adds_rows(kernel, axes):
    rows = ROW[0] if axes[1] is None else ROW
    wide = WIDE[0] if axes[0] is None else WIDE
    got = jax.vmap(lambda x, r: kernel(x, r, power=1), axes)(wide, rows)
    want = jax.vmap(lambda x, r: _plain(x, r, power=1), axes)(wide, rows)
    _agree(got, want)
    text = str(
        jax.make_jaxpr(jax.vmap(lambda x, r: kernel(x, r, power=1), axes))(wide, rows)
    )
    assert text.count(kernel.primitive.name) == 1


def test_one_program_for_several_platforms_holds_a_form_for_each(kernel):
    kernel.lower_to("tpu", _marked, name="mosaic_tpu")
    program = jax.jit(lambda x, r: kernel(x, r, power=1))
    exported = export.export(program, platforms=["cpu", "tpu"])(WIDE, ROW)
    assert "stablehlo.negate" in exported.mlir_module()
    _agree(exported.call(WIDE, ROW), _plain(WIDE, ROW, power=1))


def test_an_own_form_is_preferred_and_can_be_declined(kernel):
    kernel.lower_to("cpu", _marked, name="mosaic_cpu")
    chosen = jax.jit(lambda x, r: kernel(x, r, power=1))(WIDE, ROW)
    _agree(chosen, _marked(WIDE, ROW, power=1))
    insisted = jax.jit(lambda x, r: kernel(x, r, power=1, implementation="xla"))
    _agree(insisted(WIDE, ROW), _plain(WIDE, ROW, power=1))


def test_a_form_that_the_platform_lacks_is_refused_by_name(kernel):
    kernel.lower_to("tpu", _marked, name="mosaic_tpu")
    program = jax.jit(lambda x, r: kernel(x, r, power=1, implementation="mosaic_tpu"))
    with pytest.raises(ValueError, match="`implementation` 'mosaic_tpu' does not run"):
        program(WIDE, ROW)
    lowered = program.trace(WIDE, ROW).lower(lowering_platforms=("tpu",))
    assert "stablehlo.negate" in lowered.as_text()


def test_every_implementation_is_available_or_says_why_not():
    for name, state in kernels.available().items():
        assert name in {"xla", "mosaic_gpu", "mosaic_tpu"}
        assert state == "available" or len(state) > 10


def test_results_of_no_rows_are_empty(kernel):
    wide, row = kernel(jnp.zeros((0, 3)), jnp.zeros(0), power=1)
    assert wide.shape == (0, 3)
    assert row.shape == (0,)
