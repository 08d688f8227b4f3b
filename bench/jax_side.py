"""Contenders that are JAX functions, compiled ahead for their inputs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bench.cases import Ready


def device(platform: str | None) -> Any:
    """The first device of a platform, or of JAX's default one.

    Raises:
        RuntimeError: JAX has no such platform here; the message is one line.
    """
    if platform is None:
        return jax.devices()[0]
    try:
        return jax.devices(platform)[0]
    except RuntimeError:
        raise RuntimeError(
            f"JAX finds no {platform} here (its default is {jax.default_backend()}); "
            f"install its {platform} plugin or choose another `--device`"
        ) from None


def prepare(function: Callable[..., Any], *turns: Sequence[jax.Array]) -> Ready:
    """Compiles `function` for its arguments, on the device where they are.

    Each call takes the next of `turns`, which are alike in shape: where the time
    depends on the values, as that of a random draw may on its key, all have their part.
    """
    compiled = jax.jit(function).lower(*turns[0]).compile()
    next_turn = itertools.cycle(turns)
    return Ready(
        call=lambda: compiled(*next(next_turn)),
        fence=jax.block_until_ready,
        fetch=lambda out: [np.asarray(leaf) for leaf in jax.tree.leaves(out)],
        poison=_poison,
        temp_bytes=_temp_bytes(compiled),
    )


def with_gradient(op: Callable[..., jax.Array]) -> Callable[..., Any]:
    """The loss `Σ w op(z, τ)` and its derivatives, as a function of `z, τ, w`."""

    def run(z: jax.Array, tau: jax.Array, w: jax.Array) -> Any:
        def loss(z: jax.Array, tau: jax.Array) -> jax.Array:
            return jnp.sum(w * op(z, tau), dtype=jnp.float32)

        return jax.value_and_grad(loss, argnums=(0, 1))(z, tau)

    return run


def backward(
    op: Callable[..., jax.Array], z: jax.Array, tau: jax.Array, w: jax.Array
) -> Ready:
    """The derivatives of `Σ w op(z, τ)` alone, of what the forward pass has kept."""
    _, pull = jax.vjp(jax.jit(op), z, tau)
    return prepare(lambda pull, w: pull(w), (pull, w))


def _poison(out: Any) -> None:
    jax.block_until_ready(jax.tree.map(lambda x: x * jnp.nan, out))


def _temp_bytes(compiled: jax.stages.Compiled) -> int | None:
    stats = compiled.memory_analysis()  # None where the backend does not say
    return None if stats is None else int(stats.temp_size_in_bytes)
