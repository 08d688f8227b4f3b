"""The TPU kernels, interpreted: against the truth, and what they move."""

import functools

import jax
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pltpu
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from numpy import inf, nan

import jaxtemp
from jaxtemp import _derivatives
from jaxtemp._rows import Rows
from jaxtemp.kernels import _mosaic_tpu_block
from jaxtemp.kernels.moments import mosaic_tpu as moments
from jaxtemp.kernels.moments import xla as moments_xla
from jaxtemp.kernels.softmax import mosaic_tpu as softmax
from jaxtemp.kernels.softmax import xla
from tests import cases
from tests.kernels.mosaic_tpu import (
    KERNELS,
    interpreted,
    jit,
    moved,
    pallas_calls,
    rows_of,
    shapes_of,
    small_blocks,
)
from tests.truth import SCALAR_OPS, Truth

# Rows, classes, dtype, whether a row is split, and whether logarithms are taken.
SHAPES = [
    (1, 1, "float32", False, False),
    (7, 2, "float32", False, True),
    (9, 127, "bfloat16", False, False),
    (15, 128, "float32", False, True),
    (30, 129, "float32", True, False),
    (15, 300, "bfloat16", True, True),
    (30, 1000, "float32", True, False),
    (30, 1000, "float32", True, True),
    (15, 1000, "bfloat16", False, True),
    (7, 20, "float16", False, False),
]


@pytest.mark.parametrize(("count", "classes", "dtype", "split", "log"), SHAPES)
def test_softmax_and_its_jacobian(count, classes, dtype, split, log, monkeypatch):
    op = "log_softmax" if log else "softmax"
    rows = rows_of(dtype, classes, count)
    truth, g, tangents = Truth(*rows), rows.cotangents()[op], rows.tangents()

    @jit
    def run(z, tau, g, dz, dtau):
        return (
            *softmax.forward(z, tau, log=log),
            softmax.pull(z, tau, g, log=log),
            *softmax.push(z, tau, dz, dtau, log=log),
        )

    with interpreted(monkeypatch, split):
        value, pulled, pushed = run(*rows[:2], g, *tangents)
    within = cases.tolerance(dtype)
    cases.check(rows, within, {op: (truth.value(op), value)})
    within = cases.tolerance(dtype, derivative=True)
    cases.check(rows, within, cases.gradient_pairs(truth, {op: g}, {op: pulled}))
    want = truth.jvp(op, *tangents).unless_too_large(truth.largest, rows=False)
    cases.check(rows, within, {op: (want, pushed)})


@pytest.mark.parametrize(
    ("count", "classes", "dtype", "split"), [case[:4] for case in SHAPES if not case[4]]
)
def test_moments(count, classes, dtype, split, monkeypatch):
    """By way of the five ops that are made of them."""
    rows = rows_of(dtype, classes, count)
    truth = Truth(*rows)
    monkeypatch.setattr(
        _derivatives, "moments", lambda z, tau, implementation: moments.forward(z, tau)
    )
    with interpreted(monkeypatch, split):
        got = jit(lambda *args: {op: cases.one(op, *args) for op in SCALAR_OPS})(
            *rows[:2]
        )
    pairs = {op: (truth.value(op), got[op]) for op in SCALAR_OPS}
    cases.check(rows, cases.tolerance(dtype), pairs)


def test_a_simulated_chip_moves_the_same_blocks(monkeypatch):
    """Its copies between memories run when they are waited for, and races are seen."""
    z, tau, _ = rows_of("float32", 300, 15)
    g = np.random.default_rng(0).normal(size=z.shape).astype(np.float32)
    form = functools.partial(softmax.pull, log=False)
    with interpreted(monkeypatch, split=True):
        want = jit(form)(z, tau, g)
    monkeypatch.undo()
    small_blocks(monkeypatch, split=True)
    with pltpu.force_tpu_interpret_mode(pltpu.InterpretParams(detect_races=True)):
        got = jax.jit(form)(z, tau, g)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-30)


def test_axes_of_a_batch_are_rows(monkeypatch):
    z, tau, _ = rows_of("float32", 200, 30)
    with interpreted(monkeypatch):
        want = jit(moments.forward)(z, tau)
        got = jit(moments.forward)(z.reshape(5, 2, 3, 200), tau.reshape(5, 2, 3))
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b.reshape(5, 2, 3))


BAD = np.random.default_rng(0).normal(size=(9, 200)).astype(np.float32)
BAD[1, 150], BAD[2, 3], BAD[3], BAD[4, :180] = nan, inf, -inf, -inf
BAD_TAU = np.array([1, 1, 1, 1, 1, nan, -1, 0.5, 0.5], np.float32)


@pytest.mark.parametrize(
    ("log", "split"), [(False, False), (False, True), (True, True)]
)
def test_bad_rows_are_those_of_the_plain_form(log, split, monkeypatch):
    g, dz = np.random.default_rng(1).normal(size=(2, 9, 200)).astype(np.float32)
    forms = [("forward", ()), ("pull", (g,)), ("push", (dz, BAD_TAU))]
    with interpreted(monkeypatch, split):
        for name, others in forms:
            operands = BAD, BAD_TAU, *others
            alike(operands, softmax, xla, name, log=log)
        if not log:
            alike((BAD, BAD_TAU), moments, moments_xla, "forward")


def alike(operands, ours, plain, name, **params):
    """Compare with what the plain form gives, NaN by NaN."""
    form = functools.partial(getattr(ours, name), **params)
    reference = functools.partial(getattr(plain, name), **params, rows=Rows())
    got, want = jit(form)(*operands), jit(reference)(*operands)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b), err_msg=name)
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5, err_msg=name)


