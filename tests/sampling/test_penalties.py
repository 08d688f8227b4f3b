"""Penalties and bans against plain Python, on random histories and at their edges."""

import functools

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jaxtemp.sampling import penalties
from tests.cases import DTYPES, enable_x64
from tests.sampling import penalty_truth as truth

ROWS = 1500
SLOTS = 14
CLASSES = 4
WORDS = [[0], [1, 2], [2, 2], [3, 1, 2], [0, 1, 0, 1], [1, 1, 1, 1]]


def histories(rng, rows=ROWS, slots=SLOTS):
    """Tokens with many repetitions; a random share of each row is padding, anywhere."""
    random = rng.integers(0, CLASSES, (rows, slots))
    loops = np.resize(random[:, :3].T, (slots, rows)).T
    tokens = np.where(rng.random((rows, 1)) < 0.3, loops, random)
    missing = rng.random((rows, slots)) < rng.choice([0, 0.2, 0.6, 1], (rows, 1))
    return np.where(missing, -1, tokens).astype(np.int32)


def logits_of(rng, dtype, rows=ROWS, classes=CLASSES):
    """Logits rounded to the dtype; some are 0 and some -inf."""
    logits = rng.normal(0, 3, (rows, classes))
    logits = np.where(rng.random(logits.shape) < 0.05, 0, logits)
    logits = np.where(rng.random(logits.shape) < 0.1, -np.inf, logits)
    return logits.astype(np.dtype(getattr(ml_dtypes, dtype, dtype)))


def uniform(low, high):
    return lambda rng: rng.uniform(low, high, ROWS).astype(np.float32)


def integers(high):
    return lambda rng: rng.integers(0, high, ROWS)


def ids(count):
    return lambda rng: rng.integers(-1, CLASSES, (ROWS, count))


def biases(rng):
    values = rng.normal(0, 3, (ROWS, 3)).astype(np.float32)
    return np.where(rng.random(values.shape) < 0.1, -np.inf, values)


DRY = [histories, uniform(0, 3), uniform(1, 3), integers(5)]
# Each function with what makes its arguments after the logits, and its constants.
CASES = {
    "repetition": ([histories, uniform(0.3, 3)], {}),
    "presence": ([histories, uniform(-2, 2)], {}),
    "frequency": ([histories, uniform(-2, 2)], {}),
    "dry": (DRY, {}),
    "dry with one-token breakers": (DRY, {"breakers": [[0]]}),
    "dry with longer breakers": (DRY, {"breakers": [[3], [1, 2], [2, 0, 1]]}),
    "no_repeat_ngram": ([histories, integers(6)], {}),
    "bad_words": ([histories], {"sequences": WORDS}),
    "logit_bias": ([ids(3), biases], {}),
    "allowed": ([lambda rng: rng.random((ROWS, CLASSES)) < 0.5], {}),
    "bitmask": ([lambda rng: rng.integers(0, 2**32, (ROWS, 1), np.uint32)], {}),
    "min_length": ([integers(5), integers(5), ids(2)], {}),
    "guidance": ([lambda rng: logits_of(rng, "float32"), uniform(-2, 3)], {}),
}
OF_TOKENS = [name for name, (makers, _) in CASES.items() if makers[0] is histories]


def case(name, rng):
    """The function, its truth for a row, and random arguments for it."""
    makers, constants = CASES[name]
    name = name.split()[0]
    function = functools.partial(getattr(penalties, name), **constants)
    of_row = functools.partial(getattr(truth, name), **constants)
    return function, of_row, [make(rng) for make in makers]


def expected(of_row, *columns):
    """The truth of every row, from the very numbers that the function sees."""
    wide = [c if c.dtype.kind in "iub" else c.astype(np.float64) for c in columns]
    rows = zip(*(c.tolist() for c in wide), strict=True)
    return np.array([of_row(*row) for row in rows])


def assert_close(got, want, dtype):
    """Equal up to a rounding to the dtype, in which finite numbers stay finite."""
    assert got.dtype == dtype
    info = jnp.finfo(dtype)
    want = np.where(np.isfinite(want), np.clip(want, info.min, info.max), want)
    rtol = max(float(info.eps), {"float64": 1e-12, "float32": 4e-6}.get(dtype, 0))
    got = np.asarray(got).astype(np.float64)
    np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_random_rows_match_plain_python(name, dtype):
    rng = np.random.default_rng(1)
    function, of_row, arguments = case(name, rng)
    logits = logits_of(rng, dtype)
    want = expected(of_row, logits, *arguments)
    with enable_x64(dtype):
        assert_close(jax.jit(function)(logits, *arguments), want, dtype)


def assert_same(got, want):
    """Equal up to what fusing a product and a sum may change."""
    np.testing.assert_allclose(got, want, rtol=4e-6, atol=4e-6)


