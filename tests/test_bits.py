import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxtemp._bits import threefry, uniform

# Known answers of the Random123 library for 20 rounds: counter, key, result.
ANSWERS = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]


def words(pair):
    return tuple(jnp.array([word], jnp.uint32) for word in pair)


@pytest.mark.parametrize(("counter", "key", "answer"), ANSWERS)
def test_bits_are_those_of_the_published_function(counter, key, answer):
    got = threefry(words(key), words(counter))
    assert tuple(int(word[0]) for word in got) == answer


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_uniform_numbers_are_uniform_positive_and_fine_near_zero(dtype):
    with jax.enable_x64(dtype == "float64"):
        counter = (jnp.arange(2**20, dtype=jnp.uint32), jnp.uint32(0))
        u = np.asarray(uniform(threefry(words((1, 2)), counter), dtype))
        assert u.dtype == dtype
        assert u.min() > 0
        assert u.max() <= 1
        assert scipy.stats.kstest(u.astype(float), "uniform").pvalue > 1e-4
        least = uniform(words((0, 0)), dtype)
        np.testing.assert_allclose(least, 2.0**-65)
        np.testing.assert_allclose(uniform(words((0, 2**31)), dtype), 2.0**-33)
