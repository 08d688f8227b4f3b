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

ROWS = 1512  # divided by two batch axes, and by eight devices
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


FUNCTIONS = {
    name: functools.partial(getattr(penalties, name.split()[0]), **constants)
    for name, (_, constants) in CASES.items()
}
TRUTHS = {
    name: functools.partial(getattr(truth, name.split()[0]), **constants)
    for name, (_, constants) in CASES.items()
}


def arguments_of(rng):
    """Random arguments of every function; the tokens are the same for all."""
    tokens = histories(rng)
    return {
        name: [tokens if make is histories else make(rng) for make in makers]
        for name, (makers, _) in CASES.items()
    }


def every(logits, arguments):
    """What each function makes of the same logits."""
    return {name: FUNCTIONS[name](logits, *arguments[name]) for name in arguments}


# One program for all functions takes less to compile than one for each.
compiled = jax.jit(every)


@functools.cache
def outcome(seed, dtype):
    """Random logits, arguments of every function, and what they return in one jit."""
    rng = np.random.default_rng(seed)
    arguments = arguments_of(rng)
    logits = logits_of(rng, dtype)
    with enable_x64(dtype):
        return logits, arguments, compiled(logits, arguments)


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


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_random_rows_match_plain_python(dtype, name):
    logits, arguments, got = outcome(1, dtype)
    want = expected(TRUTHS[name], logits, *arguments[name])
    assert_close(got[name], want, dtype)


def assert_same(got, want, name=""):
    """Equal up to what fusing a product and a sum may change."""
    np.testing.assert_allclose(got, want, rtol=4e-6, atol=4e-6, err_msg=name)


