"""Higher orders, nested modes and JAX's other transformations of the seven ops.

Truth for higher orders is mpmath: central differences of the definitions with hundreds
of digits. Truth for the rest is `tests.truth.Truth`.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxtemp
from tests import cases
from tests.truth import OPS, VECTOR_OPS, Truth, mp_derivative

WHERE = np.array([True, True, False, True])
ALLOWED = np.array([0, 1, 3, 4])  # and τ, of an array that holds a row and then its τ
INNER = np.array([[0.3, -1.2, np.nan, 0.9, 0.7], [1000.0, 999, np.nan, 1002.5, 2.5]])
EDGES = np.array(
    [
        [*row, tau]
        for row in ([0.3, -np.inf, np.nan, 0.1], [0.5, 0.5, 7.0, -1.0])
        for tau in (0.0, 1e-3, np.inf)
    ]
)
MIX = np.array([0.6, -1.1, 0.0, 0.4])  # makes one number of a vector op's row


def scalar(op):
    """Return the op as a function of one array, which holds a row and then its τ."""

    def function(x):
        z, tau = x[:-1], x[-1]
        out = getattr(jaxtemp, op)(z, tau, where=WHERE)
        if op in VECTOR_OPS:
            return jnp.where(WHERE & (z > -jnp.inf), out, 0) @ MIX.astype(x.dtype)
        # log Z and F are infinite at an edge themselves.
        return jnp.where(jnp.isfinite(out), out, 0)

    return function


def exact(x, directions):
    """Return the derivative of every `scalar(op)` along directions of the array."""
    z, tau = x[ALLOWED[:-1]], x[-1]
    along = [(d[ALLOWED[:-1]], d[-1]) for d in directions]
    found = mp_derivative(z, tau, along)
    mix = MIX[ALLOWED[:-1]]
    return {op: float(found[op] @ mix if op in VECTOR_OPS else found[op]) for op in OPS}


@functools.cache
def hessians():
    """Return every op's true second derivatives at `INNER`."""
    units = np.eye(5)
    found = {op: np.zeros((len(INNER), 5, 5)) for op in OPS}
    for row, x in enumerate(INNER):
        for i, j in itertools.combinations_with_replacement(ALLOWED, 2):
            for op, value in exact(x, [units[i], units[j]]).items():
                found[op][row, i, j] = found[op][row, j, i] = value
    return found


def compute(transform, op, points):
    """Evaluate a transformed `scalar(op)` on many points, under vmap and jit."""
    return np.asarray(jax.jit(jax.vmap(transform(scalar(op))))(points))


def reverse_over_reverse(f):
    return jax.jacrev(jax.jacrev(f))


def forward_over_forward(f):
    return jax.jacfwd(jax.jacfwd(f))


SECOND_ORDER = (jax.hessian, reverse_over_reverse, forward_over_forward)


@pytest.mark.parametrize("mode", SECOND_ORDER)
@pytest.mark.parametrize("op", OPS)
def test_second_order(op, mode):
    """Every nesting of the modes is the true Hessian inside, and finite at the edges.

    `jax.hessian` is forward over reverse.
    """
    with jax.enable_x64(True):
        got = compute(mode, op, np.concatenate([INNER, EDGES]))
    assert np.isfinite(got).all(), got
    want = hessians()[op]
    error = np.abs(got[: len(INNER)] - want)
    assert (error <= 1e-10 * np.abs(want).max(axis=(1, 2), keepdims=True)).all()


@pytest.mark.parametrize("op", OPS)
def test_second_order_in_float32(op):
    want = hessians()[op]
    got = compute(jax.hessian, op, INNER.astype(np.float32))
    error = np.abs(got - want)
    assert (error <= 1e-5 * np.abs(want).max(axis=(1, 2), keepdims=True)).all()


def third_reverse(f):
    return jax.jacrev(jax.hessian(f))


@pytest.mark.parametrize("op", OPS)
def test_third_order(op):
    """Reverse over forward over reverse, contracted with directions, against mpmath."""
    directions = np.random.default_rng(0).normal(size=(3, 5))
    with jax.enable_x64(True):
        got = compute(third_reverse, op, np.concatenate([INNER, EDGES]))
    assert np.isfinite(got).all(), got
    for x, derivative in zip(INNER, got[: len(INNER)], strict=True):
        want = exact(x, directions)[op]
        contracted = np.einsum("ijk,i,j,k", derivative, *directions)
        assert abs(contracted - want) <= 1e-10 * np.abs(derivative).sum()


@pytest.mark.parametrize("op", OPS)
def test_third_order_forward(op):
    """Three tangents pushed through one another, against mpmath."""
    directions = np.random.default_rng(0).normal(size=(3, 5))

    def push(f):
        for d in directions:
            f = functools.partial(_along, f, d)
        return f

    with jax.enable_x64(True):
        got = compute(push, op, np.concatenate([INNER, EDGES]))
    assert np.isfinite(got).all(), got
    for x, derivative in zip(INNER, got[: len(INNER)], strict=True):
        np.testing.assert_allclose(derivative, exact(x, directions)[op], rtol=1e-9)


