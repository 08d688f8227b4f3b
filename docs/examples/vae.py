"""A variational autoencoder with categorical latents, by every gradient estimator.

The handwritten digits that scikit-learn ships, 8x8 pixels made black or white, pass
through 8 latent variables of 4 classes each. Only the estimator of the encoder's
gradient differs between the runs: data, networks, optimiser and seeds are the same.

    python docs/examples/vae.py --out docs/examples/results/vae.json

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
from collections.abc import Callable
from pathlib import Path
from typing import Any

# --8<-- [start:imports]
import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits
from tqdm import tqdm

import jaxtemp
from jaxtemp import learning
from jaxtemp.random import estimators, gumbel_softmax

# --8<-- [end:imports]

LATENTS, CLASSES, HIDDEN, BATCH, RATE = 8, 4, 128, 100, 2e-3
TRAIN = 1500  # of 1797 images
DRAWS = 20  # of the latents of an image, for its evidence bound
KEYS, COMMON_KEYS, TRUTH_KEYS = 64, 1000, 2000  # for variance, bias and truth
SOME = 25  # images whose gradients are compared
COMMON = "reinforce, 4 draws"  # at whose first network all estimators are compared
POINTS = 20  # of a curve
Params = dict[str, Any]


# --8<-- [start:model]
def layer(weights: dict, x: jax.Array) -> jax.Array:
    return x @ weights["kernel"] + weights["bias"]


def encode(params: Params, x: jax.Array) -> jax.Array:
    """Logits of the latent variables, `[B, latents, classes]`."""
    hidden = jax.nn.relu(layer(params["encode"], x))
    return layer(params["latents"], hidden).reshape(-1, LATENTS, CLASSES)


def decode(params: Params, z: jax.Array) -> jax.Array:
    """Logits of the pixels, from one-hot or relaxed latents."""
    hidden = jax.nn.relu(layer(params["decode"], z.reshape(-1, LATENTS * CLASSES)))
    return layer(params["pixels"], hidden)


def surprise(params: Params, x: jax.Array, z: jax.Array) -> jax.Array:
    """-log p(x | z) of each image, in nats."""
    return optax.sigmoid_binary_cross_entropy(decode(params, z), x).sum(-1)


def divergence(logits: jax.Array) -> jax.Array:
    """KL(q || uniform) of each image's latents, in nats."""
    return LATENTS * np.log(CLASSES) - jaxtemp.entropy(logits).sum(-1)


# --8<-- [end:model]


# --8<-- [start:estimators]
def through(sample: Callable) -> Callable:
    """The loss at a sample that carries its own gradient."""
    return lambda f, key, logits, extra, tau: f(sample(key, logits))


def relaxed(f, key, logits, extra, tau):
    return f(gumbel_softmax(key, logits, tau))


def relaxed_learned(f, key, logits, extra, tau):
    return f(gumbel_softmax(key, logits, TAU.value(extra["tau"])))


def reinforce(samples: int) -> Callable:
    return lambda f, key, logits, extra, tau: estimators.reinforce(f, samples)(
        key, logits
    )


def rebar(f, key, logits, extra, tau):
    relaxation = RELAXATION.value(extra["relaxation"])
    return estimators.rebar(f)(key, logits, scale=extra["scale"], relaxation=relaxation)


def relax(f, key, logits, extra, tau):
    def control(extra, perturbed):
        soft = jaxtemp.softmax(perturbed, RELAXATION.value(extra["relaxation"]))
        flat = soft.reshape(len(soft), -1)
        free = layer(extra["free"], jax.nn.tanh(layer(extra["hidden"], flat)))
        return extra["scale"] * f(soft) + free[:, 0]

    return estimators.relax(f, control)(key, logits, params=extra)


TAU = learning.Log(lower=0.1, upper=2.0)
RELAXATION = learning.Log()
ESTIMATORS = {
    "straight_through": through(estimators.straight_through),
    "straight_through_gumbel": through(
        functools.partial(estimators.straight_through_gumbel, relaxation=0.5)
    ),
    "gumbel_rao": through(functools.partial(estimators.gumbel_rao, relaxation=0.5)),
    "reinmax": through(estimators.reinmax),
    "gumbel_softmax, annealed": relaxed,
    "gumbel_softmax, learned": relaxed_learned,
    "reinforce, 2 draws": reinforce(2),
    "reinforce, 4 draws": reinforce(4),
    "rebar": rebar,
    "relax": relax,
}


def losses(params: Params, x, logits, key, tau, estimator: Callable) -> jax.Array:
    """The negative evidence bound of each image, with an estimated gradient."""
    reconstruction = estimator(
        lambda z: surprise(params, x, z), key, logits, params["extra"], tau
    )
    return reconstruction + divergence(logits)


# --8<-- [end:estimators]


