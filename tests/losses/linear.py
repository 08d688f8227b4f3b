"""Random layers, labels and options for a linear cross-entropy, and their truth.

Hidden states and weights are small multiples of 1/8, so that their products are exact
in float32 and the logits of the truth are those of the layer.
"""

from typing import NamedTuple

import jax
import ml_dtypes
import numpy as np

from jaxtemp.losses import linear_cross_entropy
from tests.losses.cases import TEMPERATURES, hash_of
from tests.losses.truth import Case, Expected, Truth

FEATURES = 6
ALL = {
    "dtype": "float64",
    "classes": 40,
    "labels": "ignored",
    "where": True,
    "label_smoothing": True,
    "z_loss": True,
    "logit_soft_cap": True,
    "class_weights": True,
}
PLAIN = {**ALL, **dict.fromkeys(list(ALL)[3:], False)}


class Arrays(NamedTuple):
    """What a loss is differentiated in."""

    hidden: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    temperature: np.ndarray


class Problem(NamedTuple):
    """A layer, labels and options."""

    arrays: Arrays
    labels: np.ndarray
    options: dict

    @property
    def case(self) -> Case:
        """The same for `cross_entropy`; what is excluded or ignored is finite."""
        hidden, weight, bias, tau = (np.asarray(x, np.longdouble) for x in self.arrays)
        z = np.nan_to_num(hidden) @ np.nan_to_num(weight) + bias
        options = {"ignore_index": None, **self.options}
        if "where" in options:
            options["where"] = np.broadcast_to(options["where"], z.shape)
        return Case(z, self.labels, tau, **options)

    def gradients(self, g) -> list[Expected]:
        """True derivatives of `Σ g loss`, each with the size of its terms."""
        hidden, weight, *_ = (np.asarray(x, np.longdouble) for x in self.arrays)
        hidden, weight = np.nan_to_num(hidden), np.nan_to_num(weight)
        to_z, to_tau = Truth(self.case).gradients(g)
        # Each term is to be right by itself, as far as the truth is.
        size = np.abs(to_z.value) + 1e-8 * to_z.scale
        return [
            Expected(to_z.value @ weight.T, size @ np.abs(weight.T)),
            Expected(hidden.T @ to_z.value, np.abs(hidden.T) @ size),
            Expected(to_z.value.sum(0), size.sum(0)),
            to_tau,
        ]


def random_problem(options: dict, seed: int, rows: int, ends: bool = True) -> Problem:
    """`rows` rows of these options, some at both ends of temperature if `ends`.

    One of two seeds masks whole classes, the other classes of rows.
    """
    rng = np.random.default_rng([seed, *map(hash_of, options.values())])
    kind = np.dtype(getattr(ml_dtypes, options["dtype"], options["dtype"]))
    number = np.float64 if options["dtype"] == "float64" else np.float32
    classes, cap = options["classes"], 8.0 if options["logit_soft_cap"] else None
    hidden = _eighths(rng, (rows, FEATURES), kind)
    weight = _eighths(rng, (FEATURES, classes), kind)
    bias = _eighths(rng, classes, kind)
    kept = np.arange(classes) == rng.integers(classes)
    bias = np.where(~kept & (rng.random(classes) < 0.1), -np.inf, bias)
    # A capped logit is rounded, which a small temperature would enlarge.
    low, high = (0, np.inf) if ends else (0.5, 10)
    low = max(low, 0.5) if cap else low
    tau = rng.permutation(
        np.resize([t for t in TEMPERATURES if low <= t <= high], rows)
    )
    given, allowed = {}, np.broadcast_to(np.isfinite(bias), (rows, classes))
    if options["where"]:
        where = kept | (rng.random(classes) < 0.8)
        weight = np.where(where, weight, np.nan)
        if seed % 2:
            where = where & (kept | (rng.random((rows, classes)) < 0.8))
        given["where"], allowed = where, allowed & where
    z = np.asarray(hidden, float) @ np.nan_to_num(np.asarray(weight, float)) + bias
    labels = np.where(allowed, z, -np.inf).argmax(-1)
    labels = np.where(rng.random(rows) < 0.5, labels, rng.integers(classes, size=rows))
    if not ends:  # finite losses
        labels = np.where(
            np.take_along_axis(allowed, labels[:, None], 1)[:, 0], labels, kept.argmax()
        )
    if options["labels"] in ("ignored", "soft"):
        given["ignore_index"] = -100
        labels = np.where(rng.random(rows) < 0.3, -100, labels)
        padding = (labels == -100) & (rng.random(rows) < 0.5)
        hidden = np.where(padding[:, None], np.nan, hidden)
    for name, most in (("label_smoothing", 0.5), ("z_loss", 0.1)):
        if options[name]:
            given[name] = rng.uniform(0, most, rows).astype(number)
    if cap:
        given["logit_soft_cap"] = cap
    if options["class_weights"]:
        given["class_weights"] = rng.uniform(0.2, 3, classes).astype(number)
    arrays = Arrays(
        hidden.astype(kind), weight.astype(kind), bias.astype(kind), tau.astype(number)
    )
    return Problem(arrays, labels.astype(np.int32), given)


def _eighths(rng, shape, kind):
    return (rng.integers(-12, 13, size=shape) / 8).astype(kind)


def call(arrays: Arrays, labels, options):
    """The loss of each row."""
    hidden, weight, bias, tau = arrays
    return linear_cross_entropy(hidden, weight, labels, tau, bias=bias, **options)


def pull(arrays: Arrays, g, labels, options):
    """The loss and its derivatives for a cotangent."""
    loss, back = jax.vjp(lambda arrays: call(arrays, labels, options), arrays)
    return loss, back(g)[0]
