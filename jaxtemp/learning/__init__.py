"""Learned temperatures that stay positive.

A parametrisation turns an unconstrained array, which any optimiser may move, into a
temperature: [`Log`][jaxtemp.learning.Log], [`Softplus`][jaxtemp.learning.Softplus],
[`Bounded`][jaxtemp.learning.Bounded] and [`LogScale`][jaxtemp.learning.LogScale].
These are plain functions of arrays and need nothing but JAX;
[`clamp`][jaxtemp.learning.clamp] is an optax step that goes last in a chain.
`learning.nnx.Temperature` and `learning.linen.Temperature` are the same as Flax
modules; Flax is imported when they are first asked for.

>>> import jax.numpy as jnp, jaxtemp
>>> from jaxtemp import learning
>>> log = learning.Log()
>>> raw = log.init(0.5)
>>> probs = jaxtemp.softmax(jnp.array([1.0, 0.0]), log.value(raw))
>>> [f"{p:.4f}" for p in probs]
['0.8808', '0.1192']
"""

import importlib
from typing import TYPE_CHECKING, Any

from ._clamp import clamp as clamp
from ._parametrization import Bounded as Bounded
from ._parametrization import Log as Log
from ._parametrization import LogScale as LogScale
from ._parametrization import Parametrization as Parametrization
from ._parametrization import Softplus as Softplus

if TYPE_CHECKING:
    from . import linen as linen
    from . import nnx as nnx

_ON_DEMAND = ("linen", "nnx")


def __getattr__(name: str) -> Any:
    # Flax is an extra and slow to import: only those who ask for a module pay for it.
    if name in _ON_DEMAND:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_ON_DEMAND])
