"""The truth that the ops are measured against, computed without JAX.

`Truth` evaluates all seven ops and their first derivatives on rows `[R, V]` in NumPy's
widest float, from the inputs exactly as an op sees them. Every formula is written about
the row's maximiser, so that nothing is lost to cancellation or overflow. `mp_values`
and `mp_derivative` evaluate the textbook definitions with mpmath and differentiate them
numerically; tests use them to certify `Truth`, and as the truth for higher orders.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import ml_dtypes
import mpmath
import numpy as np

VECTOR_OPS = ("softmax", "log_softmax")
SCALAR_OPS = ("logsumexp", "free_energy", "entropy", "mean_energy", "heat_capacity")
OPS = VECTOR_OPS + SCALAR_OPS

_wide = np.longdouble


class Expected(NamedTuple):
    """A true result with what its error is measured in.

    Attributes:
        value: The true numbers.
        scale: What a relative tolerance is relative to; broadcasts against `value`.
        floor: An absolute error that flushing of subnormal numbers explains.
        free: Where the truth has no finite value in the type: any number but NaN.
        lost: Where nothing is promised.
    """

    value: np.ndarray
    scale: np.ndarray
    floor: np.ndarray | float = 0.0
    free: np.ndarray | bool = False
    lost: np.ndarray | bool = False

    def accepts(self, got: np.ndarray, tolerance: float) -> np.ndarray:
        """Say for every entry whether it is the truth, rounded once to `got.dtype`.

        An entry may be the rounding of any number within the tolerance of the truth.
        So it must be infinite where the truth rounds to infinity, and NaN exactly
        where the truth is NaN.
        """
        scale = np.broadcast_to(self.scale, self.value.shape)
        with np.errstate(invalid="ignore"):
            bound = tolerance * scale + self.floor
        bound = np.where(np.isfinite(self.value), bound, 0)
        low = round_to(self.value - bound, got.dtype)
        high = round_to(self.value + bound, got.dtype)
        with np.errstate(invalid="ignore"):
            inside = (low <= got) & (got <= high)
        right = np.where(np.isnan(self.value), np.isnan(got), inside)
        return right | (self.free & ~np.isnan(got)) | self.lost

    def unless_too_large(self, largest: float, rows: bool) -> "Expected":
        """Promise only a number where a derivative overflows; nothing of its `rows`."""
        free = np.abs(self.value) > largest
        if free.ndim == 1:  # a sum, whose terms may overflow
            free |= self.scale > largest
        if not rows:
            return self._replace(free=free)
        row = np.abs(self.value).reshape(len(free), -1).max(axis=-1)
        lost = row > largest / 8  # room for the row's sums
        return self._replace(lost=free | lost.reshape(-1, *[1] * (free.ndim - 1)))


def round_to(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Round wide numbers to the nearest of `dtype`, past its largest to infinity."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        if np.dtype(dtype).itemsize < 4:  # two steps, as no library casts from wide
            values = np.asarray(values, np.float64)
        return np.asarray(values).astype(dtype)


def smallest_normal(dtype: np.dtype) -> float:
    """Return the smallest normal number of the type that `dtype` accumulates in."""
    accumulator = np.float64 if np.dtype(dtype) == np.float64 else np.float32
    return float(ml_dtypes.finfo(accumulator).smallest_normal)


class Truth:
    """Values and first derivatives of every op on finite rows `[R, V]`.

    Masked entries are those where `where` is false or the logit is `-inf`. Logits that
    differ by less than the accumulation type's smallest normal number are ties, because
    XLA flushes subnormal numbers on CPU.

    Derivatives at τ ∈ {0, ∞} are the limits, and 0 where the limit diverges.
    """

    def __init__(
        self,
        logits: np.ndarray,
        temperature: np.ndarray,
        where: np.ndarray | None = None,
    ):
        self._tiny = _wide(smallest_normal(logits.dtype))
        accumulator = np.float64 if logits.dtype == np.float64 else np.float32
        self.largest = float(np.finfo(accumulator).max)
        self._ulp = float(np.finfo(accumulator).eps)
        z = np.asarray(logits, np.float64).astype(_wide)
        tau = np.asarray(temperature, np.float64).astype(_wide)[:, None]
        allowed = z != -np.inf if where is None else where & (z != -np.inf)
        z = np.where(allowed, z, 0)
        if not np.isfinite(z).all():
            raise ValueError("a row holds NaN or +inf")
        self.allowed = allowed
        self.empty = ~allowed.any(axis=-1)
        self.count = allowed.sum(axis=-1)
        lead = np.where(allowed, z, -np.inf).argmax(axis=-1)[:, None]
        self._lead = np.arange(z.shape[-1]) == lead
        self._z = z
        self._top = np.take_along_axis(z, lead, axis=-1)

        below = np.where(allowed, z - self._top, 0)
        below = np.where(np.abs(below) < self._tiny, 0, below)
        self._zero, self._infinite = tau == 0, np.isinf(tau)
        edge = self._zero | self._infinite
        self._tau = np.where(edge, 1, tau)
        self._inverse = np.where(edge | self.empty[:, None], 0, 1 / self._tau)
        u = np.where(edge, 0, below / self._tau)
        weight = np.where(allowed & ~(self._zero & (below < 0)), np.exp(u), 0)
        rest = np.where(self._lead, 0, weight).sum(axis=-1, keepdims=True)
        self._below, self._u = below, u
        self._p = weight / (1 + rest)
        self._q = rest / (1 + rest)  # all but the maximiser's probability
        self._log_z = np.log1p(rest)
        self._mean_u = (self._p * u).sum(axis=-1, keepdims=True)
        self._d = np.where(allowed, u - self._mean_u, 0)
        self._entropy = self._log_z - self._mean_u
        self._capacity = self._moment(self._d**2)

    def _moment(self, x: np.ndarray) -> np.ndarray:
        return (self._p * x).sum(axis=-1, keepdims=True)

    def value(self, op: str) -> Expected:
        """Return what `op` computes, its error relative to max(1, |value|)."""
        value = getattr(self, f"_{op}_value")()
        if op == "logsumexp":
            empty = -np.inf
        else:
            empty = np.inf if op == "free_energy" else np.nan
        value = np.where(self.empty[:, None], empty, value)
        if op not in VECTOR_OPS:
            value = value[:, 0]
        scale = np.maximum(1, np.abs(value))
        # The mean of logits of both signs: the last bit of each may stay.
        terms = self._moment(np.abs(self._z))[:, 0] if op == "mean_energy" else 0
        return Expected(value, scale, self._ulp * terms)

    def _softmax_value(self):
        return self._p

    def _log_softmax_value(self):
        value = np.where(self._zero & (self._below < 0), -np.inf, self._u - self._log_z)
        return np.where(self.allowed, value, -np.inf)

    def _logsumexp_value(self):
        sign = np.where(self._top == 0, 0, np.copysign(np.inf, self._top))
        top = np.where(self._zero, sign, self._top / self._tau)
        return np.where(self._infinite, 0, top) + self._log_z

    def _free_energy_value(self):
        value = -self._top - np.where(self._zero, 0, self._tau * self._log_z)
        many = self.count[:, None] > 1
        return np.where(self._infinite & many, -np.inf, value)

    def _entropy_value(self):
        return self._entropy

    def _mean_energy_value(self):
        return -self._top - self._moment(self._below)

    def _heat_capacity_value(self):
        return self._capacity

    def vjp(self, op: str, cotangent: np.ndarray) -> tuple[Expected, Expected]:
        """Pull a cotangent of the result back to the logits and to the temperature.

        The logits' error is relative to the row's largest component, that of the
        temperature to the sum of the terms' magnitudes.
        """
        g = np.asarray(cotangent, np.float64).astype(_wide)
        size = np.abs(g) if op in SCALAR_OPS else np.abs(g).max(axis=-1)
        if op in VECTOR_OPS:
            g = np.where(self.allowed, g, 0)
            dz = self._pull(op, g)
        else:
            dz = g[:, None] * self._gradient(op)
        slope, terms = self._slope(op)
        if op in VECTOR_OPS:
            dtau, terms = (g * slope).sum(axis=-1), np.abs(g * slope).sum(axis=-1)
        else:
            dtau, terms = g * slope[:, 0], np.abs(g) * terms[:, 0]
        floor = self._floor(op, size)
        largest = np.abs(dz).max(axis=-1, keepdims=True)
        to_z = Expected(dz, largest, floor[:, None] + self._cancelled(op, size))
        return to_z, Expected(dtau, terms, floor + size * self._lost_sum(op))

    def jvp(self, op: str, dlogits: np.ndarray, dtemperature: np.ndarray) -> Expected:
        """Push tangents of the logits and of the temperature to the result.

        The error is relative to the row's largest component, for the ops that return
        one number a row to the sum of the terms' magnitudes.
        """
        t = np.where(self.allowed, np.asarray(dlogits, np.float64), 0).astype(_wide)
        dtau = np.asarray(dtemperature, np.float64).astype(_wide)[:, None]
        slope, terms = self._slope(op)
        size = np.maximum(np.abs(t).max(axis=-1), np.abs(dtau[:, 0]))
        floor = self._floor(op, size)
        if op in VECTOR_OPS:
            pushed = self._push(op, t)
            scale = (np.abs(pushed) + np.abs(slope * dtau)).max(axis=-1, keepdims=True)
            pushed = Expected(pushed + slope * dtau, scale, floor[:, None])
            return pushed.unless_too_large(self.largest, rows=False)
        products = self._gradient(op) * t
        value = products.sum(axis=-1) + (slope * dtau)[:, 0]
        scale = np.abs(products).sum(axis=-1) + (terms * np.abs(dtau))[:, 0]
        return Expected(value, scale, floor).unless_too_large(self.largest, rows=False)

    def jacobian(self, op: str) -> tuple[Expected, Expected]:
        """Return the derivatives of every result in every logit and in temperature.

        Their error is relative to the largest of them in the row.
        """
        floor = self._floor(op)
        if op in SCALAR_OPS:
            return self.vjp(op, np.ones(len(self.empty)))
        rows, classes = self._p.shape
        units = np.broadcast_to(np.eye(classes), (rows, classes, classes))
        dz = np.stack(
            [self._pull(op, units[:, i] * self.allowed) for i in range(classes)], axis=1
        )
        slope, _ = self._slope(op)
        return (
            Expected(dz, _largest(dz, (1, 2)), floor[:, None, None]),
            Expected(slope, _largest(slope, 1), (floor + self._lost_sum(op))[:, None]),
        )

    def _pull(self, op: str, g: np.ndarray) -> np.ndarray:
        if op == "softmax":  # the Jacobian is symmetric
            return self._p * self._centred(g) * self._inverse
        total = g.sum(axis=-1, keepdims=True)
        lead = (g * self._lead).sum(axis=-1, keepdims=True)
        at_lead = lead * self._q - (1 - self._q) * (total - lead)
        others = g - self._p * total
        return np.where(self._lead, at_lead, others) * self._inverse

    def _push(self, op: str, t: np.ndarray) -> np.ndarray:
        centred = self._centred(t) * self._inverse
        if op == "softmax":
            return self._p * centred
        return np.where(self.allowed, centred, 0)

    def _centred(self, x: np.ndarray) -> np.ndarray:
        """Return x - <x>, exact at the maximiser however peaked the row."""
        lead = (x * self._lead).sum(axis=-1, keepdims=True)
        from_lead = np.where(self.allowed, x - lead, 0)
        return from_lead - self._moment(from_lead)

    def _gradient(self, op: str) -> np.ndarray:
        p, d, inverse = self._p, self._d, self._inverse
        if op == "logsumexp":
            return p * inverse
        if op == "free_energy":
            return -p * ~self.empty[:, None]
        if op == "entropy":
            return -p * d * inverse
        if op == "mean_energy":
            return -p * (1 + d)
        return p * (2 * d + d**2 - self._capacity) * inverse

    def _slope(self, op: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the derivative in τ and the magnitude of the terms it is a sum of."""
        d, inverse, capacity = self._d, self._inverse, self._capacity
        if op == "softmax":
            slope = -self._p * d * inverse
        elif op == "log_softmax":
            slope = -d * inverse
        elif op == "logsumexp":
            slope = -(self._top * inverse + self._mean_u) * inverse
            return slope, self._moment(np.abs(self._z)) * inverse**2
        elif op == "free_energy":
            slope = -self._entropy
        elif op == "entropy":
            slope = capacity * inverse
        elif op == "mean_energy":
            slope = capacity
        else:
            slope = -(2 * capacity + self._moment(d * d * d)) * inverse
            return slope, (2 * capacity + self._moment(np.abs(d * d * d))) * inverse
        return slope, np.abs(slope)

    def _floor(self, op: str, size: np.ndarray | float = 1.0) -> np.ndarray:
        """Return what flushing may cost a derivative for a cotangent of this size.

        The result itself may flush, and a contribution may before a small temperature
        divides it.
        """
        lost = self._flushed
        if op not in ("free_energy", "mean_energy"):
            lost = lost * np.maximum(1, self._inverse[:, 0])
        return self._tiny * (1 + size + size * lost)

    def _lost_sum(self, op: str) -> np.ndarray | float:
        """Return what dτ may lose as the sum of flushed dz (z - max z) / τ.

        A class of no probability at all contributes nothing that could be lost.
        """
        if op != "softmax":
            return 0.0
        return self._tiny * np.abs(np.where(self._p > 0, self._u, 0)).sum(axis=-1)

    def _cancelled(self, op: str, size: np.ndarray) -> np.ndarray | float:
        """Return what the last bits of cancelling terms may leave in dC/dz.

        At the peak of the heat capacity it is the difference of far larger terms.
        """
        if op != "heat_capacity":
            return 0.0
        terms = self._p * (self._d**2 + 2 * np.abs(self._d) + self._capacity)
        worst = terms.max(axis=-1, keepdims=True) * self._inverse
        return 8 * self._ulp * worst * np.reshape(size, (-1, 1))

    @functools.cached_property
    def _flushed(self) -> np.ndarray:
        """Return how many smallest normal numbers a row may lose to flushing.

        A class may lose what it contributes where its probability, or a product of that
        with a power of u - <u>, is near the smallest normal number.
        """
        largest_power = (1 - np.log(self._tiny)) ** 3  # of u where exp(u) flushes
        near, product = np.zeros(self._p.shape, bool), self._p
        for _ in range(4):
            near |= (product > 0) & (product < largest_power * self._tiny)
            product = product * np.abs(self._d)
        return near.sum(axis=-1) * largest_power


