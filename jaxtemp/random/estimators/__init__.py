r"""Gradients through a draw: of $E[f(D)]$, where $D$ is a one-hot draw.

A draw has no derivative, so its gradient is estimated. In this package `temperature`
is that of the draw, as everywhere: $D \sim p = \operatorname{softmax}(z/\tau)$, and the
gradients in `logits` and in `temperature` are estimates of those of
$E_{D \sim p} f(D)$. At $\tau \in \{0, \infty\}$ they are 0, as the limits are.

**For a loss that can be differentiated**, take a sample that carries its gradient:
[`straight_through`][jaxtemp.random.estimators.straight_through],
[`straight_through_gumbel`][jaxtemp.random.estimators.straight_through_gumbel],
[`gumbel_rao`][jaxtemp.random.estimators.gumbel_rao] and
[`reinmax`][jaxtemp.random.estimators.reinmax]. The sample is exactly one-hot; its
derivative is that of something smooth. These have a bias, and little variance.
`relaxation`, λ, is the temperature of what is differentiated, on top of τ: the backward
temperature is λτ where the forward one is τ. Its own gradient is that of the smooth
sample at fixed noise, not one of $E f(D)$, which does not depend on λ.

**For any loss**, wrap it: [`reinforce`][jaxtemp.random.estimators.reinforce],
[`rebar`][jaxtemp.random.estimators.rebar], [`relax`][jaxtemp.random.estimators.relax]
and [`unordered_set`][jaxtemp.random.estimators.unordered_set] turn `f` into a function
of a key and logits whose *value* is the loss at a draw, and whose *gradient* is the
estimate, without bias. Such a loss is a term like any other: `jax.value_and_grad`
differentiates it down to the weights of the network that gave the logits, and of those
that `f` closes over, and optax takes the result. The gradient of a control variate's
parameters is that of the variance, so one optimiser moves both.

>>> import jax, jax.numpy as jnp
>>> from jaxtemp.random import estimators
>>> target = jnp.array([0.2, 0.3, 0.5])
>>> logits = jnp.array([0.5, 0.0, -0.5])
>>> loss = lambda d: jnp.sum((d - target) ** 2, axis=-1)
>>> def through(logits):
...     return loss(estimators.reinmax(jax.random.key(0), logits))
>>> [f"{x:.3f}" for x in jax.jit(jax.grad(through))(logits)]
['0.580', '-0.338', '-0.242']
>>> losses = jax.jit(jax.value_and_grad(estimators.reinforce(loss, samples=8), 1))
>>> value, slope = losses(jax.random.key(0), logits)
>>> slope.shape
(3,)
"""

from ._control import rebar as rebar
from ._control import relax as relax
from ._gumbel_rao import gumbel_rao as gumbel_rao
from ._reinmax import reinmax as reinmax
from ._score import reinforce as reinforce
from ._straight_through import straight_through as straight_through
from ._straight_through import straight_through_gumbel as straight_through_gumbel
from ._unordered import unordered_set as unordered_set
