r"""The temperature family: softmax and the thermodynamics of a row of logits.

Logits $z$ are negative energies, $E_i = -z_i$, and temperature $\tau$ is $kT$ with
$k = 1$. All seven ops share their arguments and these rules:

- `temperature` is a number or an array in $[0, \infty]$ that broadcasts against the
  *batch shape*, the logits' shape without the class axis; never against the classes.
  $\tau = 0$ and $\tau = \infty$ are the exact limits.
- `where` keeps the classes that are `True`; the others, and logits of `-inf`, have
  probability and gradient exactly zero. What stands under a `False` is never used.
- Rows are summed in float32 (float64 for float64 logits); results have the logits'
  dtype, and `temperature` never promotes them.
- Derivatives in `logits` and `temperature` exist in forward and reverse mode and to
  any order. At $\tau \in \{0, \infty\}$ they are the limits, 0 where a limit diverges.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TypeVar

import jax
from jax.experimental import checkify
from jax.typing import ArrayLike

from . import _checks, _derivatives, kernels
from ._rows import fold

_F = TypeVar("_F", bound=Callable[..., jax.Array])

_ARGUMENTS = """
Args:
    logits: Real floating array; `axis` holds the V >= 1 classes, every other axis
        is batch.
    temperature: τ in [0, inf], a number or an array that broadcasts to the batch
        shape; a concrete one that is negative or NaN is an error, a traced one
        makes its rows NaN (see `checked`).
    axis: The class axis.
    where: Boolean mask that broadcasts to the logits' shape; `False` excludes.
    axis_name: Inside `shard_map`, the mesh axis over which the classes are split;
        only numbers per row are exchanged.
    implementation: `None` for the fastest that works, or a name from
        `kernels.available()` to insist.
"""
_RAISES = """
Raises:
    TypeError: `logits` or `temperature` is not real floating, or `where` is not
        boolean.
    ValueError: A shape does not fit, the class axis is empty, a concrete
        temperature is negative or NaN, or the implementation cannot be used.
