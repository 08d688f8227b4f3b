"""Noise and the bits that it is made of, against mpmath, known answers and chance."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import scipy.stats

from jaxtemp._bits import from_nearer_end, threefry
from jaxtemp.random import gumbel, logistic
from jaxtemp.random._keys import row_words
from jaxtemp.random._noise import gumbel_at, logistic_at, row_bits

KEY = jax.random.key(11)
BITS = ("default", "fast")
LEAST = 1e-4  # of a p-value; all of them are about 60
ROWS, SIZE = 64, 1 << 15

# Known answers of the Random123 library for 13 rounds: counter, key, result.
ANSWERS = [
    ((0, 0), (0, 0), (0x9D1C5EC6, 0x8BD50731)),
    ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0xFD36D048, 0x2D17272C)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xBA3E4725, 0xF27D669E)),
]


def words(pair):
    return tuple(jnp.array([word], jnp.uint32) for word in pair)


@pytest.mark.parametrize(("counter", "key", "answer"), ANSWERS)
def test_thirteen_rounds_are_those_of_the_published_function(counter, key, answer):
    got = threefry(words(key), words(counter), 13)
    assert tuple(int(word[0]) for word in got) == answer


@jax.jit
def _both(key):
    left, right = (word[:, 0] for word in row_words(key, (ROWS,)))
    return {bits: row_bits((left, right), SIZE, bits) for bits in BITS}


@pytest.fixture(scope="module")
def streams():
    """For each generator, words `[2, rows, size]`: rows of one key, counters from 0."""
    return {bits: np.asarray(drawn) for bits, drawn in _both(KEY).items()}


def uniform_p(cells, count):
    """The p-value of equal frequencies of `count` cells."""
    seen = np.bincount(cells.ravel().astype(np.int64), minlength=count)
    return scipy.stats.power_divergence(seen, lambda_="log-likelihood").pvalue


@pytest.mark.parametrize("bits", BITS)
def test_every_bit_and_every_byte_is_uniform(streams, bits):
    drawn = streams[bits]
    for word in drawn:
        ones = [int((word >> i & 1).sum()) for i in range(32)]
        z = (np.array(ones) - word.size / 2) / np.sqrt(word.size / 4)
        assert np.abs(z).max() < 4.5
        for shift in (0, 8, 16, 24):
            assert uniform_p(word >> shift & 255, 256) > LEAST


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("shift", [0, 12, 24])
def test_neighbours_are_independent(streams, bits, shift):
    """Of counters, of rows, and the two words of one call."""
    byte = streams[bits] >> shift & 255
    pairs = [
        (byte[:, :, :-1], byte[:, :, 1:]),
        (byte[:, :-1], byte[:, 1:]),
        (byte[0], byte[1]),
    ]
    for one, other in pairs:
        assert uniform_p(one * 256 + other, 1 << 16) > LEAST


@pytest.mark.parametrize("bits", BITS)
def test_birthdays_are_spaced_by_chance(streams, bits):
    """Of 4096 words, spacings that occur again are a Poisson number of mean 4."""
    for drawn in (streams[bits], streams[bits].transpose(0, 2, 1)):
        days = np.sort(drawn.reshape(-1, 4096).astype(np.int64), axis=-1)
        spacings = np.sort(np.diff(days, axis=-1), axis=-1)
        again = (np.diff(spacings, axis=-1) == 0).sum(axis=-1)
        mean = 4096**3 / (4 * 2**32)
        cells = np.minimum(again, 10)
        p = scipy.stats.poisson.pmf(np.arange(10), mean)
        expected = np.r_[p, 1 - p.sum()] * len(again)
        found = scipy.stats.chisquare(np.bincount(cells, minlength=11), expected)
        assert found.pvalue > LEAST


@pytest.mark.parametrize("bits", BITS)
def test_the_numbers_of_linear_matrices_of_each_rank_are_right(streams, bits):
    """32x32 matrices over the field of two elements, 16384 of them."""
    rows = streams[bits][0].reshape(-1, 32)[:16384].copy()
    rank = np.zeros(len(rows), int)
    every = np.arange(len(rows))
    for bit in range(32):
        has = (rows >> bit & 1).astype(bool) & (np.arange(32) >= rank[:, None])
        found, pivot = has.any(-1), has.argmax(-1)
        own = rows[every, pivot]
        other = rows[every, np.minimum(rank, 31)]
        rows[every, pivot] = np.where(found, other, own)
        below = (rows >> bit & 1).astype(bool) & (np.arange(32) > rank[:, None])
        below &= found[:, None]
        rows[every, np.minimum(rank, 31)] = np.where(found, own, other)
        rows ^= np.where(below, own[:, None], 0).astype(np.uint32)
        rank += found
    full = np.prod(1 - 0.5 ** np.arange(1, 33))
    p = np.array([full, 2 * full, 0])  # of rank 32, and of rank 31: 2(1 - 2^-32)²
    p[2] = 1 - p.sum()
    seen = [(rank == 32).sum(), (rank == 31).sum(), (rank < 31).sum()]
    assert scipy.stats.chisquare(seen, p * len(rank)).pvalue > LEAST


@pytest.mark.parametrize("bits", BITS)
def test_one_bit_of_a_key_or_counter_changes_half_of_all(bits):
    count = 4096
    start = np.random.default_rng(0).integers(0, 2**32, (count, 1, 4), np.uint32)
    flips = np.zeros((1, 129, 4), np.uint32)
    for i in range(128):
        flips[0, i, i // 32] = 1 << (i % 32)
    at = start ^ flips

    @jax.jit
    def ones(at):
        a, b, c, d = (at[..., i] for i in range(4))
        out = jnp.stack(threefry((a, b), (c, d), {"default": 20, "fast": 13}[bits]))
        out = out[:, :, :-1] ^ out[:, :, -1:]
        places = jnp.arange(32, dtype=jnp.uint32)
        return (out[..., None] >> places & 1).sum(1, dtype=jnp.int32)

    z = (np.asarray(ones(at)) - count / 2) / np.sqrt(count / 4)
    assert z.size == 128 * 64
    assert LEAST < scipy.stats.chi2.sf((z**2).sum(), z.size) < 1 - LEAST
    assert np.abs(z).max() < 6


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_distances_are_those_of_64_bits(dtype):
    high = [0, 0, 0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFF, 0x40000000]
    low = [0, 7, 0xFFFFFFFF, 0, 0xFFFFFFFF, 0, 0xFFFFFFFF, 0]
    with jax.enable_x64(dtype == "float64"):
        pair = (jnp.array(high, jnp.uint32), jnp.array(low, jnp.uint32))
        distance, from_one = from_nearer_end(pair, dtype)
    assert distance.dtype == dtype
    for k, (h, lo) in enumerate(zip(high, low, strict=True)):
        assert bool(from_one[k]) == (h >= 2**31)
        # From one, the low word counts up where it might count down: as uniform.
        near = 2**32 - 1 - h if h >= 2**31 else h
        want = (near * 2**32 + lo + 0.5) / 2**64
        np.testing.assert_allclose(distance[k], want, rtol=np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_noise_at_a_number_is_the_quantile_there(dtype):
    """Between 2^-65 and a half from either end, against mpmath."""
    rng = np.random.default_rng(3)
    near = 2.0 ** -np.r_[65, 64, 50, 33, 10, 2, 1, rng.uniform(1, 65, 40)]
    near = np.r_[near, rng.uniform(0.25, 0.5, 40)].astype(dtype)
    # XLA's own log1p of float64 numbers is off by a hundred units in the last place.
    tolerance = {"float32": 5e-7, "float64": 1e-13}[dtype]
    with jax.enable_x64(dtype == "float64"):
        found = {
            (f, end): np.asarray(jax.jit(f)(jnp.asarray(near), jnp.full(87, end)))
            for f in (gumbel_at, logistic_at)
            for end in (False, True)
        }
    with mpmath.workprec(200):
        for (f, end), noise in found.items():
            assert noise.dtype == dtype
            for d, x in zip(near.tolist(), noise.tolist(), strict=True):
                u = 1 - mpmath.mpf(d) if end else mpmath.mpf(d)
                if f is gumbel_at:
                    want = -mpmath.log(-mpmath.log(u))
                else:
                    want = mpmath.log(u / (1 - u))
                assert abs(x - want) <= tolerance * max(1, abs(want))


def test_noise_ends_where_the_docstring_says():
    ends = gumbel_at(jnp.full(2, 2.0**-65), jnp.array([False, True]))
    np.testing.assert_allclose(ends, [-3.81, 45.05], atol=5e-3)
    ends = logistic_at(jnp.full(2, 2.0**-65), jnp.array([False, True]))
    np.testing.assert_allclose(ends, [-45.05, 45.05], atol=5e-3)


LAWS = {gumbel: scipy.stats.gumbel_r, logistic: scipy.stats.logistic}


@pytest.mark.parametrize(
    ("draw", "bits", "dtype"),
    [
        (gumbel, "default", "float32"),
        (gumbel, "fast", "float32"),
        (gumbel, "default", "float64"),
        (gumbel, "default", "bfloat16"),
        (logistic, "default", "float32"),
        (logistic, "default", "float64"),
    ],
)
def test_noise_has_its_law_in_the_middle_and_in_both_tails(draw, bits, dtype):
    law = LAWS[draw]
    with jax.enable_x64(dtype == "float64"):
        noise = draw(jax.random.key(5), (4, 1 << 20), jnp.dtype(dtype), bits=bits)
        assert noise.dtype == dtype
        noise = np.asarray(noise).astype(np.float64).ravel()
    assert np.isfinite(noise).all()
    if dtype != "bfloat16":  # whose rounding shows in four million draws
        edges = law.ppf(np.arange(1, 1024) / 1024)
        assert uniform_p(np.searchsorted(edges, noise), 1024) > LEAST
    # Rounded to eight bits, a number passes a level between its neighbours.
    half = 1 / 512 if dtype == "bfloat16" else 0
    for q in (1e-2, 1e-4, 1e-5, 2e-6):
        for beyond, level in (
            (noise > law.isf(q), law.isf(q)),
            (noise < law.ppf(q), law.ppf(q)),
        ):
            slack = abs(level) * half * law.pdf(level)
            low = scipy.stats.poisson.isf(1 - LEAST, noise.size * (q - slack))
            high = scipy.stats.poisson.isf(LEAST, noise.size * (q + slack))
            assert low <= beyond.sum() <= high


@pytest.mark.parametrize("draw", LAWS, ids=["gumbel", "logistic"])
def test_a_row_depends_on_its_own_key_alone(draw):
    keys = jax.random.split(KEY, 6).reshape(2, 3)
    together = draw(keys, (2, 3, 300))
    alone = [draw(key, (300,)) for key in keys.ravel()]
    np.testing.assert_array_equal(together.reshape(6, 300), alone)
    mapped = jax.jit(jax.vmap(lambda key: draw(key, (3, 300))))(keys)
    np.testing.assert_array_equal(together, mapped)
    np.testing.assert_array_equal(together[..., :7], draw(keys, (2, 3, 7)))
    assert len(np.unique(together)) > 1790


def test_one_key_gives_every_row_numbers_of_its_own():
    noise = np.asarray(gumbel(KEY, (3, 5, 100)))
    assert len(np.unique(noise)) > 1490
    assert gumbel(KEY).shape == ()
    assert gumbel(KEY, (0, 4)).shape == (0, 4)
    fast = gumbel(KEY, (3, 5, 100), bits="fast")
    assert (np.asarray(fast) != noise).mean() > 0.99


BAD = {
    "bits": (
        {"bits": "quick"},
        ValueError,
        "`bits` must be one of 'default', 'fast', got 'quick'; choose from these.",
    ),
    "an integer type": (
        {"dtype": jnp.int32},
        TypeError,
        "`dtype` must be real floating point, got int32; "
        "draw in `jnp.float32` and convert.",
    ),
    "a size": (
        {"shape": 3},
        TypeError,
        "`shape` must be a tuple of ints, got 3; "
        "pass for example `(8, 1000)`, or `()` for one number.",
    ),
    "a negative size": (
        {"shape": (2, -1)},
        ValueError,
        "`shape` must have no negative size, got (2, -1); "
        "pass for example `(8, 1000)`, or `()` for one number.",
    ),
    "a seed": (
        {"key": 3},
        TypeError,
        "`key` must be a JAX random key, got int; make one with `jax.random.key(0)`.",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_has_its_own_message(case):
    bad, kind, message = BAD[case]
    arguments = {"key": KEY, "shape": (2, 3), **bad}
    for draw in LAWS:
        with pytest.raises(kind) as caught:
            draw(**arguments)
        assert str(caught.value) == message
