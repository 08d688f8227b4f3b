"""The peers of the temperature family: what everybody writes, and libraries' kernels.

A formula is written once and runs in JAX and in PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bench.torch_side import library


class Library(NamedTuple):
    """What a peer's formulas are written with, over the last axis."""

    softmax: Callable[[Any], Any]
    log_softmax: Callable[[Any], Any]
    logsumexp: Callable[[Any], Any]
    sum: Callable[[Any], Any]


class Formula(NamedTuple):
    """A peer's op of logits `z`, `x = z / τ` and τ, and how it is written."""

    text: str
    apply: Callable[[Library, Any, Any, Any], Any]


def _heat_capacity(lib: Library, z: Any, x: Any, tau: Any) -> Any:
    p = lib.softmax(x)
    mean = lib.sum(p * x)
    return lib.sum(p * (x - mean[:, None]) ** 2)


FORMULAS = {
    "softmax": Formula("softmax(z / τ)", lambda lib, z, x, tau: lib.softmax(x)),
    "log_softmax": Formula(
        "log_softmax(z / τ)", lambda lib, z, x, tau: lib.log_softmax(x)
    ),
    "logsumexp": Formula("logsumexp(z / τ)", lambda lib, z, x, tau: lib.logsumexp(x)),
    "free_energy": Formula(
        "-τ logsumexp(z / τ)", lambda lib, z, x, tau: -tau * lib.logsumexp(x)
    ),
    "entropy": Formula(
        "-sum(softmax(z / τ) log_softmax(z / τ))",
        lambda lib, z, x, tau: -lib.sum(lib.softmax(x) * lib.log_softmax(x)),
    ),
    "mean_energy": Formula(
        "-sum(softmax(z / τ) z)", lambda lib, z, x, tau: -lib.sum(lib.softmax(x) * z)
    ),
    "heat_capacity": Formula("var(z / τ) under softmax(z / τ)", _heat_capacity),
}

JAX = Library(
    softmax=partial(jax.nn.softmax, axis=-1),
    log_softmax=partial(jax.nn.log_softmax, axis=-1),
    logsumexp=partial(jax.nn.logsumexp, axis=-1),
    sum=partial(jnp.sum, axis=-1),
)


def torch_library(torch: Any) -> Library:
    """The formulas' functions in PyTorch."""
    return Library(
        softmax=partial(torch.softmax, dim=-1),
        log_softmax=partial(torch.log_softmax, dim=-1),
        logsumexp=partial(torch.logsumexp, dim=-1),
        sum=partial(torch.sum, dim=-1),
    )


class Kernel(NamedTuple):
    """An op of a library for PyTorch on NVIDIA GPUs, of `z` and a column of τ.

    Attributes:
        text: What is computed.
        load: Imports the library and returns the op.
        differentiable: Whether it has a gradient.
    """

    text: str
    load: Callable[[], Callable[[Any, Any], Any]]
    differentiable: bool = True


def _liger() -> Callable[[Any, Any], Any]:
    softmax = library("liger_kernel.ops.softmax").LigerSoftmaxFunction.apply
    return lambda z, tau: softmax(z / tau)


def _quack() -> Callable[[Any, Any], Any]:
    softmax = library("quack.softmax").softmax
    return lambda z, tau: softmax(z / tau)


def _flashinfer() -> Callable[[Any, Any], Any]:
    softmax = library("flashinfer.sampling").softmax
    return lambda z, tau: softmax(z, temperature=tau.expand(len(z), 1)[:, 0])


LIBRARIES = {
    "softmax": {
        "liger": Kernel("liger_kernel: softmax(z / τ)", _liger),
        "quack": Kernel("quack.softmax(z / τ)", _quack),
        "flashinfer": Kernel("flashinfer.sampling.softmax(z, τ)", _flashinfer, False),
    }
}
