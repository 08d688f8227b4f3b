"""The thermodynamic identities, each between two results of the library.

Truth is thermodynamics: F = U - τS, S = -∂F/∂τ, C = ∂U/∂τ = τ ∂S/∂τ, p = -∂F/∂z.
"""

import jax
import numpy as np
import pytest

import jaxtemp
from tests import cases

TEMPERATURES = (0.05, 0.3, 1.0, 4.0, 50.0)


def rows(dtype, offset):
    """Rows that are neither flat nor peaked, some with masked classes."""
    rng = np.random.default_rng(0)
    tau = np.repeat(TEMPERATURES, 200)
    logits = rng.normal(size=(len(tau), 11)) * tau[:, None] * rng.uniform(0.1, 4, 11)
    logits[rng.random(logits.shape) < 0.1] = -np.inf
    logits[:, 0] = 0  # one class of each row is allowed
    return (logits + offset).astype(dtype), tau.astype(dtype)


def gradients(op, logits, tau):
    """Return d op / d logits and d op / dτ, for each row its own."""
    total = jax.jit(lambda z, t: op(z, t).sum())
    return jax.grad(total, argnums=(0, 1))(logits, tau)


# Every number that an identity compares is promised to `tolerance` times max(1, |it|)
# (values) or times itself (the derivatives here, of one sign); each side may use up all
# of its own. The largest entropy here is log 11, the largest heat capacity about 6.
@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_identities(dtype, offset):
    value = cases.tolerance(dtype)
    slope = cases.tolerance(dtype, derivative=True)

    def assert_same(left, right, scale, within):
        error = np.abs(np.float64(left) - np.float64(right))
        assert (error <= within * scale).all(), (error / scale).max()

    with cases.enable_x64(dtype):
        z, tau = rows(dtype, offset)
        p, entropy = jaxtemp.softmax(z, tau), np.asarray(jaxtemp.entropy(z, tau))
        energy = np.asarray(jaxtemp.mean_energy(z, tau))
        capacity = np.asarray(jaxtemp.heat_capacity(z, tau))
        free = np.asarray(jaxtemp.free_energy(z, tau))
        dfree_dz, dfree_dtau = gradients(jaxtemp.free_energy, z, tau)
        _, denergy_dtau = gradients(jaxtemp.mean_energy, z, tau)
        _, dentropy_dtau = gradients(jaxtemp.entropy, z, tau)

    dentropy_dtau = np.asarray(dentropy_dtau)
    both = value + slope
    assert_same(dfree_dtau, -entropy, np.maximum(1, entropy), both)
    assert_same(denergy_dtau, capacity, np.maximum(1, capacity), both)
    assert_same(dentropy_dtau * tau, capacity, np.maximum(1, capacity), both)
    assert_same(dfree_dz, -np.asarray(p), 1, both)
    energies = np.maximum(1, np.abs(energy)) + np.maximum(1, np.abs(free))
    scale = np.maximum(1, entropy) + energies / tau
    assert_same((energy - free) / tau, entropy, scale, value)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_free_energy_integrates_the_entropy(dtype):
    """F(τ₂) - F(τ₁) = -∫ S dτ, over a range that the entropy changes on.

    Gauss-Legendre with 60 nodes is exact to 10⁻¹⁴ here.
    """
    nodes, weights = np.polynomial.legendre.leggauss(60)
    low, high = 0.5, 3.0
    tau = ((high - low) * nodes + high + low) / 2
    with cases.enable_x64(dtype):
        z = np.array([0.0, 1.0, 1.5, -2.0, -np.inf], dtype)
        entropy = jaxtemp.entropy(np.broadcast_to(z, (60, 5)), tau.astype(dtype))
        free = jaxtemp.free_energy(np.stack([z, z]), np.array([low, high], dtype))
    area = (high - low) / 2 * np.float64(entropy) @ weights
    assert abs(float(free[0] - free[1]) - area) < 10 * cases.tolerance(dtype)
