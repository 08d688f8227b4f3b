"""`categorical`: a draw from softmax(z / τ) a row, and the greedy choice at τ = 0."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxtemp
from bench import check
from bench.cases import GPU, Check
from bench.drawn import Filters
from bench.sampler import Program, SamplerOp, Task
from bench.torch_side import library


def _logsumexp_check(z: np.ndarray, tau: np.ndarray) -> Check:
    return Check(
        partial(check.forward_error, "logsumexp", z, tau), check.TOLERANCE["float32"]
    )


def _multinomial(torch: Any, z: Any, tau: Any, filters: Filters) -> Any:
    return torch.multinomial(torch.softmax(z / tau[:, None], -1), 1)[:, 0]


def _race(torch: Any, z: Any, tau: Any, filters: Filters) -> Any:
    """The first of exponential clocks, whose rates are the probabilities."""
    p = torch.softmax(z / tau[:, None], -1)
    return (p / torch.empty_like(p).exponential_()).argmax(-1)


def _flashinfer(torch: Any, z: Any, tau: Any, filters: Filters) -> Any:
    return library("flashinfer.sampling").sampling_from_logits(z / tau[:, None])


DRAW = Task(
    ours=lambda key, z, tau, filters, **options: jaxtemp.categorical(
        key, z, tau, **options
    ),
    text="jaxtemp.categorical(key, z, τ)",
    peers=(
        Program(
            "jax.random.categorical",
            "jax.random.categorical(key, z / τ)",
            lambda key, z, tau, filters: jax.random.categorical(key, z / tau[:, None]),
            required=20.0,
            elsewhere=1.0,
            filled=5.0,
        ),
        Program(
            "jax.nn.logsumexp",
            "jax.nn.logsumexp(z / τ)",
            lambda key, z, tau, filters: jax.nn.logsumexp(z / tau[:, None], axis=-1),
            required=1 / 1.5,
            check=_logsumexp_check,
        ),
        Program(
            "multinomial",
            "torch, eager: multinomial(softmax(z / τ))",
            _multinomial,
            torch="eager",
            platforms=GPU,
        ),
        Program(
            "race, torch.compile",
            "torch, compiled: argmax(softmax(z / τ) / exponential)",
            _race,
            torch="compiled",
            platforms=GPU,
        ),
        Program(
            "flashinfer",
            "flashinfer.sampling.sampling_from_logits(z / τ)",
            _flashinfer,
            torch="eager",
            platforms=GPU,
        ),
    ),
    of_limit=0.8,
)


def _torch_argmax(torch: Any, z: Any, tau: Any, filters: Filters) -> Any:
    return torch.argmax(z, -1)


GREEDY = Task(
    ours=lambda key, z, tau, filters, **options: jaxtemp.categorical(
        key, z, 0.0, **options
    ),
    text="jaxtemp.categorical(key, z, 0.0)",
    peers=(
        Program(
            "jnp.argmax",
            "jnp.argmax(z)",
            lambda key, z, tau, filters: jnp.argmax(z, axis=-1),
            required=4.0,
        ),
        Program(
            "torch.argmax",
            "torch, eager: argmax(z)",
            _torch_argmax,
            torch="eager",
            platforms=GPU,
        ),
        Program(
            "torch.compile",
            "torch, compiled: argmax(z)",
            _torch_argmax,
            torch="compiled",
            platforms=GPU,
        ),
    ),
    temperature="zero",
    sizes="greedy",
)

OPS = (SamplerOp("categorical", {"draw": DRAW, "greedy": GREEDY}),)
