"""Values of the seven ops on random rows, eager, under jit and under vmap.

Truth is `tests.truth.Truth`, which is itself held against mpmath here.
"""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import jaxtemp
from tests import cases
from tests.truth import (
    OPS,
    SCALAR_OPS,
    VECTOR_OPS,
    Expected,
    Truth,
    mp_error,
    mp_values,
)

inf, nan = np.inf, np.nan


TRANSFORMS = {
    "eager": cases.together,
    "jit": jax.jit(cases.together),
    "vmap": jax.jit(jax.vmap(cases.together)),
}
# All rows under jit. What vmap and eager calls do to the arguments does not depend on
# the number of classes. Eager calls of half precision follow further down.
RANDOM_ROWS = [
    *(("jit", *group) for group in cases.VALUE_GROUPS),
    ("eager", "float64", 2),
    ("eager", "float32", 3),
    ("vmap", "float64", 3),
    ("vmap", "float32", 2),
    ("vmap", "float16", 3),
    ("vmap", "bfloat16", 2),
]


def few(logits, temperature):
    """Every op on a few short rows, filled up to one shape: compiled once for all."""
    logits = np.asarray(logits, np.float32)
    rows, classes = logits.shape
    fill = [(0, 8 - rows), (0, 5 - classes)]
    logits = np.pad(logits, fill, constant_values=-inf)
    temperature = np.broadcast_to(np.asarray(temperature, np.float32), rows)
    got = TRANSFORMS["jit"](logits, np.pad(temperature, fill[0]))
    return {
        op: np.asarray(x)[:rows, :classes] if op in VECTOR_OPS else np.asarray(x)[:rows]
        for op, x in got.items()
    }


def test_truth_holds_against_mpmath():
    """Truth's values are those of the definitions evaluated to 120 digits."""
    compared = 0
    groups = ("float64", 2, 2000), ("float64", 3, 2000), ("bfloat16", 5, 600)
    for dtype, classes, count in groups:
        rows, truth = cases.case(dtype, classes, count)
        values = {op: truth.value(op) for op in OPS}
        for row in _inner(rows, truth):
            allowed, tau = truth.allowed[row], float(rows.temperature[row])
            logits = rows.logits[row][allowed].astype(float)
            with mpmath.workdps(120):
                exact = mp_values(logits, tau)
                for op, value in values.items():
                    part = allowed if op in VECTOR_OPS else ...
                    ours = Expected(value.value[row][part], value.scale[row][part])
                    error = mp_error(ours, np.array(exact[op], object), tau)
                    assert error < 1e-14, (op, logits, tau)
            compared += 1
    assert compared > 3000


def _inner(rows: cases.Rows, truth: Truth):
    """Yield the rows with something allowed and a temperature mpmath can take."""
    inner = (rows.temperature > 0) & (rows.temperature < inf) & ~truth.empty
    return np.flatnonzero(inner)


def test_there_are_enough_rows():
    """At least 20 000 rows in all, and every temperature in every group."""
    assert sum(cases.VALUE_GROUPS.values()) >= 20_000
    for (dtype, classes), count in cases.VALUE_GROUPS.items():
        temperatures = cases.random_rows(dtype, classes, count).temperature
        assert len(np.unique(temperatures)) == len(cases.TEMPERATURES)


@pytest.mark.parametrize(("transform", "dtype", "classes"), RANDOM_ROWS)
def test_random_rows(dtype, classes, transform):
    """Every row: the truth within the promise, and infinite or NaN where that is."""
    rows, truth = cases.case(dtype, classes, cases.VALUE_GROUPS[dtype, classes])
    with cases.enable_x64(dtype):
        got = TRANSFORMS[transform](*map(jnp.asarray, rows.arguments))
    assert {x.dtype for x in got.values()} == {rows.logits.dtype}
    pairs = {op: (truth.value(op), got[op]) for op in OPS}
    cases.check(rows, cases.tolerance(dtype), pairs)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("op", OPS)
def test_one_row_at_a_time(op, dtype):
    """One op on logits `[V]` and a scalar τ under jit: XLA makes one loop of it."""
    call = jax.jit(functools.partial(cases.one, op))
    for classes in (2, 9) if dtype == "float32" else (3,):
        rows, truth = cases.case(dtype, classes, 150, seed=1)
        with cases.enable_x64(dtype):
            separate = zip(*rows.arguments, strict=True)
            got = np.stack([call(*row) for row in separate])
        cases.check(rows, cases.tolerance(dtype), {op: (truth.value(op), got)})


# Each op's value at τ = 0, τ = ∞ and, at τ = 0.5.
ROW = [1.0, 3.0, -inf, 3.0, 2.0]
BY_HAND = {
    "softmax": (
        [0, 0.5, 0, 0.5, 0],
        [0.25, 0.25, 0, 0.25, 0.25],
        [0.0085045, 0.4643278, 0, 0.4643278, 0.0628399],
    ),
    "log_softmax": (
        [-inf, -np.log(2), -inf, -np.log(2), -inf],
        [-np.log(4), -np.log(4), -inf, -np.log(4), -np.log(4)],
        [-4.7671645, -0.7671645, -inf, -0.7671645, -2.7671645],
    ),
    "logsumexp": (inf, np.log(4), 6.7671645),
    "free_energy": (-3.0, -inf, -3.3835823),
    "entropy": (np.log(2), np.log(4), 0.9268622),
    "mean_energy": (-3.0, -2.25, -2.9201511),
    "heat_capacity": (0.0, 0.0, 0.3619277),
}


