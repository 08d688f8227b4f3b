import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax.sharding import PartitionSpec as P

import jaxtemp

KEY = jax.random.key(20)
DRAWS = 2**20  # a multiple of what is drawn at a time, so that no rest is compiled

draw = jax.jit(
    jaxtemp.categorical, static_argnames=("axis", "shape", "replace", "ties")
)


def probabilities(logits, tau):
    """The float64 truth."""
    z = np.asarray(logits).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        z = z - z.max()
        u = (
            np.where(z == 0, 0.0, z / tau)
            if tau != np.inf
            else np.where(np.isfinite(z), 0.0, -np.inf)
        )
    p = np.exp(u)
    return p / p.sum()


def g_test(counts, p):
    """The p-value of counts for probabilities, classes of few expected hits pooled."""
    assert not counts[p == 0].any(), "a class of probability zero was drawn"
    order = np.argsort(p)
    counts, expected = counts[order], p[order] * counts.sum()
    bins = np.floor(np.cumsum(expected) / 10).astype(int)
    bins = np.minimum(bins, 4000)
    bins = np.unique(bins, return_inverse=True)[1]
    seen, expected = np.bincount(bins, counts), np.bincount(bins, expected)
    keep = expected > 0
    if keep.sum() < 2:
        return 1.0
    return scipy.stats.power_divergence(
        seen[keep], expected[keep] * (seen.sum() / expected[keep].sum()), lambda_=0
    ).pvalue


def counted(ids, size):
    ids = np.asarray(ids).ravel()
    assert ids.min() >= 0
    assert ids.max() < size
    return np.bincount(ids, minlength=size).astype(float)


def _masked(size):
    z = np.random.default_rng(2).normal(size=size).astype(np.float32)
    z[np.random.default_rng(3).random(size) < 0.9] = -np.inf
    return z


ROWS = {
    "one class": (np.zeros(1), 1.0),
    "two": (np.array([0.0, 1.0]), 0.5),
    "eight": (np.arange(8.0), 3.0),
    "eight at infinity": (np.arange(8.0), np.inf),
    "seventeen": (np.sin(np.arange(17.0)), 0.2),
    "flat": (np.zeros(1000), 1.0),
    "flat at infinity": (np.arange(300.0), np.inf),
    "peaked": (np.array([10.0, *np.zeros(200)]), 1.0),
    "tied at zero": (np.array([1.0, 3.0, 3.0, 2.0, 3.0]), 0.0),
    "tied at zero, far apart": (np.r_[np.zeros(500), 1, np.zeros(900), 1], 0.0),
    "masked": (_masked(5000), 0.7),
    "cold": (np.linspace(-1, 1, 129), 1e-2),
    "vocabulary": (np.random.default_rng(0).normal(size=130_001) * 3, 1.0),
    "vocabulary, odd": (np.random.default_rng(1).normal(size=50_257) * 2, 1.3),
    "offset": (np.arange(20.0) + 1e4, 2.0),
}


# Rows of one call, of which there is one for each way down: straight to a class or by
# columns, and so many levels of sums. The shorter rows are filled up with -inf.
TOGETHER = [
    ["one class"],
    ["two", "eight", "eight at infinity", "tied at zero"],
    ["seventeen", "offset"],
    ["flat", "flat at infinity", "peaked", "tied at zero, far apart"],
    ["cold", "masked"],
    ["vocabulary", "vocabulary, odd"],
]


@functools.cache
def million_draws(*names):
    size = max(ROWS[name][0].size for name in names)
    z = np.full((len(names), size), -np.inf, np.float32)
    for row, name in zip(z, names, strict=True):
        row[: ROWS[name][0].size] = ROWS[name][0]
    tau = np.array([ROWS[name][1] for name in names], np.float32)
    ids = draw(KEY, z, tau, shape=(DRAWS, len(names)))
    return dict(zip(names, np.asarray(ids).T, strict=True))


