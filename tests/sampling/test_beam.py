"""Beam searches on trees that are small enough to enumerate in float64."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxtemp.sampling import beam
from tests.sampling.laws import fits, number, softmax

LENGTH = 3


def tree(classes, seed=0, scale=1.5):
    """The logits after every sequence of up to two tokens, level by level."""
    random = np.random.default_rng(seed)
    nodes = sum(classes**depth for depth in range(LENGTH))
    return random.normal(0, scale, (nodes, classes)).astype(np.float32)


def step_fn(ids, position, state):
    """Follow the tree; the state knows which tree, and which node of it."""
    trees, node = state["trees"], state["node"]
    classes = trees.shape[-1]
    child = node * classes + 1 + ids
    node = jnp.where(position == 0, 0, child)
    return jnp.take_along_axis(trees, node[:, None, None], axis=1)[:, 0], {
        "trees": trees,
        "node": node,
    }


def at_root(trees):
    """The state before the first token."""
    return {"trees": trees, "node": np.zeros(trees.shape[:-2], np.int32)}


def children(logits, tau=1.0):
    """`log_probs(sequence)` of every next token, in float64."""
    classes = logits.shape[-1]

    def log_probs(sequence):
        node = 0
        for token in sequence:
            node = node * classes + 1 + token
        with np.errstate(divide="ignore"):
            return np.log(softmax(logits[node], tau))

    return log_probs


def leaves(logits, eos=(), tau=1.0):
    """Every whole sequence with its log-probability."""
    log_probs = children(logits, tau)

    def below(sequence, total):
        if len(sequence) == LENGTH or (sequence and sequence[-1] in eos):
            yield sequence, total
            return
        for token, log_p in enumerate(log_probs(sequence)):
            yield from below((*sequence, token), total + log_p)

    return dict(below((), 0.0))


def narrow(logits, beams, eos=(), alpha=0.0, tau=1.0):
    """A beam search in plain Python that never stops early."""
    log_probs = children(logits, tau)
    live, done = [((), 0.0)], []
    for count in range(1, LENGTH + 1):
        grown = [
            ((*sequence, token), total + log_p)
            for sequence, total in live
            for token, log_p in enumerate(log_probs(sequence))
        ]
        ends = [one for one in grown if one[0][-1] in eos or count == LENGTH]
        done += [(seq, total / count**alpha, total) for seq, total in ends]
        rest = [one for one in grown if one not in ends]
        live = sorted(rest, key=lambda one: -one[1])[:beams]
    return sorted(done, key=lambda one: -one[1])[:beams]


def padded(sequences):
    return [[*sequence, *[-1] * (LENGTH - len(sequence))] for sequence in sequences]


@functools.partial(jax.jit, static_argnames=("beams", "eos"))
def run(state, tau, alpha, beams, eos=None):
    return beam.search(
        step_fn,
        state,
        jnp.zeros(state["node"].shape, int),
        tau,
        beams=beams,
        length=LENGTH,
        eos=eos,
        length_penalty=alpha,
    )


def found_in(trees, tau=1.0, alpha=0.0, **options):
    """What is found in trees of one batch axis, in NumPy."""
    tau, alpha = (np.resize(np.float32(x), len(trees)) for x in (tau, alpha))
    return jax.tree.map(np.asarray, run(at_root(trees), tau, alpha, **options))


@functools.partial(jax.jit, static_argnames=("beams", "eos"))
def draw(key, state, beams, eos=None):
    start = jnp.zeros(state["node"].shape, int)
    return beam.stochastic_search(
        key, step_fn, state, start, beams=beams, length=LENGTH, eos=eos
    )


@pytest.mark.parametrize(
    ("classes", "eos"), [(3, None), (3, 0), (3, (1, 2)), (4, (1, 2))]
)
def test_a_beam_as_wide_as_the_tree_finds_all_sequences(classes, eos):
    logits = tree(classes)
    ends = () if eos is None else np.atleast_1d(eos)
    settings = list(itertools.product([1.0, 0.5], [0.0, 1.0]))
    tau, alpha = np.transpose(settings)
    trees = np.stack([logits] * 4)
    out = found_in(trees, tau, alpha, beams=classes**LENGTH, eos=eos)
    for row, (tau, alpha) in enumerate(settings):
        found = beam.Found(*(x[row] for x in out))
        truth = leaves(logits, ends, tau)
        scores = {seq: total / len(seq) ** alpha for seq, total in truth.items()}
        best = sorted(scores, key=lambda seq: -scores[seq])
        assert found.tokens[: len(best)].tolist() == padded(best)
        np.testing.assert_allclose(
            found.scores[: len(best)], [scores[seq] for seq in best], rtol=1e-5
        )
        np.testing.assert_allclose(
            found.log_probs[: len(best)], [truth[seq] for seq in best], rtol=1e-5
        )
        assert (found.tokens[len(best) :] == -1).all()
        assert (found.scores[len(best) :] == -np.inf).all()
        assert (found.log_probs[len(best) :] == -np.inf).all()


SEEDS = range(4)


@pytest.mark.parametrize(
    ("beams", "eos"), [(1, None), (3, None), (1, 0), (2, 0), (3, 0)]
)
def test_a_narrow_beam_is_the_beam_search_in_float64(beams, eos):
    settings = list(itertools.product(SEEDS, [0.0, 0.7, 2.0]))
    trees = np.stack([tree(4, seed) for seed, _ in settings])
    out = found_in(trees, 1.0, [alpha for _, alpha in settings], beams=beams, eos=eos)
    for row, (seed, alpha) in enumerate(settings):
        truth = narrow(tree(4, seed), beams, () if eos is None else (eos,), alpha)
        sequences, scores, totals = zip(*truth, strict=True)
        assert out.tokens[row].tolist() == padded(sequences)
        np.testing.assert_allclose(out.scores[row], scores, rtol=1e-5)
        np.testing.assert_allclose(out.log_probs[row], totals, rtol=1e-5)


def test_one_beam_is_the_greedy_choice():
    trees = np.stack([tree(4, seed) for seed in range(5, 17)])
    found = found_in(trees, beams=1)
    for logits, tokens in zip(trees, found.tokens, strict=True):
        sequence = ()
        for _ in range(LENGTH):
            sequence = (*sequence, int(np.argmax(children(logits)(sequence))))
        assert tokens.tolist() == padded([sequence])


def test_rows_are_searched_by_themselves():
    trees = np.stack([tree(4, seed) for seed in SEEDS])
    tau = np.array([0.5, 1.0, 2.0, 1.0], np.float32)
    alpha = np.arange(4, dtype=np.float32) / 4
    options = {"beams": 3, "eos": 1}
    found = run(
        at_root(trees.reshape(2, 2, *trees.shape[1:])),
        tau.reshape(2, 2),
        alpha.reshape(2, 2),
        **options,
    )
    assert found.tokens.shape == (2, 2, 3, LENGTH)
    assert found.scores.shape == found.log_probs.shape == (2, 2, 3)
    for row, index in enumerate(np.ndindex(2, 2)):
        alone = run(at_root(trees[row]), tau[row], alpha[row], **options)
        np.testing.assert_array_equal(found.tokens[index], alone.tokens)
        np.testing.assert_allclose(found.scores[index], alone.scores, rtol=1e-6)


SEEN = []


@jax.jit
def search_noting_positions(table):
    def step(ids, position, state):
        jax.debug.callback(lambda position: SEEN.append(int(position)), position)
        return table[ids], state

    return beam.search(step, (), jnp.array(0), beams=2, length=40, eos=0)


@pytest.mark.parametrize(("likely", "steps"), [(0.99, 2), (0.01, 8), (0.0, 40)])
def test_the_search_stops_when_no_live_sequence_can_win(likely, steps):
    # The first token is one of two, then the end comes with a probability. Two that
    # have ended at 0.01 / 2 are as likely as 0.495**n / 2 after seven further tokens.
    law = np.full((3, 3), (1 - likely) / 2)
    law[:, 0] = likely
    law[0] = [0, 0.5, 0.5]
    SEEN.clear()
    with np.errstate(divide="ignore"):
        search_noting_positions(np.log(law).astype(np.float32))
    jax.effects_barrier()
    assert len(SEEN) == steps


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_sums_are_float32_whatever_the_logits(dtype):
    logits = tree(4).astype(dtype)
    truth = narrow(logits.astype(np.float64), 3)
    found = found_in(np.stack([logits] * 12), beams=3)
    assert found.scores.dtype == jnp.float32
    assert found.tokens[0].tolist() == padded([seq for seq, _, _ in truth])
    np.testing.assert_allclose(found.scores[0], [s for _, s, _ in truth], rtol=1e-5)


def test_double_precision_stays():
    with jax.enable_x64(True):
        logits = tree(4).astype(np.float64)
        found = run(at_root(logits), 1.0, 0.0, beams=3)
        truth = narrow(logits, 3)
        assert found.scores.dtype == jnp.float64
        np.testing.assert_allclose(found.scores, [s for _, s, _ in truth], rtol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, -np.inf, np.inf])
def test_what_follows_a_row_without_a_law_is_dropped(bad):
    logits = tree(3)
    truth = {seq: p for seq, p in leaves(logits).items() if seq[0] != 1}
    logits[2] = bad  # after token 1
    best = sorted(truth, key=lambda seq: -truth[seq])
    found = found_in(np.stack([logits] * 4), beams=27)
    assert found.tokens[0, :18].tolist() == padded(best)
    assert (found.tokens[0, 18:] == -1).all()
    drawn = draw(jax.random.key(0), at_root(np.stack([logits] * 4)), beams=27)
    for tokens in drawn.tokens:
        assert sorted(tokens[:18].tolist()) == sorted(padded(truth))
        assert (tokens[18:] == -1).all()
    assert not np.isnan(drawn.perturbed).any()


def follow(logits, ids, position, node):
    """One tree for all rows; the state is the node."""
    node = jnp.where(position == 0, 0, node * logits.shape[-1] + 1 + ids)
    return logits[node], node


ROWS = 2**17


@functools.partial(jax.jit, static_argnames=("beams", "eos"))
def draw_rows(key, logits, tau, beams, eos):
    start = jnp.zeros(ROWS, int)
    return beam.stochastic_search(
        jax.random.split(key, ROWS),
        functools.partial(follow, logits),
        start,
        start,
        tau,
        beams=beams,
        length=LENGTH,
        eos=eos,
    )


def drawn_sequences(seed, runs, logits, tau=1.0, **options):
    """So many times `ROWS` rows, by one compiled program for each set of options."""
    keys = jax.random.split(jax.random.key(seed), runs)
    parts = [draw_rows(key, logits, tau, **options) for key in keys]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


@pytest.mark.parametrize(
    ("classes", "eos", "beams", "tau"),
    [(3, 0, 3, 1.0), (3, None, 2, 1.0), (4, (1, 3), 2, 0.6), (3, 2, 1, 1.0)],
)
def test_samples_follow_plackett_and_luce(classes, eos, beams, tau):
    logits = tree(classes, scale=1.0)
    truth = leaves(logits, () if eos is None else np.atleast_1d(eos), tau)
    sequences, p = padded(truth), np.exp(list(truth.values()))
    codes = number(sequences, classes)
    chosen = list(itertools.permutations(range(len(codes)), beams))
    law = [
        np.prod([p[i] / (1 - p[list(order[:n])].sum()) for n, i in enumerate(order)])
        for order in chosen
    ]
    out = drawn_sequences(11, 4, logits, tau, beams=beams, eos=eos)
    assert (np.diff(out.perturbed, axis=-1) <= 0).all()
    lookup = np.full(codes.max() + 1, -1)
    lookup[codes] = np.arange(len(codes))
    orders = lookup[number(out.tokens, classes)]
    assert (orders >= 0).all()
    base = len(codes) ** np.arange(beams)
    counts = np.bincount(orders @ base, minlength=len(codes) ** beams)
    assert counts.sum() == counts[np.array(chosen) @ base].sum()  # all distinct
    assert fits(counts[np.array(chosen) @ base], law) > 1e-4
    np.testing.assert_allclose(out.log_probs, np.log(p)[orders], rtol=2e-5, atol=1e-6)


def test_perturbed_log_probabilities_are_independent_gumbel_numbers():
    logits = tree(3, 2)
    truth = leaves(logits, (0,))
    out = drawn_sequences(3, 1, logits, beams=len(truth), eos=0)
    assert (out.threshold == -np.inf).all()
    # The largest is located at the log of the sum of all probabilities, 0.
    assert ks(out.perturbed[:, 0]) > 1e-4
    codes = number(padded(truth), 3)
    noise = out.perturbed.astype(np.float64) - out.log_probs
    found = number(out.tokens, 3)
    noise = np.stack([noise[found == code] for code in codes])
    assert noise.shape == (len(truth), ROWS)
    p_values = [ks(row) for row in noise]
    assert min(p_values) > 1e-4
    correlation = np.corrcoef(noise) - np.eye(len(truth))
    assert np.abs(correlation).max() < 5 / np.sqrt(ROWS)
    # All that there are: sorted, distinct, and nothing after an end.
    assert (np.diff(out.perturbed, axis=-1) <= 0).all()
    assert (np.sort(found, axis=-1) == np.sort(codes)).all()
    ended = out.tokens == 0
    after_end = np.cumsum(ended, axis=-1) - ended > 0
    np.testing.assert_array_equal(out.tokens == -1, after_end)


def ks(sample):
    return scipy.stats.kstest(np.asarray(sample), scipy.stats.gumbel_r.cdf).pvalue


@pytest.mark.parametrize(("eos", "beams"), [(2, 1), (0, 3), (None, 2)])
def test_the_threshold_is_the_largest_that_was_left_out(eos, beams):
    logits = tree(3, 4)
    truth = leaves(logits, () if eos is None else (eos,))
    out = drawn_sequences(5, 1, logits, beams=beams, eos=eos)
    assert (out.threshold < out.perturbed[:, -1]).all()
    random = np.random.default_rng(6)
    noise = random.gumbel(size=(ROWS, len(truth))) + list(truth.values())
    law = np.sort(noise, axis=-1)[:, -1 - beams]
    assert scipy.stats.ks_2samp(out.threshold, law).pvalue > 1e-4


def test_weights_by_the_threshold_give_unbiased_means():
    logits = tree(3, 6)
    truth = leaves(logits, (0,))
    values = np.random.default_rng(7).normal(size=len(truth))
    mean = np.exp(list(truth.values())) @ values
    out = drawn_sequences(8, 2, logits, beams=3, eos=0)
    p = np.exp(np.asarray(out.log_probs, np.float64))
    kappa = np.asarray(out.threshold, np.float64)[:, None]
    weights = p / -np.expm1(-p * np.exp(-kappa))
    codes = number(padded(truth), 3)
    lookup = np.full(codes.max() + 1, np.nan)
    lookup[codes] = values
    f = lookup[number(out.tokens, 3)]
    for sums, expected in (((weights * f).sum(-1), mean), (weights.sum(-1), 1.0)):
        error = sums.std() / np.sqrt(len(sums))
        assert abs(sums.mean() - expected) < 4 * error


def test_a_row_depends_on_its_own_key_and_state_alone():
    trees = np.stack([tree(4, seed) for seed in range(3)])
    keys = jax.random.split(jax.random.key(2), 3)
    options = {"beams": 3, "eos": 1}
    together = draw(keys, at_root(trees), **options)
    turned = draw(keys[::-1], at_root(trees[::-1]), **options)
    mapped = jax.vmap(functools.partial(draw, **options))(keys, at_root(trees))
    np.testing.assert_array_equal(mapped.tokens, together.tokens)
    old = draw(jax.random.key_data(keys), at_root(trees), **options)
    np.testing.assert_array_equal(old.tokens, together.tokens)
    for row in range(3):
        alone = draw(keys[row], at_root(trees[row]), **options)
        np.testing.assert_array_equal(alone.tokens, together.tokens[row])
        np.testing.assert_array_equal(alone.tokens, turned.tokens[2 - row])
        np.testing.assert_allclose(alone.perturbed, together.perturbed[row], rtol=1e-6)


def test_one_key_gives_rows_of_their_own():
    out = draw(jax.random.key(0), at_root(np.stack([tree(3)] * 4)), beams=27)
    assert len({float(x) for x in out.perturbed[:, 0]}) == 4


def plain(ids, position, state):
    return jnp.zeros((*ids.shape, 3)), state


WRONG = [
    (
        lambda: beam.search(plain, (), 0, beams=0, length=2),
        ValueError,
        "`beams` must be at least 1, got 0; pass a count.",
    ),
    (
        lambda: beam.search(plain, (), 0, beams=2, length=2.0),
        TypeError,
        (
            "`length` must be an int, got float; it sets the shape of the result, so "
            "it cannot be traced."
        ),
    ),
    (
        lambda: beam.search(plain, (), 0.0, beams=2, length=2),
        TypeError,
        "`start` must be integers, got dtype float32; pass token ids.",
    ),
    (
        lambda: beam.search(plain, jnp.zeros(3), jnp.zeros(2, int), beams=2, length=2),
        ValueError,
        (
            "`state` must have the batch shape (2,) of `start` as leading axes of "
            "every leaf, got shape (3,); keep what rows share in `step_fn`."
        ),
    ),
    (
        lambda: beam.search(
            lambda ids, position, state: (jnp.zeros(3), state),
            (),
            0,
            beams=2,
            length=2,
        ),
        ValueError,
        (
            "`step_fn` must return logits of shape (2, 'V') for ids of shape (2,), "
            "got shape (3,); put the classes last."
        ),
    ),
    (
        lambda: beam.search(plain, (), 0, beams=2, length=2, eos=3),
        ValueError,
        (
            "`eos` must be below the number of classes 3, got 3; pass the id that the "
            "model's tokenizer gives it."
        ),
    ),
    (
        lambda: beam.search(plain, (), 0, beams=2, length=2, eos=-1),
        ValueError,
        (
            "`eos` must be a token id, or several, of at least 0, got -1; pass "
            "`eos=None` if nothing ends a sequence."
        ),
    ),
    (
        lambda: beam.search(plain, (), 0, beams=2, length=2, length_penalty=-1.0),
        ValueError,
        (
            "`length_penalty` must be in [0, 3.40282e+38], got -1.0; pass 0 for no "
            "penalty."
        ),
    ),
    (
        lambda: beam.search(plain, (), 0, -1.0, beams=2, length=2),
        ValueError,
        "`temperature` must be in [0, inf], got -1.0; pass 1 for the model as it is.",
    ),
    (
        lambda: beam.stochastic_search(
            jax.random.split(jax.random.key(0), 3), plain, (), 0, beams=2, length=2
        ),
        ValueError,
        (
            "`key` must be one key or an array of keys of the batch shape (), got "
            "keys of shape (3,); split one key with `jax.random.split(key, ())`."
        ),
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG)
def test_messages_say_what_to_do(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message


def test_end_tokens_are_static():
    with pytest.raises(TypeError, match="`eos` must be known when the loop is"):
        jax.jit(lambda eos: beam.search(plain, (), 0, beams=2, length=2, eos=eos))(1)
