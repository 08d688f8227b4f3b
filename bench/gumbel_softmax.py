"""`gumbel_softmax`: a relaxed draw a row, forward and with gradients, by kind of bits.

Peers do what everybody writes: softmax of logits plus noise, over τ. Gradients are of
`Σ w y` in logits and temperature. What is timed is random, so the check is light: see
`error`; the tests hold samples and derivatives against their laws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

import jaxtemp
from bench import drawn, jax_side, limit, ordinary, torch_side
from bench.cases import Case, Check, Contender, Ready, Workload

SHAPES = ((32, 131072), (128, 32000), (2048, 1024), (65536, 8), (1, 32000))
QUICK_SHAPES = ((64, 8), (16, 1000))
HEADLINE = (32, 131072)
KEYS = 16  # taken in turn
ALL = drawn.Filters()
LARGEST = 1e-3  # of the rounding of a row's sum, relative to its scale


class Mode(NamedTuple):
    """A mode: the bits of ours, whether there are gradients, least ratios promised."""

    bits: str
    gradient: bool
    textbook: float
    torch: float = 3.0

    def ours(self, key: Any, z: Any, tau: Any) -> jax.Array:
        return jaxtemp.gumbel_softmax(key, z, tau, bits=self.bits)

    def promised(self, case: Case) -> tuple[float | None, float | None]:
        """The ratios to the textbook and to PyTorch: at the headline, and elsewhere."""
        if (case.rows, case.classes) == HEADLINE:
            return self.textbook, self.torch
        return 1.0, None


MODES = {
    "forward": Mode("default", False, 1.0),
    "value_and_grad": Mode("default", True, 1.0),
    "fast": Mode("fast", False, 4.0),
    "fast_grad": Mode("fast", True, 4.0),
}


def _textbook(key: Any, z: Any, tau: Any) -> jax.Array:
    return jax.nn.softmax((z + jax.random.gumbel(key, z.shape)) / tau[:, None], axis=-1)


def _torch(torch: Any, z: Any, tau: Any) -> Any:
    return torch.nn.functional.gumbel_softmax(z, tau[:, None])


@dataclass(frozen=True)
class RelaxedOp:
    """The op, as the harness sees it."""

    name: str = "gumbel_softmax"
    peers: Sequence[str] = ("jax.random.gumbel", "F.gumbel_softmax")

    def cases(self, platform: str, *, quick: bool) -> list[Case]:
        """Every mode at every shape, on all platforms the same."""
        return [
            Case(mode, *shape, "float32")
            for mode in MODES
            for shape in (QUICK_SHAPES if quick else SHAPES)
        ]

    def workload(self, case: Case, device: Any, rng: np.random.Generator) -> Workload:
        """Draws the inputs and lines up ours, the peers and the limit."""
        mode = MODES[case.mode]
        z, tau = ordinary.logits(case, rng), ordinary.temperature(case, rng)
        w = ordinary.normal(rng, z.shape)
        inputs = jax.device_put((z, tau, w), device)
        seed = int(rng.integers(1 << 31))
        keys = jax.device_put(jax.random.split(jax.random.key(seed), KEYS), device)

        def in_jax(op: Callable[..., jax.Array]) -> Ready:
            if not mode.gradient:
                return jax_side.prepare(op, *((key, *inputs[:2]) for key in keys))
            return jax_side.prepare(
                _with_gradient(op), *((key, *inputs) for key in keys)
            )

        def in_torch() -> Ready:
            torch = torch_side.load(device.platform)
            arrays = (z, tau, w) if mode.gradient else (z, tau)
            there = (torch_side.tensor(torch, x, device.platform) for x in arrays)
            formula = partial(_torch, torch)
            return torch_side.prepare(torch, formula, device.platform, *there)

        def in_limit() -> Ready:
            if mode.gradient:
                return jax_side.prepare(limit.combine, inputs[::2])
            return jax_side.prepare(limit.copy, inputs[:1])

        ours = f'jaxtemp.gumbel_softmax(key, z, τ, bits="{mode.bits}")'
        textbook, torch = self.peers
        required = mode.promised(case) if device.platform == "cpu" else (None, None)
        return Workload(
            case=case,
            bytes_moved=(3 if mode.gradient else 2) * z.nbytes,
            contenders=(
                Contender("jaxtemp", "ours", ours, partial(in_jax, mode.ours)),
                Contender(
                    textbook,
                    "peer",
                    "jax.nn.softmax((z + jax.random.gumbel(key, z.shape)) / τ)",
                    partial(in_jax, _textbook),
                    required[0],
                ),
                Contender(
                    torch,
                    "peer",
                    "torch, eager: F.gumbel_softmax(z, τ)",
                    in_torch,
                    required[1],
                ),
                Contender("limit", "limit", "read the same, write like z", in_limit),
            ),
            check=Check(partial(error, drawn.draws(z, np.ones(case.rows), ALL)), 1.0),
        )


def _with_gradient(op: Callable[..., jax.Array]) -> Callable[..., Any]:
    def run(key: Any, z: Any, tau: Any, w: Any) -> Any:
        return jax_side.with_gradient(partial(op, key))(z, tau, w)

    return run


def error(expected: drawn.Draws, outputs: list[np.ndarray]) -> float:
    """Of `[y]`, or of `[loss, dlogits, dtemperature]`, relative to what is allowed.

    A sample's rows add up to one, and the largest entries are draws from softmax(z), as
    far as can be told from one a row. A gradient's rows add up to zero.
    """
    if not all(np.isfinite(out).all() for out in outputs):
        return float("inf")
    if len(outputs) == 1:
        (y,) = outputs
        if y.shape != expected.log_p.shape or (y < 0).any():
            return float("inf")
        ids = drawn.draw_error(expected, [y.argmax(-1)]) / drawn.TOLERANCE
        sums = np.abs(y.sum(-1, dtype=np.float64) - 1).max() / LARGEST
        return float(max(ids, sums))
    rows, classes = expected.log_p.shape
    if [out.shape for out in outputs] != [(), (rows, classes), (rows,)]:
        return float("inf")
    dz = outputs[1].astype(np.float64)
    scale = np.abs(dz).sum(-1)
    if (scale == 0).all() or (outputs[2] == 0).all():
        return float("inf")
    # One entry of about w/τ may cancel all others, as in a row that is nearly a corner.
    return float((np.abs(dz.sum(-1)) / np.maximum(scale, 1)).max() / LARGEST)


OPS = (RelaxedOp(),)
