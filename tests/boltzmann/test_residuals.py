"""What a backward pass keeps: the arrays in the closure that `jax.vjp` returns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxtemp
from tests.truth import OPS, VECTOR_OPS

SHAPE = (16, 256)


def kept(op, logits, temperature, where):
    """Run forward; return the result and the arrays that the backward pass holds."""
    function = getattr(jaxtemp, op)
    value, pull = jax.vjp(lambda z, t: function(z, t, where=where), logits, temperature)
    return value, jax.tree.leaves(pull)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("transform", ["eager", "jit"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("op", OPS)
def test_only_inputs_and_outputs_are_kept(op, dtype, transform, masked):
    """No array of the logits' size but the logits, the mask and the result.

    All else that is kept is per row, and at most a handful of numbers for each.
    """
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=SHAPE), dtype)
    tau = jnp.asarray(rng.uniform(0.5, 2, SHAPE[0]), jnp.float32)
    where = jnp.asarray(rng.random(SHAPE) < 0.8) if masked else None
    run = jax.jit(kept, static_argnums=0) if transform == "jit" else kept
    value, arrays = run(op, logits, tau, where)

    known = [logits, where] if masked else [logits]
    if masked:  # the same array with the mask written into it may replace the logits
        known.append(jnp.where(where, logits, -jnp.inf))
    if op in VECTOR_OPS:
        known.append(value)
    large = [x for x in arrays if x.size >= logits.size]
    for x in large:
        assert any(_same(x, y) for y in known), f"keeps {x.dtype}{x.shape}: {x}"
    rest = [x for x in arrays if x.size < logits.size]
    assert sum(x.size for x in rest) <= 8 * SHAPE[0]


def _same(x, y) -> bool:
    return x.dtype == y.dtype and bool((x == y).all())
