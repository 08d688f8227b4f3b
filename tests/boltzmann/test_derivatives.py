"""First derivatives of the seven ops in logits and temperature, both modes.

Truth is `tests.truth.Truth`, which is itself held against mpmath here.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import cases
from tests.truth import OPS, VECTOR_OPS, Expected, Truth, mp_derivative, mp_error

JACOBIANS = {
    mode: jax.jit(jax.vmap(transform(cases.together, argnums=(0, 1))))
    for mode, transform in (("jacrev", jax.jacrev), ("jacfwd", jax.jacfwd))
}


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


@pytest.mark.parametrize("mode", JACOBIANS)
@pytest.mark.parametrize(("dtype", "classes"), cases.JACOBIAN_GROUPS)
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
        _, got = jax.jit(cases.pull)(rows.arguments, cotangents)
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
        got = jax.jit(cases.push)(rows.arguments, tangents)
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
    with cases.enable_x64(dtype):
        got = JACOBIANS[mode](*rows.arguments)
    pairs = {}
    for op in OPS:
        want = [x._replace(scale=np.abs(x.value)) for x in truth.jacobian(op)]
        pairs |= cases.derivative_pairs(op, truth, want, got[op])
    cases.check(rows, cases.tolerance(dtype, derivative=True), pairs)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_temperature_gradient_of_half_precision_logits(dtype):
    """τ in float32 gets a float32 gradient, though the result is rounded to half."""
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(64, 33)) * 3, dtype)
    tau = rng.uniform(0.3, 3, 64).astype(np.float32)
    rows = cases.Rows(np.asarray(logits), tau, None)
    cotangents = rows.cotangents()
    _, got = jax.jit(cases.pull)((logits, tau), cotangents)
    assert {dtau.dtype for _, dtau in got.values()} == {np.dtype(np.float32)}
    cases.check(rows, 1e-5, cases.gradient_pairs(Truth(*rows), cotangents, got))


@pytest.mark.parametrize("mode", JACOBIANS)
def test_derivatives_at_the_edges_by_hand(mode):
    """At τ ∈ {0, ∞} only dF/dz = dU/dz = -p and dF/dτ = -S are not zero."""
    row, tied = [1.0, 3.0, 2.0, -np.inf], [3.0, 1.0, 3.0, -np.inf]
    logits = np.array([row, tied, row, tied], np.float32)
    got = JACOBIANS[mode](logits, np.array([0, 0, np.inf, np.inf], np.float32))
    third = [1 / 3, 1 / 3, 1 / 3, 0]
    p = np.array([[0, 1, 0, 0], [0.5, 0, 0.5, 0], third, third])
    entropy = np.log([1, 2, 3, 3])
    for op, (dz, dtau) in got.items():
        minus_p = op in ("free_energy", "mean_energy")
        want = -p if minus_p else np.zeros(dz.shape)
        np.testing.assert_allclose(dz, want, rtol=1e-6, err_msg=op)
        want = -entropy if op == "free_energy" else np.zeros(dtau.shape)
        np.testing.assert_allclose(dtau, want, rtol=1e-6, atol=1e-7, err_msg=op)