@pytest.mark.parametrize("name", CASES)
def test_jit_vmap_and_more_batch_axes_change_nothing(name):
    rng = np.random.default_rng(2)
    function, _, arguments = case(name, rng)
    arguments = [logits_of(rng, "float32"), *arguments]
    plain = function(*arguments)
    folded = [a.reshape(3, ROWS // 6, 2, *a.shape[1:]) for a in arguments]
    mapped = jax.jit(jax.vmap(function, in_axes=1, out_axes=1))(*folded)
    assert_same(mapped.reshape(plain.shape), plain)
    assert_same(jax.jit(function)(*folded).reshape(plain.shape), plain)
    assert_same(function(*(a[7] for a in arguments)), plain[7])


@pytest.mark.parametrize("name", OF_TOKENS)
def test_only_the_order_of_tokens_counts_not_their_padding(name):
    rng = np.random.default_rng(3)
    function, _, (tokens, *numbers) = case(name, rng)
    logits = logits_of(rng, "float32")
    wider = np.full((ROWS, 2 * SLOTS), -1, np.int32)
    places = np.tile(np.arange(2 * SLOTS), (ROWS, 1))
    places = np.sort(rng.permuted(places, axis=1)[:, :SLOTS])
    np.put_along_axis(wider, places, tokens, 1)
    np.testing.assert_array_equal(
        function(logits, wider, *numbers), function(logits, tokens, *numbers)
    )


@pytest.mark.parametrize("name", OF_TOKENS)
@pytest.mark.parametrize("slots", [0, 5])
def test_without_tokens_only_single_bad_words_change_a_logit(name, slots):
    rng = np.random.default_rng(4)
    function, _, (_, *numbers) = case(name, rng)
    logits = logits_of(rng, "float32")
    want = logits.copy()
    if name == "bad_words":
        want[:, 0] = -np.inf
    tokens = np.full((ROWS, slots), -1, np.int32)
    np.testing.assert_array_equal(function(logits, tokens, *numbers), want)


@pytest.mark.parametrize("name", CASES)
def test_no_rows_give_no_rows(name):
    rows = (2, 0)
    function, _, arguments = case(name, np.random.default_rng(5))
    arguments = [np.resize(a, (*rows, *a.shape[1:])) for a in arguments]
    assert function(np.zeros((*rows, CLASSES)), *arguments).shape == (*rows, CLASSES)


OFF = {
    "repetition": (1,),
    "presence": (0,),
    "frequency": (0,),
    "dry": (0,),
    "no_repeat_ngram": (0,),
    "bad_words": ((),),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", OFF)
def test_a_penalty_that_is_off_changes_no_bit(name, dtype):
    rng = np.random.default_rng(6)
    logits, tokens = logits_of(rng, dtype), histories(rng)
    logits[0] = np.nan, np.inf, -np.inf, 1
    with enable_x64(dtype):
        got = getattr(penalties, name)(logits, tokens, *OFF[name])
    got, logits = np.asarray(got).astype(np.float64), logits.astype(np.float64)
    np.testing.assert_array_equal(got, logits)


SEEN = np.array([[0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4]], np.int32)
HARD = {
    "repetition": (SEEN, 1e30),
    "presence": (SEEN, 3e38),
    "frequency": (SEEN, -3e38),
    "dry": (SEEN, 3e38, 1e30, 1),
    "logit_bias": (np.arange(5).repeat(3), 3e38),
}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("name", HARD)
def test_the_hardest_penalty_leaves_every_logit_what_it_was(name, dtype):
    logits = np.array([[-np.inf, np.nan, np.inf, 0, -2]])
    logits = logits.astype(np.dtype(getattr(ml_dtypes, dtype, dtype)))
    with enable_x64(dtype):
        got = getattr(penalties, name)(logits, *HARD[name])
        got = np.asarray(got).astype(np.float64)
    np.testing.assert_array_equal(got[0, :3], [-np.inf, np.nan, np.inf])
    assert np.isfinite(got[0, 3:]).all()


BANS = {
    "no_repeat_ngram": (SEEN[0], 1),
    "bad_words": ([-1], [[0], [1], [2], [3]]),
    "logit_bias": ([0, 1, 2, 3], -np.inf),
    "min_length": (1, 2, [0, 1, 2, 3]),
}


@pytest.mark.parametrize("name", BANS)
def test_a_ban_is_obeyed_but_for_nan(name):
    logits = jnp.array([np.nan, np.inf, -np.inf, 1.0, 2.0])
    banned = penalties.__dict__[name](logits, *map(np.array, BANS[name]))
    kept = -np.inf if name == "no_repeat_ngram" else 2.0
    np.testing.assert_array_equal(banned, [np.nan, -np.inf, -np.inf, -np.inf, kept])


def test_masks_do_not_look_at_what_they_exclude():
    logits = jnp.array([np.nan, np.nan, -np.inf, 1.0, np.inf])
    want = [-np.inf, np.nan, -np.inf, 1.0, -np.inf]
    mask = jnp.array([False, True, True, True, False])
    np.testing.assert_array_equal(penalties.allowed(logits, mask), want)
    for dtype in (jnp.uint32, jnp.int32):
        words = jnp.array([0b01110], dtype)
        np.testing.assert_array_equal(penalties.bitmask(logits, words), want)


@pytest.mark.parametrize("classes", [1, 31, 32, 33, 100])
@pytest.mark.parametrize("dtype", [np.uint32, np.int32])
def test_bits_are_those_of_python_integers(classes, dtype):
    rng = np.random.default_rng(7)
    words = rng.integers(0, 2**32, (5, -(-classes // 32)), np.uint32)
    logits = rng.normal(size=(5, classes))
    want = expected(truth.bitmask, logits, words)
    assert_close(penalties.bitmask(logits, words.view(dtype)), want, "float32")


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_penalty_of_a_long_loop_stays_finite(dtype):
    bases = np.array([1.0, 1.0000001, 1.1, 1.75, 2.0, 10.0, 3e38], np.float32)
    tokens = np.full((7, 400), 1, np.int32)
    of_row = functools.partial(truth.dry, multiplier=1e-3, allowed_length=2)
    want = np.array(
        [of_row([0.0] * 3, [1] * 400, base=base) for base in bases.tolist()]
    )
    with enable_x64(dtype):
        got = penalties.dry(jnp.zeros((7, 3), dtype), tokens, 1e-3, bases)
    largest = float(jnp.finfo(dtype).max)
    got = np.asarray(got).astype(np.float64)
    # The last bits of a base become digits of its 398th power.
    np.testing.assert_allclose(got, np.maximum(want, -largest), rtol=1e-2)


def test_the_last_breaker_to_end_counts_if_one_contains_another():
    tokens = [0, 1, 2, 3, 4, 0, 1, 2, 3]
    got = penalties.dry(jnp.zeros(5), jnp.array(tokens), 1.0, breakers=[[2], [1, 2, 3]])
    np.testing.assert_array_equal(got, np.zeros(5))
    got = penalties.dry(jnp.zeros(5), jnp.array(tokens), 1.0, allowed_length=0)
    assert got[4] == -(1.75**4)


def test_thousands_of_words_are_as_good_as_a_few():
    rng = np.random.default_rng(8)
    tokens = rng.integers(0, 50, (200, 6)).astype(np.int32)
    words = [rng.integers(0, 50, rng.integers(1, 4)).tolist() for _ in range(3000)]
    words = [word for word in words if len(word) > 1]
    logits = rng.normal(size=(200, 50))
    want = expected(functools.partial(truth.bad_words, sequences=words), logits, tokens)
    assert_close(penalties.bad_words(logits, tokens, words), want, "float32")


@pytest.mark.parametrize("name", OF_TOKENS)
def test_a_traced_id_that_is_no_class_is_no_token(name):
    rng = np.random.default_rng(9)
    function, _, (tokens, *numbers) = case(name, rng)
    logits = logits_of(rng, "float32")
    wrong = np.where(
        tokens < 0, rng.choice([-7, 4, 99, 2**31 - 1], tokens.shape), tokens
    )
    got = jax.jit(function)(logits, wrong, *numbers)
    assert_same(got, function(logits, tokens, *numbers))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint32", "int64"])
def test_ids_may_have_any_integer_dtype(dtype):
    ids = np.array([0, 0, 250 if dtype != "int8" else 100], dtype)
    with enable_x64("float64" if dtype == "int64" else "float32"):
        got = penalties.frequency(jnp.zeros(300, jnp.float32), ids, 1.0)
        traced = jax.jit(penalties.frequency)(jnp.zeros(300, jnp.float32), ids, 1.0)
    want = -np.bincount(ids, minlength=300)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(traced, want)


@pytest.mark.parametrize(
    ("name", "outside", "nearest"),
    [
        ("repetition", -1.0, np.finfo(np.float32).tiny),
        ("repetition", np.inf, np.finfo(np.float32).max),
        ("presence", -np.inf, np.finfo(np.float32).min),
        ("dry", -1.0, 0.0),
        ("no_repeat_ngram", -2, 0),
    ],
)
def test_a_traced_parameter_outside_its_range_counts_as_the_nearest(
    name, outside, nearest
):
    function = getattr(penalties, name)
    logits, tokens = jnp.array([1.0, 0.0, -1.0]), jnp.array([0, 1, 2, 0, 1])
    got = jax.jit(function)(logits, tokens, outside)
    np.testing.assert_array_equal(got, function(logits, tokens, nearest))


@pytest.mark.parametrize("name", ["repetition", "presence", "frequency", "dry"])
def test_derivatives_are_the_differences_of_plain_python(name):
    rng = np.random.default_rng(10)
    function, of_row, (tokens, *numbers) = case(name, rng)
    logits = logits_of(rng, "float64")
    logits = np.where(np.isfinite(logits), logits, rng.normal(size=logits.shape))
    logits[logits == 0] = 1.0
    reals = [n.astype(np.float64) for n in numbers if n.dtype == np.float32]
    # A base of 1 less a step would not be one.
    reals = [r + 0.01 for r in reals]
    whole = numbers[len(reals) :]
    weights = rng.normal(size=logits.shape)

    def total(*smooth):
        out = function(smooth[0], tokens, *smooth[1:], *whole)
        return jnp.sum(weights * out)

    def plain(*smooth):
        return weights * expected(of_row, smooth[0], tokens, *smooth[1:], *whole)

    smooth, step = [logits, *reals], 1e-6
    with jax.enable_x64(True):
        gradients = [
            np.asarray(g) for g in jax.grad(total, range(len(smooth)))(*smooth)
        ]
        tangent = float(jax.jvp(total, smooth, gradients)[1])
    for place, gradient in enumerate(gradients):
        more = [v + step * (i == place) for i, v in enumerate(smooth)]
        less = [v - step * (i == place) for i, v in enumerate(smooth)]
        slope = (plain(*more) - plain(*less)) / (2 * step)
        slope = slope if place == 0 else slope.sum(1)
        np.testing.assert_allclose(gradient, slope, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(tangent, sum(np.sum(g**2) for g in gradients))


@pytest.mark.parametrize("name", ["repetition", "dry", "logit_bias", "guidance"])
def test_excluded_classes_pass_no_nan_to_the_derivatives(name):
    logits = jnp.array([-jnp.inf, 1.0, 0.5, -jnp.inf])
    tokens = jnp.array([0, 1, 2, 3, 0, 1, 2])
    arguments = {
        "repetition": (tokens, 2.0),
        "dry": (tokens, 1.0, 1.0),
        "logit_bias": (tokens, jnp.array([1.0, -jnp.inf, 0, 0, 0, 0, 0])),
        "guidance": (jnp.array([0.0, 1.0, -jnp.inf, -jnp.inf]), 1.5),
    }[name]
    function = getattr(penalties, name)

    def total(z, *rest):
        out = function(z, *rest)
        return jnp.sum(jnp.where(jnp.isfinite(out), out, 0))

    smooth = [0] + [
        i + 1 for i, a in enumerate(arguments) if np.asarray(a).dtype.kind == "f"
    ]
    for gradient in jax.grad(total, tuple(smooth))(logits, *arguments):
        assert np.isfinite(gradient).all()


def test_guidance_off_does_not_look_at_the_unconditional_logits():
    logits = jnp.array([[0.0, 1.0, -jnp.inf], [0.0, 1.0, -jnp.inf]])
    other = jnp.array([[jnp.nan, -jnp.inf, 0.0], [0.0, 0.0, 0.0]])
    got = penalties.guidance(logits, other, jnp.array([1.0, 0.0]))
    softplus = np.log1p(np.e)
    want = [[-softplus, 1 - softplus, -np.inf], [-np.log(3), -np.log(3), -np.inf]]
    np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize(
    "row", [[-np.inf, -np.inf], [np.nan, 1.0], [np.inf, 1.0], [np.nan, -np.inf]]
)
def test_guidance_leaves_a_row_without_a_distribution_as_it_is(row):
    got = penalties.guidance(jnp.array(row), jnp.zeros(2), 1.5)
    np.testing.assert_array_equal(got, row)
    got = penalties.guidance(jnp.zeros(2), jnp.array(row), 1.5)
    assert np.isnan(got).all()


@pytest.mark.parametrize("name", OF_TOKENS)
def test_rows_may_be_split_over_devices(name):
    rng = np.random.default_rng(11)
    function, _, arguments = case(name, rng)
    arguments = [a[:1496] for a in (logits_of(rng, "float32"), *arguments)]
    mesh = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.PartitionSpec("x")
    split = jax.shard_map(
        function, mesh=mesh, in_specs=(rows,) * len(arguments), out_specs=rows
    )
    assert_same(jax.jit(split)(*arguments), function(*arguments))


def test_a_loop_of_steps_compiles_once_for_a_growing_history():
    @jax.jit
    def generate(logits):
        def step(place, tokens):
            left = penalties.no_repeat_ngram(logits, tokens, 2)
            return tokens.at[place].set(jnp.argmax(left))

        return jax.lax.fori_loop(0, 6, step, jnp.full(6, -1))

    np.testing.assert_array_equal(
        generate(jnp.array([3.0, 2.0, 1.0])), [0, 0, 1, 0, 2, 0]
    )
