"""The Boltzmann policy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .. import boltzmann
from .._rows import fold
from ..random import categorical
from ..random.concrete import _family
from ..random.concrete._classes import Classes


@_family.pytree
class Boltzmann(Classes):
    r"""The policy that takes an action the likelier, the higher its value.

    $$\pi(a) = \frac{e^{Q_a/\tau}}{\sum_b e^{Q_b/\tau}}$$

    A row of logits is one state: the batch shape is the logits' shape without `axis`.
    An illegal action, `False` in `where` or a logit of `-inf`, is never drawn, has a
    log-probability of `-inf` and a gradient of zero. An instance is an immutable pytree
    of `logits` and `temperature`, one for each row: it passes through `jit`, `vmap`
    over leading axes, `scan` and `grad`.

    Args:
        logits: Real floating array of action values $Q$, or any other logits of a
            policy; `axis` holds the actions.
        temperature: τ in [0, inf], a number or an array that broadcasts to the batch
            shape. A traced one that is negative or NaN makes its rows NaN.
        axis: The axis of the actions.
        where: Boolean mask that broadcasts to the logits' shape; `False` excludes.

    Attributes:
        logits: The logits, `-inf` where not allowed.
        temperature: One τ a row, float32 (float64 for float64 logits).
        axis: The axis of the actions, counted from the end.

    Raises:
        TypeError: `logits` or `temperature` is not real floating, or `where` is not
            boolean.
        ValueError: A shape does not fit, there is no action, or a concrete temperature
            is negative or NaN.

    Examples:
        >>> import jax, jaxtemp
        >>> q = jax.numpy.array([1.0, 0.8, 0.2, 5.0])
        >>> legal = jax.numpy.array([True, True, True, False])
        >>> policy = jaxtemp.policies.Boltzmann(q, 0.5, where=legal)
        >>> actions = policy.sample(jax.random.key(0), (1000,))
        >>> actions.shape, bool((actions < 3).all())
        ((1000,), True)
        >>> [f"{x:.3f}" for x in policy.log_prob(jax.numpy.arange(4))]
        ['-0.627', '-1.027', '-2.227', '-inf']
        >>> f"{policy.entropy():.3f}", f"{policy.value():.3f}", int(policy.mode())
        ('0.943', '1.314', 0)

    Source:
        Sutton and Barto, *Reinforcement learning* (2018), section 2.8; Haarnoja et al.,
        *Reinforcement learning with deep energy-based policies* (2017).
    """

    def __init__(
        self,
        logits: ArrayLike,
        temperature: ArrayLike = 1.0,
        *,
        axis: int = -1,
        where: ArrayLike | None = None,
    ):
        rows = fold(logits, temperature, axis=axis, where=where)
        self.__dict__.update(
            logits=jnp.moveaxis(rows.logits, -1, rows.axis),
            temperature=rows.temperature,
            axis=rows.axis - rows.logits.ndim,
        )

    def sample(self, key: jax.Array, shape: tuple[int, ...] = ()) -> jax.Array:
        """Draws actions.

        Args:
            key: One key, or an array of keys of the batch shape: then a row's draws
                depend on its own key, logits and temperature alone.
            shape: How many independent draws, as axes before the batch shape.

        Returns:
            int32 actions, `[*shape, *batch]`; at τ = 0 one of the best at random. -1
            for a row that allows nothing or has a NaN or `+inf`.
        """
        return categorical(
            key,
            self.logits,
            self.temperature,
            axis=self.axis,
            shape=_family.draws(shape) + self.temperature.shape,
        )

    def log_prob(self, actions: ArrayLike) -> jax.Array:
        """Log-probability of actions.

        Args:
            actions: Integers of a shape that broadcasts with the batch shape.

        Returns:
            One number an action, in the logits' dtype: `-inf` for an illegal action,
            NaN for an index that names none.
        """
        batch = self.temperature.shape
        actions = _actions(actions, batch)
        table = boltzmann.log_softmax(self.logits, self.temperature, axis=self.axis)
        table = jnp.moveaxis(table, self.axis, -1)
        table = table.reshape((1,) * (actions.ndim - len(batch)) + table.shape)
        # A negative index would count from the end.
        index = jnp.where(actions < 0, table.shape[-1], actions)[..., None]
        return jnp.take_along_axis(table, index, axis=-1, mode="fill")[..., 0]

    def probs(self) -> jax.Array:
        """Probabilities of all actions.

        Returns:
            An array of the logits' shape and dtype.
        """
        return boltzmann.softmax(
            self.logits,
            self.temperature,
            axis=self.axis,
            where=self.logits != -jnp.inf,
        )

    def entropy(self) -> jax.Array:
        """Entropy in nats.

        Returns:
            One number a row, in the logits' dtype.
        """
        return boltzmann.entropy(self.logits, self.temperature, axis=self.axis)

    def value(self) -> jax.Array:
        r"""Soft value, the largest that any policy has with an entropy bonus.

        $$V = \tau \log \sum_a e^{Q_a/\tau}
            = \max_\pi \Big( \sum_a \pi_a Q_a + \tau S(\pi) \Big), \qquad
          \frac{\partial V}{\partial Q_a} = \pi_a, \qquad
          \frac{\partial V}{\partial \tau} = S$$

        At τ = 0 it is the largest value; at τ = ∞ infinite, unless one action alone is
        allowed.

        Returns:
            One number a row, in the unit of the logits; `-inf` where nothing is
            allowed.
        """
        return -boltzmann.free_energy(self.logits, self.temperature, axis=self.axis)

    def mode(self) -> jax.Array:
        """The greedy action, the first of those of the largest logit.

        Returns:
            int32 actions of the batch shape; -1 for a row that allows nothing or has a
            NaN or `+inf`.
        """
        z = self.rows().z
        good = jnp.all(z < jnp.inf, axis=-1) & jnp.any(z > -jnp.inf, axis=-1)
        return jnp.where(good, jnp.argmax(z, axis=-1), -1).astype(jnp.int32)


def check_policy(name: str, value) -> None:
    """Accept a Boltzmann policy."""
    if not isinstance(value, Boltzmann):
        raise TypeError(
            f"`{name}` must be a Boltzmann policy, got {type(value).__name__}; "
            "make one, for example `Boltzmann(logits, temperature)`."
        )


def _actions(actions, batch_shape: tuple[int, ...]) -> jax.Array:
    """Integers of a shape that the batch shape broadcasts to."""
    actions = jnp.asarray(actions)
    if not jnp.issubdtype(actions.dtype, jnp.integer):
        raise TypeError(
            f"`actions` must be integers, got dtype {actions.dtype}; "
            "pass what `sample` returns."
        )
    try:
        shape = np.broadcast_shapes(actions.shape, batch_shape)
    except ValueError:
        raise ValueError(
            f"`actions` must broadcast with the batch shape {batch_shape}, "
            f"got shape {actions.shape}; pass what `sample` returns."
        ) from None
    return jnp.broadcast_to(actions, shape)
