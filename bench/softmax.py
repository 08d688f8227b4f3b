"""The temperature family: softmax and its six siblings, forward and with gradients.

Ours is `jaxtemp.op(z, τ)`; a peer is what everybody writes, the framework's softmax of
`z / τ`. All of them return the logits' dtype, so that all write the same bytes, and for
gradients all differentiate `Σ w y` in logits and temperature, with `w` given: loss and
gradient together, or in the mode `backward` the gradient alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bench import check, jax_side, limit, ordinary, torch_side
from bench.cases import (
    ACCELERATORS,
    GPU,
    NEVER_SLOWER,
    Case,
    Check,
    Contender,
    Ready,
    Workload,
    timed_on,
)
from bench.peers import FORMULAS, JAX, LIBRARIES, torch_library
from bench.sizes import DTYPES, SIZES, fills, of_dtype

Mode = Literal["forward", "backward", "value_and_grad"]

PER_CLASS = ("softmax", "log_softmax")
# What softmax on a GPU promises of the limit, where logits fill it.
OF_LIMIT = {"forward": 0.9, "backward": 0.85}


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

    def cases(self, platform: str, *, quick: bool) -> list[Case]:
        """Every mode and dtype; for softmax more sizes, and at a few a scalar τ."""
        table = SIZES[platform]
        softmax = self.name == "softmax"
        cases: list[Case] = []
        for mode, sizes in (table.softmax if softmax else table.family).items():
            one_tau = table.one_tau.get(mode, ()) if softmax else ()
            for dtype in DTYPES:
                rows = of_dtype(table.quick if quick else sizes, dtype)
                cases += [Case(mode, *size, dtype) for size in rows]
                rows = [] if quick else of_dtype(one_tau, dtype)
                cases += [Case(mode, *size, dtype, "scalar") for size in rows]
            if quick:
                cases.append(Case(mode, *table.quick[0], DTYPES[0], "scalar"))
        return cases

    def workload(self, case: Case, device: Any, rng: np.random.Generator) -> Workload:
        """Draws the inputs and lines up ours, the limit, JAX and PyTorch."""
        inputs = draw(self.name, case, rng)
        platform = device.platform
        there = tuple(jax.device_put(x, device) for x in inputs)
        contenders = (
            *self._in_jax(case.mode, there),
            *self._in_torch(case.mode, inputs, platform),
            self._limit(case, platform, there),
        )
        return Workload(
            case=case,
            bytes_moved=_arrays_moved(self.name, case.mode) * inputs.logits.nbytes,
            contenders=timed_on(platform, contenders),
            check=Check(
                partial(self._error, case.mode, inputs), check.TOLERANCE[case.dtype]
            ),
        )

    def _in_jax(self, mode: Mode, arrays: tuple) -> Iterator[Contender]:
        z, tau, w = arrays

        def ready(op: Callable[..., jax.Array]) -> Ready:
            if mode == "forward":
                return jax_side.prepare(op, (z, tau))
            if mode == "backward":
                return jax_side.backward(op, z, tau, w)
            return jax_side.prepare(jax_side.with_gradient(op), arrays)

        text = f"jaxtemp.{self.name}(z, τ"
        ours, xla = _ours(self.name), _ours(self.name, implementation="xla")
        yield Contender("jaxtemp", "ours", f"{text})", partial(ready, ours))
        yield Contender(
            "xla",
            "peer",
            f'{text}, implementation="xla")',
            partial(ready, xla),
            NEVER_SLOWER,
            platforms=ACCELERATORS,
        )
        text = f"jax.nn: {FORMULAS[self.name].text}"
        peer = _jax_peer(self.name)
        yield Contender("jax.nn", "peer", text, partial(ready, peer))

    def _in_torch(
        self, mode: Mode, inputs: Inputs, platform: str
    ) -> Iterator[Contender]:
        formula = FORMULAS[self.name]

        def ready(make: Callable[[Any], Callable], compiled: bool = False) -> Ready:
            torch = torch_side.load(platform)
            op = make(torch)

            def typed(z: Any, tau: Any) -> Any:
                # A column even for one τ: a PyTorch scalar would not promote bfloat16.
                return op(z, tau.reshape(-1, 1)).to(z.dtype)

            z, tau, w = (torch_side.tensor(torch, x, platform) for x in inputs)
            return torch_side.prepare(
                torch,
                typed,
                platform,
                z,
                tau,
                None if mode == "forward" else w,
                backward=mode == "backward",
                compiled=compiled,
            )

        def plain(torch: Any) -> Callable[[Any, Any], Any]:
            library = torch_library(torch)
            return lambda z, tau: formula.apply(library, z, z / tau, tau[:, 0])

        text = f"torch, eager: {formula.text}"
        yield Contender("torch", "peer", text, partial(ready, plain))
        yield Contender(
            "torch.compile",
            "peer",
            f"torch, compiled: {formula.text}",
            partial(ready, plain, compiled=True),
            platforms=GPU,
        )
        for name, peer in LIBRARIES.get(self.name, {}).items():
            if mode == "forward" or peer.differentiable:
                run = partial(ready, lambda torch, peer=peer: peer.load())
                yield Contender(name, "peer", peer.text, run, platforms=GPU)

    def _limit(self, case: Case, platform: str, arrays: tuple) -> Contender:
        (z, _, w), per_class = arrays, self.name in PER_CLASS
        if per_class and case.mode != "forward":
            text, program, args = "read z and w, write like z", limit.combine, (z, w)
        elif not per_class and case.mode == "forward":
            text, program, args = "read z, write a number a row", limit.read, (z,)
        else:
            text, program, args = "read z, write like z", limit.copy, (z,)
        promised = self.name == "softmax" and platform == "gpu" and fills(case)
        return Contender(
            "limit",
            "limit",
            text,
            lambda: jax_side.prepare(program, args),
            OF_LIMIT.get(case.mode) if promised else None,
        )

    def _error(self, mode: Mode, inputs: Inputs, outputs: list[np.ndarray]) -> float:
        if mode == "forward":
            return check.forward_error(self.name, *inputs[:2], outputs)
        return check.gradient_error(self.name, *inputs, outputs)


def _ours(op: str, **options: str) -> Callable[[jax.Array, jax.Array], jax.Array]:
    def run(z: jax.Array, tau: jax.Array) -> jax.Array:
        import jaxtemp

        return getattr(jaxtemp, op)(z, tau, **options)

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


OPS = tuple(FamilyOp(name) for name in FORMULAS)
