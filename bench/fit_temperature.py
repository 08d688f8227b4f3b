"""`fit_temperature`: one temperature for all rows, beside what everybody runs.

The peer is the recipe of gpleiss/temperature_scaling: cross-entropy of the logits over
T from 1.5, by PyTorch's L-BFGS with `lr=0.01, max_iter=50`. A fit is judged by its
likelihood in float64: a contender is right if it is not above the optimum by more than
its tolerance, which for the peer is that of a search that stops early.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from bench import jax_side, limit, ordinary, torch_side
from bench.cases import Case, Check, Contender, Ready, Workload
from jaxtemp.calibration import fit_temperature

SHAPES = ((50_000, 1000), (50_000, 100), (10_000, 10))
QUICK_SHAPES = ((640, 8), (40, 1000))
HEADLINE = (50_000, 1000)
REQUIRED = 50.0
PLANTED = 2.0
CHUNK = 1 << 22  # numbers that are in float64 at a time
OURS, RECIPE = 1e-6, 0.2  # most nats above the optimum


def draw_labels(z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A class of each row, at the planted temperature."""
    drawn = [
        (part / PLANTED + rng.gumbel(size=part.shape)).argmax(-1) for part in _parts(z)
    ]
    return np.concatenate(drawn).astype(np.int32)


def nll(z: np.ndarray, labels: np.ndarray, tau: float) -> tuple[float, float, float]:
    """The mean nll in float64, and its slope and curvature in log β."""
    sums = np.zeros(3)
    done = 0
    for part in _parts(z):
        own = labels[done : done + len(part), None]
        done += len(part)
        u = (part - part.max(-1, keepdims=True)).astype(np.float64) / tau
        e = np.exp(u)
        total = e.sum(-1)
        mean = (e * u).sum(-1) / total
        label = np.take_along_axis(u, own, -1)[:, 0]
        square = (e * u**2).sum(-1) / total
        rows = np.log(total) - label, mean - label, square - mean**2
        sums += [row.sum() for row in rows]
    value, slope, curvature = (sums / len(z)).tolist()
    return value, slope, curvature


@dataclass(frozen=True)
class Excess:
    """How far a temperature's likelihood is from the best."""

    z: np.ndarray
    labels: np.ndarray

    def __call__(self, outputs: list[np.ndarray]) -> float:
        tau = float(outputs[0].reshape(()))
        if not 0 < tau < np.inf:
            return float("inf")
        _, slope, curvature = nll(self.z, self.labels, tau)
        # Near the optimum the likelihood is a parabola in log β.
        return slope**2 / (2 * curvature)


def _parts(z: np.ndarray) -> Iterator[np.ndarray]:
    rows = max(1, CHUNK // z.shape[1])
    return (z[start : start + rows] for start in range(0, len(z), rows))


def _ours(z: jax.Array, labels: jax.Array) -> jax.Array:
    return fit_temperature(z, labels).temperature


def _recipe(torch: Any, z: Any, labels: Any) -> Any:
    temperature = torch.nn.Parameter(torch.ones(1, device=z.device) * 1.5)
    optimizer = torch.optim.LBFGS([temperature], lr=0.01, max_iter=50)
    criterion = torch.nn.CrossEntropyLoss()

    def closure() -> Any:
        optimizer.zero_grad()
        loss = criterion(z / temperature, labels)
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return temperature.detach()


@dataclass(frozen=True)
class FitOp:
    """The op, as the harness sees it."""

    name: str = "fit_temperature"
    peers: Sequence[str] = ("LBFGS recipe",)

    def cases(self, platform: str, *, quick: bool) -> list[Case]:
        """Every shape, on all platforms the same."""
        shapes = QUICK_SHAPES if quick else SHAPES
        return [Case("fit", *shape, "float32", "scalar") for shape in shapes]

    def workload(self, case: Case, device: Any, rng: np.random.Generator) -> Workload:
        """Draws logits and labels and lines up ours, the recipe and the limit."""
        z = ordinary.logits(case, rng)
        labels = draw_labels(z, rng)
        inputs = jax.device_put((z, labels), device)

        def ours() -> Ready:
            return jax_side.prepare(_ours, inputs)

        def recipe() -> Ready:
            torch = torch_side.load(device.platform)
            there, where = (
                torch_side.tensor(torch, x, device.platform) for x in (z, labels)
            )
            run = partial(_recipe, torch)
            return torch_side.prepare(torch, run, device.platform, there, where.long())

        (peer,) = self.peers
        headline = (case.rows, case.classes) == HEADLINE
        excess = Excess(z, labels)
        return Workload(
            case=case,
            bytes_moved=z.nbytes,
            contenders=(
                Contender(
                    "jaxtemp", "ours", "calibration.fit_temperature(z, labels)", ours
                ),
                Contender(
                    peer,
                    "peer",
                    "torch, eager: LBFGS([T], lr=0.01, max_iter=50), 1.5 first",
                    recipe,
                    REQUIRED if headline and device.platform == "cpu" else None,
                    Check(excess, RECIPE),
                ),
                Contender(
                    "limit",
                    "limit",
                    "read z once",
                    partial(jax_side.prepare, limit.read, inputs[:1]),
                ),
            ),
            check=Check(excess, OURS),
        )


OPS = (FitOp(),)
