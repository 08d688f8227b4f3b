"""`linear_cross_entropy`: the mean loss of a vocabulary head and all its gradients.

The peer is what everybody writes: the loss of `h @ W / τ` from Optax, which holds the
logits. The limit is the least that any of them computes: three matrix products, of
logits, and of the gradients of `h` and `W`. Ours computes the logits twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxtemp
from bench import jax_side, ordinary
from bench.cases import AbsentError, Case, Check, Contender, Ready, Workload

TOKENS, FEATURES = 4096, 1024
CLASSES = (8192, 32768, 131072, 262144)
HEADLINE = 131072
QUICK_SHAPES = ((64, 300), (16, 1000))
TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-2}
SAMPLE = 64  # rows, and classes, whose gradients are compared
CHUNK = 4096
MOST_BYTES = 8 << 30  # of plain logits and their two companions


class Inputs(NamedTuple):
    """NumPy inputs of a case."""

    hidden: np.ndarray
    weight: np.ndarray
    labels: np.ndarray
    temperature: np.ndarray


class Parts(NamedTuple):
    """The mean loss, and gradients: of some rows and of some classes."""

    loss: np.ndarray
    hidden: np.ndarray
    weight: np.ndarray
    temperature: np.ndarray


@dataclass(frozen=True)
class LinearOp:
    """The op, as the harness sees it."""

    name: str = "linear_cross_entropy"
    peers: tuple[str, ...] = ("optax",)

    def cases(self, platform: str, *, quick: bool) -> list[Case]:
        """Vocabularies from small to large, and one of them in half precision."""
        if quick:
            return [Case("value_and_grad", *shape, "float32") for shape in QUICK_SHAPES]
        every = [(n, "float32") for n in CLASSES] + [(CLASSES[1], "bfloat16")]
        return [Case("value_and_grad", TOKENS, *one) for one in every]

    def workload(self, case: Case, device: Any, rng: np.random.Generator) -> Workload:
        """Draws the inputs and lines up ours, the limit and the plain loss."""
        inputs = _draw(case, rng)
        h, w, y, tau = (jax.device_put(x, device) for x in inputs)

        def prepared(loss: Callable) -> Ready:
            return jax_side.prepare(_with_gradients(loss), (h, w, tau, y))

        plain_bytes = 3 * 4 * case.rows * case.classes
        headline = case.classes == HEADLINE and case.dtype == "float32"

        def plain() -> Ready:
            if plain_bytes > MOST_BYTES:
                raise AbsentError(f"it would hold {plain_bytes >> 30} GiB")
            return prepared(_plain())

        text = "three matrix products"
        return Workload(
            case=case,
            bytes_moved=2 * (inputs.hidden.nbytes + inputs.weight.nbytes),
            contenders=(
                Contender(
                    "jaxtemp",
                    "ours",
                    "jaxtemp.losses.linear_cross_entropy(h, W, y, τ)",
                    lambda: prepared(_ours),
                ),
                Contender(
                    "optax",
                    "peer",
                    "optax: softmax_cross_entropy_with_integer_labels(h @ W / τ, y)",
                    plain,
                    required=1 / 1.2 if headline else None,
                ),
                Contender(
                    "limit", "limit", text, lambda: jax_side.prepare(_products, (h, w))
                ),
            ),
            check=Check(_error(inputs), TOLERANCE[case.dtype]),
            temp_limit=plain_bytes // 8 if headline else None,
        )


def _draw(case: Case, rng: np.random.Generator) -> Inputs:
    """Logits of about `3 N(0, 1)`."""
    dtype = jnp.dtype(case.dtype)
    weight = ordinary.normal(rng, (FEATURES, case.classes))
    weight *= 3 / FEATURES**0.5
    return Inputs(
        ordinary.normal(rng, (case.rows, FEATURES)).astype(dtype),
        weight.astype(dtype),
        rng.integers(case.classes, size=case.rows, dtype=np.int32),
        ordinary.temperature(case, rng),
    )


def _with_gradients(loss: Callable) -> Callable:
    def run(h: jax.Array, w: jax.Array, tau: jax.Array, y: jax.Array) -> Any:
        def mean(h: jax.Array, w: jax.Array, tau: jax.Array) -> jax.Array:
            return loss(h, w, y, tau).mean(dtype=jnp.float32)

        return jax.value_and_grad(mean, argnums=(0, 1, 2))(h, w, tau)

    return run


def _ours(h: jax.Array, w: jax.Array, y: jax.Array, tau: jax.Array) -> Any:
    return jaxtemp.losses.linear_cross_entropy(h, w, y, tau)


def _plain() -> Callable:
    try:
        import optax
    except ImportError as error:
        raise AbsentError("Optax is not installed") from error

    def loss(h: jax.Array, w: jax.Array, y: jax.Array, tau: jax.Array) -> jax.Array:
        z = jnp.matmul(h, w, preferred_element_type=jnp.float32)
        x = z / tau[:, None]
        return optax.softmax_cross_entropy_with_integer_labels(x, y)

    return loss


def _products(h: jax.Array, w: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The products of a chunk of classes after the other, as logits need memory too."""
    width = min(1024, w.shape[1])

    def step(carry: tuple, first: jax.Array) -> tuple:
        dh, dw = carry
        part = lax.dynamic_slice_in_dim(w, first, width, 1)
        z = jnp.matmul(h, part, preferred_element_type=jnp.float32).astype(h.dtype)
        dw = lax.dynamic_update_slice_in_dim(dw, h.T @ z, first, 1)
        return (dh + z @ part.T, dw), None

    start = jnp.zeros_like(h), jnp.zeros_like(w)
    return lax.scan(step, start, jnp.arange(0, w.shape[1], width))[0]


