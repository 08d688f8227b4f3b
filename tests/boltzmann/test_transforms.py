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


# Derivatives are taken along directions, as data: all entries by one small program.
DIRECTIONS = np.random.default_rng(0).normal(size=(3, 5))
UNITS = np.eye(5)
PAIRS = [*itertools.product(UNITS, UNITS), (DIRECTIONS[0], DIRECTIONS[1])]


def along(f, direction):
    return lambda x: jax.jvp(f, (x,), (direction,))[1]


def forward_over_reverse(f, x, d, e):
    return along(jax.grad(f), d)(x) @ e


def reverse_over_reverse(f, x, d, e):
    return jax.grad(lambda x: jax.grad(f)(x) @ d)(x) @ e


def forward_over_forward(f, x, d, e):
    return along(along(f, d), e)(x)


def then_reverse(f, x, d, e):
    """Forward over reverse, and its gradient: reverse over forward over reverse."""
    return jax.value_and_grad(lambda x: forward_over_reverse(f, x, d, e))(x)


def then_forward(f, x, d, e):
    """Forward over forward, and a third tangent pushed through."""
    third = DIRECTIONS[2].astype(x.dtype)
    return jax.jvp(lambda x: forward_over_forward(f, x, d, e), (x,), (third,))


@functools.cache
def compute(transform, dtype="float64"):
    """Each op's derivatives at all points along all pairs, under vmap and jit."""

    @jax.jit
    def program(points, d, e):
        def at(x):
            return {
                op: jax.vmap(functools.partial(transform, scalar(op), x))(d, e)
                for op in OPS
            }

        return jax.vmap(at)(points)

    with cases.enable_x64(dtype):
        points = np.concatenate([INNER, EDGES]).astype(dtype)
        found = program(points, *np.array(PAIRS).astype(dtype).swapaxes(0, 1))
    return jax.tree.map(np.asarray, found)


SECOND_ORDER = {
    "forward over reverse": lambda op: compute(then_reverse)[op][0],
    "reverse over reverse": lambda op: compute(reverse_over_reverse)[op],
    "forward over forward": lambda op: compute(then_forward)[op][0],
}


@pytest.mark.parametrize("mode", SECOND_ORDER)
@pytest.mark.parametrize("op", OPS)
def test_second_order(op, mode):
    """Every nesting of modes is the true Hessian inside, and finite at the edges."""
    got = SECOND_ORDER[mode](op)
    assert np.isfinite(got).all(), got
    want = hessians()[op]
    error = np.abs(got[: len(INNER), :25].reshape(want.shape) - want)
    assert (error <= 1e-10 * np.abs(want).max(axis=(1, 2), keepdims=True)).all()


@pytest.mark.parametrize("op", OPS)
def test_second_order_in_float32(op):
    want = hessians()[op]
    got = compute(forward_over_reverse, "float32")[op]
    error = np.abs(got[: len(INNER), :25].reshape(want.shape) - want)
    assert (error <= 1e-5 * np.abs(want).max(axis=(1, 2), keepdims=True)).all()


@functools.cache
def third_orders():
    """Return every op's true third derivative along `DIRECTIONS` at `INNER`."""
    return [exact(x, DIRECTIONS) for x in INNER]


@pytest.mark.parametrize("op", OPS)
def test_third_order(op):
    """Reverse over forward over reverse, contracted with directions, against mpmath."""
    _, got = compute(then_reverse)[op]
    assert np.isfinite(got).all(), got
    derivatives = got[: len(INNER), :25].reshape(-1, 5, 5, 5)
    for derivative, want in zip(derivatives, third_orders(), strict=True):
        contracted = np.einsum("ijk,i,j,k", derivative, *DIRECTIONS)
        assert abs(contracted - want[op]) <= 1e-10 * np.abs(derivative).sum()


@pytest.mark.parametrize("op", OPS)
def test_third_order_forward(op):
    """Three tangents pushed through one another, against mpmath."""
    _, got = compute(then_forward)[op]
    assert np.isfinite(got).all(), got
    want = [exact[op] for exact in third_orders()]
    np.testing.assert_allclose(got[: len(INNER), 25], want, rtol=1e-9)


