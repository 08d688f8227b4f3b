"""Learned temperatures that stay positive.

A parametrisation turns an unconstrained array, which any optimiser may move, into a
temperature: [`Log`][jaxtemp.learning.Log], [`Softplus`][jaxtemp.learning.Softplus],
[`Bounded`][jaxtemp.learning.Bounded] and [`LogScale`][jaxtemp.learning.LogScale].
These are plain functions of arrays and need nothing but JAX;
[`clamp`][jaxtemp.learning.clamp] is an optax step that goes last in a chain, and
[`clamp_scale`][jaxtemp.learning.clamp_scale] is CLIP's.
[`schedules`][jaxtemp.learning.schedules] anneal a temperature, and
[`solve_temperature`][jaxtemp.learning.solve_temperature] finds the one that gives a
wanted entropy.
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

from typing import TYPE_CHECKING

from .._on_demand import on_demand as _on_demand
from . import schedules as schedules
from ._clamp import clamp as clamp
from ._clamp import clamp_scale as clamp_scale
from ._parametrization import Bounded as Bounded
from ._parametrization import Log as Log
from ._parametrization import LogScale as LogScale
from ._parametrization import Parametrization as Parametrization
from ._parametrization import Softplus as Softplus
from ._solve import solve_temperature as solve_temperature

if TYPE_CHECKING:
    from . import linen as linen
    from . import nnx as nnx

# Flax is an extra and slow to import: only those who ask for a module pay for it.
__getattr__, __dir__ = _on_demand(__name__, modules=("linen", "nnx"))
