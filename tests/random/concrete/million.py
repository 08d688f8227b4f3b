"""How many draws have a density that is not finite: `python -m ….million` tries 10⁶.

Of each class of the family, in float32, at five temperatures; tests try fewer.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxtemp.random.concrete import (
    BinaryConcrete,
    Concrete,
    ExpConcrete,
    LogitBinaryConcrete,
)

TAUS = (1.0, 0.1, 0.05, 0.01, 0.001)


def classes(number):
    """The log and the simplex form over so many classes, a row for each temperature."""
    z = 2 * np.random.default_rng(0).normal(size=(len(TAUS), number))
    args = z.astype(np.float32), np.array(TAUS)
    return ExpConcrete(*args), Concrete(*args)


def bits():
    """The logit and the interval form of a bit."""
    args = np.linspace(-4, 4, len(TAUS)).astype(np.float32), np.array(TAUS)
    return LogitBinaryConcrete(*args), BinaryConcrete(*args)


def infinities(family, draws, chunks):
    """How many densities of so many draws at each temperature are not finite."""

    @jax.jit
    def run(keys):
        def chunk(total, key):
            for form in family:
                x, own = form.sample_and_log_prob(key, (draws // chunks,))
                for density in (own, form.log_prob(x)):
                    total = total + jnp.sum(~jnp.isfinite(density))
            return total, None

        return jax.lax.scan(chunk, 0, keys)[0]

    return int(run(jax.random.split(jax.random.key(7), chunks)))


if __name__ == "__main__":
    print("bits", infinities(bits(), 1_000_000, 4))
    for size, parts in ((2, 4), (10, 20), (1000, 1000)):
        print(size, "classes", infinities(classes(size), 1_000_000, parts))
