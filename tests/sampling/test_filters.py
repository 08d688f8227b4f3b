"""Every filter keeps what a float64 reference keeps, at random and at the edges."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtemp.sampling import filters
from tests.sampling.filter_truth import (
    Kept,
    Truth,
    complaints,
    counts,
    random_rows,
    shares,
)

# Numbers of classes and rows: more than 100 000 rows for each filter.
ROWS = {1: 2_000, 2: 15_000, 3: 45_000, 8: 35_000, 65: 8_000, 1000: 200, 131_072: 6}
HALF = {3: 3_000, 65: 1_000}


def sigmas(classes, count):
    return (5 * shares(classes, count)).astype(np.float32)


def bits(classes, count):
    return (12 * shares(classes, count)).astype(np.float32)


def small(classes, count):
    return (shares(classes, count) ** 4).astype(np.float32)


def mirostat(logits, mu, **keywords):
    return filters.mirostat(logits, filters.Mirostat(mu), **keywords)


# The filter and its parameter, by the name that the truth has too.
FILTERS = {
    "top_k": (filters.top_k, counts),
    "top_p": (filters.top_p, shares),
    "min_p": (filters.min_p, small),
    "typical_p": (filters.typical_p, shares),
    "top_h": (filters.top_h, shares),
    "epsilon_cutoff": (filters.epsilon_cutoff, small),
    "eta_cutoff": (filters.eta_cutoff, small),
    "top_n_sigma": (filters.top_n_sigma, sigmas),
    "mirostat": (mirostat, bits),
}
WITH_LEAST = [name for name in FILTERS if name not in ("top_h", "mirostat")]


@functools.cache
def compiled(name, **keywords):
    return jax.jit(functools.partial(FILTERS[name][0], **keywords))


def judge(name: str, logits, number, filtered, **settings) -> None:
    """Assert that a filter's result is one that the truth allows."""
    truth = Truth(logits)
    kept = getattr(truth, name)(number, **settings)
    if name != "typical_p":
        assert not complaints(logits, filtered, kept)
        return
    # Few rows have classes that typicality can hardly tell apart.
    doubtful = ((np.asarray(filtered) > -np.inf) != kept.must).any(axis=-1)
    assert doubtful.sum() <= 2 + 0.01 * len(logits)
    kept = Kept(kept.must.copy(), kept.may.copy())
    if doubtful.any():
        near = Truth(logits[doubtful]).nearly_typical_p(number[doubtful], **settings)
        kept.must[doubtful], kept.may[doubtful] = near
    assert not complaints(logits, filtered, kept)


GROUPS = [(name, classes, count) for name in FILTERS for classes, count in ROWS.items()]


@pytest.mark.parametrize(("name", "classes", "count"), GROUPS)
def test_keeps_what_the_truth_keeps(name, classes, count):
    logits = random_rows("float32", classes, count)
    number = FILTERS[name][1](classes, count)
    judge(name, logits, number, compiled(name)(logits, number))


def test_filters_are_tried_on_more_than_100_000_rows():
    assert sum(ROWS.values()) > 100_000


@pytest.mark.parametrize("classes", HALF)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
@pytest.mark.parametrize("name", FILTERS)
def test_keeps_what_the_truth_keeps_in_other_types(name, dtype, classes):
    with jax.enable_x64(dtype == "float64"):
        logits = random_rows(dtype, classes, HALF[classes])
        number = FILTERS[name][1](*logits.shape[::-1])
        judge(name, logits, number, compiled(name)(logits, number))


@pytest.mark.parametrize("name", ["top_k", "top_p"])
@pytest.mark.parametrize("classes", [8, 65])
def test_ties_all_also_keeps_what_equals_the_last(name, classes):
    logits = random_rows("bfloat16", classes, 3_000).astype(np.float32)
    number = FILTERS[name][1](*logits.shape[::-1])
    filtered = compiled(name, ties="all")(logits, number)
    judge(name, logits, number, filtered, ties="all")


@pytest.mark.parametrize("least", [3, 100])
@pytest.mark.parametrize("name", WITH_LEAST)
def test_min_tokens_to_keep_stay_in_any_case(name, least):
    logits = random_rows("float32", 8, 3_000)
    number = FILTERS[name][1](*logits.shape[::-1])
    filtered = compiled(name, min_tokens_to_keep=least)(logits, number)
    judge(name, logits, number, filtered, least=least)


def test_min_tokens_to_keep_may_differ_from_row_to_row():
    logits = jnp.zeros((3, 4))
    filtered = filters.top_p(logits, 0.0, min_tokens_to_keep=jnp.array([1, 3, 9]))
    assert (filtered > -jnp.inf).sum(-1).tolist() == [1, 3, 4]