@pytest.mark.parametrize("name", ROWS)
def test_draws_have_the_boltzmann_distribution(name):
    z, tau = ROWS[name]
    (group,) = (names for names in TOGETHER if name in names)
    counts = counted(million_draws(*group)[name], z.size)
    assert g_test(counts, probabilities(z.astype(np.float32), tau)) > 1e-4


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_draws_from_other_types_have_the_boltzmann_distribution(dtype):
    with jax.enable_x64(dtype == "float64"):
        z = jnp.asarray(np.r_[np.zeros(1000), np.arange(8) / 4], dtype)
        ids = draw(KEY, z, 0.9, shape=(DRAWS,))
        assert g_test(counted(ids, z.size), probabilities(z, 0.9)) > 1e-4


@pytest.mark.parametrize("keys", ["one", "an array"])
def test_rows_drawn_once_have_the_boltzmann_distribution(keys):
    z = np.array([0.0, 1.0, -1.0, 0.5, -np.inf, 2.0], np.float32)
    key = KEY if keys == "one" else jax.random.split(KEY, DRAWS)
    ids = draw(key, np.broadcast_to(z, (DRAWS, 6)), 1.5)
    assert g_test(counted(ids, 6), probabilities(z, 1.5)) > 1e-4


@pytest.mark.parametrize("gap", [14, 16, 18, 20])
def test_the_tail_is_drawn_as_often_as_it_should_be(gap):
    size, draws = 262_144, 2000
    z = np.full(size, -float(gap), np.float32)
    z[1234] = 0
    ids = draw(jax.random.key(gap), z, shape=(draws,))
    hits = int((np.asarray(ids) != 1234).sum())
    mass = (size - 1) * np.exp(-float(gap))
    low, high = scipy.stats.binom.interval(1 - 1e-4, draws, mass / (1 + mass))
    assert low <= hits <= high


def test_the_neighbours_of_a_peak_are_drawn_as_often_as_others():
    # In one block with the peak a class has 5.6e-8 of its mass, which a cumulative sum
    # in float32 that begins with the peak would lose.
    gap, keys = 16.7, 11
    z = np.full(128, -gap, np.float32)
    z[17] = 0
    ids = [draw(jax.random.key(i), z, shape=(DRAWS,)) for i in range(keys)]
    hits = sum(int((np.asarray(i) != 17).sum()) for i in ids)
    expected = keys * DRAWS * 127 * np.exp(-gap)
    low, high = scipy.stats.poisson.interval(1 - 1e-4, expected)
    assert low <= hits <= high


def test_successive_draws_and_rows_are_independent():
    ids = np.asarray(draw(KEY, np.zeros((4, 5)), shape=(250_000, 4)))
    for a, b in [(ids[:-1, 0], ids[1:, 0]), (ids[:, 0], ids[:, 1])]:
        table = np.zeros((5, 5))
        np.add.at(table, (a, b), 1)
        assert scipy.stats.chi2_contingency(table).pvalue > 1e-4


# At most 16 classes are picked from at once, and 128 make a block: a pick, two, sums
# of blocks, and sums of sums. Tests share these so as to share what is compiled.
SIZES = [16, 40, 1000, 20_000]


def random_rows(rows=64, size=1000, seed=0):
    z = np.random.default_rng(seed).normal(size=(rows, size)).astype(np.float32) * 2
    return z, np.linspace(0, 3, rows, dtype=np.float32), jax.random.split(KEY, rows)


@pytest.mark.parametrize("size", SIZES)
def test_a_rows_id_depends_on_its_key_and_logits_alone(size):
    z, tau, keys = random_rows(size=size)
    ids = jaxtemp.categorical(keys, z, tau)
    order = np.random.default_rng(1).permutation(64)
    shuffled = jaxtemp.categorical(keys[order], z[order], tau[order])
    np.testing.assert_array_equal(shuffled, ids[order])
    alone = [draw(*row) for row in zip(keys, z, tau, strict=True)]
    np.testing.assert_array_equal(alone, ids)
    np.testing.assert_array_equal(jax.vmap(jaxtemp.categorical)(keys, z, tau), ids)


@pytest.mark.parametrize(("size", "longer"), list(itertools.pairwise(SIZES)))
def test_a_rows_id_does_not_depend_on_masked_classes(size, longer):
    z, tau, keys = random_rows(size=size)
    ids = jaxtemp.categorical(keys, z, tau)
    room = [(0, 0), (0, longer - size)]
    padded = np.pad(z, room, constant_values=-np.inf)
    np.testing.assert_array_equal(jaxtemp.categorical(keys, padded, tau), ids)
    where = np.arange(longer) < size
    masked = jaxtemp.categorical(keys, np.pad(z, room), tau, where=where)
    np.testing.assert_array_equal(masked, ids)


