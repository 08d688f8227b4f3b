"""Mosaic GPU: where its kernels run, and what differs between the versions of JAX.

Everything of Pallas is imported when a kernel is traced: importing it with the library
would cost more than the library itself.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from ._primitive import RowKernel

NAME = "mosaic_gpu"

_OLDEST_JAX = (0, 11)
_FIRST_WITH_STORE = (0, 12)  # and with `cost_estimate` for a kernel
_OLDEST_CHIP = 9.0  # Hopper


def state() -> str:
    """Return "available", or the reason why these kernels do not run here."""
    if reason := _missing() or _chip():
        return reason
    absent = "no NVIDIA GPU in this process; a program that is lowered for one uses it"
    return "available" if _gpus() else absent


def register(kernel: RowKernel, form: Callable[..., tuple | None]) -> None:
    """Prefer `form` on NVIDIA GPUs, where this JAX can build it.

    Where `form` returns `None`, for rows that it is not made for, and on older chips
    and for float64, the XLA form runs.
    """
    if _missing() is None:
        form = functools.partial(_where_it_runs, form, kernel.xla)
        kernel.lower_to("cuda", form, NAME)


def version() -> tuple[int, int]:
    """The version of JAX, as far as it matters here."""
    major, minor, *_ = jax.__version__.split(".")
    return int(major), int(minor)


def several_warpgroups() -> bool:
    """Whether the warpgroups of a block can exchange a few numbers.

    Older versions refuse to put one number into shared memory.
    """
    return version() >= _FIRST_WITH_STORE


def plgpu() -> Any:
    """Pallas' names for Mosaic GPU, of which every version has others."""
    from jax.experimental.pallas import mosaic_gpu

    return mosaic_gpu


def ds(start: Any, size: int) -> Any:
    """A slice of an array in memory."""
    from jax.experimental import pallas as pl

    return pl.ds(start, size)


def load(ref: Any, layout: Any) -> jax.Array:
    """Read registers from memory, at any distance between rows."""
    return plgpu().load(ref, layout=layout, optimized=False)


def store(ref: Any, at: tuple, value: jax.Array) -> None:
    """Write registers to memory, at any distance between rows."""
    if version() >= _FIRST_WITH_STORE:
        plgpu().store(ref.at[at], value, optimized=False)
    else:
        ref[at] = value


def load_parts(ref: Any, layout: Any, shape: tuple[int, int]) -> jax.Array:
    """Read a row, cut in parts that are rows of their own."""
    return load(ref.reshape(shape), layout)


def store_parts(ref: Any, value: jax.Array) -> None:
    """Write a row that was read in parts."""
    plgpu().store(ref.reshape(value.shape), value, optimized=False)


def kernel(body: Callable, *, out_type: tuple, cost: dict[str, int], **options) -> Any:
    """`plgpu.kernel`, with its cost where this JAX takes one."""
    from jax.experimental import pallas as pl

    if version() >= _FIRST_WITH_STORE:
        options["cost_estimate"] = pl.CostEstimate(**cost)
    return plgpu().kernel(body, out_type=out_type, **options)


def cost(size: int, bytes_each: int, numbers: int, exponentials: int) -> dict[str, int]:
    """What a kernel moves and computes.

    Args:
        size: How many logits there are.
        bytes_each: Bytes read and written for each of them.
        numbers: Float32 numbers of rows that are read and written.
        exponentials: How many are taken for each logit.
    """
    return {
        "bytes_accessed": size * bytes_each + 4 * numbers,
        "transcendentals": size * exponentials,
        # With each exponential come a difference, a product, a sum and a maximum.
        "flops": 4 * size * exponentials,
    }


def _where_it_runs(form, xla, *operands, **params) -> tuple:
    wide = any(x.dtype == jnp.float64 for x in operands)
    empty = any(x.size == 0 for x in operands)
    found = None
    if not (wide or empty or _chip()):
        found = form(*operands, **params)
    return xla(*operands, **params) if found is None else found


@functools.cache
def _missing() -> str | None:
    if version() < _OLDEST_JAX:
        oldest = ".".join(map(str, _OLDEST_JAX))
        return f"it needs JAX {oldest} or newer, and this is {jax.__version__}"
    if importlib.util.find_spec("absl") is None:
        return "it needs the package `absl-py`"
    return None


def _chip() -> str | None:
    """Why the GPUs of this machine do not run it; `None` without any, to compile."""
    for device in _gpus():
        if float(device.compute_capability) < _OLDEST_CHIP:
            return f"it needs NVIDIA Hopper or newer, and this is {device.device_kind}"
    return None


def _gpus() -> list:
    try:
        return jax.devices("cuda")
    except RuntimeError:
        return []
