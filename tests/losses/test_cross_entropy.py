"""Values and first derivatives of `cross_entropy` with every option, against truth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.losses.cases import combinations, random_case
from tests.losses.checks import call, check
from tests.losses.truth import Truth

COMBINATIONS = combinations()
ROWS = 600


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
    check(case, dtype, pairs)
