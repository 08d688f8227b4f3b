"""Counter-based random bits: a row's numbers depend on its key and on nothing else.

Threefry-2x32 (Salmon et al., *Parallel random numbers: as easy as 1, 2, 3*, 2011),
elementwise over arrays of keys and counters, so that every row can have a key of its
own at the price of one. With 20 rounds it is the generator that JAX uses; at 13, no
statistical flaw is known either.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

_PARITY = 0x1BD11BDA
_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)


def threefry(
    key: tuple[jax.Array, jax.Array],
    counter: tuple[jax.Array, jax.Array],
    rounds: int = 20,
) -> tuple[jax.Array, jax.Array]:
    """64 random bits, as two arrays of uint32, for each key and counter."""
    schedule = (*key, key[0] ^ key[1] ^ jnp.uint32(_PARITY))
    left, right = counter[0] + schedule[0], counter[1] + schedule[1]
    for done in range(1, rounds + 1):
        distance = _ROTATIONS[(done - 1) % 8]
        left = left + right
        right = (right << distance) | (right >> (32 - distance))
        right = right ^ left
        group, rest = divmod(done, 4)
        if rest == 0:
            left = left + schedule[group % 3]
            right = right + schedule[(group + 1) % 3] + jnp.uint32(group)
    return left, right


def uniform(bits: tuple[jax.Array, jax.Array], dtype) -> jax.Array:
    """A number in (0, 1], of 64 bits before rounding: fine-grained near zero."""
    high, low = (word.astype(dtype) for word in bits)
    return high * 2.0**-32 + (low + 0.5) * 2.0**-64


def from_nearer_end(
    bits: tuple[jax.Array, jax.Array], dtype
) -> tuple[jax.Array, jax.Array]:
    """A number u in (0, 1), fine-grained near both: from which end, and how far.

    Returns:
        The distance, in [2**-65, 1/2], and whether it is that from one, `1 - u`.
    """
    high, low = lax.bitcast_convert_type(bits[0], jnp.int32), bits[1]
    sign = high >> 31
    distance = (high ^ sign).astype(dtype) * 2.0**-32
    return distance + (low.astype(dtype) + 0.5) * 2.0**-64, sign < 0
