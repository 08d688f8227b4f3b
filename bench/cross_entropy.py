"""`losses.cross_entropy`: integer labels, forward and with gradients in logits and τ.

Peers do what everybody writes: the framework's cross-entropy of `z / τ`. Gradients are
of `Σ w loss` with `w` given. Labels are drawn at random, or are the likeliest class of
a row in half of the rows, as those of a trained model are: no time should depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from bench import check, jax_side, limit, ordinary, torch_side, truth
from bench.cases import (
    ACCELERATORS,
    EVERYWHERE,
    GPU,
    NEVER_SLOWER,
    AbsentError,
    Case,
    Check,
    Contender,
    Ready,
    Workload,
    timed_on,
)
from bench.sizes import DTYPES, SIZES, of_dtype

MODES = ("forward", "value_and_grad")
_CHUNK = 1 << 20  # elements of float64


class Inputs(NamedTuple):
    """NumPy inputs of a case, a label and a weight for each row."""

    logits: np.ndarray
    temperature: np.ndarray
    weights: np.ndarray
    labels: np.ndarray


def draw(case: Case, rng: np.random.Generator) -> Inputs:
    """Ordinary logits and temperatures; half of the labels are the likeliest class."""
    logits = ordinary.logits(case, rng)
    weights = ordinary.normal(rng, (case.rows,)).astype(logits.dtype)
    random = rng.integers(case.classes, size=case.rows)
    likely = rng.random(case.rows) < 0.5
    labels = np.where(likely, logits.argmax(-1), random).astype(np.int32)
    return Inputs(logits, ordinary.temperature(case, rng), weights, labels)


def _ours(z: Any, tau: Any, labels: Any, **options: str) -> jax.Array:
    from jaxtemp.losses import cross_entropy

    return cross_entropy(z, labels, tau, **options)


def _optax(z: Any, tau: Any, labels: Any) -> jax.Array:
    try:
        import optax
    except ImportError as error:
        raise AbsentError("optax is not installed") from error
    loss = optax.softmax_cross_entropy_with_integer_labels
    return loss(z / tau[:, None], labels).astype(z.dtype)


def _plain(torch: Any) -> Callable[[Any, Any], Any]:
    return partial(torch.nn.functional.cross_entropy, reduction="none")


def _liger(torch: Any) -> Callable[[Any, Any], Any]:
    found = torch_side.library("liger_kernel.transformers.functional")
    return partial(found.liger_cross_entropy, reduction="none")


def _quack(torch: Any) -> Callable[[Any, Any], Any]:
    found = torch_side.library("quack.cross_entropy")
    return partial(found.cross_entropy, reduction="none")


class TorchPeer(NamedTuple):
    """A PyTorch contender: its column, text, loss, and how and where it runs."""

    name: str
    text: str
    loss: Callable[[Any], Callable[[Any, Any], Any]]
    compiled: bool = False
    platforms: tuple[str, ...] = GPU


_IN_TORCH = "F.cross_entropy(z / τ, labels)"
TORCH_PEERS = (
    TorchPeer(
        "F.cross_entropy", f"torch, eager: {_IN_TORCH}", _plain, False, EVERYWHERE
    ),
    TorchPeer("torch.compile", f"torch, compiled: {_IN_TORCH}", _plain, True),
    TorchPeer("liger", "liger_kernel: liger_cross_entropy(z / τ, labels)", _liger),
    TorchPeer("quack", "quack.cross_entropy(z / τ, labels)", _quack),
)


@dataclass(frozen=True)
class CrossEntropyOp:
    """The op, as the harness sees it."""

    name: str = "cross_entropy"

    def cases(self, platform: str, *, quick: bool) -> list[Case]:
        """Both modes and dtypes at every size."""
        table = SIZES[platform]
        sizes = table.quick if quick else table.cross_entropy
        return [
            Case(mode, *size, dtype)
            for mode in MODES
            for dtype in DTYPES
            for size in of_dtype(sizes, dtype)
        ]

    def workload(self, case: Case, device: Any, rng: np.random.Generator) -> Workload:
        """Draws the inputs and lines up ours, the peers and the limit."""
        inputs = draw(case, rng)
        z, tau, w, labels = (jax.device_put(x, device) for x in inputs)
        forward = case.mode == "forward"
        platform = device.platform

        def in_jax(op: Callable[..., jax.Array]) -> Ready:
            if forward:
                return jax_side.prepare(op, (z, tau, labels))
            return jax_side.prepare(_with_gradient(op), (z, tau, w, labels))

        def in_torch(peer: TorchPeer) -> Ready:
            torch = torch_side.load(platform)
            loss = peer.loss(torch)
            there = [torch_side.tensor(torch, x, platform) for x in inputs[:3]]
            ids = torch_side.tensor(torch, inputs.labels.astype(np.int64), platform)

            def op(z: Any, tau: Any) -> Any:
                return loss(z / tau[:, None], ids).to(z.dtype)

            arrays = there[:2] if forward else there
            return torch_side.prepare(
                torch, op, platform, *arrays, compiled=peer.compiled
            )

        ours = "jaxtemp.losses.cross_entropy(z, labels, τ"
        contenders = (
            Contender("jaxtemp", "ours", f"{ours})", partial(in_jax, _ours)),
            Contender(
                "xla",
                "peer",
                f'{ours}, implementation="xla")',
                partial(in_jax, partial(_ours, implementation="xla")),
                NEVER_SLOWER,
                platforms=ACCELERATORS,
            ),
            Contender(
                "optax",
                "peer",
                "optax.softmax_cross_entropy_with_integer_labels(z / τ, labels)",
                partial(in_jax, _optax),
                1.0 if platform == "cpu" and not forward else None,
            ),
            *(
                Contender(
                    peer.name,
                    "peer",
                    peer.text,
                    partial(in_torch, peer),
                    platforms=peer.platforms,
                )
                for peer in TORCH_PEERS
            ),
            Contender(
                "limit",
                "limit",
                "read z, write a number a row" if forward else "read z, write like z",
                lambda: jax_side.prepare(limit.read if forward else limit.copy, (z,)),
            ),
        )
        return Workload(
            case=case,
            bytes_moved=(1 if forward else 2) * inputs.logits.nbytes,
            contenders=timed_on(platform, contenders),
            check=Check(partial(error, inputs), check.TOLERANCE[case.dtype]),
        )


def _with_gradient(op: Callable[..., jax.Array]) -> Callable[..., Any]:
    def run(z: Any, tau: Any, w: Any, labels: Any) -> Any:
        return jax_side.with_gradient(partial(_labelled, op, labels))(z, tau, w)

    return run


def _labelled(op: Callable, labels: Any, z: Any, tau: Any) -> jax.Array:
    return op(z, tau, labels)


def error(inputs: Inputs, outputs: list[np.ndarray]) -> float:
    """Of `[loss]`, or of `[Σ w loss, dlogits, dtemperature]`, relative to its scale."""
    rows = inputs.logits.shape[:1]
    gradient = len(outputs) == 3
    shapes = [(), inputs.logits.shape, rows] if gradient else [rows]
    if [out.shape for out in outputs] != shapes:
        return float("inf")
    worst, total, size = 0.0, 0.0, 0.0
    for part in _chunks(*inputs.logits.shape):
        loss, dz, dtau = _expected(*(x[part] for x in inputs))
        w = np.abs(inputs.weights[part].astype(np.float64))
        if not gradient:
            worst = max(worst, check.relative_error(outputs[0][part], loss))
            continue
        signed = inputs.weights[part].astype(np.float64) * loss.value
        total, size = total + signed.sum(), size + ((w * loss.scale) ** 2).sum()
        worst = max(
            worst,
            check.relative_error(outputs[1][part], dz),
            check.relative_error(outputs[2][part], dtau),
        )
    if gradient:
        # Roundings of different rows are independent.
        expected = truth.Expected(np.asarray(total), np.asarray(np.sqrt(size)))
        worst = max(worst, check.relative_error(outputs[0], expected))
    return worst


def _chunks(rows: int, classes: int) -> Iterator[slice]:
    step = max(1, _CHUNK // classes)
    return (slice(k, k + step) for k in range(0, rows, step))


def _expected(z, tau, w, labels) -> tuple[truth.Expected, ...]:
    """Loss and gradients of rows in float64, each with the size of its terms."""
    r = truth.Rows(z, tau)
    w = w.astype(np.float64)[:, None]
    one = np.arange(z.shape[-1]) == labels[:, None]
    loss = (r.log_z - (one * r.u).sum(-1, keepdims=True))[:, 0]
    g, size = w * (r.p - one), np.abs(w) * (r.p + one)
    dz_scale = (size / r.tau).max(-1, keepdims=True)
    dtau = -(r.u * g / r.tau).sum(-1)
    return (
        truth.Expected(loss, np.maximum(1, np.abs(loss))),
        truth.Expected(g / r.tau, np.broadcast_to(dz_scale, g.shape)),
        truth.Expected(dtau, (np.abs(r.u) * size / r.tau).sum(-1)),
    )


OPS = (CrossEntropyOp(),)
