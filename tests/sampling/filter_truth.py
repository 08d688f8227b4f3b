"""Random rows for filters, and what a filter keeps of them in float64 NumPy.

A truth is a pair of masks: what must be kept, and what may be. They differ only where a
sum or a logit comes within rounding of its limit.
"""

from typing import NamedTuple

import ml_dtypes
import numpy as np

# What the filters promise: of sums relative to the row's total, of a logit's distance
# from a cut relative to max(1, its distance from the largest).
TOLERANCE = {"float64": 1e-12}


def tolerance(dtype) -> float:
    return TOLERANCE.get(np.dtype(dtype).name, 2e-6)


class Kept(NamedTuple):
    """What must and what may be kept, `[R, V]`."""

    must: np.ndarray
    may: np.ndarray


def random_rows(dtype: str, classes: int, count: int, seed: int = 0) -> np.ndarray:
    """Draw rows of several spreads, many with ties, many with most classes at -inf."""
    rng = np.random.default_rng([seed, classes, count])
    spread = rng.choice([0.1, 1.0, 3.0, 10.0], (count, 1))
    z = rng.normal(size=(count, classes)) * spread
    kind = rng.random((count, 1))
    z = np.where(kind < 0.4, np.rint(2 * z / spread) * spread / 2, z)
    z = np.where(kind < 0.1, z[:, :1], z)
    z = z + rng.choice([0.0, 0.0, 50.0, -1000.0], (count, 1))
    fraction = rng.choice([0.0, 0.0, 0.5, 0.9, 0.99, 1.0], (count, 1))
    forbidden = rng.random(z.shape) < fraction
    forbidden[np.arange(count), rng.integers(classes, size=count)] = False
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    return np.where(forbidden, -np.inf, z).astype(kind)


def stacked(parts, count: int, classes: int) -> np.ndarray:
    """Rows below each other in one array; what they do not fill is -inf."""
    wide = np.full((count, classes), -np.inf, parts[0].dtype)
    for start, part in zip(np.cumsum([0, *map(len, parts)]), parts, strict=False):
        wide[start : start + len(part), : part.shape[1]] = part
    return wide


def shares(classes: int, count: int, seed: int = 0) -> np.ndarray:
    """Draw numbers in [0, 1], both ends among them."""
    rng = np.random.default_rng([seed, classes, count, 1])
    number = rng.choice([0.0, 1.0, 0.5, 1e-6, 0.999], count, p=[0.05] * 4 + [0.8])
    number = np.where(rng.random(count) < 0.7, rng.random(count), number)
    return number.astype(np.float32)


def counts(classes: int, count: int, seed: int = 0) -> np.ndarray:
    """Draw numbers of classes, 0, 1 and more than there are among them."""
    rng = np.random.default_rng([seed, classes, count, 2])
    some = rng.choice([0, 1, 2, classes - 1, classes, classes + 7], count)
    drawn = rng.integers(classes + 1, size=count)
    return np.where(rng.random(count) < 0.7, drawn, np.maximum(some, 0)).astype(int)


