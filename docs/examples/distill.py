"""A small student of the digits, taught by labels or by a larger network.

A teacher learns the handwritten digits that scikit-learn ships from all training
images. A small student sees few of them, and learns either from their labels or from
what the teacher says about them at a temperature, fixed or learned.

    python docs/examples/distill.py --out docs/examples/results/distill.json

Needs `pip install ".[examples]"`.
"""

from __future__ import annotations

import argparse
import functools
import json
import platform
import shlex
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.stats import t as student_t
from sklearn.datasets import load_digits
from tqdm import tqdm

import jaxtemp
from jaxtemp import learning, losses

TEACHER, STUDENT = (64, 128, 128, 10), (64, 32, 10)
SEEN, VALIDATION, TRAIN = 100, 200, 1197  # images; the other 600 of 1797 are held out
TEACHER_STEPS, STEPS, RATE = 300, 1000, 3e-3
TUNINGS, TUNER = 15, optax.adam(0.3)  # of the temperature, each a whole training
# With a root that has a derivative at zero: its steps are differentiated in τ.
ADAM = optax.adam(RATE, eps_root=1e-16)
TAU = learning.Log(0.01, 100.0)
FIXED = {"τ = 1": 1.0, "τ = 2": 2.0, "τ = 4": 4.0, "τ = 8": 8.0, "τ = ∞": np.inf}
HARD, CHOSEN = "labels", "τ chosen, on validation"
Params = list[dict[str, Any]]


class Data(NamedTuple):
    """Images and labels of one seed, as they are split."""

    train: tuple[jax.Array, jax.Array]
    held_out: tuple[jax.Array, jax.Array]


# --8<-- [start:model]
def logits(params: Params, x: jax.Array) -> jax.Array:
    """Of a network with rectified linear units."""
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["kernel"] + layer["bias"])
    return x @ params[-1]["kernel"] + params[-1]["bias"]


def by_labels(params: Params, x, y) -> jax.Array:
    return losses.cross_entropy(logits(params, x), y).mean()


def by_teacher(params: Params, x, taught: jax.Array, tau) -> jax.Array:
    return losses.distillation(logits(params, x), taught, tau).mean()


# --8<-- [end:model]


def init(key: jax.Array, sizes: tuple[int, ...]) -> Params:
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        {
            "kernel": jax.random.normal(key, (m, n)) * jnp.sqrt(2 / m),
            "bias": jnp.zeros(n),
        }
        for key, m, n in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]


@functools.partial(jax.jit, static_argnames="steps")
def teach(key: jax.Array, data: Data, steps: int) -> Params:
    """A teacher, trained on all training images."""
    params = init(key, TEACHER)

    def step(carry, _):
        params, state = carry
        updates, state = ADAM.update(jax.grad(by_labels)(params, *data.train), state)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, ADAM.init(params)), length=steps)[0][0]


# --8<-- [start:learn]
def trained(params: Params, seen, tau, steps: int) -> Params:
    """A student, taught by labels if τ is None, else by the teacher's logits."""
    x, y, taught = seen

    def step(carry, _):
        params, state = carry
        if tau is None:
            gradient = jax.grad(by_labels)(params, x, y)
        else:
            gradient = jax.grad(by_teacher)(params, x, taught, tau)
        updates, state = ADAM.update(gradient, state)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, ADAM.init(params)), length=steps)[0][0]


def on_validation(params: Params, seen, validation, steps: int, *, start: float):
    """τ follows the slope of the final loss on validation labels."""

    def final_loss(raw):
        student = trained(params, seen, TAU.value(raw), steps)
        return by_labels(student, *validation), student

    def tune(carry, _):
        raw, state = carry
        # In forward mode, through all steps of the training at once.
        along = (raw,), (jnp.ones_like(raw),)
        _, slope, student = jax.jvp(final_loss, *along, has_aux=True)
        update, state = TUNER.update(slope, state, raw)
        return (optax.apply_updates(raw, update), state), (student, TAU.value(raw))

    raw = TAU.init(start)
    _, (students, taus) = jax.lax.scan(tune, (raw, TUNER.init(raw)), length=TUNINGS)
    return jax.tree.map(lambda x: x[-1], students), taus


