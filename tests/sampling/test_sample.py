import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import jaxtemp
from jaxtemp.sampling import sample
from tests.random.test_categorical import g_test

KEY = jax.random.key(7)
DRAWS = 1_000_000
CHUNK = 50_000


def kept(z, tau, k=None, p=None, least=None, ties="index"):
    """The float64 truth: probabilities of what the three steps leave, a row."""
    z = np.asarray(z).astype(np.float64)
    order = np.lexsort((np.arange(z.size), -z))
    x = z[order] - z[order[0]]
    with np.errstate(divide="ignore", invalid="ignore"):
        u = np.where(x == 0, 0.0, x / tau)
    w = np.exp(u)
    stay = w > 0
    if k:
        stay[k:] = False if ties == "index" else x[k:] == x[min(k, x.size) - 1]
        stay &= w > 0
    if p is not None and p < 1:
        mass = np.where(stay, w, 0)
        before = np.cumsum(mass) - mass
        if ties == "all":
            before = np.array([mass[x > v].sum() for v in x])
        within = before < p * mass.sum()
        within[0] = True
        if ties == "all":
            within |= x == x[0]
        stay &= within
    if least is not None:
        stay &= w >= least
    out = np.zeros_like(w)
    out[order] = np.where(stay, w, 0)
    return out / out.sum()


