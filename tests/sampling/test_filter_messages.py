"""Every message of the filters, word for word."""

import jax
import jax.numpy as jnp
import pytest

from jaxtemp.sampling import filters

LOGITS = jnp.zeros((2, 4))
KEY = jax.random.key(0)
STATE = filters.mirostat_init(5.0, (2,))
IDS = jnp.array([0, 1])

OUTSIDE = [
    (
        lambda: filters.top_k(LOGITS, -1),
        "`k` must be an integer >= 0, got -1; pass 0 to keep all tokens.",
    ),
    (
        lambda: filters.top_k(LOGITS, jnp.array([1, -3])),
        "`k` must be an integer >= 0, got -3; pass 0 to keep all tokens.",
    ),
    (
        lambda: filters.top_p(LOGITS, 1.5),
        "`p` must be in [0, 1], got 1.5; pass the mass to keep, 1 for all tokens.",
    ),
    (
        lambda: filters.top_p(LOGITS, jnp.array([0.5, jnp.nan])),
        "`p` must be in [0, 1], got nan; pass the mass to keep, 1 for all tokens.",
    ),
    (
        lambda: filters.typical_p(LOGITS, -0.5),
        "`p` must be in [0, 1], got -0.5; pass the mass to keep, 1 for all tokens.",
    ),
    (
        lambda: filters.min_p(LOGITS, 1.05),
        "`p` must be in [0, 1], got 1.05; "
        "pass a share of the largest probability, 0 to keep all tokens.",
    ),
    (
        lambda: filters.top_h(LOGITS, 2),
        "`h` must be in [0, 1], got 2.0; "
        "pass the share of the entropy to keep, 1 for all tokens.",
    ),
    (
        lambda: filters.epsilon_cutoff(LOGITS, -1e-4),
        "`epsilon` must be in [0, 1], got -0.0001; "
        "pass the least probability to keep, 0 for all tokens.",
    ),
    (
        lambda: filters.eta_cutoff(LOGITS, 3.0),
        "`epsilon` must be in [0, 1], got 3.0; "
        "pass the least probability to keep, 0 for all tokens.",
    ),
    (
        lambda: filters.top_n_sigma(LOGITS, -1.0),
        "`n` must be in [0, inf], got -1.0; pass 0 to keep all tokens.",
    ),
    (
        lambda: filters.xtc(KEY, LOGITS, 1.5, 0.5),
        "`threshold` must be in [0, 1], got 1.5; "
        "pass a probability, above 0.5 to exclude nothing.",
    ),
    (
        lambda: filters.xtc(KEY, LOGITS, 0.1, -0.5),
        "`probability` must be in [0, 1], got -0.5; "
        "pass how often to exclude, 0 for never.",
    ),
    (
        lambda: filters.dynamic_temperature(LOGITS, -0.5, 1.0),
        "`low` must be in [0, inf], got -0.5; pass the temperature at this end.",
    ),
    (
        lambda: filters.dynamic_temperature(LOGITS, 0.5, -1.0),
        "`high` must be in [0, inf], got -1.0; pass the temperature at this end.",
    ),
    (
        lambda: filters.dynamic_temperature(LOGITS, 0.5, 1.0, -2.0),
        "`exponent` must be in [0, inf], got -2.0; "
        "pass 1 to follow the entropy in proportion.",
    ),
    (
        lambda: filters.mirostat_init(-5.0),
        "`tau` must be in [0, inf], got -5.0; pass the surprise to aim at, in bits.",
    ),
    (
        lambda: filters.mirostat_update(STATE, LOGITS, IDS, tau=-1.0),
        "`tau` must be in [0, inf], got -1.0; pass the surprise to aim at, in bits.",
    ),
    (
        lambda: filters.mirostat_update(STATE, LOGITS, IDS, eta=-1.0),
        "`eta` must be in [0, inf], got -1.0; pass a learning rate, for example 0.1.",
    ),
    (
        lambda: filters.mirostat_update(STATE, LOGITS, IDS - 2),
        "`ids` must be an integer >= -1, got -2; "
        "pass the ids that were sampled, -1 for none.",
    ),
    (
        lambda: filters.mirostat(LOGITS, filters.Mirostat(jnp.array([jnp.nan, 1.0]))),
        "`mu` must be in [-inf, inf], got nan; pass the state of `mirostat_init`.",
    ),
    (
        lambda: filters.top_k(LOGITS, 1, ties="any"),
        "`ties` must be 'index' or 'all', got 'any'; pass 'index' to keep the "
        "lowest indices among equals, 'all' to keep all of them.",
    ),
    (
        lambda: filters.top_p(LOGITS, 0.5, ties=None),
        "`ties` must be 'index' or 'all', got None; pass 'index' to keep the "
        "lowest indices among equals, 'all' to keep all of them.",
    ),
]
LEAST = [
    lambda least: filters.top_k(LOGITS, 2, min_tokens_to_keep=least),
    lambda least: filters.top_p(LOGITS, 0.5, min_tokens_to_keep=least),
    lambda least: filters.min_p(LOGITS, 0.5, min_tokens_to_keep=least),
    lambda least: filters.typical_p(LOGITS, 0.5, min_tokens_to_keep=least),
    lambda least: filters.epsilon_cutoff(LOGITS, 0.5, min_tokens_to_keep=least),
    lambda least: filters.eta_cutoff(LOGITS, 0.5, min_tokens_to_keep=least),
    lambda least: filters.top_n_sigma(LOGITS, 0.5, min_tokens_to_keep=least),
    lambda least: filters.xtc(KEY, LOGITS, 0.1, 0.5, min_tokens_to_keep=least),
]
PER_ROW = [
    (lambda z, x: filters.top_k(z, x.astype(int)), "k"),
    (filters.top_p, "p"),
    (filters.min_p, "p"),
    (filters.typical_p, "p"),
    (filters.top_h, "h"),
    (filters.epsilon_cutoff, "epsilon"),
    (filters.eta_cutoff, "epsilon"),
    (filters.top_n_sigma, "n"),
    (lambda z, x: filters.xtc(KEY, z, x, 0.5), "threshold"),
    (lambda z, x: filters.xtc(KEY, z, 0.5, x), "probability"),
    (lambda z, x: filters.dynamic_temperature(z, x, 1.0), "low"),
    (lambda z, x: filters.dynamic_temperature(z, 1.0, x), "high"),
    (lambda z, x: filters.dynamic_temperature(z, 0.5, 1.0, x), "exponent"),
    (lambda z, x: filters.mirostat(z, filters.Mirostat(x)), "mu"),
]
WRONG_TYPE = [
    (
        lambda: filters.top_k(LOGITS, 1.5),
        "`k` must be an integer, got dtype float32; pass 0 to keep all tokens.",
    ),
    (
        lambda: filters.top_p(LOGITS, True),
        "`p` must be real, got dtype bool; pass a real number or array in [0, 1].",
    ),
    (
        lambda: filters.top_p(LOGITS, "most"),
        "`p` must be an array or a number, got str; "
        "pass something that `jnp.asarray` accepts.",
    ),
    (
        lambda: filters.mirostat_update(STATE, LOGITS, IDS * 1.0),
        "`ids` must be an integer, got dtype float32; "
        "pass the ids that were sampled, -1 for none.",
    ),
    (
        lambda: filters.min_p(jnp.arange(4), 0.5),
        "`logits` must be real floating point, got dtype int32; "
        "convert it first, for example `logits.astype(jnp.float32)`.",
    ),
    (
        lambda: filters.xtc(0, LOGITS, 0.1, 0.5),
        "`key` must be a JAX random key, got int; make one with `jax.random.key(0)`.",
    ),
]