def _largest(x: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    return np.abs(x).max(axis=axis, keepdims=True)


def mp_values(logits: Sequence, temperature) -> dict:
    """Evaluate the definitions of all ops on one row, 0 < τ < ∞, none masked.

    Precision is that of mpmath's context.
    """
    z = [mpmath.mpf(x) for x in logits]
    tau = mpmath.mpf(temperature)
    shifted = [(x - max(z)) / tau for x in z]  # or exp makes integers of 10⁵⁰ digits
    total = mpmath.fsum(map(mpmath.exp, shifted))
    log_p = [x - mpmath.log(total) for x in shifted]
    p = [mpmath.exp(x) / total for x in shifted]
    logsumexp = max(z) / tau + mpmath.log(total)
    mean = mpmath.fdot(p, z)
    variance = mpmath.fdot(p, [(x - mean) ** 2 for x in z])
    return {
        "softmax": p,
        "log_softmax": log_p,
        "logsumexp": logsumexp,
        "free_energy": -tau * logsumexp,
        "entropy": -mpmath.fdot(p, log_p),
        "mean_energy": -mean,
        "heat_capacity": variance / tau**2,
    }


def mp_derivative(
    logits: Sequence, temperature, directions: Sequence[tuple[Sequence, float]]
) -> dict:
    """Differentiate all ops on one row once along each of the directions.

    A direction is a tangent of the logits and one of the temperature. Central
    differences with a step so small that the result holds about 80 digits.
    """
    order = len(directions)
    with mpmath.workdps(120 * (order + 1)):
        tau = mpmath.mpf(temperature)
        step = tau * mpmath.mpf(10) ** -50
        totals = dict.fromkeys(OPS, 0)
        for corner in range(2**order):
            z, t, sign = [mpmath.mpf(x) for x in logits], tau, 1
            for i, (dz, dtau) in enumerate(directions):
                side = 1 if corner >> i & 1 else -1
                sign *= side
                move = [side * step * mpmath.mpf(x) for x in dz]
                z = [a + b for a, b in zip(z, move, strict=True)]
                t += side * step * mpmath.mpf(dtau)
            for op, value in mp_values(z, t).items():
                terms = np.array(value, object) * sign
                totals[op] = totals[op] + terms
        return {op: total / (2 * step) ** order for op, total in totals.items()}


def mp_error(expected: Expected, exact: np.ndarray, temperature) -> float:
    """Return the largest error of `expected` against mpmath's numbers, in its scale.

    A scale beyond the reach of mpmath's own differences is held up.
    """
    smallest = _wide(1e-80) * max(1, 1 / _wide(temperature))
    scale = np.broadcast_to(expected.scale, expected.value.shape)
    worst = 0.0
    flat = (x.flat for x in (expected.value, scale, exact))
    for value, size, truth in zip(*flat, strict=True):
        error = abs(_to_mp(value) - truth)
        worst = max(worst, float(error / _to_mp(max(size, smallest))))
    return worst


def _to_mp(x: np.longdouble) -> mpmath.mpf:
    mantissa, exponent = np.frexp(x)
    high = float(mantissa)
    return mpmath.ldexp(mpmath.mpf(high) + float(mantissa - high), int(exponent))
