"""Values and first derivatives of `cross_entropy` with every option, against truth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtemp.losses import cross_entropy
from tests.losses.cases import combinations, random_case
from tests.losses.truth import Case, Truth

COMBINATIONS = combinations()
ROWS = 600
TOLERANCE = {"float64": 1e-11, "float32": 4e-6, "bfloat16": 4e-6}
ROUNDING = {"float64": 0.0, "float32": 0.0, "bfloat16": 2.0**-8}


def call(case: Case):
    """Loss and log-sum-exp of a case."""
    options = {k: v for k, v in case._asdict().items() if v is not None}
    return cross_entropy(**options, return_logsumexp=True)


def assert_close(got, want, tolerance, rounding, name):
    """Equal where infinite; else within the scale's tolerance and a last rounding."""
    got = np.asarray(got, np.float64).astype(np.longdouble)
    value, scale = np.broadcast_arrays(*want)
    infinite = ~np.isfinite(value)
    np.testing.assert_array_equal(got[infinite], value[infinite], err_msg=name)
    error = np.abs(np.where(infinite, 0, got - np.where(infinite, 0, value)))
    allowed = (
        tolerance * scale + rounding * np.abs(np.where(infinite, 0, value)) + 1e-36
    )
    worst = np.unravel_index(np.argmax(error / allowed), error.shape)
    assert (error <= allowed).all(), (
        f"{name}{[int(i) for i in worst]}: got {got[worst]}, want {value[worst]}, "
        f"scale {scale[worst]}"
    )


def test_enough_rows():
    assert len(COMBINATIONS) * ROWS >= 10_000


@pytest.mark.parametrize("number", range(len(COMBINATIONS)))
def test_value_and_gradients(number):
    options = COMBINATIONS[number]
    case, dtype = random_case(options, ROWS, number), options["dtype"]
    truth = Truth(case)
    g = np.random.default_rng(number).normal(size=ROWS).astype(case.logits.dtype)
    soft = case.labels.ndim == 2

    @jax.jit
    def run(logits, labels, temperature):
        def function(logits, labels, temperature):
            given = {"logits": logits, "labels": labels, "temperature": temperature}
            return call(case._replace(**given))

        if soft:
            out, pull = jax.vjp(function, logits, labels, temperature)
            return out, pull((jnp.asarray(g), jnp.zeros_like(out[1])))
        out, pull = jax.vjp(lambda z, t: function(z, labels, t), logits, temperature)
        return out, pull((jnp.asarray(g), jnp.zeros_like(out[1])))

    with jax.enable_x64(dtype == "float64"):
        (loss, lse), gradients = run(*case[:3])
    to_z, to_tau = truth.gradients(g)
    size = np.maximum(1, np.abs(np.where(np.isinf(truth.lse), 1, truth.lse)))
    pairs = {
        "loss": (loss, truth.loss),
        "lse": (lse, (truth.lse, size)),
        "logits": (gradients[0], to_z),
        "temperature": (gradients[-1], to_tau),
    }
    if soft:
        pairs["labels"] = gradients[1], truth.in_labels(g)
    for name, (got, want) in pairs.items():
        to_tau = name == "temperature"
        assert got.dtype == (case.temperature if to_tau else case.logits).dtype
        tolerance, rounding = TOLERANCE[dtype], 0 if to_tau else ROUNDING[dtype]
        if name == "labels":  # the sum of two numbers, each rounded
            tolerance += 2 * rounding
        assert_close(got, want, tolerance, rounding, name)