# --8<-- [start:training]
@functools.partial(jax.jit, static_argnames=("estimator", "anneal"))
def epoch(params, state, count, batches, key, *, estimator, anneal):
    """Adam, once through all batches."""

    def loss(params, x, key, tau):
        logits = encode(params, x)
        return losses(params, x, logits, key, tau, estimator).mean()

    def step(carry, batch):
        params, state, count = carry
        gradient = jax.grad(loss)(params, *batch, anneal(count))
        updates, state = optax.adam(RATE).update(gradient, state)
        return (optax.apply_updates(params, updates), state, count + 1), None

    keys = jax.random.split(key, len(batches))
    return jax.lax.scan(step, (params, state, count), (batches, keys))[0]


# --8<-- [end:training]


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Images of 64 zeros and ones, to train on and held out."""
    images = (load_digits().data >= 8).astype(np.float32)
    images = np.random.default_rng(0).permutation(images)
    return images[:TRAIN], images[TRAIN:]


def init(seed: int) -> Params:
    """Weights and what some estimators learn besides."""
    shapes = {
        "encode": (64, HIDDEN),
        "latents": (HIDDEN, LATENTS * CLASSES),
        "decode": (LATENTS * CLASSES, HIDDEN),
        "pixels": (HIDDEN, 64),
        "hidden": (LATENTS * CLASSES, HIDDEN),
        "free": (HIDDEN, 1),
    }
    rng = np.random.default_rng(seed)
    layers = {
        name: {
            "kernel": np.float32(rng.normal(size=shape) / np.sqrt(shape[0])),
            "bias": np.zeros(shape[1], np.float32),
        }
        for name, shape in shapes.items()
    }
    extra = {
        "tau": TAU.init(1.0),
        "relaxation": RELAXATION.init(0.5),
        "scale": np.float32(1),
        "hidden": layers.pop("hidden"),
        "free": layers.pop("free"),
    }
    return {**layers, "extra": extra}


@jax.jit
def bound(params: Params, images: jax.Array, key: jax.Array) -> jax.Array:
    """The negative evidence bound with discrete latents, a mean of draws."""
    logits = encode(params, images)

    def once(key):
        ids = jaxtemp.categorical(key, logits)
        return surprise(params, images, jax.nn.one_hot(ids, CLASSES)).mean()

    draws = jax.lax.map(once, jax.random.split(key, DRAWS))
    return draws.mean() + divergence(logits).mean()


@functools.partial(jax.jit, static_argnames=("estimator", "count"))
def gradients(params, images, tau, *, estimator, count: int):
    """Mean and total variance of each image's gradient in the logits, over keys."""
    logits = encode(params, images)

    def once(key):
        return jax.grad(lambda z: losses(params, images, z, key, tau, estimator).sum())(
            logits
        )

    found = jax.lax.map(once, jax.random.split(jax.random.key(7), count))
    return found.mean(0), found.var(0, ddof=1).sum((-2, -1))


@functools.partial(jax.jit, static_argnames="count")
def true_gradient(params: Params, images: jax.Array, count: int):
    """The same by enumeration of one variable at a time, the others drawn; its error.

    Without bias and with little variance, at 32 times the cost.
    """
    logits = encode(params, images)

    def once(key):
        z = jax.nn.one_hot(jaxtemp.categorical(key, logits), CLASSES)

        def at(latent, corner):
            return surprise(params, images, z.at[:, latent].set(corner))

        every = jax.vmap(jax.vmap(at, (None, 0), 1), (0, None), 1)
        values = every(jnp.arange(LATENTS), jnp.eye(CLASSES))
        return jax.grad(
            lambda z: (jaxtemp.softmax(z) * values).sum() + divergence(z).sum()
        )(logits)

    found = jax.lax.map(once, jax.random.split(jax.random.key(8), count))
    return found.mean(0), found.var(0, ddof=1).sum((-2, -1)) / count


