"""Random rows that an op may meet, and the report of where one went wrong."""

import functools
from typing import NamedTuple

import jax
import ml_dtypes
import numpy as np

import jaxtemp
from tests.truth import OPS, VECTOR_OPS, Expected, Truth

TEMPERATURES = (
    *(0.0, 1e-45, 1e-38, 1e-30, 1e-9, 1e-3, 0.1, 0.5, 1.0),
    *(2.0, 10.0, 1e3, 1e10, 1e30, np.inf),
)
OFFSETS = (0.0, 1e3, -1e3, 1e5, -1e5)
DTYPES = ("float64", "float32", "float16", "bfloat16")

# The number of rows for each dtype and number of classes. Groups of an odd number of
# classes pass `where`; all of them also mask with -inf.
VALUE_GROUPS = {
    ("float32", 1): 300,
    ("float32", 2): 3000,
    ("float32", 3): 3000,
    ("float32", 8): 1500,
    ("float32", 65): 300,
    ("float32", 1024): 60,
    ("float32", 200_000): 15,
    ("float64", 2): 2000,
    ("float64", 3): 2000,
    ("float64", 257): 120,
    ("float64", 8192): 30,
    ("float16", 3): 2500,
    ("float16", 8): 1500,
    ("float16", 1025): 60,
    ("bfloat16", 2): 2500,
    ("bfloat16", 17): 1500,
    ("bfloat16", 200_000): 15,
}
JACOBIAN_GROUPS = {
    ("float32", 1): 60,
    ("float32", 2): 900,
    ("float32", 5): 900,
    ("float64", 3): 900,
    ("float16", 2): 450,
    ("bfloat16", 3): 450,
}
PRODUCT_GROUPS = {
    ("float32", 17): 600,
    ("float32", 200_000): 15,
    ("float64", 129): 150,
    ("float16", 17): 300,
    ("bfloat16", 1000): 60,
}


def tolerance(dtype: str, derivative: bool = False) -> float:
    """Return the promised accuracy before a half-precision result is rounded."""
    if derivative:
        return 1e-10 if dtype == "float64" else 1e-5
    return 1e-12 if dtype == "float64" else 2e-6


def enable_x64(dtype: str):
    """Return a context in which JAX holds arrays of `dtype`."""
    return jax.enable_x64(dtype == "float64")


class Rows(NamedTuple):
    """Arguments of an op: logits `[R, V]`, τ `[R]` and `where` `[R, V]` or None."""

    logits: np.ndarray
    temperature: np.ndarray
    where: np.ndarray | None

    @property
    def arguments(self) -> tuple[np.ndarray, ...]:
        """The arguments, without `where` if there is none."""
        return tuple(x for x in self if x is not None)

    def cotangents(self) -> dict[str, np.ndarray]:
        """Return random numbers of the shape and dtype of every op's result."""
        return {op: self._normal(op in VECTOR_OPS, seed) for seed, op in enumerate(OPS)}

    def tangents(self) -> tuple[np.ndarray, np.ndarray]:
        """Return random tangents of the logits and of the temperature."""
        dtau = self._normal(False, 1).astype(self.temperature.dtype)
        return self._normal(True, 0), dtau

    def _normal(self, wide: bool, seed: int) -> np.ndarray:
        shape = self.logits.shape if wide else self.temperature.shape
        noise = np.random.default_rng(seed).normal(size=shape)
        return noise.astype(self.logits.dtype)


def one(op, logits, temperature, where=None):
    """Call one op by its name."""
    return getattr(jaxtemp, op)(logits, temperature, where=where)


def together(logits, temperature, where=None):
    """Call every op on the same arguments."""
    return {op: one(op, logits, temperature, where) for op in OPS}


def pull(arguments, cotangents, call=one):
    """Return every op's value and its cotangent pulled back to logits and τ."""
    logits, temperature, where = (*arguments, None)[:3]
    values, gradients = {}, {}
    for op, cotangent in cotangents.items():
        function = functools.partial(call, op, where=where)
        values[op], transpose = jax.vjp(function, logits, temperature)
        gradients[op] = transpose(cotangent)
    return values, gradients


def push(arguments, tangents, call=one):
    """Return what tangents of logits and τ are pushed to through every op."""
    logits, temperature, where = (*arguments, None)[:3]
    return {
        op: jax.jvp(
            functools.partial(call, op, where=where), (logits, temperature), tangents
        )[1]
        for op in OPS
    }


@functools.cache
def case(dtype: str, classes: int, count: int, seed: int = 0) -> tuple[Rows, Truth]:
    """Return `count` random rows and the truth about them."""
    rows = random_rows(dtype, classes, count, seed)
    return rows, Truth(*rows)


