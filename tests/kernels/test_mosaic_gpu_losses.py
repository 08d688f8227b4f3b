"""Cross-entropy's Mosaic GPU kernels: against the truth, lowered, and their cost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtemp.kernels import _tiles
from jaxtemp.kernels.cross_entropy import primitive
from jaxtemp.losses import cross_entropy
from tests.kernels import mosaic_gpu
from tests.losses.cases import random_case
from tests.losses.checks import call, check
from tests.losses.truth import Truth

pytestmark = mosaic_gpu.needed

PLAIN = {
    "dtype": "float32",
    "classes": 136,
    "labels": "integer",
    "where": False,
    "label_smoothing": False,
    "z_loss": False,
    "logit_soft_cap": False,
    "class_weights": False,
}
EVERY = {"where": True, "label_smoothing": True, "z_loss": True, "logit_soft_cap": True}
ROWS = 20


@pytest.mark.parametrize(
    ("options", "held"),
    [
        ({}, "as chosen"),
        ({"classes": 1031, "where": True}, "split"),
        ({"classes": 5, "labels": "ignored", "class_weights": True}, "as chosen"),
        ({"classes": 136, "label_smoothing": True}, "split"),
        ({"dtype": "bfloat16", "labels": "ignored", **EVERY}, "as chosen"),
        ({"classes": 515, **EVERY}, "shared"),
    ],
)
def test_value_and_gradients(options, held, monkeypatch):
    if held == "shared":
        mosaic_gpu.share_rows(monkeypatch)
    else:
        monkeypatch.setattr(_tiles, "_HELD", mosaic_gpu.HELD[held])
    options = PLAIN | options
    case = random_case(options, ROWS)
    truth = Truth(case)
    g = np.random.default_rng(0).normal(size=ROWS).astype(case.logits.dtype)

    def function(logits, temperature):
        return call(case._replace(logits=logits, temperature=temperature))

    with mosaic_gpu.interpreted([primitive._forward, primitive._pull]):
        arguments = jnp.asarray(case.logits), jnp.asarray(case.temperature)
        (loss, lse), pull = jax.vjp(function, *arguments)
        to_z, to_tau = pull((jnp.asarray(g), jnp.zeros_like(lse)))
    want_z, want_tau = truth.gradients(g)
    size = np.maximum(1, np.abs(np.where(np.isinf(truth.lse), 1, truth.lse)))
    pairs = {
        "loss": (loss, truth.loss),
        "lse": (lse, (truth.lse, size)),
        "logits": (to_z, want_z),
        "temperature": (to_tau, want_tau),
    }
    check(case, options["dtype"], pairs)


@pytest.mark.parametrize("classes", [1000, 32_000, 131_072, 262_144])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_each_pass_is_one_kernel_that_reads_once(classes, dtype):
    z = jax.ShapeDtypeStruct((512, classes), dtype)
    row = jax.ShapeDtypeStruct((512,), "float32")
    labels = jax.ShapeDtypeStruct((512,), "int32")
    g = jax.ShapeDtypeStruct((512,), dtype)
    found = primitive.xla.Found(*(row,) * 5)
    each = classes * jnp.dtype(dtype).itemsize

    def pull(z, tau, found, labels, g):
        target = primitive.xla.Target(labels, jnp.ones_like(tau))
        options = {"cap": None, "implementation": None}
        operands = z, tau, found, target, g.astype(tau.dtype), 0 * tau
        return primitive._call(primitive._pull, operands, **options)

    assert mosaic_gpu.count(cross_entropy, z, labels, row) == {"cross_entropy": 1}
    assert mosaic_gpu.moved(cross_entropy, z, labels, row) == [512 * (each + 4 * 6)]
    arguments = z, row, found, labels, g
    assert mosaic_gpu.count(pull, *arguments) == {"cross_entropy_pull": 1}
    assert mosaic_gpu.moved(pull, *arguments) == [512 * (2 * each + 4 * 9)]


def test_a_target_of_its_own_for_each_class_runs_in_the_xla_form():
    z = jax.ShapeDtypeStruct((512, 1000), "float32")
    assert not mosaic_gpu.count(cross_entropy, z, z)
