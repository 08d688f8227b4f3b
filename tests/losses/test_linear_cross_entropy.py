"""Values and first derivatives of `linear_cross_entropy`, in chunks, against truth."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtemp.losses import _chunks, _row_parts, linear_cross_entropy
from tests.losses.cases import combinations
from tests.losses.checks import assert_close
from tests.losses.linear import ALL, PLAIN, Arrays, call, pull, random_problem
from tests.losses.truth import Truth

COMBINATIONS = combinations()
ROWS = 60
TOLERANCE = {"float64": 1e-11, "float32": 4e-6, "bfloat16": 4e-6}


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of 16 classes, for up to 64 rows."""
    monkeypatch.setattr(_chunks, "_ENTRIES", 64 * 16)
    monkeypatch.setattr(_chunks, "_NARROWEST", 16)


@pytest.mark.parametrize("number", range(len(COMBINATIONS)))
@pytest.mark.usefixtures("small_chunks")
def test_value_and_gradients(number):
    options = COMBINATIONS[number]
    problem, dtype = random_problem(options, number, ROWS), options["dtype"]
    g = np.random.default_rng(number).normal(size=ROWS)
    g = g.astype(problem.arrays.temperature.dtype)
    with jax.enable_x64(dtype == "float64"):
        run = jax.jit(functools.partial(pull, options=problem.options))
        loss, got = run(problem.arrays, g, problem.labels)
    assert loss.dtype == g.dtype
    assert_close(loss, Truth(problem.case).loss, TOLERANCE[dtype], 0, "loss")
    last = 2.0**-8 if dtype == "bfloat16" else 0
    for name, one, want in zip(Arrays._fields, got, problem.gradients(g), strict=True):
        assert one.dtype == getattr(problem.arrays, name).dtype
        rounding = 0 if name == "temperature" else last
        assert_close(one, want, TOLERANCE[dtype], rounding, name)


@pytest.mark.usefixtures("small_chunks")
def test_logsumexp():
    problem = random_problem({**ALL, "dtype": "float32"}, 1, ROWS)
    options = {**problem.options, "return_logsumexp": True}
    loss, lse = jax.jit(functools.partial(call, options=options))(
        problem.arrays, problem.labels
    )
    truth = Truth(problem.case)
    assert_close(loss, truth.loss, 4e-6, 0, "loss")
    size = np.maximum(1, np.abs(np.where(np.isinf(truth.lse), 1, truth.lse)))
    read = ~np.isnan(problem.arrays.hidden).any(-1)
    assert_close(lse[read], (truth.lse[read], size[read]), 4e-6, 0, "lse")


@pytest.mark.usefixtures("small_chunks")
def test_gradients_in_options():
    """In smoothing, z-loss and class weights: what each adds to every row's loss."""
    problem = random_problem(ALL, 0, ROWS, ends=False)
    names = ("label_smoothing", "z_loss", "class_weights")
    moved = {name: problem.options[name] for name in names}
    g = np.random.default_rng(0).normal(size=ROWS)

    def loss(moved):
        options = {**problem.options, **moved}
        return jnp.vdot(g, call(problem.arrays, problem.labels, options))

    with jax.enable_x64(True):
        got = jax.jit(jax.grad(loss))(moved)
    truth = Truth(problem.case)
    g = np.where(truth.ignored, 0, g)
    want = {name: (g * x.T).T for name, x in truth.in_options().items()}
    want["class_weights"] = want["class_weights"].sum(0)
    for name in names:
        value = want[name].astype(np.float64)
        np.testing.assert_allclose(got[name], value, rtol=1e-9, atol=1e-12)