def test_a_rows_id_does_not_depend_on_its_place_in_an_array():
    z, tau, keys = random_rows()
    ids = jaxtemp.categorical(keys, z, tau)
    batched = draw(keys.reshape(8, 8), z.reshape(8, 8, -1), tau.reshape(8, 8)).reshape(
        -1
    )
    np.testing.assert_array_equal(batched, ids)
    np.testing.assert_array_equal(jaxtemp.categorical(keys, z.T, tau, axis=0), ids)


def test_draws_of_shape_begin_with_the_single_draw():
    z, tau, keys = random_rows()
    many = draw(keys, z, tau, shape=(3, 2, 64))
    np.testing.assert_array_equal(many[0, 0], jaxtemp.categorical(keys, z, tau))


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_every_kind_of_key_gives_rows_of_their_own(impl):
    keys = jax.random.split(jax.random.key(0, impl=impl), 64)
    z, tau = np.zeros((64, 1000), np.float32), np.ones(64, np.float32)
    ids = jaxtemp.categorical(keys, z, tau)
    other = jaxtemp.categorical(keys[np.r_[1, 1:64]], z, tau)
    np.testing.assert_array_equal(ids[1:], other[1:])
    assert ids[0] != other[0]
    assert other[0] == other[1]


def test_an_old_style_key_is_the_same_key():
    z, tau, keys = random_rows()
    old = jax.random.key_data(keys)
    np.testing.assert_array_equal(
        jaxtemp.categorical(old, z, tau), jaxtemp.categorical(keys, z, tau)
    )
    np.testing.assert_array_equal(
        jaxtemp.categorical(jax.random.key_data(KEY), z),
        jaxtemp.categorical(KEY, z),
    )


def test_rows_with_nothing_to_draw_get_minus_one_and_no_other_row_does():
    _, tau, keys = random_rows()
    z = np.zeros((64, 1000), np.float32)
    z[0, 7] = np.nan
    z[1] = -np.inf
    z[2, 5] = np.inf
    z[3, 1:] = -np.inf
    ids = np.asarray(jaxtemp.categorical(keys, z, tau))
    np.testing.assert_array_equal(ids[:4], [-1, -1, -1, 0])
    assert (ids[4:] >= 0).all()
    tau[:2] = np.nan, -1  # an error unless it is traced
    ids = jax.vmap(jaxtemp.categorical)(keys, np.zeros_like(z), tau)
    np.testing.assert_array_equal(ids == -1, np.arange(64) < 2)


@pytest.mark.parametrize("size", SIZES)
def test_zero_temperature_takes_a_largest(size):
    z = np.random.default_rng(size).integers(0, 3, (64, size)).astype(np.float32)
    tau, keys = np.zeros(64, np.float32), jax.random.split(KEY, 64)
    ids = np.asarray(jaxtemp.categorical(keys, z, tau))
    np.testing.assert_array_equal(z[np.arange(64), ids], z.max(-1))
    first = jaxtemp.categorical(keys, z, tau, ties="index")
    np.testing.assert_array_equal(first, z.argmax(-1))
    assert (ids != first).any()


def test_differentiating_through_a_draw_is_allowed():
    def loss(z, tau):
        p = jaxtemp.softmax(z, tau)
        return -jnp.log(p[jaxtemp.categorical(KEY, z, tau)])

    assert np.isfinite(jax.jit(jax.grad(loss))(jnp.arange(4.0), 0.5)).all()


