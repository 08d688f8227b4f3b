"""Every form of the softmax kernels against float64, on awkward shapes."""

import jax
import numpy as np
import pytest

from jaxtemp._rows import Rows
from jaxtemp.kernels.softmax import xla
from jaxtemp.kernels.softmax.cpu import CpuRows

FORMS = {"plain": Rows(), "cpu": CpuRows()}
# One to a few classes halve; below and above 4096 rows the CPU form differs, and so it
# does for long rows.
SHAPES = [(5, 1), (2, 3, 7), (3, 9), (2, 1030), (4100, 5), (4100, 12), (2, 70_000)]


def _case(shape, masked):
    rng = np.random.default_rng(len(shape) * shape[-1])
    z = rng.normal(size=shape) * 3
    if masked:
        z[rng.random(shape) < 0.3] = -np.inf
        z[..., 0] = rng.normal(size=shape[:-1])
    tau = rng.uniform(0.1, 3, size=shape[:-1])
    g, dz = rng.normal(size=(2, *shape))
    dtau = rng.normal(size=shape[:-1])
    return [x.astype(np.float32) for x in (z, tau, g, dz, dtau)]


def _truth(z, tau):
    """Probabilities, exponents (0 where masked) and 1/τ in float64."""
    z, tau = z.astype(float), tau.astype(float)[..., None]
    u = (z - z.max(-1, keepdims=True)) / tau
    e = np.exp(u)
    return e / e.sum(-1, keepdims=True), np.where(np.isinf(u), 0, u), 1 / tau


def _close(got, want):
    scale = np.abs(want).max(initial=1e-3)
    np.testing.assert_allclose(got, want, rtol=0, atol=3e-6 * scale)


@pytest.fixture(params=FORMS)
def rows(request):
    return FORMS[request.param]


@pytest.fixture(params=SHAPES, ids=str)
def shape(request):
    return request.param


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("log", [False, True])
def test_forward(rows, shape, log, masked):
    z, tau, *_ = _case(shape, masked)
    p, u, _ = _truth(z, tau)
    (got,) = jax.jit(lambda z, t: xla.forward(z, t, log=log, rows=rows))(z, tau)
    if not log:
        return _close(got, p)
    allowed = z > -np.inf
    assert (np.asarray(got)[~allowed] == -np.inf).all()
    log_z = np.log(np.where(allowed, np.exp(u), 0).sum(-1, keepdims=True))
    return _close(np.asarray(got)[allowed], (u - log_z)[allowed])


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("log", [False, True])
def test_push_is_the_jacobian_from_the_right(rows, shape, log, masked):
    z, tau, _, dz, dtau = _case(shape, masked)
    p, u, s = _truth(z, tau)
    t = (dz - u * dtau[..., None]) * s
    want = t - (p * t).sum(-1, keepdims=True)
    want = np.where(z > -np.inf, want, 0) if log else p * want
    push = jax.jit(lambda *a: xla.push(*a, log=log, rows=rows))
    _close(push(z, tau, dz, dtau)[0], want)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("log", [False, True])
def test_pull_is_the_jacobian_from_the_left(rows, shape, log, masked):
    z, tau, g, *_ = _case(shape, masked)
    p, u, s = _truth(z, tau)
    g64 = np.where(z > -np.inf, g.astype(float), 0)
    if log:
        want = g64 - p * g64.sum(-1, keepdims=True)
    else:
        want = p * (g64 - (p * g64).sum(-1, keepdims=True))
    pull = jax.jit(lambda *a: xla.pull(*a, log=log, rows=rows))
    to_z, to_tau = pull(z, tau, g)
    _close(to_z, want * s)
    _close(to_tau, -(want * u * s).sum(-1))
