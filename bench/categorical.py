"""`categorical`: a draw from softmax(z / τ) a row, and the greedy choice at τ = 0."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import jaxtemp
from bench import check
from bench.cases import Check
from bench.sampler import Program, SamplerOp, Task


def _logsumexp_check(z: np.ndarray, tau: np.ndarray) -> Check:
    return Check(
        partial(check.forward_error, "logsumexp", z, tau), check.TOLERANCE["float32"]
    )


DRAW = Task(
    ours=Program(
        "jaxtemp",
        "jaxtemp.categorical(key, z, τ)",
        lambda key, z, tau, filters: jaxtemp.categorical(key, z, tau),
    ),
    peers=(
        Program(
            "jax.random.categorical",
            "jax.random.categorical(key, z / τ)",
            lambda key, z, tau, filters: jax.random.categorical(key, z / tau[:, None]),
            required=20.0,
            elsewhere=1.0,
        ),
        Program(
            "jax.nn.logsumexp",
            "jax.nn.logsumexp(z / τ)",
            lambda key, z, tau, filters: jax.nn.logsumexp(z / tau[:, None], axis=-1),
            required=1 / 1.5,
            check=_logsumexp_check,
        ),
    ),
)

GREEDY = Task(
    ours=Program(
        "jaxtemp",
        "jaxtemp.categorical(key, z, 0.0)",
        lambda key, z, tau, filters: jaxtemp.categorical(key, z, 0.0),
    ),
    peers=(
        Program(
            "jnp.argmax",
            "jnp.argmax(z)",
            lambda key, z, tau, filters: jnp.argmax(z, axis=-1),
            required=4.0,
        ),
    ),
    temperature="zero",
)

OPS = (SamplerOp("categorical", {"draw": DRAW, "greedy": GREEDY}),)