class Truth:
    """Probabilities of rows `[R, V]` and what filters keep of them."""

    def __init__(self, logits: np.ndarray):
        self.z = np.asarray(logits, np.float64)
        self.allowed = self.z > -np.inf
        self.within = tolerance(logits.dtype)
        self.below = self.z - self.z.max(axis=-1, keepdims=True)
        weight = np.exp(self.below)
        self.log_p = self.below - np.log(weight.sum(axis=-1, keepdims=True))
        self.p = np.exp(self.log_p)
        terms = np.where(
            self.allowed, -self.p * np.where(self.allowed, self.log_p, 0), 0
        )
        self.terms = terms
        self.entropy = terms.sum(axis=-1, keepdims=True)

    def top_k(self, k, ties="index", least=1) -> Kept:
        k = np.where(k == 0, self.z.shape[-1], np.maximum(k, least))[:, None]
        kept = self._ranks(self.z) < k
        return self._exact(self._tied(kept) if ties == "all" else kept)

    def top_p(self, p, ties="index", least=1) -> Kept:
        p = np.asarray(p, np.float64)[:, None]
        before = self._before(self.z, self.p)
        first = self._ranks(self.z) < least
        masks = [
            (before < p + off) | first | (p >= 1) for off in (-self.within, self.within)
        ]
        if ties == "all":
            masks = [self._tied(mask & self.allowed) for mask in masks]
        return Kept(*(mask & self.allowed for mask in masks))

    def typical_p(self, p, least=1) -> Kept:
        p = np.asarray(p, np.float64)[:, None]
        score = self._typicality
        kept = (self._before(score, self.p) < p) | (self._ranks(score) < least)
        return self._exact(kept | (p >= 1))

    def nearly_typical_p(self, p, least=1) -> Kept:
        """As `typical_p`, where what nearly ties may stand before or after."""
        p = np.asarray(p, np.float64)[:, None]
        score = self._typicality
        slack = 2 * self.within * (1 + np.abs(np.where(self.allowed, self.log_p, 0)))
        sides = []
        for weight, limit, off in (
            (self.p, p, self.within),
            (self.allowed.astype(float), np.float64(least), 0.5),
        ):
            latest = self._around(score, weight, -slack)
            earliest = self._around(score, weight, slack)
            sides.append((latest < limit - off, earliest < limit + off))
        must, may = (a | b for a, b in zip(*sides, strict=True))
        return Kept((must | (p >= 1)) & self.allowed, (may | (p >= 1)) & self.allowed)

    def top_h(self, h) -> Kept:
        h = np.asarray(h, np.float64)[:, None]
        upto = self._before(self.z, self.terms) + self.terms
        first = self._ranks(self.z) < 1
        slack = self.within * np.maximum(1, self.entropy)
        masks = [
            (upto <= h * self.entropy + off) | first | (h >= 1)
            for off in (-slack, slack)
        ]
        return Kept(*(mask & self.allowed for mask in masks))

    def cut(self, at, least=1) -> Kept:
        """What lies above a cut of the logits less the largest."""
        with np.errstate(invalid="ignore"):  # -inf less -inf, which is not allowed
            margin = self.below - np.minimum(np.asarray(at, np.float64), 0)
        first = (self._ranks(self.z) < least) | (self.below == 0)
        slack = self.within * (1 + np.abs(np.where(self.allowed, self.below, 0)))
        masks = [(margin >= off) | first for off in (slack, -slack)]
        return Kept(*(mask & self.allowed for mask in masks))

    def min_p(self, p, least=1) -> Kept:
        return self.cut(_log(p), least)

    def epsilon_cutoff(self, epsilon, least=1) -> Kept:
        return self.cut(_log(epsilon) + self._log_total, least)

    def eta_cutoff(self, epsilon, least=1) -> Kept:
        log = _log(epsilon)
        return self.cut(
            np.minimum(log, log / 2 - self.entropy) + self._log_total, least
        )

    def top_n_sigma(self, n, least=1) -> Kept:
        n = np.asarray(n, np.float64)[:, None]
        spread = np.std(self.z, axis=-1, keepdims=True, where=self.allowed)
        return self.cut(np.where(n > 0, -n * spread, -np.inf), least)

    def mirostat(self, mu) -> Kept:
        mu = np.asarray(mu, np.float64)[:, None]
        return self.cut(self._log_total - mu * np.log(2))

    @property
    def _typicality(self) -> np.ndarray:
        return np.where(self.allowed, -np.abs(self.log_p + self.entropy), -np.inf)

    @property
    def _log_total(self) -> np.ndarray:
        return -np.max(self.log_p, axis=-1, keepdims=True)

    def _exact(self, kept) -> Kept:
        return Kept(kept & self.allowed, kept & self.allowed)

    def _ranks(self, score) -> np.ndarray:
        """Places in the order of score descending, index ascending."""
        order = np.argsort(-score, axis=-1, kind="stable")
        return np.argsort(order, axis=-1, kind="stable")

    def _before(self, score, weight) -> np.ndarray:
        """The weight that stands before each class in the order."""
        order = np.argsort(-score, axis=-1, kind="stable")
        sorted_weight = np.take_along_axis(weight, order, axis=-1)
        before = np.cumsum(sorted_weight, axis=-1) - sorted_weight
        return np.take_along_axis(before, np.argsort(order, axis=-1), axis=-1)

    def _around(self, score, weight, slack) -> np.ndarray:
        """The least weight before each class, or the most with a negative slack."""
        result = np.empty_like(weight)
        for row in range(len(score)):
            result[row] = self._around_one(row, score[row], weight[row], slack[row])
        return result

    def _around_one(self, row, score, weight, slack) -> np.ndarray:
        order = np.argsort(-score, kind="stable")
        mass = np.concatenate([[0.0], np.cumsum(weight[order])])
        # Everything that scores more than `score + slack` stands before for sure.
        place = np.searchsorted(-score[order], -(score + slack), side="left")
        before = mass[place]
        values, group = np.unique(self.z[row], return_inverse=True)
        # Equal logits score equally: among them the index alone decides.
        earlier = np.zeros_like(weight)
        members = np.argsort(group, kind="stable")
        cumulated = np.cumsum(weight[members]) - weight[members]
        starts = np.searchsorted(group[members], np.arange(len(values)))
        earlier[members] = cumulated - cumulated[starts][group[members]]
        if slack[0] > 0:
            return before + earlier
        own = np.bincount(group, weight)[group]
        return before - own + earlier

    def _tied(self, kept) -> np.ndarray:
        """What is kept and what equals the last of it."""
        last = np.min(self.z, axis=-1, keepdims=True, initial=np.inf, where=kept)
        return self.z >= last


def _log(number) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(number, np.float64))[:, None]


def complaints(logits: np.ndarray, filtered, truth: Kept) -> list[str]:
    """Say which rows are not what the truth allows: nothing, if all is well."""
    filtered = np.asarray(filtered)
    assert filtered.dtype == logits.dtype
    kept = filtered > -np.inf
    wrong = (truth.must & ~kept) | (kept & ~truth.may)
    bits = np.dtype(f"uint{8 * logits.dtype.itemsize}")
    wrong |= kept & (filtered.view(bits) != logits.view(bits))
    rows = np.flatnonzero(wrong.any(axis=-1))
    empty = np.flatnonzero(~kept.any(axis=-1))
    lines = [f"{len(rows)} of {len(logits)} rows are wrong"] if len(rows) else []
    lines += [f"rows {empty[:5]} lost everything"] if len(empty) else []
    for row in rows[:5]:
        first = np.flatnonzero(wrong[row])[:5]
        lines.append(
            f"row {row}: kept {kept[row].sum()}, must {truth.must[row].sum()}, "
            f"may {truth.may[row].sum()}, first wrong at {first}: "
            f"{logits[row][first]}; row {logits[row][:8]}"
        )
    return lines