def test_ordinary_numbers():
    """Gaussian layers, chunks as they are: within 1e-5 of the largest derivative."""
    rng = np.random.default_rng(0)
    tokens, features, classes = 512, 256, 8192
    arrays = Arrays(
        rng.normal(size=(tokens, features)).astype(np.float32),
        (rng.normal(size=(features, classes)) / 16).astype(np.float32),
        rng.normal(size=classes).astype(np.float32),
        rng.uniform(0.5, 2, tokens).astype(np.float32),
    )
    labels = rng.integers(classes, size=tokens).astype(np.int32)
    g = np.full(tokens, 1 / tokens, np.float32)
    loss, got = jax.jit(functools.partial(pull, options={}))(arrays, g, labels)
    hidden, weight, bias, tau = (np.asarray(x, np.float64) for x in arrays)
    x = (hidden @ weight + bias) / tau[:, None]
    lse = np.log(np.exp(x).sum(-1))
    np.testing.assert_allclose(loss, lse - x[np.arange(tokens), labels], rtol=1e-5)
    dx = np.exp(x - lse[:, None])
    dx[np.arange(tokens), labels] -= 1
    dz = dx / tau[:, None] / tokens
    want = Arrays(dz @ weight.T, hidden.T @ dz, dz.sum(0), -(dz * x).sum(-1))
    for name, one, value in zip(Arrays._fields, got, want, strict=True):
        assert np.abs(one - value).max() < 1e-5 * np.abs(value).max(), name


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("shape", [(192,), (2, 96), (2, 97)])
def test_many_rows_are_taken_in_parts(shape):
    """More than fit a chunk, masked and not, and in a number that nothing divides."""
    count = int(np.prod(shape))
    for kind in ({**ALL, "dtype": "float32"}, {**PLAIN, "dtype": "float32"}):
        problem = random_problem(kind, 3, count, ends=False)
        fold = lambda x: np.reshape(x, (*shape, *x.shape[1:]))  # noqa: E731
        options = {
            k: fold(v) if np.ndim(v) and len(v) == count else v
            for k, v in problem.options.items()
        }
        hidden, *layer, tau = problem.arrays
        arrays = Arrays(fold(hidden), *layer, fold(tau))
        g = np.random.default_rng(1).normal(size=shape).astype(np.float32)
        run = jax.jit(functools.partial(pull, options=options))
        loss, got = run(arrays, g, fold(problem.labels))
        assert_close(loss.reshape(-1), Truth(problem.case).loss, 4e-6, 0, "loss")
        wanted = problem.gradients(g.reshape(-1))
        for name, one, want in zip(Arrays._fields, got, wanted, strict=True):
            assert_close(one.reshape(want[0].shape), want, 4e-6, 0, name)


def test_parts_of_rows_are_small_and_whole():
    for shape in ((10**6, 8), (3, 2**15, 8), (2**15, 8), (2**15 + 2, 8), (8,)):
        hidden = jnp.zeros(shape)
        parts, rows = _row_parts._count(hidden), hidden.size // 8
        assert shape[-2:-1] == () or shape[-2] % parts == 0
        assert rows // parts <= 2**15
    assert _row_parts._count(jnp.zeros((65_537, 8))) == 1  # a prime


@pytest.mark.usefixtures("small_chunks")
def test_batch_shapes():
    """No batch axis, one row, and three axes: each row as in a batch of all."""
    problem = random_problem({**ALL, "dtype": "float32"}, 1, 12, ends=False)
    (hidden, *layer, tau), labels, options = problem
    want = Truth(problem.case).loss
    per_row = ("label_smoothing", "z_loss", "where")

    def loss(shape, rows):
        fold = lambda x: np.reshape(x[rows], (*shape, *x.shape[1:]))  # noqa: E731
        given = {k: fold(v) if k in per_row else v for k, v in options.items()}
        arrays = Arrays(fold(hidden), *layer, fold(tau))
        return jax.jit(functools.partial(call, options=given))(arrays, fold(labels))

    everything = slice(None)
    for shape, rows in [((), 0), ((1,), slice(1)), ((2, 3, 2), everything)]:
        got = loss(shape, rows)
        assert got.shape == shape
        assert_close(got.reshape(-1), [x[rows].reshape(-1) for x in want], 4e-6, 0, "")


