"""Under `jax_numpy_dtype_promotion="strict"` everything lowers: no types are mixed."""

import jax
import jax.numpy as jnp
import pytest

import jaxtemp
from jaxtemp import calibration, learning, losses, policies, random, sampling
from jaxtemp.random import estimators
from jaxtemp.sampling import beam, filters, penalties

KEY = jax.random.key(0)
TAU = jnp.array([0.5, 1.0, 2.0], jnp.float32)
LABELS = jnp.array([0, 1, 2])
TOKENS = jnp.array([[0, 1, 0, 1], [2, 2, 2, -1], [3, 1, 4, 1]])
PER_ROW = {"top_k": jnp.array([1, 2, 3]), "top_p": TAU / 2, "min_p": TAU / 9}

OPS = {
    **{
        name: getattr(jaxtemp, name)
        for name in (
            *("softmax", "log_softmax", "logsumexp", "free_energy", "entropy"),
            *("mean_energy", "heat_capacity", "sparsemax"),
        )
    },
    "entmax": lambda z, tau: jaxtemp.entmax(z, tau, alpha=1.5),
    "gumbel_softmax": lambda z, tau: jaxtemp.gumbel_softmax(KEY, z, tau),
    "hard": lambda z, tau: jaxtemp.gumbel_softmax(KEY, z, tau, hard=True),
    "straight_through": lambda z, tau: estimators.straight_through(KEY, z, tau),
    "reinmax": lambda z, tau: estimators.reinmax(KEY, z, tau),
    "gumbel_rao": lambda z, tau: estimators.gumbel_rao(KEY, z, tau),
    "relaxed_top_k": lambda z, tau: random.relaxed_top_k(KEY, z, 2, tau),
    "cross_entropy": lambda z, tau: losses.cross_entropy(z, LABELS, tau),
    "linear_cross_entropy": lambda z, tau: losses.linear_cross_entropy(
        z, jnp.ones((z.shape[-1], 9), z.dtype), LABELS, tau
    ),
    "distillation": lambda z, tau: losses.distillation(z, 2 * z, tau),
}

DRAWS = {
    "categorical": lambda z: jaxtemp.categorical(KEY, z, TAU),
    "greedy": lambda z: jaxtemp.categorical(KEY, z, 0.0),
    "several": lambda z: jaxtemp.categorical(KEY, z, TAU, shape=(4, 3)),
    "sample": lambda z: jaxtemp.sample(KEY, z, TAU, **PER_ROW),
    "log_probs": lambda z: sampling.sample_with_log_probs(KEY, z, TAU, top_p=0.9),
    "sinkhorn": lambda z: random.gumbel_sinkhorn(KEY, z[:, :3], 1.0),
    "policy": lambda z: policies.Boltzmann(z, TAU).sample(KEY),
    "solve": lambda z: learning.solve_temperature(z, 1.0),
    "fit": lambda z: calibration.fit_temperature(z, LABELS),
    "vector_scaling": lambda z: calibration.fit_vector_scaling(z, LABELS),
    "top_p": lambda z: filters.top_p(z, TAU / 2),
    "dry": lambda z: penalties.dry(z, TOKENS, 0.5),
    "frequency": lambda z: penalties.frequency(z, TOKENS, 0.5),
    "no_repeat_ngram": lambda z: penalties.no_repeat_ngram(z, TOKENS, 2),
    "ece": lambda z: calibration.calibration_error(jaxtemp.softmax(z), LABELS),
    "mce": lambda z: calibration.maximum_calibration_error(jaxtemp.softmax(z), LABELS),
    "smooth_ece": lambda z: calibration.smooth_calibration_error(
        jaxtemp.softmax(z), LABELS
    ),
    "brier": lambda z: calibration.brier_decomposition(jaxtemp.softmax(z), LABELS),
    "beam": lambda z: beam.search(
        lambda ids, step, state: (jnp.broadcast_to(z[0], (*ids.shape, 7)), state),
        (),
        jnp.array(0),
        beams=2,
        length=3,
    ),
}


LOGITS = jax.random.normal(jax.random.key(1), (3, 7), jnp.bfloat16)


def lower(f, *arguments):
    with jax.numpy_dtype_promotion("strict"):
        return jax.jit(f).lower(*arguments)


@pytest.mark.parametrize("op", OPS)
def test_value_and_gradient_mix_no_types(op):
    def total(z, tau):
        return OPS[op](z, tau).astype(jnp.float32).sum()

    slopes = lower(jax.grad(total, (0, 1)), LOGITS, TAU).out_info
    assert [slope.dtype for slope in slopes] == [jnp.bfloat16, jnp.float32]


@pytest.mark.parametrize("draw", DRAWS)
def test_draws_and_fits_mix_no_types(draw):
    strict = lower(DRAWS[draw], LOGITS).out_info
    usual = jax.eval_shape(DRAWS[draw], LOGITS)
    assert jax.tree.map(lambda x: x.dtype, strict) == jax.tree.map(
        lambda x: x.dtype, usual
    )
