"""Errors of the temperature family from cold to hot, beside what people write.

The truth is the tests' own: NumPy's widest float, certified there against mpmath.
"""

from functools import cache

import jax
import matplotlib.pyplot as plt
import numpy as np
from blocks import svg

import jaxtemp
from bench.peers import FORMULAS, JAX
from tests.truth import VECTOR_OPS, Truth

from .figures import MARKERS, WIDTH, side_by_side, table

ROWS, CLASSES = 50, 16  # at each temperature
DECADES = range(-8, 9)
COUNTED = 1e-24  # smaller ones are held up to it: float32 flushes what they are made of
BEST, NAN = -9, 2  # the decade at which a picture ends, and its place for NaN
OF = ("value", "gradient in z", "gradient in τ")
SHORT = ("", " ∂/∂z", " ∂/∂τ")
NAMES = ("jaxtemp", "usual")


@cache
def errors():
    """By op and contender: the worst error of `OF` at each temperature."""
    rng = np.random.default_rng(0)
    tau = np.repeat(10.0 ** np.array(DECADES), ROWS).astype(np.float32)
    means = 10 * rng.normal(size=(tau.size, 1))
    z = (3 * rng.normal(size=(tau.size, CLASSES)) + means).astype(np.float32)
    truth, found = Truth(z, tau), {}
    for op, formula in FORMULAS.items():
        shape = z.shape if op in VECTOR_OPS else tau.shape
        w = rng.normal(size=shape).astype(np.float32)
        value = truth.value(op)
        largest = np.abs(value.value).reshape(tau.size, -1).max(-1)
        wanted = [
            (value.value, largest.reshape(-1, *[1] * (value.value.ndim - 1))),
            *(expected[:2] for expected in truth.vjp(op, w)),
        ]
        for name, run in zip(NAMES, _contenders(op, formula), strict=True):
            got = jax.jit(_with_gradient(run))(z, tau, w)
            found[op, name] = [
                worst(out, *true) for out, true in zip(got, wanted, strict=True)
            ]
    return found


def told():
    """Where the numbers come from."""
    where = jax.default_backend()
    return f"Computed when this page was built, by JAX {jax.__version__} on {where}."


def pictures():
    """An op a figure, the error of everything along τ."""
    return side_by_side(_picture(op) for op in FORMULAS)


def summary():
    """The worst error over all temperatures, as a table."""
    rows = [
        (f"{op}, {of}", *(told_of(errors()[op, name][k]) for name in NAMES))
        for op in FORMULAS
        for k, of in enumerate(OF)
    ]
    head = ("op", *(f"{name}: worst, at τ" for name in NAMES))
    return table(f"errors: {len(rows)} numbers", head, rows)


def worst(got, value, scale):
    """The largest error of all rows at each temperature, in its scale."""
    with np.errstate(invalid="ignore"):
        error = np.abs(np.asarray(got, value.dtype) - value)
    error = error / np.maximum(scale, COUNTED)
    return error.reshape(len(DECADES), -1).max(-1).astype(float)


def told_of(found):
    """The worst error over the temperatures, and where it is."""
    if np.isnan(found).any():
        return f"NaN at 1e{DECADES[int(np.isnan(found).argmax())]}"
    at = int(found.argmax())
    number = "1 or more" if found[at] >= 1 else f"{found[at]:.1e}"
    return f"{number} at 1e{DECADES[at]}"


def _contenders(op, formula):
    def usual(z, tau):
        return formula.apply(JAX, z, z / tau[:, None], tau)

    return getattr(jaxtemp, op), usual


def _with_gradient(run):
    def both(z, tau, w):
        y, pull = jax.vjp(run, z, tau)
        return y, *pull(w)

    return both


def _picture(op):
    figure, panel = plt.subplots(figsize=(WIDTH, 3.2))
    for c, name in enumerate(NAMES):
        for k, found in enumerate(errors()[op, name]):
            shown = np.log10(np.clip(found, 10.0**BEST, 1))
            panel.plot(
                DECADES,
                np.where(np.isnan(found), NAN, shown),
                color=f"C{c}",
                marker=MARKERS[k],
                ms=4,
                linestyle=("-", "--", ":")[k],
                lw=1,
                label=name + SHORT[k],
            )
    panel.set(title=op, xlabel="τ", ylim=(BEST - 0.5, NAN + 0.5))
    powers = range(DECADES[0], DECADES[-1] + 1, 4)
    panel.set_xticks(powers, [f"1e{power}" for power in powers])
    ticks = {BEST: f"≤ 1e{BEST}", -6: "1e-6", -3: "1e-3", 0: "≥ 1", NAN: "NaN"}
    panel.set_yticks(list(ticks), ticks.values())
    panel.grid()
    figure.legend(loc="outside upper left", ncols=2)
    return svg(f"{op}: worst errors of {' and '.join(NAMES)} along τ; as a table below")