def test_shared_temperature_sums_over_rows():
    """One τ for all rows: its gradient is the sum of theirs."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5, 6, 7)).astype(np.float32)

    @jax.jit
    def gradients(logits, tau):
        return {
            op: jax.grad(lambda t, op=op: cases.one(op, logits, t).sum())(tau)
            for op in OPS
        }

    truth = Truth(logits.reshape(30, 7), np.full(30, np.float32(0.8)))
    for op, got in gradients(logits, np.float32(0.8)).items():
        _, dtau = truth.vjp(op, np.ones((30, 7) if op in VECTOR_OPS else 30))
        error = abs(float(got) - float(dtau.value.sum()))
        assert got.shape == ()
        assert error <= 1e-5 * float(dtau.scale.sum()), op


def test_gradient_through_where():
    """A mask computed from the logits: masked ones get 0, the others the truth."""
    logits = np.random.default_rng(0).normal(size=(20, 9)).astype(np.float32)
    tau = np.full(20, np.float32(0.6))
    rows = cases.Rows(logits, tau, logits > -0.5)

    def loss(op, z, t):
        out = cases.one(op, z, t, z > -0.5)
        return jnp.where(z > -0.5, out, 0).sum() if op in VECTOR_OPS else out.sum()

    @jax.jit
    def gradients(z, t):
        return {op: jax.grad(functools.partial(loss, op), (0, 1))(z, t) for op in OPS}

    pairs = {}
    for op, got in gradients(logits, tau).items():
        dz, dtau = Truth(*rows).vjp(op, np.ones((20, 9) if op in VECTOR_OPS else 20))
        if op == "softmax":  # sums to one: the truth is 0, in units of p/τ
            dz = dz._replace(scale=np.ones(1))
        pairs |= {f"{op} z": (dz, got[0]), f"{op} τ": (dtau, got[1])}
        assert not np.asarray(got[0])[~rows.where].any(), op
    cases.check(rows, 1e-5, pairs)


def test_nested_vmap():
    """vmap over either batch axis, over a class axis that is not last, and over τ."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 5, 4)).astype(np.float32)
    tau = rng.uniform(0.2, 2, size=(3, 4)).astype(np.float32)
    nested = jax.vmap(jax.vmap(cases.together, in_axes=(1, 0)), in_axes=(0, 0))
    got = jax.jit(nested)(logits, tau)
    rows = cases.Rows(logits.swapaxes(1, 2).reshape(12, 5), tau.reshape(12), None)
    truth = Truth(*rows)
    pairs = {
        op: (truth.value(op), np.asarray(x).reshape(12, *x.shape[2:]))
        for op, x in got.items()
    }
    cases.check(rows, 2e-6, pairs)
    many = np.geomspace(0.1, 10, 6, dtype=np.float32)
    got = jax.jit(jax.vmap(cases.together, in_axes=(None, 0)))(logits[0, :, 0], many)
    rows = cases.Rows(np.tile(logits[0, :, 0], (6, 1)), many, None)
    cases.check(rows, 2e-6, {op: (Truth(*rows).value(op), got[op]) for op in OPS})


def test_scan_and_remat():
    """The ops inside `scan`, and gradients through `scan` of a rematerialised op."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(6, 4, 5)).astype(np.float32)
    tau = rng.uniform(0.3, 3, size=(6, 4)).astype(np.float32)
    rows = cases.Rows(logits.reshape(24, 5), tau.reshape(24), None)
    truth = Truth(*rows)

    def total(arguments):
        # Every op has logits and temperatures of its own, so one loop serves them all.
        @jax.checkpoint
        def step(carry, row):
            out = {op: cases.one(op, *row[op]) for op in OPS}
            return carry + sum((x**2).sum() / 2 for x in out.values()), out

        return jax.lax.scan(step, jnp.float32(0), arguments)

    arguments = dict.fromkeys(OPS, (logits, tau))
    (_, values), grads = jax.jit(jax.value_and_grad(total, has_aux=True))(arguments)
    pairs = {}
    for op in OPS:
        out = np.asarray(values[op]).reshape(24, *values[op].shape[2:])
        dz, dtau = truth.vjp(op, truth.value(op).value)
        pairs |= {
            f"{op}": (truth.value(op), out),
            f"{op} in z": (dz, grads[op][0].reshape(24, 5)),
            f"{op} in τ": (dtau, grads[op][1].reshape(24)),
        }
    cases.check(rows, 1e-5, pairs)


def test_zero_cotangent_gives_zero():
    """A row whose cotangent is 0 has gradient 0, be its derivative as large as it may.

    So are rows that a loss masks out; 0 · ∞ would make the shared τ's gradient NaN.
    """
    logits = np.array([[1.0, 3.0, 2.0], [-1.0, -3.0, 5.0]], np.float32)
    logits = np.tile(logits, (len(cases.TEMPERATURES), 1))
    tau = np.repeat(np.float32(cases.TEMPERATURES), 2)
    g = {op: np.zeros_like(logits if op in VECTOR_OPS else tau) for op in OPS}
    _, got = jax.jit(cases.pull)((logits, tau), g)
    for op, gradients in got.items():
        for gradient in gradients:
            assert not np.asarray(gradient).any(), op
