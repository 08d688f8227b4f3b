"""Chains: order, composition, keys, state, and what they are as pytrees."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtemp.sampling import _chain, steps
from jaxtemp.sampling._chain import Chain, chain
from jaxtemp.sampling._step import Step
from tests.sampling import systems

KEY = jax.random.key(0)
RAMP = np.array([3.0, 2.0, 1.0], np.float32)


apply = jax.jit(lambda chain, logits: chain.apply(logits))


def kept(logits) -> list[int]:
    return np.flatnonzero(np.asarray(logits) > -np.inf).tolist()


def chi_square(ids, p) -> float:
    """How many deviations the statistic lies above what is expected."""
    counts = np.bincount(np.asarray(ids).ravel(), minlength=p.size)
    assert counts[p == 0].sum() == 0
    want = counts.sum() * p[p > 0]
    freedom = want.size - 1
    statistic = np.sum((counts[p > 0] - want) ** 2 / want)
    return (statistic - freedom) / np.sqrt(2 * freedom) if freedom else 0.0


@pytest.mark.parametrize(
    ("made", "ids"),
    [
        (chain(steps.temperature(0.5), steps.top_p(0.8)), [0]),
        (chain(steps.top_p(0.8), steps.temperature(0.5)), [0, 1]),
        (chain(steps.top_k(2), steps.top_p(0.8)), [0, 1]),
        (chain(steps.top_p(0.8), steps.top_k(1)), [0]),
        (chain(steps.top_k(1), steps.min_p(0.0)), [0]),
        (chain(), [0, 1, 2]),
    ],
    ids=repr,
)
def test_steps_run_in_the_order_written(made, ids):
    assert kept(made.apply(RAMP)) == ids


def test_top_p_after_top_k_sees_what_is_left_renormalised():
    logits = np.log(np.array([0.4, 0.35, 0.25]))
    assert kept(chain(steps.top_k(2), steps.top_p(0.45)).apply(logits)) == [0]
    assert kept(chain(steps.top_k(2), steps.top_p(0.6)).apply(logits)) == [0, 1]


def test_a_chain_is_written_as_it_is_made():
    made = chain(steps.temperature(0.7), steps.top_k(50, ties="all"), steps.top_p(0.9))
    assert repr(made) == "chain(temperature(0.7), top_k(50, ties='all'), top_p(0.9))"
    made = chain(
        steps.repetition(1.2, over="output"),
        steps.dry(0.8, breakers=[[1], [2, 3]], over=64),
        steps.temperature(jnp.ones(3)),
        steps.min_length(jnp.int32(3), 0),
        steps.xtc(0.1, 0.5, min_tokens_to_keep=2),
    )
    assert repr(made) == (
        "chain(repetition(1.2, over='output'), "
        "dry(0.8, 1.75, 2, breakers=((1,), (2, 3)), over=64), "
        "temperature(float32[3]), min_length(int32[], int32[]), "
        "xtc(0.1, 0.5, min_tokens_to_keep=2))"
    )


def test_chains_are_sequences_and_flatten():
    first, second, third = steps.temperature(0.5), steps.top_k(3), steps.top_p(0.9)
    made = chain(first, chain(chain(second), third))
    assert made == chain(first, second, third)
    assert len(made) == 3
    assert list(made) == [first, second, third]
    assert made[1] == second
    assert made[1:] == chain(second, third)
    assert isinstance(made[:0], Chain)


def every_step():
    return [
        *(steps.temperature(0.7), steps.top_k(3), steps.top_p(0.9), steps.min_p(0.1)),
        *(steps.typical_p(0.9), steps.top_h(0.9), steps.epsilon_cutoff(0.01)),
        *(steps.eta_cutoff(0.01), steps.top_n_sigma(1.5), steps.xtc(0.1, 0.5)),
        *(steps.dynamic_temperature(0.5, 2.0, 1.0), steps.repetition(1.2)),
        *(steps.presence(0.5), steps.frequency(0.5), steps.dry(0.8)),
        *(steps.no_repeat_ngram(2), steps.bad_words([[1, 2]])),
        *(steps.logit_bias(jnp.array([1]), 2.0), steps.allowed(jnp.arange(8) != 2)),
        *(steps.bitmask(jnp.array([0b11111011], jnp.uint32)), steps.min_length(9, 3)),
    ]


@functools.cache
def after_every_step():
    """Logits, and what each step makes of them; one program, all numbers traced."""
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(2, 3, 8)), jnp.bfloat16)
    tokens = rng.integers(-1, 8, (2, 3, 5))
    keys = jax.random.split(KEY, (2, 3))

    @jax.jit
    def run(steps, logits):
        return {
            step.name: chain(step).apply(logits, tokens, key=keys) for step in steps
        }

    return logits, run(every_step(), logits)


@pytest.mark.parametrize("step", every_step(), ids=lambda step: step.name)
def test_every_step_runs_traced_and_keeps_shape_and_dtype(step):
    logits, outs = after_every_step()
    out = outs[step.name]
    assert (out.shape, out.dtype) == (logits.shape, logits.dtype)
    assert np.all(np.any(np.asarray(out, np.float32) > -np.inf, axis=-1))


@pytest.mark.parametrize("step", every_step(), ids=lambda step: step.name)
def test_every_step_comes_back_from_its_leaves(step):
    leaves, structure = jax.tree.flatten(step)
    back = jax.tree.unflatten(structure, leaves)
    assert repr(back) == repr(step)
    assert jax.tree.structure(back) == structure
    assert len(leaves) == len(step.numbers)


def test_numbers_change_without_compiling_again():
    traces = []

    @jax.jit
    def run(chain, logits):
        traces.append(chain)
        return chain.apply(logits)

    for t, k, p in [(0.5, 1, 0.9), (1.0, 2, 0.3), (2.0, 3, 1.0)]:
        made = chain(steps.temperature(t), steps.top_k(k), steps.top_p(p))
        np.testing.assert_allclose(run(made, RAMP), made.apply(RAMP), rtol=1e-6)
    assert len(traces) == 1


def test_numbers_map_under_vmap_and_tree_map():
    made = chain(
        steps.temperature(jnp.array([0.5, 1.0])), steps.top_k(jnp.array([1, 2]))
    )
    got = jax.vmap(lambda made: made.apply(RAMP))(made)
    np.testing.assert_array_equal(got, [[6, -np.inf, -np.inf], [3, 2, -np.inf]])
    doubled = jax.tree.map(lambda number: 2 * number, chain(steps.temperature(0.5)))
    assert repr(doubled) == "chain(temperature(1.0))"


def test_numbers_may_differ_by_row():
    made = chain(steps.top_k(jnp.array([1, 2])), steps.min_p(jnp.array([0.0, 0.0])))
    assert [kept(row) for row in made.apply(np.stack([RAMP, RAMP]))] == [[0], [0, 1]]


def test_a_chain_of_numbers_is_hashable():
    assert hash(chain(steps.top_k(2))) == hash(chain(steps.top_k(2)))


TAILS = {
    "temperature": (steps.temperature(0.7), lambda z: z / 0.7),
    "top_k": (steps.top_k(5), lambda z: systems.first(z, 5)),
    "top_p": (steps.top_p(0.85), lambda z: systems.llama_top_p(z, 0.85)),
    "min_p": (steps.min_p(0.15), lambda z: systems.min_p(z, 0.15)),
}


# Combinations in which any two steps are there or not in every way.
@pytest.mark.parametrize(
    "names",
    [names for size in (0, 1, 4) for names in itertools.combinations(TAILS, size)],
    ids="-".join,
)
def test_a_fused_tail_draws_from_the_distribution_of_its_steps(names):
    logits = np.array([2.0, 1.0, 1.0, 0.5, 0.0, -0.5, -1.0, -np.inf])
    true = logits
    for name in names:
        true = TAILS[name][1](true)
    made = chain(steps.presence(0.0), *(TAILS[name][0] for name in names))
    draws = 2**20 if len(names) == 4 else 2**16
    rows = jnp.broadcast_to(jnp.asarray(logits, jnp.float32), (draws, 8))
    tokens = jnp.zeros((draws, 1), jnp.int32)
    ids = jax.jit(lambda made, *args: made(KEY, *args))(made, rows, tokens)
    assert abs(chi_square(ids, systems.softmax(true))) < 5


@pytest.mark.parametrize(
    ("before", "tail"),
    [
        ([], ["temperature", "top_k", "top_p", "min_p"]),
        ([], ["temperature", "min_p"]),
        (["top_p"], ["temperature"]),
        (["min_p"], ["top_k", "top_p"]),
        (["temperature"], ["temperature", "top_p"]),
        (["top_k", "top_k"], []),
    ],
)
def test_the_last_run_in_the_order_of_sample_is_fused(before, tail, monkeypatch):
    made = chain(*(TAILS[name][0] for name in (*before, *tail)))
    if not tail:
        made = chain(
            *before and [steps.top_k(2, ties="all"), steps.top_k(2, ties="all")]
        )
    seen = {}

    def sample(key, logits, **numbers):
        seen.update(numbers)
        return jnp.argmax(logits, axis=-1)

    monkeypatch.setattr(_chain, "sample", sample)
    made(KEY, RAMP)
    assert list(seen) == tail


def test_a_chain_without_chance_draws_as_sample_does():
    logits = jnp.asarray(np.random.default_rng(1).normal(size=(64, 20)), jnp.float32)
    made = chain(steps.temperature(0.8), steps.top_k(5))
    want = _chain.sample(KEY, logits, 0.8, top_k=5)
    np.testing.assert_array_equal(made(KEY, logits), want)


def test_a_row_with_its_own_key_does_not_depend_on_others():
    keys = jax.random.split(KEY, 8)
    old = jax.random.key_data(keys)
    logits = jnp.asarray(np.random.default_rng(2).normal(size=(8, 12)), jnp.float32)
    made = chain(steps.xtc(0.1, 0.5), steps.temperature(2.0))
    together, alone = jax.jit(made), jax.jit(made)
    want = [alone(key, row) for key, row in zip(old, logits, strict=True)]
    np.testing.assert_array_equal(together(old, logits), want)
    np.testing.assert_array_equal(together(keys, logits), want)
    assert alone(keys[0], logits[0]) == want[0]


def test_a_random_step_and_the_draw_are_independent():
    p = np.array([0.4, 0.3, 0.2, 0.1])
    rows = jnp.broadcast_to(jnp.log(jnp.asarray(p, jnp.float32)), (2**20, 4))
    made = chain(steps.xtc(0.15, 0.25))
    ids = jax.jit(made)(KEY, rows)
    cut = np.array([0, 0, 2 / 3, 1 / 3])
    assert abs(chi_square(ids, 0.75 * p + 0.25 * cut)) < 5
    # The same key gives the logits that were drawn from.
    drawn_from = np.asarray(
        jax.jit(lambda key, rows: made.apply(rows, key=key))(KEY, rows)
    )
    was_cut = drawn_from[:, 0] == -np.inf
    assert abs(was_cut.mean() - 0.25) < 0.002
    assert abs(chi_square(np.asarray(ids)[was_cut], cut)) < 5
    assert abs(chi_square(np.asarray(ids)[~was_cut], p)) < 5


def test_two_random_steps_use_different_keys():
    made = chain(steps.xtc(0.15, 0.5), steps.xtc(0.05, 0.5))
    rows = jnp.broadcast_to(jnp.log(jnp.array([0.4, 0.3, 0.2, 0.1])), (20_000, 4))
    out = (
        np.asarray(jax.jit(lambda key, rows: made.apply(rows, key=key))(KEY, rows))
        > -np.inf
    )
    counts = {3: np.sum(out[:, 3] & ~out[:, 2]), 4: np.sum(out[:, 0])}
    # Neither step with chance 1/4; the second with chance 1/2 leaves the last alone.
    assert abs(counts[4] / 20_000 - 0.25) < 0.02
    assert abs(counts[3] / 20_000 - 0.5) < 0.02


TOKENS = np.array([[5, 1, -1, 2, 1, 3], [-1, -1, 4, 4, 0, -1]], np.int32)


@pytest.mark.parametrize(
    ("over", "seen"),
    [
        ("all", [[5, 1, 2, 1, 3], [4, 4, 0]]),
        ("output", [[2, 1, 3], [0]]),
        (2, [[1, 3], [4, 0]]),
        (4, [[1, 2, 1, 3], [4, 4, 0]]),
        (99, [[5, 1, 2, 1, 3], [4, 4, 0]]),
    ],
)
def test_a_penalty_sees_the_tokens_that_it_is_over(over, seen):
    made = chain(steps.frequency(0.5, over=over))
    out = made.apply(np.zeros((2, 6), np.float32), TOKENS, prompt_length=[2, 4])
    want = [-0.5 * np.bincount(row, minlength=6) for row in seen]
    np.testing.assert_allclose(out, want)
    made = chain(steps.min_length(4, 0, over=over))
    out = made.apply(np.zeros((2, 6), np.float32), TOKENS, prompt_length=[2, 4])
    short = [len(row) < 4 for row in seen]
    np.testing.assert_array_equal(np.asarray(out)[:, 0] == -np.inf, short)


def test_mirostat_follows_the_surprise_of_what_was_drawn():
    logits = np.log(np.array([0.5, 0.25, 0.15, 0.1]))
    rows = jnp.broadcast_to(jnp.asarray(logits, jnp.float32), (3, 4))
    made = chain(steps.temperature(0.9), steps.mirostat(1.0, 0.4))
    state, mu = made.init((3,)), np.full(3, 2.0)
    draw = jax.jit(made.sample)
    for index in range(10):
        ids, state = draw(jax.random.split(jax.random.key(index), 3), rows, state)
        for row in range(3):
            p = systems.softmax(logits / 0.9)
            left = systems.keep(np.log(p), (-np.log2(p) <= mu[row]) | (p == p.max()))
            assert left[ids[row]] > -np.inf
            surprise = -np.log2(systems.softmax(left)[ids[row]])
            mu[row] -= 0.4 * (surprise - 1.0)
        np.testing.assert_allclose(state[0].mu, mu, rtol=1e-4)


def test_a_chain_without_state_has_an_empty_one():
    made = chain(steps.top_k(1))
    assert made.init((4,)) == ()
    ids, state = made.sample(KEY, RAMP, ())
    assert (int(ids), state) == (0, ())


def test_where_excludes_and_a_row_without_a_distribution_gives_minus_one():
    made = chain(steps.top_k(1))
    logits = np.array([[3.0, np.nan, 1.0], [-np.inf] * 3, [np.nan, 1.0, 2.0]])
    where = np.array([[False, False, True], [True] * 3, [True] * 3])
    ids = jax.jit(made)(KEY, logits, where=where)
    np.testing.assert_array_equal(ids, [2, -1, -1])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_a_temperature_divides_within_the_range_of_the_dtype(dtype):
    z = jnp.array([[6e4, 5e4, -np.inf], [1.0, 2.0, -1.0], [-6e4, -5e4, 0.0]], dtype)
    for tau in (0.0, 1e-30, 0.25, 1.0, 8.0, np.inf):
        out = np.asarray(apply(chain(steps.temperature(tau)), z), np.float64)
        wide = np.asarray(z, np.float64)
        with np.errstate(all="ignore"):
            gap = wide - wide.max(axis=-1, keepdims=True)
            scaled = np.where(gap == 0, 0.0, gap / tau)
        scaled = np.where(wide > -np.inf, np.where(tau == np.inf, 0, scaled), -np.inf)
        want = np.exp(scaled) / np.sum(np.exp(scaled), axis=-1, keepdims=True)
        got = np.exp(out - out.max(axis=-1, keepdims=True))
        got /= got.sum(axis=-1, keepdims=True)
        np.testing.assert_allclose(got, want, atol=2e-2 if dtype != "float32" else 1e-6)


def test_logits_between_steps_are_not_rounded_to_a_half_type():
    logits = jnp.array([1.0, 1.0, 0.5], jnp.bfloat16)
    made = chain(steps.temperature(3.0), steps.temperature(1 / 3.0))
    np.testing.assert_array_equal(made.apply(logits), logits)


def test_double_precision_stays():
    with jax.enable_x64(True):
        logits = jnp.array([1.0, 1.0 + 1e-12], jnp.float64)
        assert kept(apply(chain(steps.top_k(1)), logits)) == [1]


def test_a_step_of_your_own_joins_a_chain():
    halve = Step("halve", lambda logits, by: by * logits, (0.5,))
    np.testing.assert_array_equal(chain(halve).apply(RAMP), 0.5 * RAMP)
    assert repr(chain(halve)) == "chain(halve(0.5))"


WRONG = [
    (
        lambda: steps.temperature(-1.0),
        ValueError,
        "`temperature` must be in [0, inf], got -1.0; "
        "pass 0 for the most likely class, inf for all alike.",
    ),
    (
        lambda: steps.top_k(-1),
        ValueError,
        "`k` must be an integer >= 0, got -1; pass 0 to keep all tokens.",
    ),
    (
        lambda: steps.top_p(1.5),
        ValueError,
        "`p` must be in [0, 1], got 1.5; pass the mass to keep, 1 for all tokens.",
    ),
    (
        lambda: steps.repetition(0.0),
        ValueError,
        "`penalty` must be in (0, inf), got 0.0; pass 1 for no penalty.",
    ),
    (
        lambda: steps.presence(1.0, over="prompt"),
        ValueError,
        '`over` must be "all", "output" or an int >= 1, got \'prompt\'; '
        "pass an int to see so many of the last tokens.",
    ),
    (
        lambda: chain(steps.top_k(1), 0.9),
        TypeError,
        "`steps` must be steps or chains, got 0.9; "
        "make one, for example `steps.top_k(50)`.",
    ),
    (
        lambda: chain(steps.repetition(1.2))(KEY, RAMP),
        ValueError,
        "`tokens` must be given to a chain with repetition(1.2), got None; "
        "pass the ids so far, -1 where there is none.",
    ),
    (
        lambda: chain(steps.presence(0.5, over="output"))(KEY, RAMP, jnp.array([1])),
        ValueError,
        "`prompt_length` must be given to a chain with presence(0.5, over='output'), "
        "got None; pass how many positions of `tokens` the prompt takes.",
    ),
    (
        lambda: chain(steps.xtc(0.1, 0.5)).apply(RAMP),
        ValueError,
        "`key` must be given to a chain with xtc(0.1, 0.5), got None; "
        "pass a key, or one for each row of the logits.",
    ),
    (
        lambda: chain(steps.mirostat(5.0, 0.1))(KEY, RAMP),
        TypeError,
        "`chain(mirostat(5.0, 0.1))` has state, which a call cannot hand on; use "
        "`state = chain.init(batch_shape)`, then "
        "`ids, state = chain.sample(key, logits, state)`.",
    ),
    (
        lambda: chain(steps.mirostat(5.0, 0.1)).sample(KEY, RAMP, ()),
        ValueError,
        "`state` must be a tuple of 1 for this chain, got (); "
        "pass what `chain.init(batch_shape)` or the last `chain.sample` returned.",
    ),
]


@pytest.mark.parametrize(("make", "kind", "message"), WRONG)
def test_mistakes_say_so(make, kind, message):
    with pytest.raises(kind) as error:
        make()
    assert str(error.value) == message


def test_a_chain_with_arrays_can_be_jitted_and_compared():
    k = jnp.array([1, 2])
    made = chain(steps.top_k(k), steps.temperature(0.5))
    logits = np.tile(RAMP, (2, 1))
    ids = jax.jit(made)(jax.random.key(0), logits)
    np.testing.assert_array_equal(ids, made(jax.random.key(0), logits))
    assert made == chain(steps.top_k(k), steps.temperature(0.5))
    assert made != chain(steps.top_k(k + 0), steps.temperature(0.5))
    assert made != chain(steps.top_k(k), steps.temperature(0.4))
    assert made != "chain"