@pytest.mark.parametrize(
    ("size", "ties"),
    [
        (16, "random"),
        (40, "index"),
        (1000, "random"),
        (1024, "index"),
        (20_000, "random"),
    ],
)
def test_classes_split_over_devices_give_the_same_ids(size, ties):
    z, tau, keys = random_rows(size=size)
    if ties == "index":
        z, tau = z.round(), tau.round()
    mesh = jax.make_mesh(
        (2, 4), ("rows", "classes"), axis_types=(jax.sharding.AxisType.Auto,) * 2
    )
    draw = functools.partial(jaxtemp.categorical, ties=ties, axis_name="classes")
    ids = jax.jit(
        jax.shard_map(
            draw,
            mesh=mesh,
            in_specs=(P("rows"), P("rows", "classes"), P("rows")),
            out_specs=P("rows"),
        )
    )(keys, z, tau)
    np.testing.assert_array_equal(ids, jaxtemp.categorical(keys, z, tau, ties=ties))


@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_rows_split_over_devices_give_the_same_ids_and_nothing_is_gathered(kind):
    z, tau, keys = random_rows()
    mesh = jax.make_mesh((8,), ("rows",), axis_types=(jax.sharding.AxisType[kind],))
    with jax.set_mesh(mesh):
        rows = jax.NamedSharding(mesh, P("rows"))
        where = [jax.device_put(x, rows) for x in (keys, z, tau)]
        compiled = jax.jit(jaxtemp.categorical).lower(*where).compile()
        ids = compiled(*where)
    text = compiled.as_text()
    assert not any(name in text for name in ("all-gather", "all-reduce", "all-to-all"))
    np.testing.assert_array_equal(ids, jaxtemp.categorical(keys, z, tau))


@pytest.mark.parametrize("classes", [5, 500, 50_000])
def test_no_rows_draw_no_ids(classes):
    z, key = jnp.zeros((0, classes)), jax.random.key(0)
    for options in ({}, {"temperature": 0.0}, {"replace": False}):
        assert jaxtemp.categorical(key, z, **options).shape == (0,)
        shaped = jaxtemp.categorical(key, z, shape=(3, 0), **options)
        assert (shaped.shape, shaped.dtype) == ((3, 0), jnp.int32)


def test_a_draw_exports_for_every_platform():
    z, tau, keys = random_rows()
    exported = jax.export.export(
        jax.jit(jaxtemp.categorical), platforms=("cpu", "cuda", "tpu")
    )(jax.random.key_data(keys), z, tau)
    ids = exported.call(jax.random.key_data(keys), z, tau)
    np.testing.assert_array_equal(ids, jaxtemp.categorical(keys, z, tau))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_working_set_is_no_larger_than_the_logits_in_float32(dtype):
    z, tau, keys = random_rows(size=32_000)
    z = jnp.asarray(z, dtype)
    compiled = jax.jit(jaxtemp.categorical).lower(keys, z, tau).compile()
    assert compiled.memory_analysis().temp_size_in_bytes <= 4 * z.size


BAD = {
    "not a key": ({"key": 0}, TypeError, "`key` must be a JAX random key, got int; "),
    "floats for a key": (
        {"key": np.zeros(2)},
        TypeError,
        "`key` must be a JAX random key, got an array of float64; ",
    ),
    "keys of another shape": (
        {"key": jax.random.split(KEY, 3)},
        ValueError,
        "`key` must be one key or an array of keys of the batch shape (2,), "
        "got keys of shape (3,); ",
    ),
    "shape without the batch": (
        {"shape": (5,)},
        ValueError,
        "`shape` must end in the batch shape (2,), got (5,); ",
    ),
    "shape is a number": (
        {"shape": 5},
        TypeError,
        "`shape` must be a tuple of ints, got 5; ",
    ),
    "unknown ties": (
        {"ties": "first"},
        ValueError,
        "`ties` must be one of 'random', 'index', got 'first'; ",
    ),
    "too many without replacement": (
        {"shape": (7, 2), "replace": False},
        ValueError,
        "`k` must be in [1, 4] to draw distinct ones of 4 classes, got 7; ",
    ),
    "integer logits": (
        {"logits": np.zeros((2, 4), int)},
        TypeError,
        "`logits` must be real floating point, got dtype int",
    ),
    "temperature of a wrong length": (
        {"temperature": np.ones(3)},
        ValueError,
        "`temperature` must broadcast to the batch shape (2,)",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_its_own_message(case):
    arguments, error, message = BAD[case]
    with pytest.raises(error) as raised:
        jaxtemp.categorical(**{"key": KEY, "logits": np.zeros((2, 4)), **arguments})
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)