ONCE = {
    "moments",
    "greedy",
    "kth",
    "sample",
    "cross_entropy",
    "soft cross_entropy",
    "soft cross_entropy pull",
}
TWICE = set(KERNELS) - ONCE  # if a row is split, but for one block
# How many sums of a block are written, and tables of numbers moved.
SUMS = {"categorical": (1, 1), "sample": (1, 2), "sample by reads": (2, 2)}
# Kernels of rows that fit a block; longer ones run another form.
WHOLE = {"kth", "sample"}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("name", "classes"),
    [
        (name, classes)
        for name in KERNELS
        for classes in (1000, 262_144, 2**20)
        if classes < 2**20 or name not in WHOLE
    ],
)
def test_cost_is_what_the_blocks_move(name, classes, dtype):
    """One read of the operands of a row that fits, and 2 - 1/n of most split ones."""
    shapes = shapes_of(name, 72, classes, dtype)
    call, *_ = pallas_calls(KERNELS[name][0], *shapes)
    stated = call.params["cost_estimate"].bytes_accessed
    assert stated == moved(call)
    _, phases, splits = call.params["grid_mapping"].grid
    assert (splits > 1) == (classes > 300_000)
    assert phases == (2 if splits > 1 and name in TWICE else 1)
    least, tables = bytes_of(name, shapes, phases - (phases - 1) / splits)
    assert stated - tables == pytest.approx(least, rel=0.01 if classes > 1000 else 0.3)


def bytes_of(name, shapes, reads) -> tuple[float, int]:
    """The least that can be moved with so many reads, and the tables."""
    results = jax.eval_shape(KERNELS[name][0], *shapes)
    wide = [[x for x in xs if x.shape[1:] > (1,)] for xs in (shapes, results)]
    read, written = (sum(x.size * x.dtype.itemsize for x in xs) for xs in wide)
    tables = 1 + any(x.ndim == 1 for x in results)
    if name == "greedy":
        written, tables = 0, 2
    if name in SUMS:  # of blocks of 128, in rows of as many lanes
        count, tables = SUMS[name]
        written = 72 * max(shapes[0].shape[1] // 128, 128) * 4 * count
    return read * reads + written, 72 * 512 * tables


@pytest.mark.parametrize("rows", [1, 8, 500, 100_000])
@pytest.mark.parametrize("classes", [1, 1000, 131_072, 10**7])
@pytest.mark.parametrize("itemsizes", [(4,), (4, 4), (2, 2, 2), (2, 4)])
def test_blocks_are_made_of_tiles_and_fit(rows, classes, itemsizes):
    cut = _mosaic_tpu_block.plan(rows, classes, itemsizes)
    tile = 32 // min(itemsizes)
    assert cut.rows % cut.group == cut.group % tile == 0
    assert cut.width % cut.chunk == cut.chunk % 128 == 0
    assert (cut.splits - 1) * cut.width < classes <= cut.splits * cut.width
    assert 2 * cut.rows * cut.width * sum(itemsizes) <= _mosaic_tpu_block.BLOCKS
    tables = 5 * cut.rows * 512  # two in, two out, and what is known
    assert 2 * cut.rows * cut.width * sum(itemsizes) + tables < _mosaic_tpu_block.LIMIT


def differentiated(op):
    def step(z, tau):
        value, pull = jax.vjp(op, z, tau)
        return value, pull(value)

    return step


def draw(z, tau):
    return jaxtemp.categorical(jax.random.key(0), z, tau)


def sample(z, tau, **few):
    return jaxtemp.sample(jax.random.key(0), z, tau, **few)


def loss(z, tau):
    return jaxtemp.losses.cross_entropy(z, np.zeros(z.shape[:-1], int), tau)


# Functions of logits and a temperature, and how many kernels they are.
PROGRAMS = {
    "softmax": (differentiated(jaxtemp.softmax), 2),
    "log_softmax": (differentiated(jaxtemp.log_softmax), 2),
    "entropy": (jaxtemp.entropy, 1),
    "categorical": (draw, 2),
    "greedy": (lambda z, tau: draw(z + tau[..., None].astype(z.dtype), 0), 3),
    "cross_entropy": (differentiated(loss), 2),
    "sample": (functools.partial(sample, top_p=0.9, min_p=0.1), 1),
    "sample a row's own k": (lambda z, tau: sample(z, tau, top_k=tau.astype(int)), 2),
}


def kernels_in(function, dtype="bfloat16", shape=(8, 1000)) -> int:
    shapes = jax.ShapeDtypeStruct(shape, dtype), jax.ShapeDtypeStruct(shape[:-1], "f4")
    lowered = jax.jit(function).trace(*shapes).lower(lowering_platforms=("tpu",))
    return lowered.as_text().count("@tpu_custom_call")


@pytest.mark.parametrize("name", PROGRAMS)
def test_lowered_for_a_tpu_the_ops_are_kernels(name):
    function, count = PROGRAMS[name]
    assert kernels_in(function) == count
    assert kernels_in(function, shape=(2, 3, 1000)) == count
    assert kernels_in(jax.vmap(function), shape=(2, 3, 1000)) == count
    assert kernels_in(function, "float16") == 0
    mesh = jax.make_mesh((8,), ("d",), axis_types=(AxisType.Auto,))
    mapped = jax.shard_map(function, mesh=mesh, in_specs=P("d"), out_specs=P("d"))
    assert kernels_in(mapped) == count


def test_no_rows_and_short_ones_need_no_kernel():
    assert kernels_in(jaxtemp.softmax, shape=(10_000, 10)) == 0
    assert kernels_in(jaxtemp.softmax, shape=(0, 1000)) == 0
