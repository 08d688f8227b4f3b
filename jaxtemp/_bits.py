"""Counter-based random bits: a row's numbers depend on its key and on nothing else.

Threefry-2x32 with 20 rounds (Salmon et al., *Parallel random numbers: as easy as 1, 2,
3*, 2011), elementwise over arrays of keys and counters, so that every row can have a
key of its own at the price of one.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

_PARITY = 0x1BD11BDA
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def threefry(
    key: tuple[jax.Array, jax.Array], counter: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """64 random bits, as two arrays of uint32, for each key and counter."""
    schedule = (*key, key[0] ^ key[1] ^ jnp.uint32(_PARITY))
    left, right = counter[0] + schedule[0], counter[1] + schedule[1]
    for group in range(5):
        for distance in _ROTATIONS[group % 2]:
            left = left + right
            right = (right << distance) | (right >> (32 - distance))
            right = right ^ left
        left = left + schedule[(group + 1) % 3]
        right = right + schedule[(group + 2) % 3] + jnp.uint32(group + 1)
    return left, right


def uniform(bits: tuple[jax.Array, jax.Array], dtype) -> jax.Array:
    """A number in (0, 1], of 64 bits before rounding: fine-grained near zero."""
    high, low = (word.astype(dtype) for word in bits)
    return high * 2.0**-32 + (low + 0.5) * 2.0**-64