def random_rows(dtype: str, classes: int, count: int, seed: int = 0) -> Rows:
    """Draw rows over all temperatures, offsets, spreads, ties and masks.

    Temperatures are met equally often. A spread is 1, 10, 100, or what makes the row
    neither flat nor peaked at its temperature, as far as `dtype` can hold it. Under a
    false `where` stand NaN, infinities and large numbers.
    """
    rng = np.random.default_rng([seed, classes, count])
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    tau_kind = np.float64 if dtype == "float64" else np.float32
    tau = np.resize(np.array(TEMPERATURES), count).astype(tau_kind)

    low, high = (1e-3, 1e4) if dtype == "float16" else (1e-30, 1e30)
    matched = np.clip(tau.astype(np.float64), low, high)
    spread = np.where(
        rng.random(count) < 0.6,
        matched * rng.choice([0.1, 1.0, 10.0], count),
        rng.choice([1.0, 10.0, 100.0], count),
    )
    z = rng.normal(size=(count, classes)) * spread[:, None]
    z = _tie(z, spread, rng)
    offset = rng.choice(OFFSETS, count, p=[0.6, 0.1, 0.1, 0.1, 0.1])
    if dtype == "float16":
        offset = np.clip(offset, -3e4, 3e4)
    largest = float(ml_dtypes.finfo(kind).max)
    logits = np.clip(z + offset[:, None], -largest, largest).astype(kind)

    forbidden = _mask(count, classes, rng)
    forbidden[:] &= rng.random((count, 1)) < 0.5
    logits = np.where(forbidden, -np.inf, logits).astype(kind)
    if classes % 2 == 0:
        return Rows(logits, tau, None)
    where = ~_mask(count, classes, rng)
    junk = rng.choice([np.nan, np.inf, -np.inf, 6e4, -6e4, 0.0], (count, classes))
    return Rows(np.where(where, logits, junk).astype(kind), tau, where)


def _tie(z: np.ndarray, spread: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Make ties in four rows of ten: at the top, anywhere on a grid, or everywhere."""
    kind = rng.random(len(z))[:, None]
    top = z.max(axis=-1, keepdims=True)
    at_top = rng.random(z.shape) < 0.3
    z = np.where((kind < 0.15) & at_top, top, z)
    grid = np.rint(z / spread[:, None]) * spread[:, None]
    z = np.where((kind >= 0.15) & (kind < 0.3), grid, z)
    return np.where((kind >= 0.3) & (kind < 0.4), top, z)


def _mask(count: int, classes: int, rng: np.random.Generator) -> np.ndarray:
    """Choose entries to mask: none, some, all but one, or (one row in 50) all."""
    kind = rng.random((count, 1))
    some = rng.random((count, classes)) < rng.random((count, 1))
    keep = np.arange(classes) == rng.integers(classes, size=(count, 1))
    some &= ~keep
    mask = np.where(kind < 0.5, False, np.where(kind < 0.9, some, ~keep))
    return np.where(kind > 0.98, True, mask)


def gradient_pairs(
    truth: Truth, cotangents: dict, gradients: dict, whole_rows: bool = False
) -> dict:
    """Pair every op's gradients with the truth, for `check`."""
    pairs = {}
    for op, cotangent in cotangents.items():
        want = truth.vjp(op, cotangent)
        pairs |= derivative_pairs(op, truth, want, gradients[op], whole_rows)
    return pairs


def derivative_pairs(
    op: str, truth: Truth, want, got, whole_rows: bool = False
) -> dict:
    """Pair derivatives in z and τ; a masked logit's must be 0 to the last bit.

    A derivative too large for the type is infinite or the largest number, whichever;
    with `whole_rows`, the others of its row may be lost with it.
    """
    want = [x.unless_too_large(truth.largest, whole_rows) for x in want]
    masked = ~truth.allowed if got[0].ndim == 2 else ~truth.allowed[:, None, :]
    ignored = np.where(masked, np.asarray(got[0]), 0)
    ignored = np.abs(ignored).max(axis=-1)  # NaN if any is
    return {
        f"{op} in z": (want[0], got[0]),
        f"{op} in τ": (want[1], got[1]),
        f"{op} in masked z": (Expected(np.zeros(ignored.shape), np.zeros(1)), ignored),
    }


def check(rows: Rows, within: float, results: dict[str, tuple]) -> None:
    """Assert that every result is as expected, or show the first rows where not.

    `results` holds a pair of `Expected` and what was got for each name.
    """
    complaints = []
    for name, (expected, got) in results.items():
        got = np.asarray(got)
        assert got.shape == expected.value.shape, (name, got.shape)
        right = expected.accepts(got, within)
        if not right.all():
            complaints += [f"{name}:", *_describe(rows, expected, got, right)]
    assert not complaints, "\n".join(complaints)


def _describe(rows, expected, got, right) -> list[str]:
    wrong = ~right.reshape(len(right), -1)
    bad = np.flatnonzero(wrong.any(axis=-1))
    lines = [f"  {wrong.sum()} entries in {len(bad)} of {len(wrong)} rows are wrong"]
    for row in bad[:6]:
        entry = np.flatnonzero(wrong[row])[0]
        scale = np.broadcast_to(expected.scale, expected.value.shape)
        want, size = (x[row].reshape(-1)[entry] for x in (expected.value, scale))
        first = ", ".join(map(str, rows.logits[row][:8]))
        allowed = "" if rows.where is None else f", where={rows.where[row][:8]}"
        lines.append(
            f"  row {row}, entry {entry}: got {got[row].reshape(-1)[entry]!r}, "
            f"want {float(want):.9g}, scale {float(size):.3g}, "
            f"τ={rows.temperature[row]!r}, V={rows.logits.shape[-1]}, "
            f"dtype={rows.logits.dtype}, z=[{first}]{allowed}"
        )
    return lines