@functools.cache
def folded():
    """The rows of `outcome(1, "float32")` on three axes, one of them vmapped."""
    logits, arguments, _ = outcome(1, "float32")
    arguments = jax.tree.map(
        lambda a: a.reshape(3, ROWS // 6, 2, *a.shape[1:]), (logits, arguments)
    )
    return jax.jit(jax.vmap(every, in_axes=1, out_axes=1))(*arguments)


@pytest.mark.parametrize("name", CASES)
def test_jit_vmap_and_more_batch_axes_change_nothing(name):
    logits, arguments, jitted = outcome(1, "float32")
    plain = FUNCTIONS[name](logits, *arguments[name])
    assert_same(jitted[name], plain)
    assert_same(folded()[name].reshape(plain.shape), plain)


def test_single_rows_are_as_in_a_batch():
    logits, arguments, jitted = outcome(1, "float32")
    for row in range(5):
        alone = compiled(*jax.tree.map(lambda a, row=row: a[row], (logits, arguments)))
        for name, got in alone.items():
            assert_same(got, jitted[name][row], name)


def of_tokens(arguments):
    return {name: arguments[name] for name in OF_TOKENS}


def with_tokens(arguments, tokens):
    """The same arguments but for the tokens, of the functions that look at them."""
    return {name: [tokens, *arguments[name][1:]] for name in OF_TOKENS}


@functools.cache
def with_wider_tokens():
    """The rows of `outcome(1, "float32")` with twice as many slots."""
    rng = np.random.default_rng(3)
    logits, arguments, _ = outcome(1, "float32")
    wider = np.full((ROWS, 2 * SLOTS), -1, np.int32)
    places = np.tile(np.arange(2 * SLOTS), (ROWS, 1))
    places = np.sort(rng.permuted(places, axis=1)[:, :SLOTS])
    np.put_along_axis(wider, places, arguments["dry"][0], 1)
    return compiled(logits, with_tokens(arguments, wider))


@pytest.mark.parametrize("name", OF_TOKENS)
def test_only_the_order_of_tokens_counts_not_their_padding(name):
    want = outcome(1, "float32")[2][name]
    np.testing.assert_array_equal(with_wider_tokens()[name], want)


@pytest.mark.parametrize("slots", [0, SLOTS])
def test_without_tokens_only_single_bad_words_change_a_logit(slots):
    logits, arguments, _ = outcome(1, "float32")
    tokens = np.full((ROWS, slots), -1, np.int32)
    without = with_tokens(arguments, tokens)
    got = compiled(logits, arguments | without if slots else without)
    for name in OF_TOKENS:
        want = logits.copy()
        if name == "bad_words":
            want[:, 0] = -np.inf
        np.testing.assert_array_equal(got[name], want, name)


def test_no_rows_give_no_rows():
    rows = (2, 0)
    arguments = {
        name: [np.resize(a, (*rows, *a.shape[1:])) for a in some]
        for name, some in arguments_of(np.random.default_rng(5)).items()
    }
    # Arguments that are not traced are checked.
    got = jax.jit(lambda z: every(z, arguments))(np.zeros((*rows, CLASSES)))
    assert [out.shape for out in got.values()] == [(*rows, CLASSES)] * len(CASES)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_penalty_that_is_off_changes_no_bit(dtype):
    logits, arguments, _ = outcome(1, dtype)
    logits = logits.copy()
    logits[0] = np.nan, np.inf, -np.inf, 1
    off = {name: list(some) for name, some in arguments.items()}
    off["repetition"][1] = np.ones_like(off["repetition"][1])
    for name in OF_TOKENS[1:-1]:
        off[name][1] = np.zeros_like(off[name][1])
    with enable_x64(dtype):
        got = compiled(logits, off)
        got["bad_words"] = penalties.bad_words(logits, off["bad_words"][0], ())
    for name in OF_TOKENS:
        out = np.asarray(got[name]).astype(np.float64)
        np.testing.assert_array_equal(out, logits.astype(np.float64), name)


SEEN = np.array([[0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4]], np.int32)
HARD = {
    "repetition": (SEEN, 1e30),
    "presence": (SEEN, 3e38),
    "frequency": (SEEN, -3e38),
    "dry": (SEEN, 3e38, 1e30, 1),
    "logit_bias": (np.arange(5).repeat(3), 3e38),
}


@jax.jit
def hardest(logits):
    return {name: getattr(penalties, name)(logits, *HARD[name]) for name in HARD}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_hardest_penalty_leaves_every_logit_what_it_was(dtype):
    logits = np.array([[-np.inf, np.nan, np.inf, 0, -2]], dtype)
    for name, got in hardest(logits).items():
        np.testing.assert_array_equal(got[0, :3], [-np.inf, np.nan, np.inf], name)
        assert np.isfinite(got[0, 3:]).all(), name


BANS = {
    "no_repeat_ngram": (SEEN[0], 1),
    "bad_words": ([-1], [[0], [1], [2], [3]]),
    "logit_bias": ([0, 1, 2, 3], -np.inf),
    "min_length": (1, 2, [0, 1, 2, 3]),
}


@jax.jit
def banned(logits):
    return {
        name: getattr(penalties, name)(logits, *map(np.array, BANS[name]))
        for name in BANS
    }


def test_a_ban_is_obeyed_but_for_nan():
    logits = jnp.array([np.nan, np.inf, -np.inf, 1.0, 2.0])
    for name, got in banned(logits).items():
        kept = -np.inf if name == "no_repeat_ngram" else 2.0
        np.testing.assert_array_equal(
            got, [np.nan, -np.inf, -np.inf, -np.inf, kept], name
        )


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
    got = jax.jit(penalties.bitmask)(logits, words.view(dtype))
    assert_close(got, want, "float32")


BASES = np.array([1.0, 1.0000001, 1.1, 1.75, 2.0, 10.0, 3e38], np.float32)


@functools.cache
def penalties_of_a_long_loop():
    of_row = functools.partial(truth.dry, multiplier=1e-3, allowed_length=2)
    return np.array(
        [of_row([0.0] * 3, [1] * 400, base=base) for base in BASES.tolist()]
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_penalty_of_a_long_loop_stays_finite(dtype):
    tokens = np.full((7, 400), 1, np.int32)
    with enable_x64(dtype):
        got = jax.jit(penalties.dry)(jnp.zeros((7, 3), dtype), tokens, 1e-3, BASES)
    largest = float(jnp.finfo(dtype).max)
    got = np.asarray(got).astype(np.float64)
    # The last bits of a base become digits of its 398th power.
    want = np.maximum(penalties_of_a_long_loop(), -largest)
    np.testing.assert_allclose(got, want, rtol=1e-2)


def test_the_last_breaker_to_end_counts_if_one_contains_another():
    logits, tokens = jnp.zeros(5), jnp.array([0, 1, 2, 3, 4, 0, 1, 2, 3])
    dry = functools.partial(penalties.dry, breakers=[[2], [1, 2, 3]])
    np.testing.assert_array_equal(jax.jit(dry)(logits, tokens, 1.0), np.zeros(5))
    got = jax.jit(penalties.dry)(logits, tokens, 1.0, allowed_length=0)
    assert got[4] == -(1.75**4)


def test_thousands_of_words_are_as_good_as_a_few():
    rng = np.random.default_rng(8)
    tokens = rng.integers(0, 50, (200, 6)).astype(np.int32)
    words = [rng.integers(0, 50, rng.integers(1, 4)).tolist() for _ in range(3000)]
    words = [word for word in words if len(word) > 1]
    logits = rng.normal(size=(200, 50))
    want = expected(functools.partial(truth.bad_words, sequences=words), logits, tokens)
    call = jax.jit(functools.partial(penalties.bad_words, sequences=words))
    assert_close(call(logits, tokens), want, "float32")


def test_a_traced_id_that_is_no_class_is_no_token():
    rng = np.random.default_rng(9)
    logits, arguments, want = outcome(1, "float32")
    tokens = arguments["dry"][0]
    wrong = np.where(
        tokens < 0, rng.choice([-7, 4, 99, 2**31 - 1], tokens.shape), tokens
    )
    got = compiled(logits, arguments | with_tokens(arguments, wrong))
    for name in OF_TOKENS:
        assert_same(got[name], want[name], name)


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
    function = jax.jit(getattr(penalties, name))
    logits, tokens = jnp.array([1.0, 0.0, -1.0]), jnp.array([0, 1, 2, 0, 1])
    got = function(logits, tokens, outside)
    np.testing.assert_array_equal(got, function(logits, tokens, nearest))


@pytest.mark.parametrize("name", ["repetition", "presence", "frequency", "dry"])
def test_derivatives_are_the_differences_of_plain_python(name):
    rng = np.random.default_rng(10)
    tokens, *numbers = arguments_of(rng)[name]
    function, of_row = FUNCTIONS[name], TRUTHS[name]
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

    def along_its_gradient(*smooth):
        gradients = jax.grad(total, range(len(smooth)))(*smooth)
        return gradients, jax.jvp(total, smooth, gradients)[1]

    smooth, step = [logits, *reals], 1e-6
    with jax.enable_x64(True):
        slopes = jax.jit(along_its_gradient)(*smooth)
        gradients, tangent = jax.device_get(slopes)
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
    slopes = jax.jit(jax.grad(total, tuple(smooth)))
    for gradient in slopes(logits, *arguments):
        assert np.isfinite(gradient).all()


guidance = jax.jit(penalties.guidance)


def test_guidance_off_does_not_look_at_the_unconditional_logits():
    logits = jnp.array([[0.0, 1.0, -jnp.inf], [0.0, 1.0, -jnp.inf]])
    other = jnp.array([[jnp.nan, -jnp.inf, 0.0], [0.0, 0.0, 0.0]])
    got = guidance(logits, other, jnp.array([1.0, 0.0]))
    softplus = np.log1p(np.e)
    want = [[-softplus, 1 - softplus, -np.inf], [-np.log(3), -np.log(3), -np.inf]]
    np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize(
    "row", [[-np.inf, -np.inf], [np.nan, 1.0], [np.inf, 1.0], [np.nan, -np.inf]]
)
def test_guidance_leaves_a_row_without_a_distribution_as_it_is(row):
    got = guidance(jnp.array(row), jnp.zeros(2), 1.5)
    np.testing.assert_array_equal(got, row)
    got = guidance(jnp.zeros(2), jnp.array(row), 1.5)
    assert np.isnan(got).all()


def test_rows_may_be_split_over_devices():
    logits, arguments, want = outcome(1, "float32")
    mesh = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.PartitionSpec("x")
    split = jax.shard_map(every, mesh=mesh, in_specs=rows, out_specs=rows)
    got = jax.jit(split)(logits, of_tokens(arguments))
    for name in OF_TOKENS:
        assert_same(got[name], want[name], name)


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
