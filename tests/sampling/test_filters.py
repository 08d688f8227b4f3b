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
    stacked,
)

# Rows of so many classes, in arrays that are as wide as the most of them: more than
# 100 000 rows for each filter.
UP_TO_8 = {2: 15_000, 3: 45_000, 8: 35_000}
GROUPS = [{1: 2_000}, UP_TO_8, {65: 8_000}, {1000: 200}, {131_072: 6}]
OF_OTHER_TYPES = {3: 3_000, 65: 1_000}


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


ON = {
    **{name: call for name, (call, _) in FILTERS.items()},
    "xtc": lambda x, p, axis=-1: filters.xtc(
        jax.random.key(0), x, p / 4, 1.0, axis=axis
    ),
    "dynamic_temperature": lambda x, p, axis=-1: filters.dynamic_temperature(
        x, p, 2.0, axis=axis
    ),
}


def every(logits, numbers):
    """What each filter that has a number makes of the same logits."""
    return {name: ON[name](logits, number) for name, number in numbers.items()}


# One program for all filters takes less to compile than one for each.
compiled = jax.jit(every)


def random_group(dtype, group) -> np.ndarray:
    """Random rows below each other, as wide as the widest."""
    parts = [random_rows(dtype, *part) for part in group.items()]
    return stacked(parts, sum(group.values()), max(group))


# The one shape in which most filters are called without jit.
EAGER = 5, 100


def eager_rows(dtype="float32") -> np.ndarray:
    return random_rows(dtype, 8, 500).reshape(*EAGER, 8)


@functools.cache
def outcome(dtype, group):
    """Random logits, a number of each row for every filter, and what they return."""
    logits = random_group(dtype, dict(group))
    numbers = {
        name: np.concatenate([draw(*part) for part in group])
        for name, (_, draw) in FILTERS.items()
    }
    with jax.enable_x64(dtype == "float64"):
        return logits, numbers, jax.device_get(compiled(logits, numbers))


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


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_keeps_what_the_truth_keeps(group, name):
    logits, numbers, filtered = outcome("float32", tuple(group.items()))
    judge(name, logits, numbers[name], filtered[name])


def test_filters_are_tried_on_more_than_100_000_rows():
    assert sum(sum(group.values()) for group in GROUPS) > 100_000


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_keeps_what_the_truth_keeps_in_other_types(dtype, name):
    logits, numbers, filtered = outcome(dtype, tuple(OF_OTHER_TYPES.items()))
    judge(name, logits, numbers[name], filtered[name])


@pytest.mark.parametrize("name", ["top_k", "top_p"])
def test_ties_all_also_keeps_what_equals_the_last(name):
    logits = random_group("bfloat16", {8: 3_000, 65: 3_000}).astype(np.float32)
    call, draw = FILTERS[name]
    number = np.concatenate([draw(8, 3_000), draw(65, 3_000)])
    filtered = call(logits, number, ties="all")
    judge(name, logits, number, filtered, ties="all")


@pytest.mark.parametrize("least", [3, 100])
@pytest.mark.parametrize("name", WITH_LEAST)
def test_min_tokens_to_keep_stay_in_any_case(name, least):
    call, draw = FILTERS[name]
    logits, number = random_rows("float32", 8, 3_000), draw(8, 3_000)
    parts = zip(logits.reshape(6, *EAGER, 8), number.reshape(6, *EAGER), strict=True)
    filtered = [call(*part, min_tokens_to_keep=least) for part in parts]
    judge(name, logits, number, np.reshape(filtered, logits.shape), least=least)


def test_min_tokens_to_keep_may_differ_from_row_to_row():
    least = np.resize([1, 3, 9], EAGER)
    filtered = filters.top_p(jnp.zeros((*EAGER, 8)), 0.0, min_tokens_to_keep=least)
    kept = (np.asarray(filtered) > -np.inf).sum(-1)
    np.testing.assert_array_equal(kept, np.minimum(least, 8))


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


def with_odd_bits(logits) -> np.ndarray:
    """The rows, with a negative zero and a number that is not normal in the first."""
    logits = logits.copy()
    logits.reshape(-1)[:3] = -0.0, 1e-40, -300.0
    return logits


def assert_same_bits(got, want):
    kind = f"uint{8 * want.dtype.itemsize}"
    np.testing.assert_array_equal(np.asarray(got).view(kind), want.view(kind))


@pytest.mark.parametrize("name", OFF)
def test_a_filter_that_is_off_returns_its_input_to_the_last_bit(name):
    logits = with_odd_bits(eager_rows())
    assert_same_bits(OFF[name](jnp.asarray(logits)), logits)


OFF_BY_ROW = {
    **{"top_k": [0, 65, 2**31 - 1], "top_p": [1], "min_p": [0], "typical_p": [1]},
    **{"top_h": [1], "epsilon_cutoff": [0], "eta_cutoff": [0]},
    **{"top_n_sigma": [0, np.inf], "mirostat": [np.inf]},
}


