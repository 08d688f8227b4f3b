"""The Concrete density as Maddison et al. write it, in mpmath; parts in float64."""

import mpmath
import numpy as np


def log_density(z, tau, x, allowed=None):
    """Log-density of one point on the simplex, given its logarithm, and Σ x.

    Their sum is the log-density in log space.
    """
    keep = np.ones(len(z), bool) if allowed is None else allowed
    z = [mpmath.mpf(float(v)) for v in np.asarray(z)[keep]]
    x = [mpmath.mpf(float(v)) for v in np.asarray(x)[keep]]
    tau, classes = mpmath.mpf(float(tau)), len(z)
    with mpmath.workdps(60):
        alpha = [mpmath.exp(v - max(z)) for v in z]
        y = [mpmath.exp(v) for v in x]
        top = mpmath.fprod(a * b ** (-tau - 1) for a, b in zip(alpha, y, strict=True))
        below = mpmath.fsum(a * b**-tau for a, b in zip(alpha, y, strict=True))
        density = mpmath.factorial(classes - 1) * tau ** (classes - 1) * top
        return mpmath.log(density / below**classes), mpmath.fsum(x)


def log_softmax(x):
    """In float64."""
    x = np.asarray(x, np.float64)
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def gumbel_points(z, tau, rng):
    """Draws in log space by NumPy, rounded to the logits' dtype."""
    z = np.asarray(z)
    noise = rng.gumbel(size=z.shape)
    tau = np.asarray(tau, np.float64)[..., None]
    return log_softmax((z.astype(np.float64) + noise) / tau).astype(z.dtype)


def slope(function, at, direction, step):
    """Central difference of `function` along a direction, of fourth order."""
    values = [function(at + k * step * direction) for k in (-2, -1, 1, 2)]
    far, near = values[3] - values[0], values[2] - values[1]
    return (8 * near - far) / (12 * step)