def _error(inputs: Inputs) -> Callable[[list[np.ndarray]], float]:
    """The largest error of a part, over the largest number in it."""
    rows = np.arange(min(SAMPLE, len(inputs.hidden)))
    classes = np.append(inputs.labels[:SAMPLE], np.arange(SAMPLE))
    truth = cache(partial(_truth, inputs, rows, classes))

    def error(outputs: list[np.ndarray]) -> float:
        loss, hidden, weight, tau = (np.asarray(x) for x in outputs)
        if hidden.shape != inputs.hidden.shape or weight.shape != inputs.weight.shape:
            return float("inf")
        got = Parts(loss, hidden[rows], weight[:, classes], tau[rows])
        return max(
            float(np.abs(x.astype(float) - want).max() / np.abs(want).max())
            for x, want in zip(got, truth(), strict=True)
        )

    return error


def _truth(inputs: Inputs, rows: np.ndarray, classes: np.ndarray) -> Parts:
    """In float64, but for the log-sum-exp of logits from a float32 product."""
    hidden, weight = (np.asarray(x, np.float32) for x in inputs[:2])
    labels, tau = inputs.labels, inputs.temperature.astype(float)[:, None]
    count = len(labels)
    total = np.zeros(count)
    for first in range(0, weight.shape[1], CHUNK):  # logits are far from overflow
        total += np.exp(hidden @ weight[:, first : first + CHUNK] / tau).sum(-1)
    lse = np.log(total)[:, None]
    hidden, own = hidden.astype(float), weight[:, labels].T.astype(float)
    x_own = (hidden * own).sum(-1) / tau[:, 0]
    some = weight[:, classes].astype(float)
    p = np.exp(hidden @ some / tau - lse) - (labels[:, None] == classes)
    wide = weight.astype(float)
    x = hidden[rows] @ wide / tau[rows]
    q = np.exp(x - lse[rows])
    q[rows, labels[rows]] -= 1
    q /= tau[rows] * count
    return Parts(
        (lse[:, 0] - x_own).mean(),
        q @ wide.T,
        hidden.T @ (p / tau / count),
        -(q * x).sum(-1),
    )


OPS = (LinearOp(),)
