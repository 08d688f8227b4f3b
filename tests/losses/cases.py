"""Random rows and options that a cross-entropy may meet."""

import itertools

import ml_dtypes
import numpy as np

from tests.losses.truth import Case

TEMPERATURES = (0.0, 1e-3, 0.1, 0.5, 1.0, 1.0, 2.0, 10.0, 1e3, np.inf)
OPTIONS = {
    "dtype": ("float32", "bfloat16", "float64"),
    "classes": (1, 5, 136, 1031),  # 136 are blocks of 17 on CPU, 1031 is a prime
    "labels": ("integer", "ignored", "one-hot", "soft"),
    "where": (False, True),
    "label_smoothing": (False, True),
    "z_loss": (False, True),
    "logit_soft_cap": (False, True),
    "class_weights": (False, True),
}


def combinations(seed: int = 0) -> list[dict]:
    """Options such that every two values of different options meet."""
    rng = np.random.default_rng(seed)
    names = list(OPTIONS)
    missing = {
        ((a, x), (b, y))
        for a, b in itertools.combinations(names, 2)
        for x in OPTIONS[a]
        for y in OPTIONS[b]
    }
    found = []
    while missing:
        drawn = [
            {name: OPTIONS[name][rng.integers(len(OPTIONS[name]))] for name in names}
            for _ in range(200)
        ]
        best = max(drawn, key=lambda one: len(missing & _pairs(one)))
        missing -= _pairs(best)
        found.append(best)
    return found


def _pairs(options: dict) -> set:
    return set(itertools.combinations(options.items(), 2))


def random_case(options: dict, count: int, seed: int = 0) -> Case:
    """`count` rows of these options over all temperatures, masks and ties."""
    rng = np.random.default_rng([seed, *map(hash_of, options.values())])
    kind = np.dtype(getattr(ml_dtypes, options["dtype"], options["dtype"]))
    number = np.float64 if options["dtype"] == "float64" else np.float32
    shape = count, classes = count, options["classes"]
    cap = 8.0 if options["logit_soft_cap"] else None
    # A capped logit is rounded, which a small temperature would enlarge.
    temperatures = [t for t in TEMPERATURES if cap is None or t >= 0.5]
    tau = rng.permutation(np.resize(temperatures, count)).astype(number)
    spread = np.where(rng.random(count) < 0.5, np.clip(tau, 1e-3, 1e3), 3)
    z = rng.normal(size=shape) * (spread * rng.choice([0.3, 1, 10], count))[:, None]
    z = np.where(rng.random((count, 1)) < 0.2, np.rint(z), z)
    if cap is None:
        z += rng.choice([0.0, 0.0, 100.0, -100.0], (count, 1))
    else:
        z = np.clip(z, -2 * cap, 2 * cap)
    z = np.where(rng.random(shape) < 0.1 * rng.integers(0, 2, (count, 1)), -np.inf, z)
    keep = np.arange(classes) == rng.integers(classes, size=(count, 1))
    z = np.where(keep & (z == -np.inf), 0.5, z)
    where = None
    if options["where"]:
        where = keep | (rng.random(shape) < rng.choice([0.5, 0.9, 1.0], (count, 1)))
        z = np.where(where, z, rng.choice([np.nan, np.inf, -np.inf, 5.0], shape))
    z = z.astype(kind)
    labels, ignore = _labels(options["labels"], z, rng)
    row = lambda low, high: rng.uniform(low, high, count).astype(number)  # noqa: E731
    use = {name: options[name] for name in list(OPTIONS)[4:]}
    return Case(
        z,
        labels,
        tau,
        where,
        ignore,
        row(0, 0.5) * (rng.random(count) < 0.8) if use["label_smoothing"] else None,
        row(0, 0.1) * (rng.random(count) < 0.8) if use["z_loss"] else None,
        cap,
        _weights(classes, rng).astype(number) if use["class_weights"] else None,
    )


def hash_of(value) -> int:
    """A number for a value that is the same in every process."""
    return sum(i * byte for i, byte in enumerate(str(value).encode(), 1))


def _labels(kind, z, rng):
    count, classes = z.shape
    # Half of the labels are the likeliest class, as those of a trained model are.
    ids = rng.integers(classes, size=count)
    likely = np.where(np.isfinite(z), z, -1e9).astype(np.float64).argmax(-1)
    ids = np.where(rng.random(count) < 0.5, likely, ids).astype(np.int32)
    if kind == "integer":
        return ids, None
    if kind == "ignored":
        return np.where(rng.random(count) < 0.3, -100, ids).astype(np.int32), -100
    one_hot = np.arange(classes) == ids[:, None]
    if kind == "one-hot":
        return one_hot.astype(z.dtype), None
    q = rng.exponential(size=z.shape) * (rng.random(z.shape) < 0.5)
    masked = ~np.isfinite(z) & (rng.random((count, 1)) < 0.7)
    return np.where(masked, 0, q / classes).astype(z.dtype), None


def _weights(classes, rng):
    return rng.uniform(0.2, 3, classes) * (rng.random(classes) < 0.9)
