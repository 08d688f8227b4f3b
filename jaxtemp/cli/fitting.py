"""One temperature for a classifier: learned, and solved for independently."""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from .. import learning
from ..boltzmann import heat_capacity
from ..calibration import negative_log_likelihood

STEPS = 300
_LEARNING_RATE = 0.1


def learn_temperature(
    logits: np.ndarray, labels: np.ndarray, steps: Iterable[int]
) -> float:
    """Learns the temperature of the least negative log-likelihood, by gradient descent.

    A `learning.nnx.Temperature` from 1 on, Adam with a cosine decay, all rows at once.

    Args:
        logits: shape `(rows, classes)`.
        labels: the class of each row.
        steps: one item for each step, for example a progress bar around `range(STEPS)`.

    Returns:
        The temperature.
    """
    temperature = learning.nnx.Temperature(1.0)
    schedule = optax.cosine_decay_schedule(_LEARNING_RATE, STEPS)
    optimizer = nnx.Optimizer(temperature, optax.adam(schedule), wrt=nnx.Param)
    rows = jnp.asarray(logits)

    def loss(temperature: learning.nnx.Temperature) -> jax.Array:
        return negative_log_likelihood(rows, labels, temperature())

    @nnx.jit
    def step(temperature: learning.nnx.Temperature, optimizer: nnx.Optimizer) -> None:
        optimizer.update(temperature, nnx.grad(loss)(temperature))

    for _ in steps:
        step(temperature, optimizer)
    return float(temperature())


def solve_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Finds the same optimum another way, to check the learned one against.

    Brent's method on the logarithm of the temperature, the likelihood in float64 from
    NumPy and SciPy alone: nothing of this library takes part.

    Args:
        logits: shape `(rows, classes)`.
        labels: the class of each row.

    Returns:
        The temperature, between 0.001 and 1000.
    """
    rows = np.asarray(logits, np.float64)
    own = np.take_along_axis(rows, labels[:, None], axis=1)[:, 0]

    def loss(log_temperature: float) -> float:
        temperature = np.exp(log_temperature)
        return np.mean(logsumexp(rows / temperature, axis=1) - own / temperature)

    result = minimize_scalar(
        loss,
        bounds=(np.log(1e-3), np.log(1e3)),
        method="bounded",
        options={"xatol": 1e-10},
    )
    return float(np.exp(result.x))


def relative_standard_error(logits: np.ndarray, temperature: float) -> float:
    r"""How well these rows determine their temperature, if the model is right.

    The likelihood's curvature in $1/\tau$ is the variance of the logits, which is
    $\tau^2 C$ with $C$ the heat capacity. So $\tau$ has the relative standard
    error $1/\sqrt{\sum_n C_n}$.

    Args:
        logits: shape `(rows, classes)`.
        temperature: the temperature that was fitted.

    Returns:
        The standard error divided by the temperature.
    """
    return float(jnp.sum(heat_capacity(jnp.asarray(logits), temperature)) ** -0.5)
