"""Contenders that are PyTorch functions, run eagerly; PyTorch is optional."""

from __future__ import annotations

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


def tensor(torch: Any, array: np.ndarray, platform: str) -> Any:
    """A tensor with a copy of the array; NumPy's bfloat16 becomes PyTorch's."""
    where = "cuda" if platform == "gpu" else "cpu"
    if array.dtype.name == "bfloat16":
        bits = torch.tensor(array.view(np.int16), device=where)
        return bits.view(torch.bfloat16)
    return torch.tensor(array, device=where)


def prepare(
    torch: Any, formula: Formula, platform: str, z: Any, tau: Any, w: Any | None = None
) -> Ready:
    """Runs `formula` forward or, given weights, the loss `Σ w y` and its gradient."""

    def forward() -> tuple[Any, ...]:
        with torch.no_grad():
            return (formula(z, tau),)

    def value_and_grad() -> tuple[Any, ...]:
        loss = (w * formula(z, tau)).sum(dtype=torch.float32)
        return loss.detach(), *torch.autograd.grad(loss, (z, tau))

    if w is not None:
        z, tau = z.requires_grad_(), tau.requires_grad_()

    def fence(out: Any) -> None:
        if platform == "gpu":
            torch.cuda.synchronize()

    def poison(out: Any) -> None:
        for leaf in out:
            torch.full_like(leaf, torch.nan if leaf.is_floating_point() else -1)
        fence(out)

    return Ready(
        call=forward if w is None else value_and_grad,
        fence=fence,
        fetch=lambda out: [leaf.float().cpu().numpy() for leaf in out],
        poison=poison,
    )
