"""The temperature family: softmax and its six siblings, forward and with gradients.

Ours is `jaxtemp.op(z, τ)`; a peer is what everybody writes, the framework's softmax of
`z / τ`. All of them return the logits' dtype, so that all write the same bytes, and for
gradients all differentiate `Σ w y` in logits and temperature, with `w` given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bench import check, jax_side, limit, ordinary, torch_side
from bench.cases import Case, Check, Contender, Ready, Role, Temperature, Workload
from bench.peers import FORMULAS, JAX, torch_library

Mode = Literal["forward", "value_and_grad"]

PER_CLASS = ("softmax", "log_softmax")

# From a policy over a few actions to a vocabulary.
CPU_SHAPES = (
    (65536, 2),
    (65536, 8),
    (65536, 16),
    (16384, 64),
    (8192, 256),
    (2048, 1024),
    (512, 8192),
    (128, 32000),
    (32, 131072),
)
FEW_CPU_SHAPES = ((65536, 8), (2048, 1024), (32, 131072))
QUICK_SHAPES = ((64, 8), (4, 1000))
# An accelerator gets two shapes as they are, where the launch matters, and then as many
# rows as fill this many bytes, far more than its caches hold.
DEVICE_SHAPES = ((65536, 8), (2048, 1024))
DEVICE_CLASSES = (8, 64, 1024, 8192, 32000, 131072, 262144)
FEW_DEVICE_CLASSES = (8, 1024, 131072)
DEVICE_BYTES = 1 << 28


class Inputs(NamedTuple):
    """NumPy inputs of a case; `weights` is shaped like the op's result."""

    logits: np.ndarray
    temperature: np.ndarray
    weights: np.ndarray


def draw(op: str, case: Case, rng: np.random.Generator) -> Inputs:
    """Ordinary logits and temperatures, and weights."""
    shape = (case.rows, case.classes)
    weights = ordinary.normal(rng, shape if op in PER_CLASS else shape[:1])
    return Inputs(
        ordinary.logits(case, rng),
        ordinary.temperature(case, rng),
        weights.astype(jnp.dtype(case.dtype)),
    )


@dataclass(frozen=True)
class FamilyOp:
    """One op of the family, as the harness sees it."""

    name: str
    peers: tuple[str, ...] = ("jax.nn", "torch")

    def cases(self, platform: str, *, quick: bool) -> list[Case]:
        """Every mode and dtype; for softmax more shapes, and at a few a scalar τ."""
        cases: list[Case] = []
        modes: tuple[Mode, ...] = ("forward", "value_and_grad")
        for mode in modes:
            for dtype in ("float32", "bfloat16"):
                make = partial(_case, mode, dtype)
                if quick:
                    cases += [make(*shape) for shape in QUICK_SHAPES]
                    continue
                full = self.name == "softmax"
                cases += [make(*shape) for shape in _shapes(platform, dtype, full)]
                if full:
                    few = _shapes(platform, dtype, False)
                    cases += [make(*shape, temperature="scalar") for shape in few]
        if quick:
            cases += [_case(m, "float32", 64, 8, temperature="scalar") for m in modes]
        return cases

    def workload(self, case: Case, device: Any, rng: np.random.Generator) -> Workload:
        """Draws the inputs and lines up ours, the limit, JAX and PyTorch."""
        inputs = draw(self.name, case, rng)
        z, tau, w = (jax.device_put(x, device) for x in inputs)
        forward = case.mode == "forward"
        args = (z, tau) if forward else (z, tau, w)

        def contender(role: Role, name: str, text: str, op: Callable) -> Contender:
            run = op if forward else jax_side.with_gradient(op)
            return Contender(name, role, text, lambda: jax_side.prepare(run, args))

        formula = FORMULAS[self.name]
        arrays = _arrays_moved(self.name, case.mode)
        return Workload(
            case=case,
            bytes_moved=arrays * inputs.logits.nbytes,
            contenders=(
                contender(
                    "ours", "jaxtemp", f"jaxtemp.{self.name}(z, τ)", _ours(self.name)
                ),
                contender(
                    "peer", "jax.nn", f"jax.nn: {formula.text}", _jax_peer(self.name)
                ),
                self._torch(case, inputs, device.platform),
                self._limit(case.mode, z, w),
            ),
            check=Check(
                partial(self._error, case.mode, inputs), check.TOLERANCE[case.dtype]
            ),
        )

    def _limit(self, mode: Mode, z: jax.Array, w: jax.Array) -> Contender:
        if self.name in PER_CLASS and mode == "value_and_grad":
            text, program, args = "read z and w, write like z", limit.combine, (z, w)
        elif self.name not in PER_CLASS and mode == "forward":
            text, program, args = "read z, write a number a row", limit.read, (z,)
        else:
            text, program, args = "read z, write like z", limit.copy, (z,)
        return Contender(
            "limit", "limit", text, lambda: jax_side.prepare(program, args)
        )

    def _torch(self, case: Case, inputs: Inputs, platform: str) -> Contender:
        formula = FORMULAS[self.name]

        def prepare() -> Ready:
            torch = torch_side.load(platform)
            library = torch_library(torch)

            def op(z: Any, tau: Any) -> Any:
                # A column even for one τ: a PyTorch scalar would not promote bfloat16.
                x = z / tau.reshape(-1, 1)
                return formula.apply(library, z, x, tau).to(z.dtype)

            z, tau, w = (torch_side.tensor(torch, x, platform) for x in inputs)
            weights = None if case.mode == "forward" else w
            return torch_side.prepare(torch, op, platform, z, tau, weights)

        return Contender("torch", "peer", f"torch, eager: {formula.text}", prepare)

    def _error(self, mode: Mode, inputs: Inputs, outputs: list[np.ndarray]) -> float:
        if mode == "forward":
            return check.forward_error(self.name, *inputs[:2], outputs)
        return check.gradient_error(self.name, *inputs, outputs)


def _ours(op: str) -> Callable[[jax.Array, jax.Array], jax.Array]:
    def run(z: jax.Array, tau: jax.Array) -> jax.Array:
        import jaxtemp

        return getattr(jaxtemp, op)(z, tau)

    return run


def _jax_peer(op: str) -> Callable[[jax.Array, jax.Array], jax.Array]:
    def run(z: jax.Array, tau: jax.Array) -> jax.Array:
        x = z / (tau[:, None] if tau.ndim else tau)
        return FORMULAS[op].apply(JAX, z, x, tau).astype(z.dtype)

    return run


def _arrays_moved(op: str, mode: Mode) -> int:
    """Arrays of the logits' size that must be read or written; rows count nothing."""
    if op in PER_CLASS:
        return 2 if mode == "forward" else 3
    return 1 if mode == "forward" else 2


def _case(
    mode: Mode, dtype: str, rows: int, classes: int, temperature: Temperature = "row"
) -> Case:
    return Case(mode, rows, classes, dtype, temperature)


def _shapes(platform: str, dtype: str, full: bool) -> list[tuple[int, int]]:
    if platform == "cpu":
        return list(CPU_SHAPES if full else FEW_CPU_SHAPES)
    many = DEVICE_BYTES // jnp.dtype(dtype).itemsize
    filled = [
        (-(-many // classes), classes)
        for classes in (DEVICE_CLASSES if full else FEW_DEVICE_CLASSES)
    ]
    return [*DEVICE_SHAPES, *filled] if full else filled


OPS = tuple(FamilyOp(name) for name in FORMULAS)