def many(z, draws=DRAWS, **arguments):
    """How often each class is drawn, with a key of its own for every draw."""

    @jax.jit
    def some(key, z):
        keys = jax.random.split(key, CHUNK)
        return sample(keys, jnp.broadcast_to(z, (CHUNK, len(z))), **arguments)

    ids = [np.asarray(some(key, z)) for key in jax.random.split(KEY, draws // CHUNK)]
    ids = np.concatenate(ids)
    assert ids.min() >= 0
    return np.bincount(ids, minlength=len(z)).astype(float)


_NORMAL = np.random.default_rng(0).normal(size=12).astype(np.float32) * 2
_MASKED = np.where(np.arange(12) % 3 == 0, -np.inf, _NORMAL).astype(np.float32)
_TIED = np.random.default_rng(1).integers(0, 4, 12).astype(np.float32)

CASES = {
    "top_p": (_NORMAL, {"top_p": 0.9}),
    "top_p, low": (_NORMAL, {"top_p": 0.5}),
    "top_p, zero": (_NORMAL, {"top_p": 0.0}),
    "top_p, one": (_NORMAL, {"top_p": 1.0}),
    "top_p, masked": (_MASKED, {"top_p": 0.8, "temperature": 2.0}),
    "top_p, tied": (_TIED, {"top_p": 0.55}),
    "top_p, tied, all": (_TIED, {"top_p": 0.55, "ties": "all"}),
    "top_p, flat": (np.zeros(16), {"top_p": 0.499}),
    "top_p, bfloat16": (_NORMAL.astype(jnp.bfloat16), {"top_p": 0.7}),
    "top_k": (_NORMAL, {"top_k": 5}),
    "top_k, array": (_NORMAL, {"top_k": jnp.array(5)}),
    "top_k, tied": (_TIED, {"top_k": 3}),
    "top_k, tied, array": (_TIED, {"top_k": jnp.array(3)}),
    "top_k, tied, all": (_TIED, {"top_k": 3, "ties": "all"}),
    "top_k, off": (_NORMAL, {"top_k": 0}),
    "top_k, more than there are": (_NORMAL, {"top_k": 100}),
    "top_k, beyond every integer type": (_NORMAL, {"top_k": 10**30}),
    "min_p": (_NORMAL, {"min_p": 0.05, "temperature": 1.3}),
    "all": (_NORMAL, {"top_k": 7, "top_p": 0.9, "min_p": 0.1, "temperature": 1.7}),
    "all, arrays": (
        _NORMAL,
        {
            "top_k": jnp.array(7),
            "top_p": jnp.array(0.9),
            "min_p": jnp.array(0.1),
            "temperature": jnp.array(1.7),
        },
    ),
    "tied at zero": (np.array([1.0, 3.0, 3.0, 2.0, 3.0]), {"temperature": 0.0}),
    "tied at zero, top_k": (
        np.array([1.0, 3.0, 3.0, 2.0, 3.0]),
        {"temperature": 0.0, "top_k": 2},
    ),
    "wide": (np.random.default_rng(2).normal(size=150), {"top_p": 0.8, "top_k": 70}),
}
_TRUTH = {"temperature": "tau", "top_k": "k", "top_p": "p", "min_p": "least"}


def truth(z, arguments):
    names = {_TRUTH.get(name, name): value for name, value in arguments.items()}
    plain = {
        k: v if isinstance(v, str) else np.asarray(v)[()] for k, v in names.items()
    }
    return kept(z, **{"tau": 1.0, **plain})


@pytest.mark.parametrize("name", CASES)
def test_draws_have_the_distribution_of_what_is_kept(name):
    z, arguments = CASES[name]
    z = jnp.asarray(z, z.dtype if z.dtype == jnp.bfloat16 else jnp.float32)
    assert g_test(many(z, **arguments), truth(z, arguments)) > 1e-4


@pytest.mark.parametrize("p", [0.05, 0.9, 0.999])
def test_draws_from_a_vocabulary_have_the_distribution_of_what_is_kept(p):
    z = np.random.default_rng(3).normal(size=131_072).astype(np.float32) * 3
    ids = [
        np.asarray(sample(jax.random.split(key, 100), np.tile(z, (100, 1)), top_p=p))
        for key in jax.random.split(KEY, 20)
    ]
    counts = np.bincount(np.concatenate(ids), minlength=z.size).astype(float)
    assert g_test(counts, kept(z, 1.0, p=p)) > 1e-4


def test_only_what_is_kept_is_ever_drawn_from_random_rows():
    rng = np.random.default_rng(4)
    rows, size = 20_000, 12
    z = rng.normal(size=(rows, size)).astype(np.float32).round(1) * 2
    z[rng.random((rows, size)) < rng.choice([0, 0.5, 0.9], (rows, 1))] = -np.inf
    z[np.arange(rows), rng.integers(0, size, rows)] = 0.5
    k = rng.integers(0, size + 2, rows)
    p = rng.choice([0, 0.1, 0.5, 0.9, 1.0], rows).astype(np.float32)
    least = rng.choice([0, 0.01, 0.3, 1.0], rows).astype(np.float32)
    tau = rng.choice([0.0, 0.5, 1.0, 3.0], rows).astype(np.float32)
    draw = jax.jit(functools.partial(sample, top_k=k, top_p=p, min_p=least))
    seen = np.zeros((rows, size), bool)
    for key in jax.random.split(KEY, 40):
        seen[np.arange(rows), draw(jax.random.split(key, rows), z, tau)] = True
    allowed = np.array([kept(*row) for row in zip(z, tau, k, p, least, strict=True)])
    assert not (seen & (allowed == 0)).any()
    # A class that is likely is missed in 40 draws by one row in a thousand or so.
    assert (seen | (allowed < 0.3)).mean() > 0.999


def _rows():
    z = np.random.default_rng(5).normal(size=(48, 500)).astype(np.float32) * 3
    numbers = {
        "temperature": np.linspace(0.1, 2, 48, dtype=np.float32),
        "top_k": np.arange(48) * 3,
        "top_p": np.linspace(0, 1, 48, dtype=np.float32),
        "min_p": np.linspace(0.2, 0, 48, dtype=np.float32),
    }
    return jax.random.split(KEY, 48), z, numbers


traced = 0


@jax.jit
def step(keys, z, numbers):
    global traced
    traced += 1
    return sample(keys, z, **numbers)


def test_a_rows_id_depends_on_its_own_key_logits_and_numbers_alone():
    keys, z, numbers = _rows()
    ids = step(keys, z, numbers)
    padded = np.pad(z, [(0, 0), (0, 60)], constant_values=-np.inf)
    transposed = jax.jit(functools.partial(sample, axis=0))
    some = range(1, 48, 6)
    alone = [
        step(keys[i], z[i], {name: x[i] for name, x in numbers.items()}) for i in some
    ]
    np.testing.assert_array_equal(ids, sample(keys, z, **numbers))
    np.testing.assert_array_equal(ids, jax.jit(jax.vmap(sample))(keys, z, **numbers))
    np.testing.assert_array_equal(ids, transposed(keys, padded.T, **numbers))
    np.testing.assert_array_equal(ids[1::6], alone)


def test_numbers_change_without_compiling_again():
    keys, z, numbers = _rows()
    step(keys, z, numbers)
    before = traced
    for factor in (0.5, 0.25):
        step(keys, z, {**numbers, "top_p": numbers["top_p"] * factor})
    assert traced == before


@pytest.mark.parametrize(
    "few", [{"top_p": 0.5}, {"top_k": 3}, {"top_k": jnp.array(3)}], ids=str
)
def test_rows_with_nothing_to_draw_get_minus_one(few):
    z = np.zeros((5, 200), np.float32)
    z[0, 3], z[1], z[2, 9] = np.nan, -np.inf, np.inf
    where = np.ones((5, 200), bool)
    where[4] = False
    ids = jax.jit(functools.partial(sample, **few, min_p=0.1))(KEY, z, where=where)
    np.testing.assert_array_equal(ids[np.array([0, 1, 2, 4])], -1)
    assert ids[3] >= 0


def test_a_traced_parameter_that_is_nan_spoils_its_own_row():
    p = jnp.array([0.5, np.nan])
    ids = jax.jit(lambda p: sample(KEY, np.zeros((2, 9)), top_p=p))(p)
    assert ids[0] >= 0
    assert ids[1] == -1


FEW = {
    "top_p": {"top_p": 0.9},
    "min_p": {"top_p": 0.9, "min_p": 0.1},
    "top_k": {"top_k": 50},
    "top_k a row": {"top_k": np.arange(20, 68)},
    "all a row": {"top_k": np.arange(20, 68), "top_p": 0.9, "min_p": 0.1},
    "ties": {"top_k": np.arange(20, 68), "top_p": 0.9, "ties": "all"},
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("few", FEW)
def test_the_working_set_is_no_larger_than_the_logits_in_float32(few, dtype):
    keys, z, _ = _rows()
    z = jnp.tile(z, (1, 65)).astype(dtype)
    draw = jax.jit(functools.partial(sample, **FEW[few]))
    memory = draw.lower(keys, z).compile().memory_analysis()
    assert memory.temp_size_in_bytes <= 4 * z.size


def test_no_rows_draw_no_ids():
    for classes in (5, 500, 50_000):
        z, k = jnp.zeros((0, classes)), jnp.zeros(0, jnp.int32)
        for few in ({"top_p": 0.9}, {"top_k": k, "top_p": 0.9, "min_p": 0.1}):
            assert sample(KEY, z, **few).shape == (0,)


def test_one_long_row_needs_no_more_than_its_logits():
    draw = jax.jit(functools.partial(sample, top_p=0.9, top_k=jnp.array(50)))
    memory = draw.lower(KEY, jnp.zeros(32_000)).compile().memory_analysis()
    assert memory.temp_size_in_bytes <= 4 * 32_000


def test_rows_that_are_sharded_are_drawn_where_they_are():
    keys, z, numbers = _rows()
    mesh = jax.make_mesh((8,), ("rows",), (jax.sharding.AxisType.Auto,))
    rows = NamedSharding(mesh, PartitionSpec("rows"))
    put = jax.device_put((keys, z, numbers), rows)
    assert "all-gather" not in step.lower(*put).compile().as_text()
    np.testing.assert_array_equal(step(*put), step(keys, z, numbers))
    spec = PartitionSpec("rows")
    split = jax.shard_map(step, mesh=mesh, in_specs=spec, out_specs=spec)
    np.testing.assert_array_equal(split(keys, z, numbers), step(keys, z, numbers))


BAD = {
    "not a key": ({"key": 3}, TypeError, "`key` must be a JAX random key, got int; "),
    "top_p too large": (
        {"top_p": 1.5},
        ValueError,
        "`top_p` must be in [0, 1], got 1.5; pass 1 or None to keep all, ",
    ),
    "top_p NaN": (
        {"top_p": float("nan")},
        ValueError,
        "`top_p` must be in [0, 1], got nan; ",
    ),
    "min_p negative": (
        {"min_p": np.array([0.1, -0.5])},
        ValueError,
        "`min_p` must be in [0, 1], got -0.5; pass 0 or None to keep all.",
    ),
    "negative k": (
        {"top_k": -1},
        ValueError,
        "`top_k` must be an integer >= 0, got -1; pass 0 or None to keep all.",
    ),
    "k negative beyond every integer type": (
        {"top_k": -(10**12)},
        ValueError,
        "`top_k` must be an integer >= 0, got -1000000000000; ",
    ),
    "k not an integer": (
        {"top_k": 2.5},
        TypeError,
        "`top_k` must be an integer, got dtype float32; ",
    ),
    "top_p of a wrong length": (
        {"top_p": np.ones(3)},
        ValueError,
        "`top_p` must broadcast to the batch shape (2,)",
    ),
    "k of a wrong length": (
        {"top_k": np.ones(3, int)},
        ValueError,
        "`top_k` must broadcast to the batch shape (2,)",
    ),
    "unknown ties": (
        {"ties": "random"},
        ValueError,
        "`ties` must be one of 'index', 'all', got 'random'; ",
    ),
    "unknown implementation": (
        {"implementation": "cuda"},
        ValueError,
        "`implementation` must be None or one of ",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_its_own_message(case):
    arguments, error, message = BAD[case]
    with pytest.raises(error) as raised:
        jaxtemp.sample(**{"key": KEY, "logits": np.zeros((2, 4)), **arguments})
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)
