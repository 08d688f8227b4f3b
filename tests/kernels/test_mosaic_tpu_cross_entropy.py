"""The TPU kernels of the cross-entropy, interpreted, against the truth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtemp.kernels.cross_entropy import primitive
from tests.kernels.mosaic_tpu import interpreted, jit, on_cpu
from tests.losses.cases import random_case
from tests.losses.checks import ROUNDING, TOLERANCE, assert_close, call
from tests.losses.truth import Truth

NAMES = ("dtype", "classes", "labels", "where", "label_smoothing", "z_loss")
NAMES += ("logit_soft_cap", "class_weights")
# The last of them says whether a row is split.
CASES = [
    ("float32", 1, "integer", False, False, False, False, False, False),
    ("float32", 5, "ignored", True, True, True, False, False, False),
    ("float32", 300, "integer", True, False, True, True, False, True),
    ("bfloat16", 136, "ignored", False, True, False, True, False, False),
    ("bfloat16", 300, "integer", True, True, True, False, False, True),
    ("float32", 129, "one-hot", False, True, False, False, False, False),
    ("float32", 300, "soft", True, False, True, False, False, True),
    ("bfloat16", 136, "soft", True, True, True, True, False, True),
    ("float32", 20, "integer", False, False, False, False, True, False),
]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_value_and_gradients(number, monkeypatch):
    *values, split = CASES[number]
    options = dict(zip(NAMES, values, strict=True))
    case = random_case(options, 30, number)
    truth, dtype = Truth(case), options["dtype"]
    g = np.random.default_rng(number).normal(size=30).astype(case.logits.dtype)

    @jit
    def run(logits, temperature):
        def function(logits, temperature):
            return call(case._replace(logits=logits, temperature=temperature))

        out, pull = jax.vjp(function, logits, temperature)
        return out, pull((jnp.asarray(g), jnp.zeros_like(out[1])))

    on_cpu(monkeypatch, primitive._forward, primitive._pull)
    with interpreted(monkeypatch, split):
        (loss, lse), (dz, dtau) = run(case.logits, case.temperature)
    to_z, to_tau = truth.gradients(g)
    size = np.maximum(1, np.abs(np.where(np.isinf(truth.lse), 1, truth.lse)))
    within, rounding = TOLERANCE[dtype], ROUNDING[dtype]
    assert_close(loss, truth.loss, within, rounding, "loss")
    assert_close(lse, (truth.lse, size), within, rounding, "lse")
    assert_close(dz, to_z, within, rounding, "logits")
    assert_close(dtau, to_tau, within, 0, "temperature")
