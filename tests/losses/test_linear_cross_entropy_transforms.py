"""`linear_cross_entropy` under JAX's transformations, and what it holds meanwhile."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.extend import core

from jaxtemp.losses import linear_cross_entropy
from tests.losses.linear import ALL, PLAIN, Arrays, call, pull, random_problem
from tests.losses.test_linear_cross_entropy import small_chunks as small_chunks

ROWS = 12


def inner(one, other):
    """The inner product of two trees."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return sum(jnp.vdot(x, y) for x, y in pairs)


def forward_over_reverse(f, x, v):
    return jax.jvp(jax.grad(f), (x,), (v,))[1]


def reverse_over_reverse(f, x, v):
    return jax.grad(lambda x: inner(jax.grad(f)(x), v))(x)


def reverse_over_forward(f, x, v):
    return jax.grad(lambda x: jax.jvp(f, (x,), (v,))[1])(x)


@pytest.mark.parametrize(
    ("options", "product"),
    [
        (PLAIN, forward_over_reverse),
        (ALL, forward_over_reverse),
        (ALL, reverse_over_reverse),
        (ALL, reverse_over_forward),
    ],
)
@pytest.mark.usefixtures("small_chunks")
def test_second_derivatives(options, product):
    """Along a random direction, each is a difference quotient of the true gradient."""
    problem = random_problem(options, 0, ROWS, ends=False)
    rng = np.random.default_rng(0)
    g = rng.normal(size=ROWS)
    arrays = problem.arrays
    direction = Arrays(*(rng.normal(size=x.shape) for x in arrays))

    def loss(arrays):
        return jnp.vdot(g, call(arrays, problem.labels, problem.options))

    with jax.enable_x64(True):
        got = jax.jit(functools.partial(product, loss))(arrays, direction)
    step = 1e-5
    ends = [
        problem._replace(
            arrays=Arrays(
                *(x + side * v for x, v in zip(arrays, direction, strict=True))
            )
        ).gradients(g)
        for side in (step, -step)
    ]
    for name, one, above, below in zip(Arrays._fields, got, *ends, strict=True):
        want = (above.value - below.value) / (2 * step)
        size = 1e-7 * np.abs(want).max()
        assert np.abs(np.asarray(one, np.longdouble) - want).max() < size, name


@pytest.mark.usefixtures("small_chunks")
def test_hessian():
    """In one row's hidden state: the covariance of its weights under p."""
    rng = np.random.default_rng(0)
    hidden, weight = rng.normal(size=3), rng.normal(size=(3, 50))
    with jax.enable_x64(True):
        loss = functools.partial(linear_cross_entropy, labels=7, temperature=0.7)
        got = jax.jit(jax.hessian(lambda h: loss(h, weight)))(hidden)
    p = np.exp(hidden @ weight / 0.7)
    p /= p.sum()
    mean = weight @ p
    want = ((weight * p) @ weight.T - np.outer(mean, mean)) / 0.7**2
    np.testing.assert_allclose(got, want, rtol=1e-10)


@pytest.mark.parametrize("moving", ["hidden", "weight", "bias", "temperature", "all"])
@pytest.mark.usefixtures("small_chunks")
def test_forward_mode(moving):
    problem = random_problem({**ALL, "dtype": "float32"}, 1, ROWS, ends=False)
    rng = np.random.default_rng(0)
    tangents = {
        name: rng.normal(size=x.shape).astype(np.float32)
        for name, x in problem.arrays._asdict().items()
        if moving in ("all", name)
    }

    def loss(moved):
        arrays = problem.arrays._replace(**moved)
        return call(arrays, problem.labels, problem.options).sum()

    given = {name: getattr(problem.arrays, name) for name in tangents}
    _, got = jax.jit(lambda x, v: jax.jvp(loss, (x,), (v,)))(given, tangents)
    gradients = dict(zip(Arrays._fields, problem.gradients(np.ones(ROWS)), strict=True))
    terms = [gradients[name].value * v for name, v in tangents.items()]
    want, size = (sum(f(x).sum() for x in terms) for f in (np.asarray, np.abs))
    assert abs(float(got) - want) < 1e-5 * size


