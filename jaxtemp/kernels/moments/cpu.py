"""The moments of long rows as XLA's CPU compiler likes them: in blocks, pass by pass.

What several sums share would be computed once and stored at the logits' full size. So
each sum is a pass of its own behind a fence, which computes the exponentials anew, and
a sum that nobody asks for is not computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ..._blocks import block_maxima, block_sums, row_sum
from ..._rows import upcast
from ..._scale import exponent
from ..categorical.xla import children
from ..softmax.cpu import CpuRows
from . import xla

_LONG_ROW = 4096  # from here on blocks beat reductions of whole rows
_ROWS = CpuRows()


def forward(z, tau) -> tuple[jax.Array, ...]:
    """The results of `xla.forward`."""
    if z.shape[-1] < _LONG_ROW:
        return xla.forward(z, tau, rows=_ROWS)
    passes = _Passes(z, tau)
    rest = passes.rest()
    total = 1 + rest

    def mean(f: Callable, *numbers: jax.Array) -> jax.Array:
        return passes.sum(lambda t, *more: t.e * f(t, *more), *numbers) / total

    mean_x = mean(lambda t: t.x)
    mean_x += mean(lambda t, about: t.x - about, mean_x)
    mean_u = mean(lambda t: t.u)
    variance = mean(lambda t, about: jnp.square(t.u - about), mean_u)
    results = (passes.top, jnp.log1p(rest), passes.top + mean_x, mean_u, variance)
    return tuple(result[..., 0] for result in results)


class _Terms(NamedTuple):
    """What a row's sums are made of; x and u are finite where e is zero."""

    x: jax.Array
    u: jax.Array
    e: jax.Array


def _terms(x, tau) -> _Terms:
    """Those of differences from a row's maximum."""
    # Constants that two passes share would be stored at the logits' full size.
    low = _ROWS.constant(float(jnp.finfo(tau.dtype).min), tau)
    far = _ROWS.constant(-1e4, tau)
    u = jnp.maximum(exponent(x, tau[..., None]), far)
    return _Terms(jnp.maximum(x, low), u, jnp.exp(u))


class _Passes:
    """Passes over the same rows, of which none shares a step with another."""

    def __init__(self, z, tau):
        self.z, self.tau = z, tau
        self.maxima = upcast(block_maxima(z))
        self.top = jnp.max(self.maxima, axis=-1, keepdims=True)

    def sum(self, term: Callable, *numbers: jax.Array, reduce=row_sum) -> jax.Array:
        """The sum over a row of what `term` makes of its terms and of numbers."""
        fence = lax.optimization_barrier
        self.z, self.tau, self.top = fence((self.z, self.tau, self.top))
        # A fence of its own: a pass that is not needed must not need its numbers.
        z, *fenced = fence((self.z, *numbers))
        return reduce(term(_terms(upcast(z) - self.top, self.tau), *fenced))

    def rest(self) -> jax.Array:
        """The sum of e^u without one maximum's own term, which is in one block.

        There the classes below the maximum and those that equal it are counted apart,
        so that a nearly certain row keeps its small numbers.
        """
        sums = self.sum(lambda t: t.e, reduce=block_sums)
        place = lax.broadcasted_iota(jnp.int32, sums.shape, sums.ndim - 1)
        here = jnp.where(self.maxima == self.top, place, sums.shape[-1] - 1)
        here = jnp.min(here, axis=-1, keepdims=True)
        inside = upcast(children(self.z, here, -jnp.inf)[..., 0, :]) - self.top
        below = jnp.where(inside < 0, _terms(inside, self.tau).e, 0)
        ties = jnp.sum(inside == 0, axis=-1, keepdims=True)
        others = jnp.sum(jnp.where(place == here, 0, sums), axis=-1, keepdims=True)
        return others + jnp.sum(below, axis=-1, keepdims=True) + (ties - 1)
