"""What every filter is made of: a row's logits, its parameters, and what it keeps."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .._checks import Rule, per_row
from .._rows import Folded, fold, upcast
from ..boltzmann import entropy
from ._kept import prefix

_LEAST = Rule(1, float("inf"), "pass how many tokens each row keeps at least", True)


class Shape(NamedTuple):
    """A row's shape, `[..., V]` and `[..., 1]`, in the type in which it is summed.

    Attributes:
        below: The logits less the largest.
        weight: Probabilities, not normalised: the largest is 1.
        total: Their sum.
        log_total: Its logarithm, so that `below - log_total` are log-probabilities.
    """

    below: jax.Array
    weight: jax.Array
    total: jax.Array
    log_total: jax.Array


@dataclasses.dataclass(frozen=True)
class Row:
    """Logits with the classes last, and the way back to the caller's axis."""

    folded: Folded

    @classmethod
    def of(cls, logits, axis: int) -> Row:
        """Check logits and their axis."""
        return cls(fold(logits, 1.0, axis=axis, where=None))

    @property
    def logits(self) -> jax.Array:
        """The logits, the classes last, as constants: what is kept has no slope."""
        return lax.stop_gradient(self.folded.logits)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return self.logits.shape[:-1]

    @property
    def below(self) -> jax.Array:
        """The logits less the largest, in the type in which rows are summed."""
        wide = upcast(self.logits)
        return wide - jnp.max(wide, axis=-1, keepdims=True)

    @property
    def entropy(self) -> jax.Array:
        """Entropy in nats, `[..., 1]`."""
        return entropy(upcast(self.logits))[..., None]

    def shape(self) -> Shape:
        """Probabilities and their logarithms."""
        below = self.below
        weight = jnp.exp(below)
        total = jnp.sum(weight, axis=-1, keepdims=True)
        return Shape(below, weight, total, jnp.log(total))

    def number(self, name: str, value, rule: Rule) -> jax.Array:
        """A real parameter of every row, `[..., 1]`."""
        dtype = self.folded.temperature.dtype
        return per_row(name, value, self.batch_shape, dtype, rule)[..., None]

    def count(self, name: str, value, rule: Rule = _LEAST) -> jax.Array:
        """A number of classes of every row, `[..., 1]`."""
        return per_row(name, value, self.batch_shape, jnp.int32, rule)[..., None]

    def at_least(self, kept: jax.Array, least, score=None, ties="index") -> jax.Array:
        """What is kept, and the first so many by score whatever else."""
        count = self.count("min_tokens_to_keep", least)
        if type(least) is int and least == 1:
            return kept
        score = self.logits if score is None else score
        return kept | prefix(score, count, ties=ties)

    def above(self, cut: jax.Array, least) -> jax.Array:
        """What lies above a cut below the largest, which always is."""
        return self.at_least(self.below >= jnp.minimum(cut, 0), least)

    def keep(self, kept: jax.Array) -> jax.Array:
        """The caller's logits, `-inf` where not kept.

        A row that is no distribution stays as it is.
        """
        logits = self.folded.logits
        sound = jnp.isfinite(jnp.max(self.logits, axis=-1, keepdims=True))
        return self.folded.unfold(jnp.where(kept | ~sound, logits, -jnp.inf))