"""


def _op(function: Callable, *, wide: bool = False) -> Callable[[_F], _F]:
    """Make a signature and its docstring an op: a row function between two folds.

    `wide` says that the result has the logits' shape; else it is one number a row.
    """

    def decorate(declaration: _F) -> _F:
        @functools.wraps(declaration)
        def op(
            logits,
            temperature=1.0,
            *,
            axis=-1,
            where=None,
            axis_name=None,
            implementation=None,
        ):
            _checks.mesh_axis(axis_name)
            _checks.implementation(implementation, kernels.available())
            rows = fold(logits, temperature, axis=axis, where=where)
            out = function(rows.logits, rows.temperature, axis_name, implementation)
            return rows.unfold(out) if wide else out.astype(rows.logits.dtype)

        doc = inspect.cleandoc(declaration.__doc__ or "")
        doc = doc.replace("{arguments}", _ARGUMENTS.strip())
        op.__doc__ = doc.replace("{raises}", _RAISES.strip())
        return op  # type: ignore[return-value]

    return decorate


def _softmax_rows(log: bool) -> Callable:
    def function(z, tau, axis_name, implementation):
        return _derivatives.softmax(z, tau, log, axis_name, implementation)

    return function


@_op(_softmax_rows(log=False), wide=True)
def softmax(
    logits: ArrayLike,
    temperature: ArrayLike = 1.0,
    *,
    axis: int = -1,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
    implementation: str | None = None,
) -> jax.Array:
    r"""Probabilities of the Boltzmann distribution at a temperature.

    $$p_i = \frac{e^{z_i/\tau}}{\sum_j e^{z_j/\tau}}$$

    At $\tau = 0$ the maximisers share all probability equally; at $\tau = \infty$ all
    allowed classes do. A row with nothing allowed, a NaN or a `+inf` is NaN.

    {arguments}

    Returns:
        Probabilities, of the logits' shape and dtype.

    {raises}

    Examples:
        >>> import jax, jaxtemp
        >>> logits = jax.numpy.array([2.0, 1.0, 0.5, 0.1])
        >>> [f"{p:.4f}" for p in jaxtemp.softmax(logits, 0.5)]
        ['0.8282', '0.1121', '0.0412', '0.0185']
        >>> jaxtemp.softmax(logits, 0.0)
        Array([1., 0., 0., 0.], dtype=float32)
        >>> slope = jax.grad(lambda tau: jaxtemp.softmax(logits, tau)[0])(1.0)
        >>> f"{slope:.4f}"
        '-0.3257'

    Source:
        Boltzmann (1868); Hinton, Vinyals and Dean, *Distilling the knowledge in a
        neural network* (2015), equation 1.
    """
    ...


@_op(_softmax_rows(log=True), wide=True)
def log_softmax(
    logits: ArrayLike,
    temperature: ArrayLike = 1.0,
    *,
    axis: int = -1,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
    implementation: str | None = None,
) -> jax.Array:
    r"""Logarithms of the probabilities at a temperature.

    $$\log p_i = \frac{z_i}{\tau} - \log \sum_j e^{z_j/\tau}$$

    At $\tau = 0$ it is $-\log k$ at each of $k$ maximisers and `-inf` elsewhere. The
    derivative, which diverges there, is 0 by contract.

    {arguments}

    Returns:
        Log-probabilities, of the logits' shape and dtype; `-inf` where not allowed.

    {raises}

    Examples:
        >>> import jax, jaxtemp
        >>> logits = jax.numpy.array([2.0, 1.0, 0.5, 0.1])
        >>> [f"{x:.4f}" for x in jaxtemp.log_softmax(logits, 2.0)]
        ['-0.9025', '-1.4025', '-1.6525', '-1.8525']

    Source:
        As `softmax`.
    """
    ...


@_op(_derivatives.logsumexp)
def logsumexp(
    logits: ArrayLike,
    temperature: ArrayLike = 1.0,
    *,
    axis: int = -1,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
    implementation: str | None = None,
) -> jax.Array:
    r"""Logarithm of the partition function.

    $$\log Z = \log \sum_i e^{z_i/\tau}$$

    At $\tau = 0$ it is infinite with the sign of the largest logit (the log of the
    number of maximisers if that is 0); at $\tau = \infty$ the log of the number of
    allowed classes. A row with nothing allowed gives `-inf`.

    {arguments}

    Returns:
        One number a row: the batch shape, in the logits' dtype.

    {raises}

    Examples:
        >>> import jax, jaxtemp
        >>> logits = jax.numpy.array([2.0, 1.0, 0.5, 0.1])
        >>> f"{jaxtemp.logsumexp(logits, 0.5):.4f}"
        '4.1885'

    Source:
        Gibbs, *Elementary principles in statistical mechanics* (1902), chapter 4.
    """
    ...


@_op(_derivatives.free_energy)
def free_energy(
    logits: ArrayLike,
    temperature: ArrayLike = 1.0,
    *,
    axis: int = -1,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
    implementation: str | None = None,
) -> jax.Array:
    r"""Helmholtz free energy, a smooth minimum of the energies.

    $$F = -\tau \log \sum_i e^{z_i/\tau} = U - \tau S, \qquad
      \frac{\partial F}{\partial \tau} = -S, \qquad
      \frac{\partial F}{\partial z_i} = -p_i$$

    At $\tau = 0$ it is the least energy, $-\max_i z_i$, where its derivative in
    $\tau$ is minus the log of the number of maximisers; at $\tau = \infty$ it is
    `-inf`, unless one class alone is allowed.

    {arguments}

    Returns:
        One number a row, in the unit of the logits: the batch shape, their dtype.

    {raises}

    Examples:
        >>> import jax, jaxtemp
        >>> logits = jax.numpy.array([2.0, 1.0, 0.5, 0.1])
        >>> free = lambda tau: jaxtemp.free_energy(logits, tau)
        >>> f"{free(0.0):.4f}", f"{jax.grad(free)(1.0):.4f}"
        ('-2.0000', '-1.1211')

    Source:
        Gibbs (1902), chapter 4.
    """
    ...


@_op(_derivatives.entropy)
def entropy(
    logits: ArrayLike,
    temperature: ArrayLike = 1.0,
    *,
    axis: int = -1,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
    implementation: str | None = None,
) -> jax.Array:
    r"""Entropy in nats.

    $$S = -\sum_i p_i \log p_i = \frac{U - F}{\tau}, \qquad
      \frac{\partial S}{\partial \tau} = \frac{C}{\tau}$$

    It grows from the log of the number of maximisers at $\tau = 0$ to the log of the
    number of allowed classes at $\tau = \infty$.

    {arguments}

    Returns:
        One number a row, in nats: the batch shape, in the logits' dtype.

    {raises}

    Examples:
        >>> import jax, jaxtemp
        >>> logits = jax.numpy.array([1.0, 1.0, 0.0])
        >>> f"{jaxtemp.entropy(logits, 0.0):.4f}"
        '0.6931'

    Source:
        Shannon, *A mathematical theory of communication* (1948), section 6.
    """
    ...


@_op(_derivatives.mean_energy)
def mean_energy(
    logits: ArrayLike,
    temperature: ArrayLike = 1.0,
    *,
    axis: int = -1,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
    implementation: str | None = None,
) -> jax.Array:
    r"""Mean energy, minus the expected logit.

    $$U = \sum_i p_i E_i = -\sum_i p_i z_i, \qquad
      \frac{\partial U}{\partial \tau} = C$$

    It grows from the least energy at $\tau = 0$ to the average energy of the allowed
    classes at $\tau = \infty$.

    {arguments}

    Returns:
        One number a row, in the unit of the logits: the batch shape, their dtype.

    {raises}

    Examples:
        >>> import jax, jaxtemp
        >>> logits = jax.numpy.array([2.0, 1.0, 0.5, 0.1])
        >>> f"{jaxtemp.mean_energy(logits, jax.numpy.inf):.4f}"
        '-0.9000'

    Source:
        Gibbs (1902), chapter 4.
    """
    ...


@_op(_derivatives.heat_capacity)
def heat_capacity(
    logits: ArrayLike,
    temperature: ArrayLike = 1.0,
    *,
    axis: int = -1,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
    implementation: str | None = None,
) -> jax.Array:
    r"""Heat capacity: how fast the mean energy answers to temperature.

    $$C = \frac{\partial U}{\partial \tau} = \frac{\mathrm{Var}_p(z)}{\tau^2}$$

    It is the variance of the scaled logits, so it is never negative; it vanishes at
    both ends and peaks where the distribution changes from bold to timid.

    {arguments}

    Returns:
        One number a row, dimensionless: the batch shape, in the logits' dtype.

    {raises}

    Examples:
        >>> import jax, jaxtemp
        >>> logits = jax.numpy.array([2.0, 1.0, 0.5, 0.1])
        >>> energy = lambda tau: jaxtemp.mean_energy(logits, tau)
        >>> bool(
        ...     jax.numpy.isclose(jaxtemp.heat_capacity(logits), jax.grad(energy)(1.0))
        ... )
        True

    Source:
        Einstein, *Zum gegenwärtigen Stand des Strahlungsproblems* (1909), for
        capacity as fluctuation.
    """
    ...


def checked(function: Callable) -> Callable:
    """`function`, raising where a traced temperature is negative or NaN.

    Inside `jit` a temperature has no value yet, so a bad one cannot be refused: its
    rows become NaN. This wrapper carries the check through the compiled program, by
    `jax.experimental.checkify`, and raises after the call.

    Args:
        function: Any function of arrays that uses this library's ops, jitted or not.

    Returns:
        A function of the same arguments with the same results, which waits for them.

    Raises:
        checkify.JaxRuntimeError: On a call with a temperature outside [0, inf].

    Examples:
        >>> import jax, jaxtemp
        >>> step = jaxtemp.checked(jax.jit(jaxtemp.softmax))
        >>> [f"{p:.4f}" for p in step(jax.numpy.array([1.0, 2.0]), 1.0)]
        ['0.2689', '0.7311']

    Source:
        The JAX guide to `checkify`.
    """
    inner = checkify.checkify(function, errors=checkify.user_checks)

    @functools.wraps(function)
    def outer(*args, **kwargs):
        with _checks.checking(True):
            error, result = inner(*args, **kwargs)
        error.throw()
        return result

    return outer
