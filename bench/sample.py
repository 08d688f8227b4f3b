"""`sample`: a draw of the classes that top-k, top-p and min-p leave.

The peers do what everybody writes: sort, sum, mask, draw. It is written once and runs
in JAX and in PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxtemp
from bench.cases import GPU
from bench.drawn import Filters
from bench.sampler import Program, SamplerOp, Task
from bench.torch_side import library


class Library(NamedTuple):
    """What the sort-based sampler is written with, over the last axis.

    `sort` gives falling values and where they come from, `draw` a place a row `[R, 1]`.
    """

    sort: Callable[[Any], tuple[Any, Any]]
    softmax: Callable[[Any], Any]
    cumsum: Callable[[Any], Any]
    places: Callable[[Any], Any]
    where: Callable[[Any, Any, float], Any]
    draw: Callable[[Any], Any]
    take: Callable[[Any, Any], Any]


def by_sorting(lib: Library, z: Any, tau: Any, filters: Filters) -> Any:
    """One id a row."""
    k, p, m = (f if np.ndim(f) == 0 else f[:, None] for f in filters)
    x, order = lib.sort(z / tau[:, None])
    if k is not None:
        x = lib.where(lib.places(x) < k, x, -np.inf)
    if p is not None:
        probs = lib.softmax(x)
        x = lib.where(lib.cumsum(probs) - probs < p, x, -np.inf)
    if m is not None:
        probs = lib.softmax(x)
        x = lib.where(probs >= m * probs[:, :1], x, -np.inf)
    return lib.take(order, lib.draw(x))[:, 0]


def _in_jax(key: Any, z: Any, tau: Any, filters: Filters) -> jax.Array:
    def sort(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        order = jnp.argsort(-x, axis=-1)
        return jnp.take_along_axis(x, order, axis=-1), order

    lib = Library(
        sort=sort,
        softmax=jax.nn.softmax,
        cumsum=lambda x: jnp.cumsum(x, axis=-1),
        places=lambda x: jnp.arange(x.shape[-1]),
        where=jnp.where,
        draw=lambda x: jax.random.categorical(key, x)[:, None],
        take=lambda x, at: jnp.take_along_axis(x, at, axis=-1),
    )
    return by_sorting(lib, z, tau, filters)


def _in_torch(torch: Any, z: Any, tau: Any, filters: Filters) -> Any:
    lib = Library(
        sort=lambda x: torch.sort(x, dim=-1, descending=True),
        softmax=lambda x: torch.softmax(x, -1),
        cumsum=lambda x: torch.cumsum(x, -1),
        places=lambda x: torch.arange(x.shape[-1], device=x.device),
        where=torch.where,
        draw=lambda x: torch.multinomial(torch.softmax(x, -1), 1),
        take=lambda x, at: torch.gather(x, -1, at),
    )
    return by_sorting(lib, z, tau, filters)


def _ours(key: Any, z: Any, tau: Any, filters: Filters, **options: str) -> jax.Array:
    return jaxtemp.sample(key, z, tau, **filters._asdict(), **options)


def _flashinfer(torch: Any, z: Any, tau: Any, filters: Filters) -> Any:
    """By rejection, from probabilities; one filter."""
    kernels = library("flashinfer.sampling")
    p = kernels.softmax(z, temperature=tau)
    if filters.top_k is not None:
        return kernels.top_k_sampling_from_probs(p, filters.top_k)
    return kernels.top_p_sampling_from_probs(p, filters.top_p)


def _by_flashinfer(name: str, filled: float | None = None) -> Program:
    return Program(
        "flashinfer",
        f"flashinfer.sampling: softmax(z, τ), {name}_sampling_from_probs",
        _flashinfer,
        filled=filled,
        torch="eager",
        platforms=GPU,
    )


def _task(
    filters: Callable[[int], Filters],
    names: str,
    sort: float,
    torch: float | None = None,
    filled: float | None = None,
    sizes: Literal["draws", "top_k", "filters"] = "filters",
    peers: tuple[Program, ...] = (),
) -> Task:
    """A mode, with the least ratios that are promised beside the two sorts."""
    text = f"z / τ, {names} by sorting"
    return Task(
        ours=_ours,
        text=f"jaxtemp.sample(key, z, τ, {names})",
        peers=(
            Program("sort, jax", f"jax: {text}", _in_jax, sort),
            Program(
                "sort, torch",
                f"torch, eager: {text}",
                _in_torch,
                torch,
                filled=filled,
                torch="eager",
            ),
            Program(
                "sort, torch.compile",
                f"torch, compiled: {text}",
                _in_torch,
                filled=filled,
                torch="compiled",
                platforms=GPU,
            ),
            *peers,
        ),
        filters=filters,
        sizes=sizes,
    )


def _per_row(rows: int) -> Filters:
    """Other numbers in every row, around those of the modes with numbers."""
    at = np.linspace(0, 1, rows, dtype=np.float32)
    return Filters(
        top_k=np.asarray(20 + 60 * at, np.int32),
        top_p=0.8 + 0.19 * at,
        min_p=0.02 + 0.06 * at[::-1],
    )


TOP_P = _task(
    lambda rows: Filters(top_p=0.9),
    "top_p=0.9",
    60.0,
    10.0,
    filled=1.0,
    sizes="draws",
    peers=(_by_flashinfer("top_p", 1.0),),
)
TOP_K = _task(
    lambda rows: Filters(top_k=50),
    "top_k=50",
    40.0,
    sizes="top_k",
    peers=(_by_flashinfer("top_k"),),
)
ALL = _task(
    lambda rows: Filters(50, 0.9, 0.05), "top_k=50, top_p=0.9, min_p=0.05", 40.0
)
ALL_PER_ROW = _task(_per_row, "top_k, top_p, min_p per row", 40.0)

OPS = (
    SamplerOp(
        "sample",
        {"top_p": TOP_P, "top_k": TOP_K, "all": ALL, "all_per_row": ALL_PER_ROW},
    ),
)