@pytest.mark.parametrize("name", FILTERS)
def test_a_jitted_filter_that_is_off_returns_its_input_to_the_last_bit(name):
    logits, numbers, _ = outcome("bfloat16", tuple(OF_OTHER_TYPES.items()))
    logits = with_odd_bits(logits)
    count = len(logits)
    off = {name: np.resize(OFF_BY_ROW[name], count) for name in FILTERS}
    off = {name: off[name].astype(numbers[name].dtype) for name in FILTERS}
    assert_same_bits(compiled(logits, off)[name], logits)


@pytest.mark.parametrize(
    "name", ["xtc probability", "xtc threshold", "dynamic_temperature"]
)
def test_what_is_off_returns_half_types_to_the_last_bit(name):
    logits = with_odd_bits(eager_rows("bfloat16"))
    assert_same_bits(OFF[name](jnp.asarray(logits)), logits)


def strength(name):
    return 2 if name == "top_k" else 0.5


@pytest.mark.parametrize("name", ON)
@pytest.mark.parametrize("poison", [np.nan, np.inf, "nothing allowed"])
def test_a_row_that_is_no_distribution_stays_and_its_neighbours_do_not_notice(
    name, poison
):
    logits = eager_rows()
    spoilt = logits.copy()
    spoilt[0, 7] = -np.inf
    if poison != "nothing allowed":
        spoilt[0, 7] = logits[0, 8]
        spoilt[0, 7, 3] = poison
    got = np.array(ON[name](jnp.asarray(spoilt), strength(name)))
    np.testing.assert_array_equal(got[0, 7], spoilt[0, 7])
    want = np.asarray(ON[name](jnp.asarray(logits), strength(name)))
    got[0, 7] = want[0, 7]
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("name", ON)
@pytest.mark.parametrize("axis", [0, -2])
def test_the_classes_may_stand_on_any_axis(name, axis):
    logits = eager_rows()
    moved = np.moveaxis(logits, -1, axis)
    got = ON[name](jnp.asarray(moved), strength(name), axis=axis)
    want = ON[name](jnp.asarray(logits), strength(name))
    np.testing.assert_array_equal(np.moveaxis(np.asarray(got), axis, -1), want)


@functools.cache
def of_every_row():
    """What vmapped filters make of the rows of up to eight classes."""
    logits, numbers, _ = outcome("float32", tuple(UP_TO_8.items()))
    return jax.device_get(jax.jit(jax.vmap(every))(logits, numbers))


@pytest.mark.parametrize("name", FILTERS)
def test_vmap_jit_and_more_batch_axes_agree(name):
    logits, numbers, want = outcome("float32", tuple(UP_TO_8.items()))
    np.testing.assert_array_equal(of_every_row()[name], want[name])
    last, number = logits[-500:], numbers[name][-500:]
    shaped = FILTERS[name][0](last.reshape(*EAGER, 8), number.reshape(EAGER))
    np.testing.assert_array_equal(shaped.reshape(-1, 8), want[name][-500:])


# Those of the other three are the published ones in `test_public_filter_cases`.
@pytest.mark.parametrize("name", ["top_k", "min_p", *list(FILTERS)[5:]])
def test_single_rows_are_filtered_as_in_a_batch(name):
    logits, numbers, want = outcome("float32", tuple(UP_TO_8.items()))
    for row in range(-5, 0):
        number = numbers[name][row].item()
        got = FILTERS[name][0](jnp.asarray(logits[row]), number)
        np.testing.assert_array_equal(got, want[name][row])


@pytest.mark.parametrize("name", FILTERS)
def test_the_gradient_passes_to_what_is_kept_alone(name):
    logits = jnp.asarray(eager_rows())
    call = ON[name]

    def total(x):
        kept = call(x, strength(name))
        return jnp.sum(jnp.where(kept > -jnp.inf, kept, 0))

    kept = np.asarray(call(logits, strength(name))) > -np.inf
    np.testing.assert_array_equal(jax.grad(total)(logits), kept.astype(np.float32))


def test_nothing_is_sorted():
    logits, numbers, _ = outcome("float32", tuple(UP_TO_8.items()))
    text = compiled.lower(logits, numbers).as_text()
    assert "sort" not in text
    assert "top_k" not in text.replace("['top_k']", "")


def test_a_sum_that_is_exactly_the_target_is_enough():
    logits = np.broadcast_to([0.0] * 4 + [-np.inf] * 4, (*EAGER, 8))
    for p, count in ((0.25, 1), (0.5, 2), (0.75, 3)):
        for call in (filters.top_p, filters.typical_p, filters.top_h):
            kept = np.asarray(call(logits, p)) > -np.inf
            assert (kept.sum(-1) == count).all()


def test_a_lone_certain_token_keeps_top_h_to_one():
    logits = np.broadcast_to([0.0, -300.0, -300.0] + [-np.inf] * 5, (*EAGER, 8))
    kept = np.asarray(filters.top_h(logits, 0.9)) > -np.inf
    assert (kept == (np.arange(8) == 0)).all()