OFF = {
    "top_k 0": lambda x: filters.top_k(x, 0),
    "top_k of all": lambda x: filters.top_k(x, x.shape[-1]),
    "top_k of more": lambda x: filters.top_k(x, 2**60),
    "top_p": lambda x: filters.top_p(x, 1),
    "min_p": lambda x: filters.min_p(x, 0),
    "typical_p": lambda x: filters.typical_p(x, 1.0),
    "top_h": lambda x: filters.top_h(x, 1.0),
    "epsilon_cutoff": lambda x: filters.epsilon_cutoff(x, 0.0),
    "eta_cutoff": lambda x: filters.eta_cutoff(x, 0.0),
    "top_n_sigma 0": lambda x: filters.top_n_sigma(x, 0.0),
    "top_n_sigma inf": lambda x: filters.top_n_sigma(x, jnp.inf),
    "mirostat": lambda x: filters.mirostat(
        x, filters.mirostat_init(jnp.inf, x.shape[:-1])
    ),
    "xtc probability": lambda x: filters.xtc(jax.random.key(0), x, 0.1, 0.0),
    "xtc threshold": lambda x: filters.xtc(jax.random.key(0), x, 0.51, 1.0),
    "dynamic_temperature": lambda x: filters.dynamic_temperature(x, 1.0, 1.0),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", OFF)
def test_a_filter_that_is_off_returns_its_input_to_the_last_bit(name, dtype):
    logits = jnp.asarray(random_rows(dtype, 8, 40))
    logits = logits.at[0, :3].set(jnp.array([-0.0, 1e-40, -300.0], logits.dtype))
    kind = jnp.uint32 if dtype == "float32" else jnp.uint16
    np.testing.assert_array_equal(OFF[name](logits).view(kind), logits.view(kind))


ON = {
    **{name: call for name, (call, _) in FILTERS.items()},
    "xtc": lambda x, p, axis=-1: filters.xtc(
        jax.random.key(0), x, p / 4, 1.0, axis=axis
    ),
    "dynamic_temperature": lambda x, p, axis=-1: filters.dynamic_temperature(
        x, p, 2.0, axis=axis
    ),
}


def strength(name):
    return 2 if name == "top_k" else 0.5


@pytest.mark.parametrize("name", ON)
@pytest.mark.parametrize("poison", [np.nan, np.inf, "nothing allowed"])
def test_a_row_that_is_no_distribution_stays_and_its_neighbours_do_not_notice(
    name, poison
):
    logits = random_rows("float32", 8, 40)
    spoilt = logits.copy()
    spoilt[7] = -np.inf
    if poison != "nothing allowed":
        spoilt[7] = logits[8]
        spoilt[7, 3] = poison
    got = np.asarray(ON[name](jnp.asarray(spoilt), strength(name)))
    np.testing.assert_array_equal(got[7], spoilt[7])
    want = np.asarray(ON[name](jnp.asarray(logits), strength(name)))
    np.testing.assert_array_equal(np.delete(got, 7, 0), np.delete(want, 7, 0))


@pytest.mark.parametrize("name", ON)
@pytest.mark.parametrize("axis", [0, -2])
def test_the_classes_may_stand_on_any_axis(name, axis):
    logits = random_rows("float32", 6, 20).reshape(4, 5, 6)
    moved = np.moveaxis(logits, -1, axis)
    got = ON[name](jnp.asarray(moved), strength(name), axis=axis)
    want = ON[name](jnp.asarray(logits), strength(name))
    np.testing.assert_array_equal(np.moveaxis(np.asarray(got), axis, -1), want)


@pytest.mark.parametrize("name", FILTERS)
def test_vmap_jit_and_single_rows_agree(name):
    call, draw = FILTERS[name]
    logits = random_rows("float32", 8, 40)
    number = draw(8, 40)
    want = np.asarray(call(jnp.asarray(logits), jnp.asarray(number)))
    np.testing.assert_array_equal(jax.jit(call)(logits, number), want)
    np.testing.assert_array_equal(jax.jit(jax.vmap(call))(logits, number), want)
    shaped = call(logits.reshape(4, 10, 8), number.reshape(4, 10))
    np.testing.assert_array_equal(shaped.reshape(40, 8), want)
    for row in range(5):
        one = call(jnp.asarray(logits[row]), number[row].item())
        np.testing.assert_array_equal(one, want[row])


@pytest.mark.parametrize("name", FILTERS)
def test_the_gradient_passes_to_what_is_kept_alone(name):
    logits = jnp.asarray(random_rows("float32", 8, 40))
    call = ON[name]

    def total(x):
        kept = call(x, strength(name))
        return jnp.sum(jnp.where(kept > -jnp.inf, kept, 0))

    kept = call(logits, strength(name)) > -jnp.inf
    np.testing.assert_array_equal(jax.grad(total)(logits), kept.astype(jnp.float32))


@pytest.mark.parametrize("name", ["top_k", "top_p", "min_p", "typical_p", "top_h"])
def test_nothing_is_sorted(name):
    text = compiled(name).lower(jnp.zeros((4, 50)), strength(name)).as_text()
    assert "sort" not in text
    assert "top_k" not in text.replace("jit_top_k", "").replace("@top_k", "")


def test_a_sum_that_is_exactly_the_target_is_enough():
    logits = jnp.zeros(4)
    for p, count in ((0.25, 1), (0.5, 2), (0.75, 3)):
        assert (filters.top_p(logits, p) > -jnp.inf).sum() == count
        assert (filters.typical_p(logits, p) > -jnp.inf).sum() == count
        assert (filters.top_h(logits, p) > -jnp.inf).sum() == count


def test_a_lone_certain_token_keeps_top_h_to_one():
    logits = jnp.array([0.0, -300.0, -300.0, -jnp.inf])
    assert (filters.top_h(logits, 0.9) > -jnp.inf).tolist() == [True] + [False] * 3
