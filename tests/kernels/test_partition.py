"""Kernels over rows that a mesh splits, on one made for the purpose, and without one.

What runs on each device is told apart by its sign; a device could not compute it from
rows of others, as each subtracts its own rows' mean.
"""

import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxtemp
from jaxtemp.kernels import _primitive
from jaxtemp.kernels._primitive import RowKernel

WIDE = np.random.default_rng(0).normal(size=(16, 2, 6)).astype(np.float32)
ROW = np.arange(32, dtype=np.float32).reshape(16, 2)
KINDS = [AxisType.Auto, AxisType.Explicit]


def _plain(wide, row):
    return wide * row[..., None], wide.sum(-1) + row


def _kernel(wide, row):
    """The plain form's results less those of all rows that the device holds."""
    return tuple(x - x.mean() for x in _plain(wide, row))


@pytest.fixture
def kernel(request):
    kernel = RowKernel(f"partitioned_{request.node.name}", _plain)
    kernel.lower_to("cpu", _kernel, name="mosaic_cpu")
    return kernel


def _run(kernel, kind, spec):
    mesh = jax.make_mesh((8,), ("d",), axis_types=(kind,))
    wide = jax.device_put(WIDE, NamedSharding(mesh, P(*spec)))
    row = jax.device_put(ROW, NamedSharding(mesh, P(*spec[:2])))
    program = jax.jit(lambda wide, row: kernel(wide, row)).lower(wide, row).compile()
    return program.as_text(), program(wide, row)


@pytest.mark.parametrize("kind", KINDS)
def test_each_device_runs_the_kernel_on_its_rows(kernel, kind):
    text, results = _run(kernel, kind, ("d", None, None))
    assert not re.search("all-|collective-|reduce-scatter", text)
    for result in results:
        assert result.sharding.shard_shape(result.shape)[0] == 2
    parts = [
        _kernel(w, r)
        for w, r in zip(WIDE.reshape(8, 2, 2, 6), ROW.reshape(8, 2, 2), strict=True)
    ]
    for got, want in zip(results, zip(*parts, strict=True), strict=True):
        np.testing.assert_allclose(got, np.concatenate(want), atol=1e-5)


@pytest.mark.filterwarnings("ignore:partitioned_")
@pytest.mark.parametrize("kind", KINDS)
def test_rows_whose_classes_are_split(kernel, kind):
    """Put together where the partitioner may, and the plain form where types forbid."""
    mesh = jax.make_mesh((2,), ("d",), axis_types=(kind,), devices=jax.devices()[:2])
    wide = jax.device_put(WIDE, NamedSharding(mesh, P(None, None, "d")))
    form = _kernel if kind == AxisType.Auto else _plain
    for got, want in zip(jax.jit(kernel)(wide, ROW), form(WIDE, ROW), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5)


def test_a_tpu_kernel_under_automatic_sharding_gives_way_with_one_warning():
    """XLA cannot split one (jax-ml/jax#38196) and would gather its operands."""
    mesh = jax.make_mesh((8,), ("d",), axis_types=(AxisType.Auto,))
    place = NamedSharding(mesh, P("d"))
    shapes = [
        jax.ShapeDtypeStruct(shape, "float32", sharding=place)
        for shape in ((16, 1000), (16,))
    ]

    def lower(function):
        traced = jax.jit(function).trace(*shapes)
        return traced.lower(lowering_platforms=("tpu",)).as_text()

    _primitive._warn_once.cache_clear()
    with pytest.warns(UserWarning, match=r"jaxtemp_softmax: .*`jax.shard_map`"):
        assert "tpu_custom_call" not in lower(jaxtemp.softmax)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lower(lambda z, tau: jaxtemp.softmax(z, tau) + 1)
    mapped = jax.shard_map(
        jaxtemp.softmax, mesh=mesh, in_specs=P("d"), out_specs=P("d")
    )
    assert lower(mapped).count("tpu_custom_call") == 1


def _unbuildable(wide, row):
    raise NotImplementedError("no such instruction")


def test_a_kernel_that_cannot_be_built_gives_way_unless_insisted_on(kernel):
    kernel.lower_to("cpu", _unbuildable, name="mosaic_cpu")
    with pytest.warns(UserWarning, match="mosaic_cpu kernel .*: no such instruction"):
        results = jax.jit(kernel)(WIDE, ROW)
    for got, want in zip(results, _plain(WIDE, ROW), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)
    with pytest.raises(NotImplementedError, match="no such instruction"):
        jax.jit(lambda x, r: kernel(x, r, implementation="mosaic_cpu"))(WIDE, ROW)


def test_an_exported_program_for_several_devices_holds_the_plain_form(kernel):
    mesh = jax.make_mesh((8,), ("d",), axis_types=(AxisType.Auto,))
    wide = jax.device_put(WIDE, NamedSharding(mesh, P("d")))
    with pytest.warns(UserWarning, match="cannot be exported"):
        exported = jax.export.export(jax.jit(kernel))(wide, jnp.asarray(ROW))
    for got, want in zip(exported.call(wide, ROW), _plain(WIDE, ROW), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)
