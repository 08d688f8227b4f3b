r"""Annealing: temperatures as functions of the training step.

Each function here returns a schedule, a pure function from a step $t$ to a temperature
$\tau_t$ that [optax](https://optax.readthedocs.io) takes wherever it takes a schedule.

| schedule | temperature $\tau_t$ | for |
|---|---|---|
| `linear(init, end, steps)` | a straight line from `init` to `end` | a fixed budget |
| `cosine(init, end, steps)` | half a cosine from `init` to `end` | slow at both ends |
| `exponential(init, rate)` | $\mathrm{init}\,e^{-rt}$ | an open end |
| `geometric(init, decay, end)` | $\max(\mathrm{init}\,d^t, \mathrm{end})$ | Sinkhorn |
| `jang(rate)` | $\max(0.5, e^{-rt})$, every 500 steps | Gumbel-softmax |
| `inverse_log(scale)` | $c / \log(t + t_0)$ | simulated annealing |

A step is an int, a float or an array of them, traced or not; one below 0 counts as 0.
The temperature has its shape and JAX's default float dtype. It is never negative and
never NaN, however large the step; at most it underflows to 0, which every op takes.
"""

import math
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

Schedule = Callable[[ArrayLike], jax.Array]

_LARGEST_STEP = 2**31 - 1  # of an int32 counter


def linear(init: float, end: float, steps: int) -> Schedule:
    r"""A straight line, $\tau_t = \mathrm{init} + (\mathrm{end} - \mathrm{init})\,t/T$.

    Args:
        init: the temperature at step 0, positive.
        end: the temperature at step `steps` and after it, at least 0.
        steps: $T$, positive.

    Returns:
        A schedule; both ends are exact.

    Raises:
        ValueError: if an argument is out of its range.

    Examples:
        >>> tau = linear(1.0, 0.5, steps=100)
        >>> [f"{tau(step):.3f}" for step in (0, 50, 100, 1000)]
        ['1.000', '0.750', '0.500', '0.500']
    """
    return _between(init, end, steps, lambda left: left)


def cosine(init: float, end: float, steps: int) -> Schedule:
    r"""Half a cosine, flat at both ends.

    $$\tau_t = \mathrm{end} + (\mathrm{init} - \mathrm{end})\,
      \frac{1 + \cos(\pi t / T)}{2}$$

    Args:
        init: the temperature at step 0, positive.
        end: the temperature at step `steps` and after it, at least 0.
        steps: $T$, positive.

    Returns:
        A schedule; both ends are exact.

    Raises:
        ValueError: if an argument is out of its range.

    Examples:
        >>> tau = cosine(1.0, 0.5, steps=100)
        >>> [f"{tau(step):.3f}" for step in (0, 25, 50, 100)]
        ['1.000', '0.927', '0.750', '0.500']

    Source:
        Loshchilov and Hutter, *SGDR: stochastic gradient descent with warm restarts*
        (2017), equation 5, for learning rates.
    """
    return _between(init, end, steps, lambda left: jnp.sin(jnp.pi / 2 * left) ** 2)


def exponential(
    init: float, rate: float, *, minimum: float = 0.0, every: int = 1
) -> Schedule:
    r"""An exponential decay, $\tau_t = \max(\tau_{\min}, \mathrm{init}\,e^{-rt})$.

    Args:
        init: the temperature at step 0, positive.
        rate: $r$ per step, positive; $\tau$ halves in $\log 2 / r$ steps.
        minimum: $\tau_{\min}$, from 0 to `init`.
        every: changes the temperature only at multiples of this number of steps.

    Returns:
        A schedule. In float32, $e^{-x}$ has a relative error below
        $2 \cdot 10^{-7} (1 + x)$.

    Raises:
        ValueError: if an argument is out of its range.

    Examples:
        >>> tau = exponential(2.0, 0.01, minimum=0.1)
        >>> [f"{tau(step):.3f}" for step in (0, 100, 1000)]
        ['2.000', '0.736', '0.100']
    """
    _check_positive("init", init)
    _check_positive("rate", rate)
    _check_below("minimum", minimum, "init", init)
    _check_count("every", every)

    def schedule(step):
        held = _since_start(step - step % every)
        return jnp.maximum(init * jnp.exp(-rate * held), minimum)

    return schedule


