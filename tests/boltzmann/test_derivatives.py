"""First derivatives of the seven ops in logits and temperature, both modes.

Truth is `tests.truth.Truth`, which is itself held against mpmath here.
"""

import jax
import numpy as np
import pytest

from tests import cases
from tests.truth import OPS, VECTOR_OPS, Expected, Truth, mp_derivative, mp_error

JACOBIANS = {
    mode: jax.jit(jax.vmap(transform(cases.together, argnums=(0, 1))))
    for mode, transform in (("jacrev", jax.jacrev), ("jacfwd", jax.jacfwd))
}


pull, push = jax.jit(cases.pull), jax.jit(cases.push)


def test_truth_holds_against_mpmath():
    """Truth's Jacobians are the difference quotients of the definitions."""
    compared = 0
    for classes, count in ((1, 60), (2, 450), (3, 900), (6, 300)):
        rows, truth = cases.case("float64", classes, count)
        ours = {op: truth.jacobian(op) for op in OPS}
        inner = (rows.temperature > 0) & (rows.temperature < np.inf) & ~truth.empty
        for row in np.flatnonzero(inner):
            allowed, tau = truth.allowed[row], float(rows.temperature[row])
            logits = rows.logits[row][allowed]
            directions = [(unit, 0) for unit in np.eye(len(logits))]
            directions.append((np.zeros(len(logits)), 1))
            exact = [mp_derivative(logits, tau, [along]) for along in directions]
            for op, (dz, dtau) in ours.items():
                entries = allowed if op in VECTOR_OPS else ...
                part = Expected(dtau.value[row][entries], dtau.scale[row])
                error = mp_error(part, np.array(exact[-1][op], object), tau)
                assert error < 1e-13, (op, "τ", logits, tau)
                part = Expected(dz.value[row][..., allowed][entries], dz.scale[row])
                columns = np.array([x[op] for x in exact[:-1]], object)
                error = mp_error(part, columns.T, tau)
                assert error < 1e-13, (op, "z", logits, tau)
            compared += 1
    assert compared > 1000


# Both modes of single and of double precision; half precision is float32 inside, and
# rows of many classes take both modes of both below.
MODES = [
    (mode, dtype, classes)
    for dtype, classes in cases.JACOBIAN_GROUPS
    for mode in JACOBIANS
    if (mode, dtype) not in [("jacrev", "float16"), ("jacfwd", "bfloat16")]
]


def jacobians(mode, rows):
    """Jacobians of a few rows, filled up to the shape of a group: compiled once."""
    dtype = str(rows.logits.dtype)
    classes = 3 if dtype == "float64" else 5
    count = cases.JACOBIAN_GROUPS[dtype, classes]
    given, size = rows.logits.shape
    where = np.broadcast_to(np.arange(classes) < size, (count, classes))
    logits = np.resize(rows.logits, (count, size))
    logits = np.pad(logits, [(0, 0), (0, classes - size)])
    with cases.enable_x64(dtype):
        got = JACOBIANS[mode](logits, np.resize(rows.temperature, count), where)
    found = {}
    for op, (dz, dtau) in got.items():
        dz, dtau = np.asarray(dz)[:given, ..., :size], np.asarray(dtau)[:given]
        vector = op in VECTOR_OPS
        found[op] = (dz[:, :size], dtau[:, :size]) if vector else (dz, dtau)
    return found


@pytest.mark.parametrize(("mode", "dtype", "classes"), MODES)
def test_jacobians(dtype, classes, mode):
    """Every derivative of every short row, against the row's largest."""
    rows, truth = cases.case(dtype, classes, cases.JACOBIAN_GROUPS[dtype, classes])
    with cases.enable_x64(dtype):
        got = JACOBIANS[mode](*rows.arguments)
    pairs = {}
    for op in OPS:
        pairs |= cases.derivative_pairs(op, truth, truth.jacobian(op), got[op])
    cases.check(rows, cases.tolerance(dtype, derivative=True), pairs)


