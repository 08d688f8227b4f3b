"""Polynomial programming: a bias that shows in what an optimiser finds.

128 binary variables are drawn from logits, and Adam minimises the mean of
|d - 0.45|^p over them. The minimum is known: each variable takes the value that is
nearer. An unbiased gradient gets there; a biased one ends at its own place.

    python docs/examples/polynomial.py --out docs/examples/results/polynomial.json

Source of the task: Liu and others, *Bridging discrete and backpropagation*, 2023.
"""

from __future__ import annotations

import argparse
import functools
import json
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

import jaxtemp
from jaxtemp.random import estimators

VARIABLES, BATCH, TARGET, RATE, EPOCH = 128, 64, 0.45, 1e-3, 200
POWERS = (1.5, 2.0, 3.0)


class Column(NamedTuple):
    """An estimator, and how many seeds it gets at most: the dearest gets one."""

    sample: Callable | None
    seeds: int = 3


COLUMNS = {
    "exact": Column(None),
    "reinmax": Column(estimators.reinmax),
    "straight_through": Column(estimators.straight_through),
    "straight_through_gumbel, λ = 1": Column(estimators.straight_through_gumbel),
    "straight_through_gumbel, λ = 0.5": Column(
        functools.partial(estimators.straight_through_gumbel, relaxation=0.5)
    ),
    "gumbel_rao, λ = 1": Column(estimators.gumbel_rao, seeds=1),
    "gumbel_rao, λ = 0.5": Column(
        functools.partial(estimators.gumbel_rao, relaxation=0.5), seeds=1
    ),
}

# What another implementation of the same task found after 8000 steps, by power.
REFERENCE = {
    "exact": (0.302058, 0.202678, 0.091259),
    "reinmax": (0.305344, 0.203723, 0.091536),
    "straight_through": (0.352219, 0.247495, 0.121287),
    "straight_through_gumbel, λ = 1": (0.351317, 0.245836, 0.118867),
    "straight_through_gumbel, λ = 0.5": (0.349823, 0.243080, None),
    "gumbel_rao, λ = 1": (0.351296, 0.245845, 0.118852),
    "gumbel_rao, λ = 0.5": (0.349836, 0.243101, 0.114820),
}


def expected_loss(logits: jax.Array, power: jax.Array) -> jax.Array:
    """The mean loss of the draws: the true objective, `[*runs]`."""
    p = jaxtemp.softmax(logits)[..., 0]
    power = power[:, None]
    return jnp.mean(p * (1 - TARGET) ** power + (1 - p) * TARGET**power, axis=-1)


def drawn_loss(logits, power, key, sample) -> jax.Array:
    """The mean loss of a batch of draws, `[*runs]`."""
    runs = logits.shape[0]
    wide = jnp.broadcast_to(logits[:, None], (runs, BATCH, VARIABLES, 2))
    distance = jnp.abs(sample(key, wide)[..., 0] - TARGET)
    return jnp.mean(distance ** power[:, None, None], axis=(1, 2))


@functools.partial(jax.jit, static_argnames=("sample", "steps"))
def train(params, state, power, key, *, sample, steps: int):
    """Adam for some steps on all runs together; keys follow from one."""

    def loss(params, key):
        if sample is None:
            return jnp.sum(expected_loss(params, power))
        return jnp.sum(drawn_loss(params, power, key, sample))

    def step(carry, key):
        params, state = carry
        updates, state = optax.adam(RATE).update(jax.grad(loss)(params, key), state)
        return (optax.apply_updates(params, updates), state), None

    (params, state), _ = jax.lax.scan(
        step, (params, state), jax.random.split(key, steps)
    )
    return params, state, expected_loss(params, power)


def start(seeds: int) -> tuple[jax.Array, jax.Array]:
    """Logits and powers of all runs: one for each power and seed."""
    keys = jax.random.split(jax.random.key(1), seeds)
    shape = (VARIABLES, 2)
    one = [jax.random.uniform(key, shape, minval=-0.01, maxval=0.01) for key in keys]
    return jnp.tile(jnp.stack(one), (len(POWERS), 1, 1)), jnp.repeat(
        jnp.asarray(POWERS), seeds
    )


def curves(column: Column, steps: int, seeds: int, bar: tqdm) -> jax.Array:
    """The objective after every epoch, `[powers, seeds, 1 + epochs]`."""
    seeds = min(seeds, column.seeds)
    params, power = start(seeds)
    state = optax.adam(RATE).init(params)
    found = [expected_loss(params, power)]
    for first in range(0, steps, EPOCH):
        params, state, objective = train(
            params,
            state,
            power,
            jax.random.fold_in(jax.random.key(0), first),
            sample=column.sample,
            steps=min(EPOCH, steps - first),
        )
        found.append(objective.block_until_ready())
        bar.update(min(EPOCH, steps - first))
    return jnp.stack(found, axis=-1).reshape(len(POWERS), seeds, -1)


def run(steps: int, seeds: int) -> dict:
    """All columns, as numbers that JSON can hold."""
    began = time.perf_counter()
    objective = {}
    with tqdm(total=steps * len(COLUMNS), unit="step") as bar:
        for name, column in COLUMNS.items():
            bar.set_description(name)
            found = np.asarray(curves(column, steps, seeds, bar), np.float64)
            objective[name] = found.round(6).tolist()
    return {
        "task": "objective after every 200 steps, by estimator, power and seed",
        "command": shlex.join(["python", *sys.argv]),
        "versions": {"jax": jax.__version__, "jaxtemp": jaxtemp.__version__},
        "device": jax.devices()[0].device_kind,
        "seconds": round(time.perf_counter() - began),
        "steps": steps,
        "powers": POWERS,
        "minimum": [round(TARGET**power, 6) for power in POWERS],
        "objective": objective,
    }


def table(result: dict) -> str:
    """The objective at the end, mean over seeds, the reference, and the difference."""
    lines = [f"{'':33}" + "".join(f"{f'p = {p:g}':^30}" for p in result["powers"])]
    for name, by_power in result["objective"].items():
        cells = ""
        for runs, reference in zip(by_power, REFERENCE[name], strict=True):
            mean = float(np.mean([curve[-1] for curve in runs]))
            beside = (
                f"{reference:.6f} {mean / reference - 1:+7.2%}" if reference else ""
            )
            cells += f"{mean:10.6f}  {beside:<18}"
        lines.append(f"{name:33}{cells}")
    minimum = "".join(f"{x:10.6f}{'':20}" for x in result["minimum"])
    return "\n".join([*lines, f"{'minimum':33}{minimum}"])


def as_json(result: dict) -> str:
    """The result with a line for each key, and for each estimator."""
    text = json.dumps(result, ensure_ascii=False)
    for name in [*result, *result["objective"]]:
        key = json.dumps(name, ensure_ascii=False) + ":"
        text = text.replace(key, "\n" + key)
    return text + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="where to write the result, as JSON")
    options = parser.parse_args()
    result = run(options.steps, options.seeds)
    print(table(result))
    if options.out:
        options.out.write_text(as_json(result))


if __name__ == "__main__":
    main()
