import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bench import check, softmax, truth
from bench.cases import Case
from bench.peers import FORMULAS, JAX

RNG = np.random.default_rng(7)
LOGITS = 2 * RNG.standard_normal((5, 4))
TAU = np.array([0.5, 0.8, 1.0, 1.5, 2.0])


def weights(op):
    return RNG.standard_normal((5, 4) if op in softmax.PER_CLASS else 5)


def test_values_by_hand():
    # Two classes, u = (ln 3, 0): p = (3/4, 1/4), Z = 4; τ = 2.
    ln3 = np.log(3.0)
    z, tau = np.array([[2 * ln3, 0.0]]), np.array([2.0])
    found = {op: truth.value(op, z, tau).value[0] for op in truth.LAWS}
    np.testing.assert_allclose(found["softmax"], [0.75, 0.25])
    np.testing.assert_allclose(found["log_softmax"], np.log([0.75, 0.25]))
    assert found["logsumexp"] == pytest.approx(np.log(4.0))
    assert found["free_energy"] == pytest.approx(-2 * np.log(4.0))
    assert found["mean_energy"] == pytest.approx(-1.5 * ln3)
    assert found["entropy"] == pytest.approx(-0.75 * np.log(0.75) - 0.25 * np.log(0.25))
    assert found["heat_capacity"] == pytest.approx(3 / 16 * ln3**2)


@pytest.mark.parametrize("op", truth.LAWS)
def test_derivatives_by_finite_differences(op):
    w = weights(op)

    def loss(z, tau):
        y = truth.value(op, z, tau).value
        return (w * y).reshape(5, -1).sum(-1)

    found = truth.gradient(op, LOGITS, TAU, w)
    np.testing.assert_allclose(found.loss.value, loss(LOGITS, TAU))
    step = 1e-6
    slope = (loss(LOGITS, TAU + step) - loss(LOGITS, TAU - step)) / (2 * step)
    np.testing.assert_allclose(found.temperature.value, slope, rtol=1e-6, atol=1e-8)
    for k, unit in enumerate(np.eye(4)):
        by = step * unit
        slope = (loss(LOGITS + by, TAU) - loss(LOGITS - by, TAU)) / (2 * step)
        np.testing.assert_allclose(
            found.logits.value[:, k], slope, rtol=1e-6, atol=1e-8
        )


@pytest.mark.parametrize("op", FORMULAS)
@pytest.mark.parametrize("temperature", ["row", "scalar"])
def test_the_peers_are_right_on_the_inputs_that_are_timed(op, temperature):
    case = Case("value_and_grad", 300, 12, "float32", temperature)
    z, tau, w = softmax.draw(op, case, RNG)

    def peer(z, tau):
        return FORMULAS[op].apply(JAX, z, z / tau.reshape(-1, 1), tau)

    def loss(z, tau):
        return jnp.sum(w * peer(z, tau))

    assert check.forward_error(op, z, tau, [np.asarray(peer(z, tau))]) < 1e-5
    value, grads = jax.value_and_grad(loss, (0, 1))(z, tau)
    outputs = [np.asarray(x) for x in (value, *grads)]
    assert check.gradient_error(op, z, tau, w, outputs) < 1e-5
    for k in range(3):  # each of the outputs is looked at
        spoilt = [out + (1.0 if j == k else 0.0) for j, out in enumerate(outputs)]
        assert check.gradient_error(op, z, tau, w, spoilt) > 1e-4


def test_one_wrong_element_is_seen():
    case = Case("forward", 3000, 100, "float32")  # several chunks of rows
    z, tau, _ = softmax.draw("softmax", case, RNG)
    right = truth.value("softmax", z, tau).value
    assert check.forward_error("softmax", z, tau, [right]) == 0.0
    wrong = right.copy()
    wrong[2999, 99] += 1e-3
    assert check.forward_error("softmax", z, tau, [wrong]) > 1e-4
    wrong[2999, 99] = np.nan
    assert check.forward_error("softmax", z, tau, [wrong]) == np.inf


@pytest.mark.parametrize(
    "outputs", [[], [np.ones(5)], [np.ones((5, 3))], [np.ones((4, 4))], [np.ones(())]]
)
def test_a_wrong_shape_is_infinitely_wrong(outputs):
    assert check.forward_error("softmax", LOGITS, TAU, outputs) == np.inf
    assert (
        check.gradient_error("softmax", LOGITS, TAU, weights("softmax"), outputs)
        == np.inf
    )


def test_inputs_are_fresh_and_ordinary():
    case = Case("forward", 1000, 50, "bfloat16")
    first, second = (softmax.draw("softmax", case, RNG) for _ in range(2))
    assert (first.logits != second.logits).mean() > 0.9
    assert first.logits.dtype == jnp.bfloat16
    assert first.temperature.dtype == np.float32
    assert first.temperature.min() >= 0.5
    assert first.temperature.max() <= 2.0