@pytest.mark.usefixtures("small_chunks")
def test_every_transformation_computes_the_same():
    """vmap over rows and over layers, scan and remat, against the truth."""
    problem = random_problem({**PLAIN, "dtype": "float32"}, 0, ROWS, ends=False)
    (hidden, weight, bias, tau), labels, options = problem
    total = lambda *x: call(Arrays(*x[:4]), x[4], options).sum()  # noqa: E731
    slope = jax.grad(total, (0, 1, 2, 3))
    layer = weight, bias

    def row(h, t, y):
        return slope(h, weight, bias, t, y)

    def one_by_one(h, t, y):
        return jax.lax.scan(lambda carry, x: (carry, row(*x)), 0, (h, t, y))[1]

    two = lambda x: np.stack([x, x])  # noqa: E731
    by_layer = jax.vmap(slope, (None, 0, 0, None, None))
    by_row = [
        ("vmap", jax.jit(jax.vmap(row))(hidden, tau, labels)),
        ("scan", jax.jit(one_by_one)(hidden, tau, labels)),
    ]
    got = {name: (x[0], x[1].sum(0), x[2].sum(0), x[3]) for name, x in by_row}
    layers = jax.jit(by_layer)(hidden, *map(two, layer), tau, labels)
    got["layers"] = [x[1] for x in layers]
    remat = jax.jit(jax.grad(jax.checkpoint(total), (0, 1, 2, 3)))
    got["remat"] = remat(hidden, *layer, tau, labels)
    for name, gradients in got.items():
        wanted = problem.gradients(np.ones(ROWS))
        for one, (value, scale) in zip(gradients, wanted, strict=True):
            error = np.abs(np.asarray(one, np.longdouble) - value)
            assert (error <= 1e-5 * scale + 1e-30).all(), name


def arrays_of(jaxpr):
    """Every array that a program computes, in its loops and calls too."""
    for equation in jaxpr.eqns:
        for variable in equation.outvars:
            yield variable.aval
        for sub in core.jaxprs_in_params(equation.params):
            yield from arrays_of(sub)


@pytest.mark.parametrize("kind", [PLAIN, ALL])
def test_the_logits_are_never_held(kind):
    """Forward and backward, at most a chunk; in memory ≤ 1/8 of the plain formula."""
    tokens, features, classes = 2048, 64, 65_536
    shapes = (tokens, features), (features, classes), (classes,), (tokens,)
    given = Arrays(*(jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes))
    g = jax.ShapeDtypeStruct((tokens,), np.float32)
    labels = jax.ShapeDtypeStruct((tokens,), np.int32)
    options = random_problem({**kind, "dtype": "float32"}, 0, 1).options
    options = {k: v for k, v in options.items() if k not in ("where", "class_weights")}
    if kind is ALL:
        options["where"] = np.arange(classes) % 7 > 0
        options["class_weights"] = np.ones(classes, np.float32)
    ours = functools.partial(pull, options=options)
    sizes = [x.size for x in arrays_of(jax.make_jaxpr(ours)(given, g, labels).jaxpr)]
    largest_argument = max(math.prod(shape) for shape in shapes)
    assert max(sizes) <= largest_argument < tokens * classes / 8

    def plain(arrays, g, labels):
        def loss(arrays):
            z = arrays.hidden @ arrays.weight + arrays.bias
            x = z / arrays.temperature[:, None]
            return optax.softmax_cross_entropy_with_integer_labels(x, labels)

        value, back = jax.vjp(loss, arrays)
        return value, back(g)[0]

    mine, others = (
        jax.jit(f).lower(given, g, labels).compile().memory_analysis()
        for f in (ours, plain)
    )
    assert mine.temp_size_in_bytes <= others.temp_size_in_bytes / 8
