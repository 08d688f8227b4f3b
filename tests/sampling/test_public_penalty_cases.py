"""Cases from the tests of other systems: numbers that their users rely on.

Every case is given to the function and to the plain Python of `penalty_truth`: the
published number must come out of both.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtemp.sampling import penalties
from tests.sampling import penalty_truth as truth


def slots(tokens):
    """Tokens in as many slots as any case needs, the first ones empty."""
    return [-1] * (12 - len(tokens)) + tokens


def both(name, logits, *arguments, **constants):
    """What the function and plain Python make of one row, in this order."""
    arrays = map(np.array, arguments)
    ours = getattr(penalties, name)(jnp.array(logits), *arrays, **constants)
    return np.asarray(ours), np.array(
        getattr(truth, name)(logits, *arguments, **constants)
    )


def softmax(logits):
    weights = np.exp(logits - np.max(logits))
    return weights / weights.sum()


# llama.cpp, tests/test-sampling.cpp: five equal tokens, the tokens so far, the result,
# the repetition penalty, and the penalty for both frequency and presence.
LLAMA_PENALTIES = [
    ([0], [0, 0.25, 0.25, 0.25, 0.25], 50, 0),
    ([0, 1, 2], [0, 0, 0, 0.5, 0.5], 50, 0),
    ([0, 1, 2, 0, 0], [0, 0, 0, 0.5, 0.5], 50, 0),
    ([0], [0.000011, 0.249997, 0.249997, 0.249997, 0.249997], 1, 5),
    ([0, 1, 2], [0.000023, 0.000023, 0.000023, 0.499966, 0.499966], 1, 5),
    ([0, 1, 2, 0, 0], [0, 0.000023, 0.000023, 0.499977, 0.499977], 1, 5),
]


@pytest.mark.parametrize(("tokens", "want", "factor", "shift"), LLAMA_PENALTIES)
@pytest.mark.parametrize("module", [penalties, truth])
def test_llama_cpp_penalties(module, tokens, want, factor, shift):
    logits = [np.log(0.2)] * 5
    tokens = jnp.array(slots(tokens)) if module is penalties else tokens
    logits = jnp.array(logits) if module is penalties else logits
    logits = module.repetition(logits, tokens, factor)
    logits = module.frequency(logits, tokens, shift)
    logits = module.presence(logits, tokens, shift)
    np.testing.assert_allclose(softmax(np.array(logits)), want, atol=1e-5)


# llama.cpp, tests/test-sampling.cpp: the tokens so far, the result from equal logits,
# the multiplier, the allowed length and the breakers; the base is 1.1.
LLAMA_DRY = [
    ([0, 1], [0.25] * 4, 1, 2, []),
    ([0, 1, 2, 0, 1], [0.296923, 0.296923, 0.109232, 0.296923], 1, 2, []),
    ([0, 1, 3, 4, 0, 1], [0.2] * 5, 1, 2, [[3]]),
    ([0, 1, 2, 0, 1], [0.241818, 0.241818, 0.032727, 0.241818, 0.241818], 2, 2, []),
    ([0, 1, 2, 3, 4, 0, 1], [0.2] * 5, 1, 4, []),
]


@pytest.mark.parametrize(
    ("tokens", "want", "multiplier", "length", "breakers"), LLAMA_DRY
)
def test_llama_cpp_dry(tokens, want, multiplier, length, breakers):
    # All rows have five classes, so that each of them uses what is compiled already.
    rest = 5 - len(want)
    logits = [float(np.log(1 / len(want)))] * len(want) + [-np.inf] * rest
    want = want + [0] * rest
    for out in both(
        "dry", logits, slots(tokens), multiplier, 1.1, length, breakers=breakers
    ):
        np.testing.assert_allclose(softmax(out), want, atol=1e-5)


# vLLM, tests/v1/sample/test_dry.py: the tokens so far, the penalties that are not 0,
# the allowed length and the breakers; the multiplier is 1, the base 2. The first is the
# example in the comments of llama.cpp: a b c c b c y a b c.
VLLM_DRY = [
    ([1, 2, 3, 3, 2, 3, 9, 1, 2, 3], {3: 4, 2: 1, 9: 2}, 1, []),
    ([1, 2, 3, 3, 2, 3, 9, 1, 2, 3, 3, 3], {3: 2, 2: 2, 9: 1}, 1, []),
    ([0, 0, 0, 1, 0, 0], {0: 1, 1: 1}, 2, []),
    ([1, 2, 3, 1, 2], {}, 3, []),
    ([1, 2, 3, 1, 2], {3: 1}, 2, []),
    ([7] * 6, {7: 8}, 2, []),
    ([7] * 6, {}, 2, [[7]]),
    ([], {}, 1, []),
    ([5], {}, 1, []),
]


@pytest.mark.parametrize(("tokens", "want", "length", "breakers"), VLLM_DRY)
def test_vllm_dry(tokens, want, length, breakers):
    for out in both(
        "dry", [0.0] * 10, slots(tokens), 1.0, 2.0, length, breakers=breakers
    ):
        np.testing.assert_array_equal(-out, [want.get(i, 0) for i in range(10)])


def test_hugging_face_repetition_penalty():
    logits = [[0.1] * 10, [0.1] * 10]
    logits[0][0], logits[1][5] = -0.1, 0.4
    for out in both("repetition", logits[0], slots([0, 1]), 2.0):
        np.testing.assert_allclose(out, [-0.2, 0.05] + [0.1] * 8, rtol=1e-6)
    for out in both("repetition", logits[1], slots([5, 0]), 2.0):
        np.testing.assert_allclose(out[[0, 5]], [0.05, 0.2], rtol=1e-6)


# Hugging Face, tests/generation/test_logits_process.py: the tokens so far, n, and the
# tokens that are banned.
HUGGING_FACE_NGRAMS = [
    ([1, 1, 2, 1], 2, [1, 2]),
    ([0, 1, 0, 1], 2, [0]),
    ([1, 1, 2, 1], 3, []),
    ([0, 1, 0, 1], 3, [0]),
    ([1, 2, 5, 7, 8, 5, 1, 2], 3, [5]),
    ([1, 2], 3, []),
    ([0, 1], 3, []),
]


@pytest.mark.parametrize(("tokens", "n", "banned"), HUGGING_FACE_NGRAMS)
def test_hugging_face_no_repeat_ngram(tokens, n, banned):
    for out in both("no_repeat_ngram", [0.1] * 10, slots(tokens), n):
        np.testing.assert_array_equal(np.flatnonzero(np.isneginf(out)), banned)


# There the end of the text, 4, is a bad word too, which that system leaves out.
@pytest.mark.parametrize(
    ("tokens", "banned"), [([0, 1, 3, 1], [0, 1, 3]), ([0, 1, 0, 1], [0, 1, 2])]
)
def test_hugging_face_bad_words(tokens, banned):
    words = [[1], [1, 0], [0, 1, 2], [1, 3, 1, 3]]
    ours = penalties.bad_words(jnp.full(5, 0.2), jnp.array(tokens), words)
    for out in (ours, truth.bad_words([0.2] * 5, tokens, words)):
        np.testing.assert_array_equal(np.flatnonzero(np.isneginf(out)), banned)


def test_hugging_face_bias_of_single_tokens():
    for out in both("logit_bias", [0.0] * 5, [1, 4], [100.0, 100.0]):
        np.testing.assert_array_equal(out, [0, 100, 0, 0, 100])


@pytest.mark.parametrize("eos", [[0], [0, 18]])
def test_hugging_face_min_length(eos):
    for length in (5, 15):
        want = eos if length < 10 else []
        for out in both("min_length", [0.05] * 20, length, 10, eos):
            np.testing.assert_array_equal(np.flatnonzero(np.isneginf(out)), want)


@pytest.mark.parametrize("eos", [[0], [0, 18]])
def test_hugging_face_min_new_tokens(eos):
    prompt = 5
    for length in (5, 6, 7, 8, 15):
        want = eos if length < 8 else []
        for out in both("min_length", [0.05] * 20, length - prompt, 3, eos):
            np.testing.assert_array_equal(np.flatnonzero(np.isneginf(out)), want)


def test_hugging_face_prefix_constraint():
    for kept in ([0, 1], [2, 3]):
        mask = [i in kept for i in range(5)]
        for out in both("allowed", [0.2] * 5, mask):
            np.testing.assert_array_equal(np.flatnonzero(np.isfinite(out)), kept)


def test_hugging_face_classifier_free_guidance():
    p, q = (np.log(softmax(np.array(z))) for z in ([1.0, 1, 1], [1.0, 0, 1.5]))
    for out in both("guidance", [1.0, 1, 1], [1.0, 0, 1.5], 1.5):
        np.testing.assert_allclose(out, q + 1.5 * (p - q), rtol=1e-6)


# vLLM, tests/v1/sample/test_rejection_sampler.py: three requests of three positions
# each; the model wants one token at each position, at a logit of 100, then token 15.
def wanting(tokens):
    logits = np.full((len(tokens), 100), -100.0)
    logits[np.arange(len(tokens)), tokens] = 100
    logits[:, 15] = 99
    return logits


def accepted(drafts, chosen):
    """The chosen tokens up to the first that is not what was drafted, then -1."""
    wrong = np.append(np.array(drafts) != chosen, True)
    kept = np.arange(len(chosen)) <= wrong.argmax()
    return np.where(kept, chosen, -1).tolist()


def chosen(module, name, logits, *arguments):
    """The likeliest token at each position."""
    if module is truth:
        rows = zip(logits.tolist(), *arguments, strict=True)
        return np.array([np.argmax(getattr(truth, name)(*row)) for row in rows])
    left = getattr(penalties, name)(jnp.array(logits), *map(np.array, arguments))
    return np.argmax(left, axis=-1)


@pytest.mark.parametrize("module", [penalties, truth])
@pytest.mark.parametrize(
    ("before", "penalty", "want"), [(2, 1.5, [1, 15, -1]), (4, 0.7, [1, 1, 15])]
)
def test_vllm_frequency_penalties(module, before, penalty, want):
    drafts = [1, 1, 1]
    tokens = [[before, -1, -1], [before, 1, -1], [before, 1, 1]]
    got = chosen(module, "frequency", wanting(drafts), tokens, [penalty] * 3)
    assert accepted(drafts, got) == want


@pytest.mark.parametrize("module", [penalties, truth])
@pytest.mark.parametrize(
    ("drafts", "words", "want"),
    [([1, 2, 3], [[2]], [1, 15, -1]), ([1, 15, 3], [], [1, 15, 3])],
)
def test_vllm_bad_words(module, drafts, words, want):
    logits = wanting(drafts)
    tokens = [[2, -1, -1], [2, drafts[0], -1], [2, *drafts[:2]]]
    if module is truth:
        got = chosen(truth, "bad_words", logits, tokens, [words] * 3)
    else:
        left = penalties.bad_words(jnp.array(logits), np.array(tokens), words)
        got = np.argmax(left, axis=-1)
    assert accepted(drafts, got) == want


@pytest.mark.parametrize("module", [penalties, truth])
@pytest.mark.parametrize(
    ("drafts", "wanted", "excluded", "want"),
    [
        ([1, 2, 10], [1, 2, 10], range(5), [15, -1, -1]),
        ([10, 5, 3], [10, 5, 10], (), [10, 5, 10]),
        ([7, 10, 12], [7, 10, 12], range(2, 7), [7, 10, 12]),
    ],
)
def test_vllm_allowed_token_ids(module, drafts, wanted, excluded, want):
    mask = [[i not in excluded for i in range(100)]] * 3
    got = chosen(module, "allowed", wanting(wanted), mask)
    assert accepted(drafts, got) == want
    bits = sum(kept << i for i, kept in enumerate(mask[0]))
    words = [[bits >> (32 * i) & (2**32 - 1) for i in range(4)]] * 3
    words = words if module is truth else np.array(words, np.uint32)
    assert accepted(drafts, chosen(module, "bitmask", wanting(wanted), words)) == want


def test_one_compiled_call_serves_rows_with_parameters_of_their_own():
    tokens = np.full((5, 7), -1, np.int32)
    for row, (past, *_) in enumerate(LLAMA_DRY):
        tokens[row, -len(past) :] = past
    cases = [(m, length) for _, _, m, length, breakers in LLAMA_DRY]
    multiplier, length = np.array(cases).T
    logits = np.full((5, 5), -np.inf)
    for row, (_, want, *_) in enumerate(LLAMA_DRY):
        logits[row, : len(want)] = 0
    out = jax.jit(penalties.dry)(logits, tokens, multiplier * 1.0, 1.1, length)
    for row, (_, want, *_, breakers) in enumerate(LLAMA_DRY):
        if not breakers:
            got = softmax(np.asarray(out[row]))[: len(want)]
            np.testing.assert_allclose(got, want, atol=1e-5)
