"""`concrete`: the log-density of relaxed one-hot vectors, and its gradient.

Points are own draws, in log space or on the simplex. Gradients are of `Σ w log p` in
logits and temperature. TensorFlow Probability is timed where it is installed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bench import check, jax_side, limit, ordinary, truth
from bench.cases import AbsentError, Case, Check, Contender, Ready, Role, Workload

SHAPES = (
    (65536, 2),
    (65536, 8),
    (65536, 16),
    (16384, 64),
    (2048, 1024),
    (128, 32000),
    (32, 131072),
)
QUICK_SHAPES = ((64, 8), (4, 1000))

LogDensity = Callable[[Any, Any, Any], Any]  # of logits, temperature and a point


class Mode(NamedTuple):
    """A mode: where the points are, and whether there are gradients."""

    simplex: bool
    gradient: bool = False


MODES = {
    "log_space": Mode(False),
    "simplex": Mode(True),
    "log_space_grad": Mode(False, True),
    "simplex_grad": Mode(True, True),
}
_FAMILY = {False: "ExpConcrete", True: "Concrete"}
_TFP = {False: "ExpRelaxedOneHotCategorical", True: "RelaxedOneHotCategorical"}


def _ours(simplex: bool) -> LogDensity:
    from jaxtemp import random

    family = getattr(random, _FAMILY[simplex])
    return lambda z, tau, x: family(z, tau).log_prob(x)


def _textbook(simplex: bool) -> LogDensity:
    def run(z: jax.Array, tau: jax.Array, x: jax.Array) -> jax.Array:
        classes = z.shape[-1]
        log_x = jnp.log(x) if simplex else x
        each = jax.nn.log_softmax(z - tau[:, None] * log_x, axis=-1)
        total = jnp.sum(each - log_x if simplex else each, axis=-1)
        return total + math.lgamma(classes) + (classes - 1) * jnp.log(tau)

    return run


def _tfp(simplex: bool) -> LogDensity:
    try:
        from tensorflow_probability.substrates import jax as tfp
    except ImportError as error:
        raise AbsentError("TensorFlow Probability is not installed") from error
    family = getattr(tfp.distributions, _TFP[simplex])
    return lambda z, tau, x: family(tau, logits=z).log_prob(x)


class Inputs(NamedTuple):
    """NumPy inputs of a case; `weights` has one number a row."""

    logits: np.ndarray
    temperature: np.ndarray
    point: np.ndarray
    weights: np.ndarray


def draw(case: Case, rng: np.random.Generator) -> Inputs:
    """Ordinary logits and temperatures, a draw of each row, and weights."""
    z, tau = ordinary.logits(case, rng), ordinary.temperature(case, rng)
    u = (z + rng.gumbel(size=z.shape)) / tau[:, None]
    u -= u.max(-1, keepdims=True)
    x = u - np.log(np.exp(u).sum(-1, keepdims=True))
    point = np.exp(x) if MODES[case.mode].simplex else x
    return Inputs(z, tau, point.astype(np.float32), ordinary.normal(rng, (case.rows,)))


@dataclass(frozen=True)
class ConcreteOp:
    """The op, as the harness sees it."""

    name: str = "concrete"
    peers: tuple[str, ...] = ("jax.nn", "tfp")

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
        inputs = draw(case, rng)
        z, tau, x, w = jax.device_put(tuple(inputs), device)

        def contender(
            role: Role, name: str, text: str, make: Callable[[bool], LogDensity]
        ) -> Contender:
            def prepare() -> Ready:
                op = make(mode.simplex)
                if mode.gradient:
                    return jax_side.prepare(_with_gradient(op), (z, tau, x, w))
                return jax_side.prepare(op, (z, tau, x))

            # Of the gradient nothing is promised.
            promised = name == "tfp" and not mode.gradient and device.platform == "cpu"
            return Contender(name, role, text, prepare, 1.0 if promised else None)

        def prepare_limit() -> Ready:
            return jax_side.prepare(limit.combine if mode.gradient else _read, (z, x))

        return Workload(
            case=case,
            bytes_moved=(3 if mode.gradient else 2) * inputs.logits.nbytes,
            contenders=(
                contender(
                    "ours",
                    "jaxtemp",
                    f"jaxtemp.random.{_FAMILY[mode.simplex]}(z, τ).log_prob(x)",
                    _ours,
                ),
                contender(
                    "peer",
                    "jax.nn",
                    "jax.nn.log_softmax(z - τ log x), summed, and the rest",
                    _textbook,
                ),
                contender(
                    "peer",
                    "tfp",
                    f"tfp.distributions.{_TFP[mode.simplex]}(τ, logits=z).log_prob(x)",
                    _tfp,
                ),
                Contender("limit", "limit", "read z and x, write alike", prepare_limit),
            ),
            check=Check(partial(error, mode, inputs), check.TOLERANCE["float32"]),
        )


def _read(z: jax.Array, x: jax.Array) -> jax.Array:
    return limit.read(z) + limit.read(x)


def _with_gradient(op: LogDensity) -> Callable[..., Any]:
    def run(z: jax.Array, tau: jax.Array, x: jax.Array, w: jax.Array) -> Any:
        return jax_side.with_gradient(lambda z, tau: op(z, tau, x))(z, tau, w)

    return run


def error(mode: Mode, inputs: Inputs, outputs: list[np.ndarray]) -> float:
    """Of `[log p]`, or of `[loss, dlogits, dtemperature]`, relative to their terms."""
    z, tau, x, w = (np.asarray(a, np.float64) for a in inputs)
    x = np.log(np.maximum(x, np.finfo(np.float32).tiny)) if mode.simplex else x
    classes = z.shape[-1]
    ell = z - tau[:, None] * x
    ell -= ell.max(-1, keepdims=True)
    ell -= np.log(np.exp(ell).sum(-1, keepdims=True))
    constant = math.lgamma(classes) + (classes - 1) * np.log(tau)
    each = ell - x if mode.simplex else ell
    density = truth.Expected(
        each.sum(-1) + constant, np.abs(each).sum(-1) + np.abs(constant) + 1
    )
    if not mode.gradient:
        return _largest(outputs, [density])
    share = classes * np.exp(ell)
    to_tau = (classes - 1) / tau - ((1 - share) * x).sum(-1)
    size = classes / tau + ((1 + share) * np.abs(x)).sum(-1)
    weight = np.abs(w)
    loss = truth.Expected((w * density.value).sum(), (weight * density.scale).sum())
    return _largest(
        outputs,
        [
            loss,
            truth.Expected(w[:, None] * (1 - share), weight[:, None] * (1 + share)),
            truth.Expected(w * to_tau, weight * size),
        ],
    )


def _largest(outputs: list[np.ndarray], expected: list[truth.Expected]) -> float:
    if len(outputs) != len(expected):
        return float("inf")
    return max(map(check.relative_error, outputs, expected))


OPS = (ConcreteOp(),)