@pytest.mark.parametrize("transform", ["eager", "jit"])
def test_limits_by_hand(transform):
    """A row with a tie and a masked class, against numbers written down here."""
    for i, tau in enumerate([0.0, inf, 0.5]):
        got = TRANSFORMS[transform](jnp.array(ROW), tau)
        truth = Truth(np.array([ROW]), np.array([tau]))
        for op in OPS:
            for found in (got[op], truth.value(op).value[0]):
                np.testing.assert_allclose(
                    found, BY_HAND[op][i], rtol=1e-6, atol=1e-6, err_msg=op
                )


def test_logsumexp_limits():
    rows = [[-2, -5, -inf], [0, -5, 0], [-inf, -inf, -inf], [7, -inf, -inf]]
    got = few(rows, [0, 0, 1, inf])["logsumexp"]
    np.testing.assert_allclose(got, [-inf, np.log(2), -inf, 0], rtol=1e-6)


def test_free_energy_limits():
    rows = [[7, -inf], [-inf, -inf], [-inf, -inf]]
    got = few(rows, [inf, 1, inf])["free_energy"]
    np.testing.assert_array_equal(got, [-7, inf, inf])


@pytest.mark.parametrize("spread", [2e-38, 3e-37, 1e-35])
def test_smallest_temperatures_and_logits(spread):
    """Logits as small as normal numbers are, at temperatures below and beside them.

    Softmax takes 1/τ as one normal number: it tells logits apart from 1e-36 on.
    """
    logits = np.float32(spread) * np.array([[0, -1, -3, -50]], np.float32)
    tau = np.array([1e-45, 3e-42, 1e-39, 1e-38, 2e-38, 1e-36], np.float32)
    rows = cases.Rows(np.tile(logits, (len(tau), 1)), tau, None)
    got = few(rows.logits, tau)
    ops = [op for op in OPS if spread > 1e-37 or op != "softmax"]
    cases.check(rows, 2e-6, {op: (Truth(*rows).value(op), got[op]) for op in ops})


@pytest.mark.parametrize("tau", [0.0, 0.5, inf])
def test_bad_logits_poison_their_own_row_only(tau):
    """A NaN or +inf gives that row no finite result and leaves the others bitwise."""
    good = np.random.default_rng(0).normal(size=(4, 5))
    bad = good.copy()
    bad[1, 2], bad[2, 0] = nan, inf
    want, got = few(good, tau), few(bad, tau)
    for op in OPS:
        np.testing.assert_array_equal(got[op][[0, 3]], want[op][[0, 3]], op)
        assert np.isnan(got[op][1]).all(), op
        if op == "logsumexp":  # +inf is as good an answer
            assert not np.isfinite(got[op][2])
        else:
            assert np.isnan(got[op][2]).all(), op


def test_bad_traced_temperature_poisons_its_own_row_only():
    logits = np.random.default_rng(0).normal(size=(4, 5))
    want, got = few(logits, 0.5), few(logits, [0.5, -1.0, nan, 0.5])
    for op in OPS:
        np.testing.assert_array_equal(got[op][[0, 3]], want[op][[0, 3]], op)
        assert np.isnan(got[op][1:3]).all(), op


@pytest.mark.parametrize("axis", [0, 1, 2, -2])
def test_axis_and_batch_temperature(axis):
    """Any axis; τ broadcasts against the batch, also where a batch axis equals V."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 3, 3)).astype(np.float32)
    where = rng.random((3, 3, 3)) < 0.8
    tau = np.array([0.0, 0.7, inf], np.float32)
    rows = cases.Rows(
        np.moveaxis(logits, axis, -1).reshape(9, 3),
        np.tile(tau, 3),
        np.moveaxis(where, axis, -1).reshape(9, 3),
    )
    pairs = {}
    for op in OPS:
        got = getattr(jaxtemp, op)(logits, tau, axis=axis, where=where)
        if op in VECTOR_OPS:
            got = np.moveaxis(np.asarray(got), axis, -1).reshape(9, 3)
        else:
            assert got.shape == (3, 3)
            got = got.reshape(9)
        pairs[op] = Truth(*rows).value(op), got
    cases.check(rows, 2e-6, pairs)


@pytest.mark.parametrize(
    "where", [np.array([True, False, True]), np.array([[True], [True], [False]])]
)
def test_where_broadcasts(where):
    """One mask for all rows, and one for all classes of a row."""
    logits = np.random.default_rng(0).normal(size=(3, 3, 3)).astype(np.float32)
    rows = cases.Rows(
        logits.reshape(9, 3),
        np.full(9, 0.7, np.float32),
        np.broadcast_to(where, logits.shape).reshape(9, 3),
    )
    got = cases.together(logits, 0.7, where=where)
    pairs = {
        op: (x, np.asarray(got[op]).reshape(x.value.shape))
        for op, x in ((op, Truth(*rows).value(op)) for op in OPS)
    }
    cases.check(rows, 2e-6, pairs)


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16, float])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_temperature_never_promotes(dtype, kind):
    """With 64 bits switched on the result keeps the logits' dtype, and is as right."""
    logits = jnp.asarray([[1.0, 3.0, -2.0], [0.5, 0.5, -np.inf]], dtype)
    rows = cases.Rows(np.asarray(logits), np.full(2, 0.75, np.float32), None)
    with jax.enable_x64(True):
        got = cases.together(logits, kind(0.75))
    assert {x.dtype for x in got.values()} == {logits.dtype}
    cases.check(rows, 2e-6, {op: (Truth(*rows).value(op), got[op]) for op in OPS})


def test_no_rows():
    got = TRANSFORMS["jit"](jnp.zeros((0, 4)), jnp.ones(0))
    for op in OPS:
        assert got[op].shape == ((0,) if op in SCALAR_OPS else (0, 4)), op