def test_rows_that_have_no_loss():
    """NaN where nothing is allowed or a label is none, `inf` for an excluded label."""
    hidden = np.ones((4, 2), np.float32)
    weight = np.ones((2, 3), np.float32)
    where = np.array([[0, 0, 0], [1, 1, 0], [1, 1, 0], [1, 1, 1]], bool)

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def run(hidden, labels, used):
        loss = linear_cross_entropy(hidden, weight, labels, where=where)
        return jnp.where(used, loss, 0).sum(), loss

    (_, loss), to_hidden = run(hidden, np.array([0, 2, 1, 3]), np.arange(4) % 3 > 0)
    np.testing.assert_allclose(loss, [np.nan, np.inf, np.log(2), np.nan], rtol=1e-6)
    np.testing.assert_array_equal(to_hidden[1:3], 0)


@pytest.mark.parametrize(
    ("rows", "features", "classes"),
    [
        (4096, 1024, 131_072),
        (1, 8, 50_257),
        (1, 1, 1),
        (10**6, 64, 32_000),
        (7, 9, 129),
    ],
)
def test_chunks_cover_the_classes_and_are_small(rows, features, classes):
    width = _chunks.chunk_width(rows, features, classes)
    assert 1 <= width <= classes
    assert width * max(rows, features) <= max(2**22, 128 * max(rows, features))
    count = -(-classes // width)
    assert count * width - classes < 128 * count


GIVEN = {
    "hidden": np.zeros((2, 3), np.float32),
    "weight": np.zeros((3, 4), np.float32),
    "labels": np.array([0, 2]),
}
BAD = {
    "integer hidden": (
        {"hidden": np.zeros((2, 3), int)},
        TypeError,
        "`hidden` must be real floating point, got dtype int32; "
        "convert it first, for example `hidden.astype(jnp.float32)`.",
    ),
    "a scalar hidden": (
        {"hidden": np.float32(1)},
        ValueError,
        "`hidden` must have the features of a row along its last axis, got shape (); "
        "pass an array of shape `(..., H)`.",
    ),
    "integer weight": (
        {"weight": np.zeros((3, 4), int)},
        TypeError,
        "`weight` must be real floating point, got dtype int32; "
        "convert it first, for example `weight.astype(jnp.float32)`.",
    ),
    "a transposed weight": (
        {"weight": np.zeros((4, 3), np.float32)},
        ValueError,
        "`weight` must have shape (3, V) for `hidden` of shape (2, 3), got shape "
        "(4, 3); pass its transpose, `weight.T`.",
    ),
    "a weight of other features": (
        {"weight": np.zeros((5, 4), np.float32)},
        ValueError,
        "`weight` must have shape (3, V) for `hidden` of shape (2, 3), got shape "
        "(5, 4); put a column for each class.",
    ),
    "no class": (
        {"weight": np.zeros((3, 0), np.float32)},
        ValueError,
        "`weight` must have at least one class along its last axis, got shape (3, 0); "
        "an empty row has no distribution.",
    ),
    "a bias by row": (
        {"bias": np.zeros((2, 4), np.float32)},
        ValueError,
        "`bias` must have shape (4,), one number for each class, got shape (2, 4); "
        "add what differs by row to the logits of `cross_entropy`.",
    ),
    "soft labels": (
        {"labels": np.zeros((2, 4), np.float32)},
        TypeError,
        "`labels` must be integers, got dtype float32; a number for each class is as "
        "large as the logits: pass these to `cross_entropy`.",
    ),
    "labels out of range": (
        {"labels": np.array([0, 4])},
        ValueError,
        "`labels` must lie in [0, 4) for 4 classes, got 4; "
        "mark a row that does not count with `ignore_index`.",
    ),
    "a mask of other classes": (
        {"where": np.ones(3, bool)},
        ValueError,
        "`where` must broadcast to the logits' shape (2, 4), got shape (3,); "
        "add or remove axes so that it does.",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_its_own_message(case):
    arguments, error, message = BAD[case]
    with pytest.raises(error) as raised:
        linear_cross_entropy(**{**GIVEN, **arguments})
    assert str(raised.value) == message