@pytest.mark.parametrize(("dtype", "classes"), cases.PRODUCT_GROUPS)
def test_vjp(dtype, classes):
    """Random cotangents pulled back through long rows."""
    rows, truth = cases.case(dtype, classes, cases.PRODUCT_GROUPS[dtype, classes])
    cotangents = rows.cotangents()
    with cases.enable_x64(dtype):
        _, got = pull(rows.arguments, cotangents)
    dtypes = [rows.logits.dtype, rows.temperature.dtype]
    assert all([x.dtype for x in pair] == dtypes for pair in got.values())
    pairs = cases.gradient_pairs(truth, cotangents, got)
    cases.check(rows, cases.tolerance(dtype, derivative=True), pairs)


@pytest.mark.parametrize(("dtype", "classes"), cases.PRODUCT_GROUPS)
def test_jvp(dtype, classes):
    """Random tangents of both arguments pushed through long rows."""
    rows, truth = cases.case(dtype, classes, cases.PRODUCT_GROUPS[dtype, classes])
    tangents = rows.tangents()
    with cases.enable_x64(dtype):
        got = push(rows.arguments, tangents)
    assert {x.dtype for x in got.values()} == {rows.logits.dtype}
    pairs = {op: (truth.jvp(op, *tangents), got[op]) for op in OPS}
    cases.check(rows, cases.tolerance(dtype, derivative=True), pairs)


@pytest.mark.parametrize("mode", JACOBIANS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_no_component_is_lost(dtype, mode):
    """Two classes, one of probability 10⁻²⁰: each derivative is right by itself.

    Its complement rounds to 1, so what is written as p - p² or as g - <g> is lost.
    """
    low = -20 * np.log(10) * 0.5
    logits = np.array([[0.0, low], [low, 0.0]], dtype)
    rows = cases.Rows(logits, np.array([0.5, 0.5], dtype), None)
    truth = Truth(*rows)
    got = jacobians(mode, rows)
    pairs = {}
    for op in OPS:
        want = [x._replace(scale=np.abs(x.value)) for x in truth.jacobian(op)]
        pairs |= cases.derivative_pairs(op, truth, want, got[op])
    cases.check(rows, cases.tolerance(dtype, derivative=True), pairs)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_temperature_gradient_of_half_precision_logits(dtype):
    """τ in float32 gets a float32 gradient, though the result is rounded to half."""
    rng = np.random.default_rng(0)
    # The shape of a group, and so what is compiled for it.
    like, _ = next(
        cases.case(*group, count)
        for group, count in cases.PRODUCT_GROUPS.items()
        if group[0] == dtype
    )
    logits = (rng.normal(size=like.logits.shape) * 3).astype(like.logits.dtype)
    tau = rng.uniform(0.3, 3, len(logits)).astype(np.float32)
    where = None if like.where is None else np.ones_like(like.where)
    rows = cases.Rows(logits, tau, where)
    cotangents = rows.cotangents()
    _, got = pull(rows.arguments, cotangents)
    assert {dtau.dtype for _, dtau in got.values()} == {np.dtype(np.float32)}
    cases.check(rows, 1e-5, cases.gradient_pairs(Truth(*rows), cotangents, got))


@pytest.mark.parametrize("mode", JACOBIANS)
def test_derivatives_at_the_edges_by_hand(mode):
    """At τ ∈ {0, ∞} only dF/dz = dU/dz = -p and dF/dτ = -S are not zero."""
    row, tied = [1.0, 3.0, 2.0, -np.inf], [3.0, 1.0, 3.0, -np.inf]
    logits = np.array([row, tied, row, tied], np.float32)
    tau = np.array([0, 0, np.inf, np.inf], np.float32)
    got = jacobians(mode, cases.Rows(logits, tau, None))
    third = [1 / 3, 1 / 3, 1 / 3, 0]
    p = np.array([[0, 1, 0, 0], [0.5, 0, 0.5, 0], third, third])
    entropy = np.log([1, 2, 3, 3])
    for op, (dz, dtau) in got.items():
        minus_p = op in ("free_energy", "mean_energy")
        want = -p if minus_p else np.zeros(dz.shape)
        np.testing.assert_allclose(dz, want, rtol=1e-6, err_msg=op)
        want = -entropy if op == "free_energy" else np.zeros(dtau.shape)
        np.testing.assert_allclose(dtau, want, rtol=1e-6, atol=1e-7, err_msg=op)
