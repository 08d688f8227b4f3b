"""Numeric cases of other libraries' tests, each derived again in float64.

What is taken from them are the numbers: of llama.cpp `tests/test-sampling.cpp`, of
Hugging Face transformers `tests/generation/test_logits_process.py` and of t5x
`binary_search_test.py`.
"""

from fractions import Fraction
from math import ceil
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxtemp
from jaxtemp.sampling import filters
from tests.sampling.filter_truth import Truth


class Case(NamedTuple):
    """What a filter keeps of one row, as 1 for each token kept and 0 for the others."""

    source: str
    filter: str
    number: Any
    logits: list[float]
    kept: str
    settings: dict[str, Any] = {}  # noqa: RUF012

    def __str__(self) -> str:
        return f"{self.source}-{self.filter}-{self.number}-{self.kept}"


def log(*probs):
    with np.errstate(divide="ignore"):
        return np.log(np.array(probs, np.float32)).tolist()


def ramp(classes, scale=1):
    return [scale * (i - classes // 2) for i in range(classes)]


TENTHS = log(0.1, 0.2, 0.3, 0.4)
FIRST = [1.4, 7.9, -4.3, 100, 71, 6, -1e4]
SECOND = [8.3, 1.2, 1.3, 1.2, 1.2, 9.7, -100]
STEEP = log(0, 0.7, 0.04, 0.06, 0.2, 0)
FLAT = log(0, 0.2, 0.2, 0.2, 0.3, 0.1)
ALL, TWO = {"ties": "all"}, {"min_tokens_to_keep": 2}
CASES = [
    Case("llama.cpp", "top_k", 1, TENTHS, "0001"),
    Case("llama.cpp", "top_k", 3, TENTHS, "0111"),
    Case("llama.cpp", "top_k", 4, TENTHS, "1111"),
    Case("llama.cpp", "top_k", 0, TENTHS, "1111"),
    Case("llama.cpp", "top_p", 0.0, TENTHS, "0001"),
    Case("llama.cpp", "top_p", 0.7, TENTHS, "0011"),
    Case("llama.cpp", "top_p", 0.8, TENTHS, "0111"),
    Case("llama.cpp", "top_p", 1.0, TENTHS, "1111"),
    Case("llama.cpp", "min_p", 0.0, TENTHS, "1111"),
    Case("llama.cpp", "min_p", 0.24, TENTHS, "1111"),
    Case("llama.cpp", "min_p", 0.26, TENTHS, "0111"),
    Case("llama.cpp", "min_p", 0.49, TENTHS, "0111"),
    Case("llama.cpp", "min_p", 0.51, TENTHS, "0011"),
    Case("llama.cpp", "min_p", 0.74, TENTHS, "0011"),
    Case("llama.cpp", "min_p", 0.76, TENTHS, "0001"),
    Case("llama.cpp", "min_p", 1.0, TENTHS, "0001"),
    Case("llama.cpp", "typical_p", 0.5, log(0.97, 0.01, 0.01, 0.01), "1000"),
    Case("llama.cpp", "typical_p", 0.5, log(0.4, 0.2, 0.2, 0.2), "0111"),
    Case("llama.cpp", "top_n_sigma", 1.0, TENTHS, "0011"),
    Case("llama.cpp", "top_n_sigma", 0.0, TENTHS, "1111"),
    Case("llama.cpp", "top_n_sigma", 3.0, TENTHS, "1111"),
    Case("hf", "top_k", 3, ramp(10), "0000000111"),
    Case("hf", "top_k", 3, [*range(10, 15), *range(5, 10)], "0011100000"),
    Case("hf", "top_k", 1, [0.2] * 5, "11111", {**ALL, "min_tokens_to_keep": 3}),
    Case("hf", "top_k", 1, ramp(5), "00111", {"min_tokens_to_keep": 3}),
    Case("hf", "top_p", 0.8, log(0.3, 0.1, 0.1, 0.5), "1001"),
    Case("hf", "top_p", 0.8, log(0.15, 0.3, 0.3, 0.25), "0111"),
    Case("hf", "top_p", 0.9, ramp(10), "0000000111", TWO),
    Case("hf", "top_p", 0.9, ramp(10, 100), "0000000011", TWO),
    Case("hf", "min_p", 0.05, log(0.9, 0.0274, 0.047, 0.0274), "1010"),
    Case("hf", "min_p", 0.05, log(0.15, 0.3, 0.3, 0.25), "1111"),
    Case("hf", "min_p", 0.05, log(0.97, 0.01, 0.01, 0.01), "1000"),
    Case("hf", "min_p", 0.9, ramp(10), "0000000011", TWO),
    Case("hf", "min_p", 0.9, ramp(10, 100), "0000000011", TWO),
    Case("hf", "typical_p", 0.7, ramp(10), "0000000011", TWO),
    Case("hf", "typical_p", 0.7, ramp(10, 100), "0000000011", TWO),
    Case("hf", "epsilon_cutoff", 0.1, log(0.87, 0.099, 0.001, 0.03), "1000"),
    Case("hf", "epsilon_cutoff", 0.1, log(0.4, 0.299, 0.101, 0.2), "1111"),
    Case("hf", "epsilon_cutoff", 0.05, ramp(10), "0000000111", TWO),
    Case("hf", "epsilon_cutoff", 0.05, ramp(10, 100), "0000000011", TWO),
    Case("hf", "eta_cutoff", 0.0625, log(0.0, 0.1, 0.8, 0.1), "0111"),
    Case("hf", "eta_cutoff", 0.0625, log(0.01, 0.04, 0.9, 0.05), "0010"),
    Case("hf", "eta_cutoff", 0.1, ramp(10), "0000000011", TWO),
    Case("hf", "eta_cutoff", 0.1, ramp(10, 100), "0000000011", TWO),
    Case("hf", "top_h", 0.3, log(0.97, 0.01, 0.01, 0.01), "1000"),
    Case("hf", "top_h", 0.7, log(0.4, 0.3, 0.2, 0.1), "1100"),
    Case("hf", "top_h", 1.0, log(0.25, 0.25, 0.25, 0.25), "1111"),
    Case("hf", "top_h", 0.4, log(0.75, 0.25, 0.0, 0.0), "1000"),
    *(
        Case("t5x", "top_k", k, row, kept, ALL)
        for row, results in (
            (FIRST, "0001000 0001100 0101100 0101110 1101110 1111110 1111111"),
            (SECOND, "0000010 1000010 1010010 1111110 1111110 1111110 1111111"),
        )
        for k, kept in enumerate(results.split(), 1)
    ),
    *(
        Case("t5x", "top_p", p, row, kept, ALL)
        for row, results in (
            (STEEP, "010000 010000 010000 010010 010110"),
            (FLAT, "000010 000010 011110 011110 011111"),
        )
        for p, kept in zip((0.1, 0.3, 0.4, 0.8, 0.95), results.split(), strict=True)
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_filter_keeps_what_the_other_library_expects(case):
    # All rows have ten classes, so that each filter is compiled once.
    logits = np.full(10, -np.inf, np.float32)
    logits[: len(case.logits)] = case.logits
    want = np.array([token == "1" for token in case.kept.ljust(10, "0")])
    got = getattr(filters, case.filter)(
        jnp.asarray(logits), case.number, **case.settings
    )
    np.testing.assert_array_equal(got, np.where(want, logits, -np.inf))

    settings = {
        name.replace("min_tokens_to_keep", "least"): value
        for name, value in case.settings.items()
    }
    truth = getattr(Truth(logits[None]), case.filter)(
        np.array([case.number]), **settings
    )
    assert (truth.must[0] <= want).all()
    assert (want <= truth.may[0]).all()


@pytest.mark.parametrize(
    ("temperature", "probs"),
    [(1.0, [0.1, 0.2, 0.3, 0.4]), (0.0, [0.0, 0.0, 0.0, 1.0])],
)
def test_dynamic_temperature_without_a_range_is_a_temperature(temperature, probs):
    cool = jax.jit(filters.dynamic_temperature)
    cooled = cool(jnp.array(TENTHS), temperature, temperature)
    np.testing.assert_allclose(jaxtemp.softmax(cooled), probs, atol=1e-6)


@pytest.mark.parametrize(
    ("threshold", "kept"),
    [(0.09, "0001"), (0.19, "0011"), (0.29, "0111"), (0.39, "1111")],
)
def test_xtc_excludes_all_but_the_least_likely_of_the_likely(threshold, kept):
    logits = jnp.array(log(0.4, 0.3, 0.2, 0.1))
    got = jax.jit(filters.xtc)(jax.random.key(0), logits, threshold, 1.0) > -jnp.inf
    assert got.tolist() == [token == "1" for token in kept]


QUEUES = [
    *(("k", 10_000, 1.0, 1.0), ("k", 1, 1.0, 1.0), ("p", 10_000, 1.0, 1.0)),
    *(("p", 10_000, 0.0, 1.0), ("m", 10_000, 1.0, 1.0), ("m", 10_000, 1.0, 1e-12)),
    *(("k", 100, 1.0, 1.0), ("p", 10_000, 0.0003, 1.0), ("p", 10_000, 0.8, 1.0)),
    *(("m", 10_000, 1.0, 9997.9 / 9999), ("m", 10_000, 1.0, 0.1)),
    ("mp", 100, 0.8, 9997.9 / 9999),
    *(
        (order, 100, 0.8, 0.1)
        for order in (
            "kp",
            "km",
            "pk",
            "pm",
            "mk",
            "mp",
            "kpm",
            "kmp",
            "pkm",
            "pmk",
            "mkp",
            "mpk",
        )
    ),
]


def least_kept(order: str, k: int, p: float, m: float) -> int:
    """The least token left of 1 to 9999, each as likely as its number says."""
    low, top = 1, 9_999
    for step in order:
        if step == "k":
            low = max(low, top + 1 - k)
        elif step == "m":
            low = max(low, ceil(Fraction(m) * top))
        else:
            target = Fraction(p) * sum(range(low, top + 1))
            floor, low, mass = low, top, top
            while mass < target and low > floor:
                low -= 1
                mass += low
    return low


@pytest.mark.parametrize(("order", "k", "p", "m"), QUEUES)
def test_filters_in_any_order_keep_what_arithmetic_says(order, k, p, m):
    with np.errstate(divide="ignore"):
        logits = jnp.asarray(np.log(np.arange(10_000)).astype(np.float32))
    steps = {"k": (filters.top_k, k), "p": (filters.top_p, p), "m": (filters.min_p, m)}
    for step in order:
        call, number = steps[step]
        logits = call(logits, number)
    want = np.arange(10_000) >= least_kept(order, k, p, m)
    np.testing.assert_array_equal(logits > -jnp.inf, want)
