"""The loop against plain Python loops over a model that is a table."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtemp import sampling
from jaxtemp.sampling import steps
from tests.sampling.laws import fits, number, softmax

CLASSES, PLACES = 5, 16
RANDOM = np.random.default_rng(0)
# What follows depends on two tokens and on the place; row V: no token before.
TABLE = RANDOM.normal(0, 2, (CLASSES + 1, CLASSES, CLASSES)).astype(np.float32)
PLACE = RANDOM.normal(0, 1, (PLACES, CLASSES)).astype(np.float32)


def step_fn(ids, position, last):
    """A model whose state is the token that it has read before."""
    return jnp.asarray(TABLE)[last, ids] + jnp.asarray(PLACE)[position], ids


def logits_after(sequence):
    before = sequence[-2] if len(sequence) > 1 else CLASSES
    return TABLE[before, sequence[-1]] + PLACE[len(sequence) - 1]


def continued(prompt, choose, length, eos=()):
    """A plain loop: `choose(logits, sequence)` until an end or `length` tokens."""
    sequence = [token for token in prompt if token >= 0]
    for _ in range(length):
        sequence.append(choose(logits_after(sequence), sequence))
        if sequence[-1] in eos:
            break
    return sequence


def argmax(logits, sequence):
    return int(np.argmax(logits))


def padded(rows, width):
    return [[*row, *[-1] * (width - len(row))] for row in rows]


def begin(prompt):
    return np.full(np.shape(prompt)[:-1], CLASSES)


def run(key, prompt, chain=None, **options):
    state = options.pop("state", None)
    state = begin(prompt) if state is None else state
    return generate(key, step_fn, state, jnp.asarray(prompt), chain, **options)


generate = jax.jit(sampling.generate, static_argnames=("step_fn", "length", "eos"))
KEY = jax.random.key(0)
GREEDY = sampling.chain(steps.temperature(0.0))
PROMPTS = [[0, 1, 2, 3], [4, 1, -1, -1], [3, -1, -1, -1], [2, 2, 2, -1]]


@pytest.mark.parametrize(
    ("length", "eos"), [(7, None), (7, 1), (7, (0, 3)), (1, 1), (2, (0, 3))]
)
def test_greedy_text_is_that_of_a_plain_loop(length, eos):
    ends = () if eos is None else np.atleast_1d(eos)
    truth = [continued(prompt, argmax, length, ends) for prompt in PROMPTS]
    out = run(KEY, PROMPTS, GREEDY, length=length, eos=eos)
    assert out.tokens.tolist() == padded(truth, 4 + length)
    assert out.lengths.tolist() == [len(row) for row in truth]
    assert out.tokens.dtype == out.lengths.dtype == jnp.int32


@pytest.mark.parametrize("batch", [(), (4,), (1, 4, 1)])
def test_any_number_of_batch_axes(batch):
    prompt = np.array(PROMPTS[:1] if batch == () else PROMPTS).reshape(*batch, 4)
    truth = [continued(row, argmax, 7, (1,)) for row in prompt.reshape(-1, 4)]
    out = run(KEY, prompt, GREEDY, length=7, eos=1)
    assert out.tokens.shape == (*batch, 11)
    assert out.lengths.shape == batch
    assert out.tokens.reshape(-1, 11).tolist() == padded(truth, 11)


LAWS = [
    (None, lambda logits: softmax(logits), True),
    (sampling.chain(steps.temperature(0.5)), lambda logits: softmax(logits, 0.5), True),
    (
        sampling.chain(steps.temperature(2.0), steps.top_k(3)),
        lambda logits: softmax(
            np.where(logits >= np.sort(logits)[-3], logits, -1e9), 2
        ),
        False,
    ),
]


@pytest.mark.parametrize(("chain", "law", "own_keys"), LAWS)
def test_texts_have_the_enumerated_law(chain, law, own_keys):
    rows, length, eos = 2**20, 3, 4
    found = {}
    for new in itertools.product(range(CLASSES), repeat=length):
        end = new.index(eos) + 1 if eos in new else length
        p = [law(logits_after([2, 0, *new[:n]]))[new[n]] for n in range(end)]
        found[new[:end]] = np.prod(p)
    key = jax.random.key(6)
    key = jax.random.split(key, rows) if own_keys else key
    prompt = np.broadcast_to([2, 0], (rows, 2))
    out = run(key, prompt, chain, length=length, eos=eos)
    codes = number(padded(found, length), CLASSES)
    counts = np.bincount(number(out.tokens[:, 2:], CLASSES), minlength=codes.max() + 1)
    assert counts.sum() == counts[codes].sum()
    assert fits(counts[codes], list(found.values())) > 1e-4


def test_a_row_depends_on_its_own_key_and_prompt_alone():
    keys = jax.random.split(jax.random.key(3), 4)
    options = {"length": 6, "eos": 1}
    together = run(keys, PROMPTS, **options)
    turned = run(keys[::-1], PROMPTS[::-1], **options)
    mapped = jax.vmap(lambda key, prompt: run(key, prompt, **options))(
        keys, np.array(PROMPTS)
    )
    for row, prompt in enumerate(PROMPTS):
        alone = run(keys[row], prompt, **options)
        for other in (together.tokens[row], turned.tokens[3 - row], mapped.tokens[row]):
            np.testing.assert_array_equal(other, alone.tokens)


def test_a_row_does_not_depend_on_its_padding():
    key, options = jax.random.key(3), {"length": 6, "eos": 1}
    bare, long = run(key, [4, 1], **options), run(key, [4, 1, -1, -1], **options)
    assert bare.lengths == long.lengths
    assert [*bare.tokens.tolist(), -1, -1] == long.tokens.tolist()


def test_one_key_gives_each_row_a_text_of_its_own():
    out = run(jax.random.key(5), [[0, 1, -1, -1]] * 32, length=8)
    assert len({tuple(row) for row in out.tokens.tolist()}) > 16


def test_old_keys_are_keys_too():
    new = run(jax.random.key(5), PROMPTS * 8, length=8)
    old = run(jax.random.PRNGKey(5), PROMPTS * 8, length=8)
    np.testing.assert_array_equal(new.tokens, old.tokens)


@pytest.mark.parametrize("per_row", [False, True])
def test_a_state_that_has_read_the_prompt_goes_on_from_there(per_row):
    prompts = np.array(PROMPTS if per_row else [[0, 1, 2, 3], [3, 2, 4, 0]] * 2)
    seen = (prompts >= 0).sum(-1) - 1 if per_row else np.array(2)
    rows = np.arange(len(prompts))
    state = np.where(seen == 0, CLASSES, prompts[rows, seen - 1])
    keys = jax.random.split(KEY, len(prompts))
    want = run(keys, prompts, length=6, eos=1)
    got = run(keys, prompts, length=6, eos=1, seen=seen, state=state)
    np.testing.assert_array_equal(got.tokens, want.tokens)
    np.testing.assert_array_equal(got.lengths, want.lengths)


@pytest.mark.parametrize("seen", [0, (0, 0)])
def test_the_position_has_the_shape_of_seen(seen):
    shapes = []

    def step(ids, position, state):
        shapes.append(position.shape)
        return jnp.zeros((*ids.shape, 3)), state

    prompt = jnp.zeros((2, 2), int)
    jax.eval_shape(
        lambda: sampling.generate(KEY, step, (), prompt, length=2, seen=seen)
    )
    assert set(shapes) == {np.shape(seen)}


def test_a_text_can_be_continued():
    keys = jax.random.split(KEY, 2)
    prompt = [[0, 1, 2], [4, 4, 1]]
    whole = run(keys, prompt, length=8)
    half = run(keys, prompt, length=4)
    rest = run(keys, half.tokens, length=4, seen=6, state=half.state)
    np.testing.assert_array_equal(rest.tokens, whole.tokens)


def repeated_less(penalty):
    def choose(logits, sequence):
        z = np.array(logits, np.float64)
        for token in set(sequence):
            z[token] = z[token] / penalty if z[token] > 0 else z[token] * penalty
        return int(np.argmax(z))

    return choose


def test_penalties_see_the_prompt_and_the_text_so_far():
    chain = sampling.chain(steps.repetition(3.0), steps.temperature(0.0))
    truth = [continued(prompt, repeated_less(3.0), 7) for prompt in PROMPTS]
    out = run(KEY, PROMPTS, chain, length=7)
    assert out.tokens.tolist() == padded(truth, 11)


def test_penalties_of_the_output_do_not_see_the_prompt():
    chain = sampling.chain(steps.presence(50.0, over="output"), steps.temperature(0.0))

    out = run(KEY, PROMPTS, chain, length=5)
    for row, prompt in enumerate(PROMPTS):
        count = sum(token >= 0 for token in prompt)

        def choose(logits, sequence, count=count):
            new = np.isin(np.arange(CLASSES), sequence[count:])
            return int(np.argmax(logits - 50.0 * new))

        truth = continued(prompt, choose, 5)
        assert out.tokens[row].tolist() == padded([truth], 9)[0]


def test_a_chain_learns_nothing_while_a_row_reads_its_prompt():
    chain = sampling.chain(steps.mirostat(2.0, 0.5))
    keys = jax.random.split(jax.random.key(8), 4)
    together = run(keys, PROMPTS, chain, length=8)
    for row, prompt in enumerate(PROMPTS):
        alone = run(keys[row], prompt, chain, length=8)
        np.testing.assert_array_equal(together.tokens[row], alone.tokens)
    bare = run(keys[1], PROMPTS[1][:2], chain, length=8)
    np.testing.assert_array_equal(together.tokens[1, :10], bare.tokens)


def test_numbers_of_a_chain_may_differ_by_row_and_are_not_compiled_in():
    tau = jnp.array([0.0, 0.0, 1.0, np.inf])
    one = run(KEY, PROMPTS, sampling.chain(steps.temperature(tau)), length=6)
    truth = [continued(prompt, argmax, 6) for prompt in PROMPTS[:2]]
    assert one.tokens[:2].tolist() == padded(truth, 10)
    compiled = generate._cache_size()
    run(KEY, PROMPTS, sampling.chain(steps.temperature(tau + 1)), length=6)
    assert generate._cache_size() == compiled


def test_another_key_or_prompt_does_not_compile_again():
    traced = []

    def step(ids, position, state):
        traced.append(None)
        return jnp.zeros((*ids.shape, 4)), state

    counts = []
    for seed in range(3):
        prompt = jnp.full((2, 3), seed).at[0, 1:].set(-1)
        generate(jax.random.key(seed), step, (), prompt, length=5, eos=3)
        counts.append(len(traced))
    assert counts == counts[:1] * 3


@pytest.mark.parametrize(("eos", "calls"), [(None, 13), (3, 6)])
def test_the_loop_ends_with_its_last_row(eos, calls):
    # Each token is followed by the next one; rows reach the end after 4 and 6 calls.
    seen = []

    def step(ids, position, state):
        jax.debug.callback(lambda position: seen.append(int(position)), position)
        return jax.nn.one_hot(ids + 1, 20), state

    prompt = jnp.array([[0, 0, 0, 0], [1, 0, 2, -1]])
    out = generate(KEY, step, (), prompt, GREEDY, length=10, eos=eos)
    jax.effects_barrier()
    assert seen == list(range(calls))
    if eos is not None:
        assert out.lengths.tolist() == [7, 4]


def spoilt_after_three(ids, position, state):
    logits = jax.nn.one_hot(ids + 1, 9)
    spoilt = (jnp.arange(2) == 0) & (ids == 3)
    return jnp.where(spoilt[:, None], state[:, None], logits), state


@pytest.mark.parametrize("bad", [np.nan, -np.inf, np.inf])
def test_a_row_that_allows_no_token_stops_and_leaves_the_others_alone(bad):
    prompt, state = np.array([[0, 1], [0, 1]]), np.full(2, bad, np.float32)
    out = generate(KEY, spoilt_after_three, state, prompt, GREEDY, length=5)
    assert out.tokens.tolist() == [[0, 1, 2, 3, -1, -1, -1], [0, 1, 2, 3, 4, 5, 6]]
    assert out.lengths.tolist() == [4, 7]


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_logits_may_be_halves(dtype):
    def step(ids, position, state):
        return jax.nn.one_hot(ids + 1, 9, dtype=dtype), state

    out = generate(KEY, step, (), np.array([0]), GREEDY, length=4)
    assert out.tokens.tolist() == [0, 1, 2, 3, 4]


def test_an_empty_row_of_a_traced_prompt_stays_empty():
    prompts = [[-1, -1, -1, -1], *PROMPTS[1:]]
    out = run(KEY, prompts, GREEDY, length=7)
    assert out.tokens[0].tolist() == [-1] * 11
    assert out.lengths[0] == 0
    truth = [continued(prompt, argmax, 7) for prompt in PROMPTS[1:]]
    assert out.tokens[1:].tolist() == padded(truth, 11)


def plain(ids, position, state):
    return jnp.zeros((*ids.shape, 3)), state


def called(prompt=((0, 1),), chain=None, key=KEY, step=plain, **options):
    options = {"length": 2} | options
    return lambda: sampling.generate(key, step, (), jnp.array(prompt), chain, **options)


WRONG = [
    (
        called(prompt=[[0.5]]),
        TypeError,
        "`prompt` must be integers, got dtype float32; pass token ids.",
    ),
    (
        called(prompt=3),
        ValueError,
        (
            "`prompt` must have a last axis with at least one token, got shape (); "
            "begin with a start token."
        ),
    ),
    (
        called(prompt=[[0, 1], [-1, -1]]),
        ValueError,
        (
            "`prompt` must begin with a token in every row, got -1; pad it with -1 on "
            "the right, and give an empty row a start token."
        ),
    ),
    (
        called(prompt=[[0, -1, 1]]),
        ValueError,
        (
            "`prompt` must be padded with -1 on the right, got a token after a -1; "
            "close the gap."
        ),
    ),
    (
        called(length=0),
        ValueError,
        "`length` must be at least 1, got 0; pass a count.",
    ),
    (
        called(length=1.5),
        TypeError,
        (
            "`length` must be an int, got float; it sets the shape of the result, so "
            "it cannot be traced."
        ),
    ),
    (
        called(eos=0.5),
        ValueError,
        (
            "`eos` must be a token id, or several, of at least 0, got 0.5; pass "
            "`eos=None` if nothing ends a sequence."
        ),
    ),
    (
        called(eos=(1, 7)),
        ValueError,
        (
            "`eos` must be below the number of classes 3, got 7; pass the id that the "
            "model's tokenizer gives it."
        ),
    ),
    (
        called(seen=2),
        ValueError,
        (
            "`seen` must be at least 0 and less than the length of every prompt, got "
            "2; leave the last token of a prompt to the loop."
        ),
    ),
    (
        called(seen=(0, 1)),
        ValueError,
        (
            "`seen` must be one number or have the batch shape (1,), got shape (2,); "
            "pass how many tokens the state has read."
        ),
    ),
    (
        called(chain=lambda key, logits: 0),
        TypeError,
        (
            "`chain` must be a chain or None, got function; make one, for example "
            "`chain(steps.top_k(50))`."
        ),
    ),
    (
        called(key=jax.random.split(KEY, 3)),
        ValueError,
        (
            "`key` must be one key or an array of keys of the batch shape (1,), got "
            "keys of shape (3,); split one key with `jax.random.split(key, (1,))`."
        ),
    ),
    (
        called(step=lambda ids, position, state: (jnp.zeros(3), state)),
        ValueError,
        (
            "`step_fn` must return logits of shape (1, 'V') for ids of shape (1,), "
            "got shape (3,); put the classes last."
        ),
    ),
    (
        called(step=lambda ids, position, state: (jnp.zeros((1, 3), int), state)),
        TypeError,
        (
            "`logits` must be real floating point, got dtype int32; convert it first, "
            "for example `logits.astype(jnp.float32)`."
        ),
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG)
def test_messages_say_what_to_do(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