def train(name: str, seed: int, epochs: int, images, held_out, anneal, bar) -> dict:
    """One run of one estimator: its parameters, bounds and time."""
    params = init(seed)
    state = optax.adam(RATE).init(params)
    count = jnp.int32(0)
    curve = [[0, round(float(bound(params, held_out, jax.random.key(0))), 3)]]
    seconds = []
    for number in range(1, epochs + 1):
        key = jax.random.fold_in(jax.random.key(seed), number)
        order = np.random.default_rng([seed, number]).permutation(len(images))
        batches = images[order].reshape(-1, BATCH, images.shape[1])
        began = time.perf_counter()
        params, state, count = jax.block_until_ready(
            epoch(
                *(params, state, count, batches, key),
                estimator=ESTIMATORS[name],
                anneal=anneal,
            )
        )
        seconds.append(time.perf_counter() - began)
        if number % max(epochs // POINTS, 1) == 0:
            curve.append([number, round(float(bound(params, held_out, key)), 3)])
            bar.set_postfix_str(f"-ELBO {curve[-1][1]:.2f}")
        bar.update()
    return {
        "params": params,
        "tau": anneal(count),
        "curve": curve,
        "train": float(bound(params, images, key)),
        "held_out": float(bound(params, held_out, key)),
        "step_seconds": min(seconds) / (len(images) // BATCH),
    }


def run(epochs: int, seeds: int, names: list[str]) -> dict:
    """Every estimator, as numbers that JSON can hold."""
    images, held_out = digits()
    anneal = learning.schedules.jang(3 / (epochs * len(images) // BATCH), minimum=0.3)
    began = time.perf_counter()
    runs = {}
    with tqdm(total=len(names) * seeds * epochs, unit="epoch") as bar:
        for name in names:
            bar.set_description(name)
            runs[name] = [
                train(name, seed, epochs, images, held_out, anneal, bar)
                for seed in range(seeds)
            ]
    some = images[:SOME]
    common = runs.get(COMMON, runs[names[0]])[0]["params"]
    truth = true_gradient(common, some, TRUTH_KEYS)
    found = {
        name: summary(name, runs[name], some)
        | at_common(name, runs[name][0], common, some, truth)
        for name in tqdm(names, desc="gradients", unit="estimator")
    }
    return {
        "task": "a variational autoencoder of the digits, by estimator and seed",
        "command": shlex.join(["python", *sys.argv]),
        "versions": {
            "python": platform.python_version(),
            **{m.__name__: m.__version__ for m in (jax, jaxtemp, np, optax)},
        },
        "device": jax.devices()[0].device_kind,
        "seconds": round(time.perf_counter() - began),
        "epochs": epochs,
        "seeds": seeds,
        "latents": [LATENTS, CLASSES],
        "hidden": HIDDEN,
        "batch": BATCH,
        "learning_rate": RATE,
        "images": [len(images), len(held_out)],
        "common": COMMON,
        "estimators": found,
    }


def summary(name: str, runs: list[dict], images) -> dict:
    """The runs of one estimator, by seed."""
    variances = [
        gradients(
            run["params"], images, run["tau"], estimator=ESTIMATORS[name], count=KEYS
        )[1]
        for run in runs
    ]
    taus = [float(TAU.value(run["params"]["extra"]["tau"])) for run in runs]
    return {
        "train": [round(run["train"], 3) for run in runs],
        "held_out": [round(run["held_out"], 3) for run in runs],
        "curves": [run["curve"] for run in runs],
        "log_variance": [round(float(jnp.log(v.mean())), 3) for v in variances],
        "learned_tau": [round(tau, 3) for tau in taus],
        "step_seconds": round(min(run["step_seconds"] for run in runs), 6),
    }


def at_common(name: str, own: dict, params: Params, images, truth) -> dict:
    """Bias and variance where all estimators meet, with what each has learned."""
    params = params | {"extra": own["params"]["extra"]}
    mean, variance = gradients(
        params, images, own["tau"], estimator=ESTIMATORS[name], count=COMMON_KEYS
    )
    right, error = truth
    size = jnp.sum(right**2, axis=(-2, -1)).mean()
    squared = jnp.sum((mean - right) ** 2, axis=(-2, -1))
    # Means of finitely many keys differ where there is no bias.
    bias = (squared - variance / COMMON_KEYS - error) / size
    doubt = 2 * bias.std(ddof=1) / np.sqrt(len(bias))
    return {
        "common_log_variance": round(float(jnp.log(variance.mean())), 3),
        "common_bias": root(bias.mean()),
        "common_bias_at_most": root(bias.mean() + doubt),
        "common_bias_at_least": root(bias.mean() - doubt),
    }


def root(square: jax.Array) -> float:
    return round(float(jnp.sqrt(jnp.maximum(square, 0))), 4)


def biased(found: dict) -> str:
    """The bias, or what it is below where it may be zero."""
    if found["common_bias_at_least"] == 0:
        return f"< {found['common_bias_at_most']:.0%}"
    return f"{found['common_bias']:.0%}"


def table(result: dict) -> str:
    """What was found, for people."""
    head = ("train", "held out", "log var", "same net", "bias", "µs/step")
    widths = (15, 15, 8, 8, 6, 8)
    titles = (f"{h:>{w}}" for h, w in zip(head, widths, strict=True))
    lines = [" ".join([f"{'estimator':26}", *titles])]
    for name, found in result["estimators"].items():
        lines.append(
            f"{name:26} {spread(found['train']):>15} {spread(found['held_out']):>15} "
            f"{np.mean(found['log_variance']):8.2f} "
            f"{found['common_log_variance']:8.2f} {biased(found):>6} "
            f"{1e6 * found['step_seconds']:8.0f}"
        )
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    """Mean and standard error."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{np.mean(values):.2f} ± {error:.2f}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=ESTIMATORS, metavar="NAME")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    result = run(options.epochs, options.seeds, options.only or list(ESTIMATORS))
    print(table(result))
    if options.out:
        text = json.dumps(result, ensure_ascii=False)
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
