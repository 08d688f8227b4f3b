"""The ops and their gradients, exported for several platforms at once.

What an exported program computes is compared with `tests.truth.Truth`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxtemp
from tests import cases
from tests.truth import OPS, Truth


def arguments(dtype):
    """Return rows over the whole range of τ, and cotangents."""
    logits = np.random.default_rng(0).normal(size=(6, 40))
    logits[:, 3], logits[2, :7] = -np.inf, 1.5
    tau = np.array([0, 1e-45, 0.3, 1, 40, np.inf], np.float32)
    rows = cases.Rows(np.asarray(jnp.asarray(logits, dtype)), tau, None)
    return rows, rows.cotangents()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_export_for_three_platforms(dtype):
    """One artefact serves all three, and its CPU side is right."""
    rows, cotangents = arguments(dtype)
    exported = jax.export.export(jax.jit(cases.pull), platforms=("cpu", "cuda", "tpu"))(
        rows.arguments, cotangents
    )
    assert exported.platforms == ("cpu", "cuda", "tpu")
    values, gradients = exported.call(rows.arguments, cotangents)
    truth = Truth(*rows)
    cases.check(rows, 2e-6, {op: (truth.value(op), values[op]) for op in OPS})
    cases.check(rows, 1e-5, cases.gradient_pairs(truth, cotangents, gradients))


@pytest.mark.parametrize("op", OPS)
def test_gradient_of_exported_op(op):
    """An exported op can be differentiated where it is called."""
    rows, cotangents = arguments("float32")
    exported = jax.export.export(jax.jit(getattr(jaxtemp, op)))(*rows.arguments)
    _, pull = jax.vjp(exported.call, *rows.arguments)
    one = {op: cotangents[op]}
    pairs = cases.gradient_pairs(Truth(*rows), one, {op: pull(one[op])})
    cases.check(rows, 1e-5, pairs)


@pytest.mark.parametrize("platform", ["rocm", "cuda", "tpu"])
def test_lowering_for_one_platform_alone(platform):
    """A platform that no kernel was written for gets the XLA form."""
    rows, cotangents = arguments("float32")
    exported = jax.export.export(jax.jit(cases.pull), platforms=(platform,))(
        rows.arguments, cotangents
    )
    assert exported.platforms == (platform,)