def _along(f, direction, x):
    return jax.jvp(f, (x,), (direction,))[1]


@pytest.mark.parametrize("op", OPS)
def test_shared_temperature_sums_over_rows(op):
    """One τ for all rows: its gradient is the sum of theirs."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5, 6, 7)).astype(np.float32)
    total = jax.jit(lambda t: getattr(jaxtemp, op)(logits, t).sum())
    got = jax.grad(total)(np.float32(0.8))
    truth = Truth(logits.reshape(30, 7), np.full(30, np.float32(0.8)))
    ones = np.ones((30, 7)) if op in VECTOR_OPS else np.ones(30)
    _, dtau = truth.vjp(op, ones)
    assert got.shape == ()
    assert abs(float(got) - float(dtau.value.sum())) <= 1e-5 * float(dtau.scale.sum())


@pytest.mark.parametrize("op", OPS)
def test_gradient_through_where(op):
    """A mask computed from the logits: masked ones get 0, the others the truth."""
    logits = np.random.default_rng(0).normal(size=(20, 9)).astype(np.float32)
    tau = np.full(20, np.float32(0.6))
    rows = cases.Rows(logits, tau, logits > -0.5)

    def loss(z, t):
        out = getattr(jaxtemp, op)(z, t, where=z > -0.5)
        return jnp.where(z > -0.5, out, 0).sum() if op in VECTOR_OPS else out.sum()

    got = jax.jit(jax.grad(loss, argnums=(0, 1)))(logits, tau)
    ones = np.ones((20, 9)) if op in VECTOR_OPS else np.ones(20)
    dz, dtau = Truth(*rows).vjp(op, ones)
    if op == "softmax":  # sums to one: the truth is 0, in units of p/τ
        dz, dtau = dz._replace(scale=np.ones(1)), dtau
    cases.check(rows, 1e-5, {f"{op} z": (dz, got[0]), f"{op} τ": (dtau, got[1])})
    assert not np.asarray(got[0])[~rows.where].any()


@pytest.mark.parametrize("op", OPS)
def test_nested_vmap(op):
    """vmap over either batch axis, over a class axis that is not last, and over τ."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 5, 4)).astype(np.float32)
    tau = rng.uniform(0.2, 2, size=(3, 4)).astype(np.float32)
    function = getattr(jaxtemp, op)
    nested = jax.vmap(jax.vmap(function, in_axes=(1, 0)), in_axes=(0, 0))
    got = jax.jit(nested)(logits, tau)
    rows = cases.Rows(logits.swapaxes(1, 2).reshape(12, 5), tau.reshape(12), None)
    got = np.asarray(got).reshape(12, *got.shape[2:])
    pairs = {op: (Truth(*rows).value(op), got)}
    cases.check(rows, 2e-6, pairs)
    many = np.geomspace(0.1, 10, 6, dtype=np.float32)
    got = jax.jit(jax.vmap(function, in_axes=(None, 0)))(logits[0, :, 0], many)
    rows = cases.Rows(np.tile(logits[0, :, 0], (6, 1)), many, None)
    cases.check(rows, 2e-6, {op: (Truth(*rows).value(op), got)})


@pytest.mark.parametrize("op", OPS)
def test_scan_and_remat(op):
    """The op inside `scan`, and its gradient through `scan` of a rematerialised op."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(6, 4, 5)).astype(np.float32)
    tau = rng.uniform(0.3, 3, size=(6, 4)).astype(np.float32)
    rows = cases.Rows(logits.reshape(24, 5), tau.reshape(24), None)
    truth = Truth(*rows)

    def total(logits, tau):
        @jax.checkpoint
        def step(carry, row):
            out = getattr(jaxtemp, op)(*row)
            return carry + (out**2).sum() / 2, out

        return jax.lax.scan(step, jnp.float32(0), (logits, tau))

    (_, values), grads = jax.jit(
        jax.value_and_grad(total, argnums=(0, 1), has_aux=True)
    )(logits, tau)
    values = np.asarray(values).reshape(24, *values.shape[2:])
    dz, dtau = truth.vjp(op, truth.value(op).value)
    pairs = {
        f"{op}": (truth.value(op), values),
        f"{op} in z": (dz, grads[0].reshape(24, 5)),
        f"{op} in τ": (dtau, grads[1].reshape(24)),
    }
    cases.check(rows, 1e-5, pairs)


@pytest.mark.parametrize("op", OPS)
def test_zero_cotangent_gives_zero(op):
    """A row whose cotangent is 0 has gradient 0, be its derivative as large as it may.

    So are rows that a loss masks out; 0 · ∞ would make the shared τ's gradient NaN.
    """
    logits = np.array([[1.0, 3.0, 2.0], [-1.0, -3.0, 5.0]], np.float32)
    g = {op: np.zeros((2, 3) if op in VECTOR_OPS else 2, np.float32)}
    call = jax.jit(cases.pull)
    for tau in cases.TEMPERATURES:
        _, got = call((logits, np.full(2, tau, np.float32)), g)
        for gradient in got[op]:
            assert not np.asarray(gradient).any(), (tau, gradient)
