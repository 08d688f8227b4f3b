"""Contenders that are PyTorch functions, run eagerly or compiled; PyTorch is optional.

Kernels of other libraries for PyTorch are imported when they are timed.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.cases import AbsentError, Ready

Formula = Callable[[Any, Any], Any]  # the op, of logits and temperature


def load(platform: str) -> Any:
    """The `torch` module.

    Raises:
        AbsentError: It is not installed, or does not drive this platform.
    """
    if platform not in ("cpu", "gpu"):
        raise AbsentError(f"PyTorch is not timed on a {platform}")
    try:
        import torch
    except ImportError as error:
        raise AbsentError("PyTorch is not installed") from error
    if platform == "gpu" and not torch.cuda.is_available():
        raise AbsentError("this PyTorch sees no GPU")
    return torch


def library(module: str) -> Any:
    """A module of a library that has kernels for PyTorch.

    Raises:
        AbsentError: It cannot be imported; the message says why.
    """
    try:
        return importlib.import_module(module)
    except Exception as error:  # an installation that does not fit may raise anything
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise AbsentError(f"`{module}` cannot be imported: {reason}") from error


def tensor(torch: Any, array: np.ndarray, platform: str) -> Any:
    """A tensor with a copy of the array; NumPy's bfloat16 becomes PyTorch's."""
    where = "cuda" if platform == "gpu" else "cpu"
    if array.dtype.name == "bfloat16":
        bits = torch.tensor(array.view(np.int16), device=where)
        return bits.view(torch.bfloat16)
    return torch.tensor(array, device=where)


def prepare(
    torch: Any,
    formula: Formula,
    platform: str,
    z: Any,
    tau: Any,
    w: Any | None = None,
    *,
    backward: bool = False,
    compiled: bool = False,
) -> Ready:
    """Runs `formula` forward or, given weights, the loss `Σ w y` and its gradient.

    Args:
        torch: The module.
        formula: The op.
        platform: Where the tensors are.
        z: Logits.
        tau: Temperatures.
        w: Weights.
        backward: Whether to run the gradient only, of what the forward pass has kept.
        compiled: Whether `torch.compile` makes one program of it.
    """

    def loss(z: Any, tau: Any) -> Any:
        return (w * formula(z, tau)).sum(dtype=torch.float32)

    def value(z: Any, tau: Any) -> Any:
        return formula(z, tau)

    run = value if w is None or backward else loss
    run = _compile(torch, run) if compiled else run

    def forward() -> tuple[Any, ...]:
        with torch.no_grad():
            return (run(z, tau),)

    def value_and_grad() -> tuple[Any, ...]:
        total = run(z, tau)
        return total.detach(), *torch.autograd.grad(total, (z, tau))

    if w is None:
        call = forward
    else:
        z, tau = z.requires_grad_(), tau.requires_grad_()
        call = _pulled(torch, run(z, tau), (z, tau), w) if backward else value_and_grad

    def fence(out: Any) -> None:
        if platform == "gpu":
            torch.cuda.synchronize()

    def poison(out: Any) -> None:
        for leaf in out:
            torch.full_like(leaf, torch.nan if leaf.is_floating_point() else -1)
        fence(out)

    return Ready(
        call=call,
        fence=fence,
        fetch=lambda out: [leaf.float().cpu().numpy() for leaf in out],
        poison=poison,
    )


def _pulled(torch: Any, y: Any, inputs: tuple, w: Any) -> Callable[[], tuple]:
    return lambda: torch.autograd.grad(y, inputs, w, retain_graph=True)


def _compile(torch: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    # Every case has a size of its own, and after eight of them the compiler would give
    # up on a function and run it eagerly.
    torch._dynamo.reset()
    # A backward pass that runs often must not give away what it has been given.
    importlib.import_module("torch._functorch.config").donated_buffer = False
    return torch.compile(function, dynamic=False)
