"""Cross-entropy by its definition, in extended precision, row by row of `[R, V]`."""

from typing import NamedTuple

import numpy as np

_wide = np.longdouble


class Case(NamedTuple):
    """What `cross_entropy` is given; `None` for an option that is not used."""

    logits: np.ndarray
    labels: np.ndarray
    temperature: np.ndarray
    where: np.ndarray | None = None
    ignore_index: int | None = None
    label_smoothing: np.ndarray | None = None
    z_loss: np.ndarray | None = None
    logit_soft_cap: float | None = None
    class_weights: np.ndarray | None = None


class Expected(NamedTuple):
    """A true value and the size of the terms that it is the sum of."""

    value: np.ndarray
    scale: np.ndarray


class Truth:
    """Loss, log-sum-exp and derivatives of `Σ g loss`.

    Derivatives at τ ∈ {0, ∞} are zero, as are those of the cross-entropy of a row in
    which a class that is not allowed has a weight: its loss is infinite.
    """

    def __init__(self, case: Case):
        z = np.asarray(case.logits, np.float64).astype(_wide)
        allowed = z > -np.inf
        if case.where is not None:
            allowed &= case.where
        tau = np.asarray(case.temperature, np.float64).astype(_wide)[:, None]
        z = np.where(allowed, z, 0)
        self._cap_slope = np.ones_like(z)
        if case.logit_soft_cap is not None:
            cap = _wide(case.logit_soft_cap)
            self._cap_slope = 1 / np.cosh(np.clip(z / cap, -5000, 5000)) ** 2
            z = cap * np.tanh(z / cap)
        top = np.where(allowed, z, -np.inf).max(-1, keepdims=True)
        x = np.where(allowed, z - top, 0)
        zero, edge = tau == 0, (tau == 0) | np.isinf(tau)
        inner = np.where(edge, 1, tau)
        self._slope = np.where(edge, 0, 1 / inner)
        u = np.where(edge, 0, x / inner)
        u = np.where(zero & (x < 0), -np.inf, u)
        e = np.where(allowed, np.exp(u), 0)
        at_lead = (
            np.arange(z.shape[-1]) == np.where(allowed, x, -1e9).argmax(-1)[:, None]
        )
        rest = np.where(at_lead, 0, e).sum(-1, keepdims=True)
        log_z = np.log1p(rest)
        self._p, self._x = e / (1 + rest), x
        self._minus_log_p = np.where(allowed, log_z - u, np.inf)
        with np.errstate(invalid="ignore"):
            scaled = np.where(zero, np.sign(top) * np.inf, top / inner)
            scaled = np.where(zero & (top == 0), 0, scaled)
        self.lse = (np.where(np.isinf(tau), 0, scaled) + log_z)[:, 0]
        self._top, self._allowed = top, allowed
        self._target(case)

    def _target(self, case):
        rows, classes = self._p.shape
        w = np.ones(classes) if case.class_weights is None else case.class_weights
        self._w = np.asarray(w, np.float64).astype(_wide)
        self.soft = case.labels.ndim == 2
        self.ignored = np.zeros(rows, bool)
        if self.soft:
            q = np.asarray(case.labels, np.float64).astype(_wide)
        else:
            q = (case.labels[:, None] == np.arange(classes)).astype(_wide)
            if case.ignore_index is not None:
                self.ignored = case.labels == case.ignore_index
        self._eps = _number(case.label_smoothing, rows)
        self._zeta = _number(case.z_loss, rows)[:, 0]
        self._share = self._allowed / self._allowed.sum(-1, keepdims=True)
        self._q = q
        even = self._eps * q.sum(-1, keepdims=True) * self._share
        c = self._w * ((1 - self._eps) * q + even)
        self._c = np.where(self.ignored[:, None], 0, c)
        self._lost = (np.where(self._allowed, 0, self._c) != 0).any(-1)

    @property
    def loss(self) -> Expected:
        with np.errstate(invalid="ignore"):
            terms = np.where(self._c == 0, 0, self._c * self._minus_log_p)
            penalty = np.where(self._zeta == 0, 0, self._zeta * self.lse**2)
        value = np.where(self.ignored, 0, terms.sum(-1) + penalty)
        size = np.abs(terms).sum(-1) + penalty
        return Expected(value, np.where(self.ignored, 1, np.maximum(1, size)))

    def gradients(self, g: np.ndarray) -> tuple[Expected, Expected]:
        """Derivatives in logits and temperature for cotangents `g` of the loss."""
        g = np.where(self.ignored, 0, np.asarray(g, np.float64).astype(_wide))
        usable = (self._zeta != 0) & np.isfinite(self.lse)
        g_lse = (2 * g * self._zeta * np.where(usable, self.lse, 0))[:, None]
        g = np.where(self._lost, 0, g)[:, None]
        c = np.where(self._allowed, self._c, 0)
        total = self._c.sum(-1, keepdims=True)
        weight = (g * total + g_lse) * self._p
        dx, size = weight - g * c, np.abs(weight) + np.abs(g * c)
        s = self._slope
        dz = dx * s * self._cap_slope
        dz_scale = (size * s).max(-1, keepdims=True)
        offset = g_lse * self._top * s
        dtau = -(dx * self._x * s + offset / dx.shape[-1]).sum(-1) * s[:, 0]
        dtau_scale = (size * np.abs(self._x) * s).sum(-1) + np.abs(offset[:, 0])
        return Expected(dz, dz_scale), Expected(dtau, dtau_scale * s[:, 0])

    def in_labels(self, g: np.ndarray) -> Expected:
        """Derivatives in soft labels: what a unit of each class adds to the loss."""
        lost = np.where(np.isinf(self._minus_log_p), 0, self._minus_log_p) * self._w
        even = self._eps * (lost * self._share).sum(-1, keepdims=True)
        value = np.asarray(g, _wide)[:, None] * ((1 - self._eps) * lost + even)
        return Expected(value, np.abs(value).max(-1, keepdims=True))

    def in_options(self) -> dict[str, np.ndarray]:
        """Derivatives of every row's loss in smoothing, z-loss and class weights."""
        lost = np.where(self._allowed, self._minus_log_p, 0)
        mass = self._q.sum(-1, keepdims=True)
        q = (1 - self._eps) * self._q + self._eps * mass * self._share
        return {
            "label_smoothing": (self._w * (mass * self._share - self._q) * lost).sum(
                -1
            ),
            "z_loss": self.lse**2,
            "class_weights": q * lost,
        }


def _number(value, rows):
    if value is None:
        return np.zeros((rows, 1), _wide)
    value = np.broadcast_to(np.asarray(value, np.float64), (rows,))
    return value.astype(_wide)[:, None]