def message(call, kind):
    with pytest.raises(kind) as raised:
        call()
    return str(raised.value)


@pytest.mark.parametrize(("call", "text"), OUTSIDE)
def test_a_number_outside_its_range_is_named_with_the_fix(call, text):
    assert message(call, ValueError) == text


@pytest.mark.parametrize(("call", "text"), WRONG_TYPE)
def test_a_wrong_type_is_named_with_the_fix(call, text):
    assert message(call, TypeError) == text


@pytest.mark.parametrize("call", LEAST)
def test_at_least_one_token_must_be_kept(call):
    assert message(lambda: call(0), ValueError) == (
        "`min_tokens_to_keep` must be an integer >= 1, got 0; "
        "pass how many tokens each row keeps at least."
    )


@pytest.mark.parametrize(("call", "name"), PER_ROW)
def test_a_parameter_never_broadcasts_against_the_classes(call, name):
    assert message(lambda: call(LOGITS, jnp.ones((2, 1))), ValueError) == (
        f"`{name}` must broadcast to the batch shape (2,) (the logits' shape without "
        f"the class axis), got shape (2, 1); drop its last axis: `{name}[..., 0]`."
    )


def test_traced_numbers_are_not_refused():
    jax.eval_shape(filters.top_p, LOGITS, 1.5)
    jax.eval_shape(filters.top_k, LOGITS, -1)