def geometric(init: float, decay: float, end: float) -> Schedule:
    r"""A factor a step, down to an end.

    $$\tau_t = \max(\mathrm{init}\,d^t,\ \mathrm{end})$$

    In entropic optimal transport $\tau$ is called $\varepsilon$ and lowered from one
    Sinkhorn iteration to the next. There `init` is often given as a multiple of the
    end: that is `geometric(multiple * end, decay, end)`.

    Args:
        init: the temperature at step 0, positive.
        decay: $d$, strictly between 0 and 1.
        end: the least temperature, from 0 to `init`.

    Returns:
        A schedule.

    Raises:
        ValueError: if an argument is out of its range.

    Examples:
        >>> tau = geometric(5.0, 0.5, 1.0)
        >>> [f"{tau(step):.3f}" for step in range(4)]
        ['5.000', '2.500', '1.250', '1.000']

    Source:
        Cuturi and others, *Optimal transport tools (OTT)* (2022), `Epsilon`.
    """
    _check("decay", decay, 0 < _number(decay) < 1, "strictly between 0 and 1", 0.99)
    _check_positive("init", init)
    _check_below("end", end, "init", init)
    return exponential(init, -math.log(decay), minimum=end)


def jang(rate: float, *, minimum: float = 0.5, every: int = 500) -> Schedule:
    r"""The schedule of the Gumbel-softmax paper, $\tau_t = \max(\tau_{\min}, e^{-rt})$.

    The temperature changes every `every` steps. The paper chose $r$ of 1e-5 and 1e-4
    and `every` of 500 and 1000 by validation.

    Args:
        rate: $r$ per step, positive.
        minimum: $\tau_{\min}$, from 0 to 1.
        every: the number of steps between two changes.

    Returns:
        A schedule that starts at 1.

    Raises:
        ValueError: if an argument is out of its range.

    Examples:
        >>> tau = jang(1e-4)
        >>> [f"{tau(step):.3f}" for step in (0, 499, 500, 5000, 50_000)]
        ['1.000', '1.000', '0.951', '0.607', '0.500']

    Source:
        Jang, Gu and Poole, *Categorical reparameterization with Gumbel-softmax*
        (2017), section 4.
    """
    return exponential(1.0, rate, minimum=minimum, every=every)


def inverse_log(scale: float, offset: float = 2.0) -> Schedule:
    r"""The slow cooling of simulated annealing, $\tau_t = c / \log(t + t_0)$.

    With $c$ at least the depth of the deepest local minimum that is not a global one,
    a chain at these temperatures ends in a global minimum with probability 1; with a
    smaller $c$, or any schedule that falls faster by a factor, it may not.

    Args:
        scale: $c$, in the unit of the energies, positive.
        offset: $t_0$, above 1, so that the first temperature is finite.

    Returns:
        A schedule that starts at $c / \log t_0$.

    Raises:
        ValueError: if an argument is out of its range.

    Examples:
        >>> tau = inverse_log(1.0)
        >>> [f"{tau(step):.3f}" for step in (0, 98, 9_998)]
        ['1.443', '0.217', '0.109']

    Source:
        Hajek, *Cooling schedules for optimal annealing* (1988), theorem 1.
    """
    _check_positive("scale", scale)
    _check("offset", offset, _number(offset) > 1, "finite and above 1", 2.0)
    return lambda step: scale / jnp.log1p(_since_start(step) + (offset - 1))


def _between(
    init: float, end: float, steps: int, weight: Callable[[jax.Array], jax.Array]
) -> Schedule:
    """A mean of both; `weight` is that of one when a part of the way is left to it."""
    _check_positive("init", init)
    _check("end", end, _number(end) >= 0, "finite and at least 0", 0.1)
    _check_count("steps", steps)

    def share(left):
        # XLA may multiply by 1 / steps instead, and then steps / steps is not 1.
        return jnp.where(left >= steps, 1, weight(jnp.maximum(left, 0) / steps))

    def schedule(step):
        since = _since_start(step)
        return init * share(steps - since) + end * share(since)

    return schedule


def _since_start(step: ArrayLike) -> jax.Array:
    """The step as a float, none below 0."""
    return jnp.maximum(jnp.asarray(step, jnp.result_type(float)), 0)


def _check_positive(name: str, value: Any) -> None:
    _check(name, value, _number(value) > 0, "positive and finite", 1.0)


def _check_below(name: str, value: Any, top_name: str, top: float) -> None:
    inside = 0 <= _number(value) <= top
    _check(name, value, inside, f"from 0 to `{top_name}={top!r}`", 0)


def _check_count(name: str, value: Any) -> None:
    try:
        inside = 1 <= operator.index(value) <= _LARGEST_STEP
    except TypeError:
        inside = False
    _check(name, value, inside, f"an integer from 1 to {_LARGEST_STEP}", 1000)


def _check(name: str, value: Any, allowed: bool, rule: str, example: float) -> None:
    if not allowed:
        raise ValueError(
            f"`{name}` must be {rule}, got {value!r}; "
            f"pass for example `{name}={example}`."
        )


def _number(value: Any) -> float:
    """A concrete real number that JAX's default float can hold, or NaN."""
    real = isinstance(value, int | float | np.integer | np.floating)
    fits = real and abs(value) <= float(jnp.finfo(jnp.result_type(float)).max)
    return float(value) if fits else math.nan