def on_own_loss(params: Params, seen, validation, steps: int):
    """τ is one more parameter of the distillation loss."""
    x, _, taught = seen

    def loss(both):
        return by_teacher(both["student"], x, taught, TAU.value(both["raw"]))

    def step(carry, _):
        both, state = carry
        updates, state = ADAM.update(jax.grad(loss)(both), state)
        both = optax.apply_updates(both, updates)
        return (both, state), TAU.value(both["raw"])

    both = {"student": params, "raw": TAU.init(1.0)}
    (both, _), taus = jax.lax.scan(step, (both, ADAM.init(both)), length=steps)
    return both["student"], taus[:: max(steps // TUNINGS, 1)]


# --8<-- [end:learn]
def at(tau: float | None):
    """A recipe with a fixed τ, or with labels."""
    return lambda params, seen, _, steps: (trained(params, seen, tau, steps), None)


RECIPES = {
    HARD: at(None),
    **{name: at(tau) for name, tau in FIXED.items()},
    "τ learned, from 1": functools.partial(on_validation, start=1.0),
    "τ learned, from 4": functools.partial(on_validation, start=4.0),
    "τ learned, on its own loss": on_own_loss,
}


@functools.partial(jax.jit, static_argnames=("recipe", "steps"))
def study(key, teacher: Params, data: Data, *, recipe, steps: int):
    """A student, its τ as it was learned, and its scores on the held-out images."""
    x, y = (part[:SEEN] for part in data.train)
    validation = tuple(part[SEEN : SEEN + VALIDATION] for part in data.train)
    seen = x, y, logits(teacher, x)
    student, taus = recipe(init(key, STUDENT), seen, validation, steps)
    left = by_labels(student, *validation)
    return {**scores(student, data.held_out), "validation": left, "tau": taus}


def scores(params: Params, rows) -> dict[str, jax.Array]:
    x, y = rows
    found = logits(params, x)
    return {
        "accuracy": (found.argmax(-1) == y).mean(),
        "nll": losses.cross_entropy(found, y).mean(),
    }


def digits(seeds: int) -> Data:
    """The images, split anew for each seed, `[seeds, images, ...]`."""
    pixels, labels = load_digits(return_X_y=True)
    orders = [np.random.default_rng(s).permutation(len(labels)) for s in range(seeds)]
    x, y = np.float32(pixels / 16)[orders := np.array(orders)], np.int32(labels)[orders]
    return Data((x[:, :TRAIN], y[:, :TRAIN]), (x[:, TRAIN:], y[:, TRAIN:]))


def run(seeds: int, teacher_steps: int, steps: int) -> dict:
    """Every student, as numbers that JSON can hold."""
    began = time.perf_counter()
    data, keys = digits(seeds), jax.random.split(jax.random.key(0), seeds)
    with tqdm(total=len(RECIPES) + 1, unit="recipe") as bar:
        bar.set_description("teacher")
        teachers = jax.vmap(functools.partial(teach, steps=teacher_steps))(keys, data)
        taught = jax.vmap(scores)(teachers, data.held_out)
        bar.update()
        found = {}
        for name, recipe in RECIPES.items():
            bar.set_description(name)
            one = functools.partial(study, recipe=recipe, steps=steps)
            found[name] = jax.device_get(jax.vmap(one)(keys, teachers, data))
            bar.update()
    found[CHOSEN] = chosen([found[name] for name in FIXED])
    return {
        "task": "a student of the digits, by what teaches it, and seed",
        "command": shlex.join(["python", *sys.argv]),
        "versions": {
            "python": platform.python_version(),
            **{m.__name__: m.__version__ for m in (jax, jaxtemp, np, optax)},
        },
        "device": jax.devices()[0].device_kind,
        "seconds": round(time.perf_counter() - began),
        "seeds": seeds,
        "steps": [teacher_steps, steps],
        "sizes": [TEACHER, STUDENT],
        "images": {
            "teacher": TRAIN,
            "student": SEEN,
            "validation": VALIDATION,
            "held_out": data.held_out[1].shape[1],
        },
        "teacher": {name: rounded(values) for name, values in taught.items()},
        "students": {
            name: {part: rounded(one[part]) for part in ("accuracy", "nll")}
            | {"gain": gain(one, found[HARD])}
            | ({} if one.get("tau") is None else {"tau": rounded(one["tau"])})
            for name, one in found.items()
        },
    }


def chosen(students: list[dict]) -> dict:
    """Of each seed, the student with the least loss on validation labels."""
    best = np.argmin([one["validation"] for one in students], axis=0)
    rows = np.arange(len(best))
    return {
        part: np.array([one[part] for one in students])[best, rows]
        for part in ("accuracy", "nll")
    }


def gain(one: dict, hard: dict) -> dict[str, list[float]]:
    """Mean paired difference to learning from labels, and its 95 % interval."""
    result = {}
    for part in ("accuracy", "nll"):
        gained = np.float64(one[part]) - np.float64(hard[part])
        error = gained.std(ddof=1) / np.sqrt(len(gained))
        reach = student_t.ppf(0.975, len(gained) - 1) * error
        ends = gained.mean() - reach, gained.mean() + reach
        result[part] = [round(x, 5) for x in (gained.mean(), *ends)]
    return result


def rounded(values) -> list:
    return np.round(np.float64(values), 4).tolist()


def table(result: dict) -> str:
    """What was found, for people."""
    lines = [f"{'taught by':26} {'accuracy':>9} {'NLL':>7}   against labels"]
    for name, one in result["students"].items():
        (better, *ends), (nll, *nll_ends) = one["gain"].values()
        lines.append(
            f"{name:26} {np.mean(one['accuracy']):9.2%} {np.mean(one['nll']):7.4f}   "
            f"{better:+.2%} [{ends[0]:+.2%}, {ends[1]:+.2%}]   "
            f"{nll:+.4f} [{nll_ends[0]:+.4f}, {nll_ends[1]:+.4f}]"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--teacher-steps", type=int, default=TEACHER_STEPS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    result = run(options.seeds, options.teacher_steps, options.steps)
    print(table(result))
    if options.out:
        text = json.dumps(result, ensure_ascii=False)
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
