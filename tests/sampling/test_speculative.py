"""Whatever the draft, the tokens that come out follow the target."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtemp.sampling import speculative
from tests.sampling.laws import fits, number, softmax

KEY = jax.random.key(0)
DRAWS = 2**20
P_VALUE = 1e-4


def tables(classes, seed=0, scale=1.5):
    """Logits of the token after each, for the draft and the target; row V begins."""
    random = np.random.default_rng(seed)
    return random.normal(0, scale, (2, classes + 1, classes)).astype(np.float32)


def after(table, ids):
    """Logits of what follows each token of `ids`, and of what begins."""
    room = [(0, 0)] * (ids.ndim - 1) + [(1, 0)]
    return jnp.asarray(table)[jnp.pad(ids, room, constant_values=-1)]


def drawn(law, count, drafts, seed=1):
    """Sequences from a Markov chain, by NumPy."""
    random = np.random.default_rng(seed)
    ids, last = [], np.full(count, len(law) - 1)
    for _ in range(drafts):
        u = random.random((count, 1))
        last = np.minimum((u > law.cumsum(-1)[last]).sum(-1), law.shape[-1] - 1)
        ids.append(last)
    return np.stack(ids, axis=-1)


def law(draft, target, drafts):
    """The probability of every outcome, padded with -1, from the rule's definition."""
    classes = draft.shape[-1]
    found = {}

    def visit(done, probability):
        last = done[-1] if done else classes
        p, q = draft[last], target[last]
        if len(done) == drafts:
            stop = q
        else:
            stop = np.maximum(q - p, 0)
            for x in range(classes):
                if min(p[x], q[x]):
                    visit((*done, x), probability * min(p[x], q[x]))
        pad = (-1,) * (drafts - len(done))
        for x in range(classes):
            found[*done, x, *pad] = (len(done), probability * stop[x])

    visit((), 1.0)
    ids = np.array(list(found))
    return number(ids, classes), np.array([found[key] for key in found])


def counted(codes, ids, accepted, classes):
    """How often each outcome came, as ids and the number of accepted ones."""
    np.testing.assert_array_equal((np.asarray(ids) >= 0).sum(-1), accepted + 1)
    counts = np.bincount(number(ids, classes), minlength=codes.max() + 1)
    assert counts.sum() == counts[codes].sum()
    return counts[codes]


@functools.partial(jax.jit, static_argnames=("none",))
def verify(key, ids, draft, target, temperature, draft_temperature, none=False):
    return speculative.verify(
        key,
        ids,
        None if none else draft,
        target,
        temperature,
        draft_temperature=draft_temperature,
    )


# Five classes each, so that what is compiled for a number of drafts serves them all.
CLASSES = 5


@functools.partial(jax.jit, static_argnames=("none",))
def verify_chains(key, ids, draft, target, *temperatures, none=False):
    """`verify` for a draft and a target that are Markov chains, given as tables."""
    inputs = after(draft, ids[:, :-1]), after(target, ids)
    return verify(key, ids, *inputs, *temperatures, none=none)


CASES = [
    # drafts, τ of the target, τ of the draft, what is special
    (1, 1.0, 1.0, None),
    (1, 0.7, 0.7, None),
    (2, 1.0, 1.0, None),
    (3, 1.3, 1.3, None),
    (2, 1.0, 0.25, None),
    (2, 1.0, 0.0, None),
    (2, 0.0, 1.0, None),
    (2, 1.0, np.inf, None),
    (2, 1.0, 1.0, "masked"),
    (2, 1.0, 1.0, "disjoint"),
    (2, 1.0, 1.0, "equal"),
    (2, 0.0, 0.0, "ties"),
    (2, 1.0, 0.0, "ties"),
    (2, 1.0, 1.0, "own keys"),
]


def special(draft, target, what):
    """Tables with what is special."""
    draft, target = draft.copy(), target.copy()
    if what == "masked":  # classes for one of the two alone
        draft[:, 0], target[:, 1] = -np.inf, -np.inf
    if what == "disjoint":
        draft[:, :3], target[:, 3:] = -np.inf, -np.inf
    if what == "equal":
        draft = target
    if what == "ties":
        draft, target = np.sign(draft), np.sign(target)
    return draft, target


@pytest.mark.parametrize(("drafts", "tau", "draft_tau", "what"), CASES)
def test_outcomes_have_the_enumerated_law(drafts, tau, draft_tau, what):
    draft, target = special(*tables(CLASSES), what)
    p, q = softmax(draft, draft_tau), softmax(target, tau)
    ids = drawn(p, DRAWS, drafts)
    key = jax.random.key(7)
    key = jax.random.split(key, DRAWS) if what == "own keys" else key
    out = verify_chains(key, ids, draft, target, tau, draft_tau)
    codes, found = law(p, q, drafts)
    counts = counted(codes, out.ids, np.asarray(out.accepted), CLASSES)
    assert fits(counts, found[:, 1]) > P_VALUE


@pytest.mark.parametrize("draft_tau", [1.0, 0.1, np.inf])
def test_the_first_token_has_the_law_of_the_target(draft_tau):
    draft, target = tables(CLASSES, seed=3)
    ids = drawn(softmax(draft, draft_tau), DRAWS, 2)
    out = verify_chains(jax.random.key(1), ids, draft, target, 1.0, draft_tau)
    counts = np.bincount(out.ids[:, 0], minlength=CLASSES)
    assert fits(counts, softmax(target)[-1]) > P_VALUE


@pytest.mark.parametrize("found", [(0, 1), (3, 3), (4, 0)])
def test_a_draft_that_was_looked_up_gives_the_law_of_the_target(found):
    _, target = tables(5)
    certain = np.zeros((6, 5))  # the draft as a law: all on one token
    certain[[5, found[0]], found] = 1
    ids = np.broadcast_to(found, (DRAWS, 2))
    out = verify_chains(jax.random.key(2), ids, target, target, 0.8, None, none=True)
    codes, probabilities = law(certain, softmax(target, 0.8), 2)
    counts = counted(codes, out.ids, np.asarray(out.accepted), 5)
    assert fits(counts, probabilities[:, 1]) > P_VALUE


def test_a_row_without_a_draft_is_drawn_from_the_target():
    draft, target = tables(CLASSES)
    ids = np.full((DRAWS, 2), -1)
    out = verify_chains(jax.random.key(3), ids, draft, target, 1.0, 1.0)
    assert not out.accepted.any()
    assert (out.ids[:, 1:] == -1).all()
    counts = np.bincount(out.ids[:, 0], minlength=CLASSES)
    assert fits(counts, softmax(target)[-1]) > P_VALUE


def test_a_shorter_draft_is_followed_by_a_draw_from_the_target():
    draft, target = tables(5)
    ids = drawn(softmax(draft), DRAWS, 1)
    padded = np.concatenate([ids, np.full((DRAWS, 2), -1)], axis=-1)
    out = verify_chains(jax.random.key(4), padded, draft, target, 1.0, 1.0)
    codes, found = law(softmax(draft), softmax(target), 1)
    counts = counted(codes, out.ids[:, :2], np.asarray(out.accepted), 5)
    assert fits(counts, found[:, 1]) > P_VALUE
    assert (out.ids[:, 2:] == -1).all()


def test_a_small_chance_of_acceptance_is_as_small_as_it_should_be():
    # Once in 2**25 draws, which a uniform number of 23 bits cannot tell from 0.
    chance = 2.0**-25
    target = np.log(np.array([chance, 1 - chance], np.float32))
    rows, rounds = 2**16, 2**11

    @jax.jit
    def accepted(keys, target):
        ids, logits = jnp.zeros((rows, 1), int), jnp.broadcast_to(target, (rows, 2, 2))

        def more(hits, key):
            out = speculative.verify(key, ids, None, logits)
            return hits + out.accepted.sum(), None

        return jax.lax.scan(more, 0, keys)[0]

    hits = accepted(jax.random.split(jax.random.key(5), rounds), target)
    assert hits in range(1, 13)  # Poisson with mean 4


@pytest.mark.parametrize(("batch", "drafts"), [((), 2), ((1, 2, 3), 7)])
def test_after_the_last_token_there_is_nothing(drafts, batch):
    random = np.random.default_rng(drafts)
    ids = random.integers(0, CLASSES, (*batch, drafts))
    draft = random.normal(size=(*batch, drafts, CLASSES)).astype("f4")
    target = random.normal(size=(*batch, drafts + 1, CLASSES)).astype("f4")
    out = verify(KEY, ids, draft, target, np.float32(1), None)
    assert out.ids.shape == (*batch, drafts + 1)
    assert out.accepted.shape == batch
    assert out.ids.dtype == out.accepted.dtype == jnp.int32
    there = np.arange(drafts + 1) <= np.asarray(out.accepted)[..., None]
    np.testing.assert_array_equal(np.asarray(out.ids) >= 0, there)
    kept = np.arange(drafts) < np.asarray(out.accepted)[..., None]
    np.testing.assert_array_equal(np.asarray(out.ids)[..., :-1][kept], ids[kept])


GREEDY = [
    # the draft, the target's choice at each place, what comes out
    ([1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4]),
    ([1, 2, 3], [1, 5, 3, 4], [1, 5, -1, -1]),
    ([1, 2, 3], [0, 2, 3, 4], [0, -1, -1, -1]),
    ([1, 2, 3], [1, 2, 0, 4], [1, 2, 0, -1]),
    ([1, -1, 3], [1, 4, 3, 4], [1, 4, -1, -1]),
    ([1, 9, 3], [1, 4, 3, 4], [1, 4, -1, -1]),
]


@pytest.mark.parametrize(
    ("dtype", "given"),
    [
        (jnp.float32, True),
        (jnp.float32, False),
        (jnp.bfloat16, True),
        (jnp.float16, True),
    ],
)
def test_a_certain_target_decides(dtype, given):
    # Each case twice: at a temperature of 0, and with no other token allowed.
    draft, choice, expected = map(np.array, zip(*GREEDY, *GREEDY, strict=True))
    target = np.eye(6)[choice]
    target[len(GREEDY) :] = np.where(target[len(GREEDY) :], 0, -np.inf)
    tau = np.repeat([0, 1], len(GREEDY)).astype("f4")
    logits = np.zeros((len(draft), 3, 6), dtype)
    out = verify(
        KEY, draft, logits, target.astype(dtype), tau, np.ones_like(tau), not given
    )
    np.testing.assert_array_equal(out.ids, expected)


def four(keys, ids, draft, target, temperature=(1, 1, 1, 1)):
    """Four rows with two drafts."""
    return verify(keys, ids, draft, target, np.array(temperature, "f4"), None)


def four_rows():
    draft, target = tables(CLASSES)
    ids = drawn(softmax(draft), 4, 2)
    return ids, *map(np.array, (after(draft, ids[:, :-1]), after(target, ids)))


def test_laws_that_differ_by_rounding_leave_the_target():
    # Both laws are the same, and the draft's token is none of theirs.
    logits = np.where(np.arange(CLASSES) < 2, np.zeros((4, 3, 1), "f4"), -np.inf)
    found = set()
    for keys in jax.random.split(jax.random.key(0), (16, 4)):
        out = four(keys, np.full((4, 2), 2), logits[:, :2], logits)
        assert not out.accepted.any()
        found |= set(out.ids[:, 0].tolist())
    assert found == {0, 1}


@pytest.mark.parametrize("bad", [np.nan, -np.inf, np.inf])
def test_a_row_without_a_law_gives_no_token_and_spoils_no_other(bad):
    keys = jax.random.split(KEY, 4)
    ids, draft, target = four_rows()
    want = four(keys, ids, draft, target)
    target[1, 0, :] = bad
    got = four(keys, ids, draft, target)
    assert got.ids[1].tolist() == [-1, -1, -1]
    assert got.accepted[1] == 0
    for row in (0, 2, 3):
        np.testing.assert_array_equal(got.ids[row], want.ids[row])


def test_a_row_depends_on_its_own_key_and_inputs_alone():
    keys = jax.random.split(jax.random.key(9), 4)
    inputs = (keys, *four_rows(), np.array([0.5, 1.0, 2.0, 0.0], "f4"))
    together = four(*inputs)
    backwards = four(*[array[::-1] for array in inputs])
    mapped = jax.vmap(functools.partial(verify, draft_temperature=None))(*inputs)
    for row in range(4):
        alone = verify(*[array[row] for array in inputs], None)
        for other in (together.ids[row], backwards.ids[3 - row], mapped.ids[row]):
            np.testing.assert_array_equal(alone.ids, other)


def test_a_key_is_split_over_the_rows_and_may_be_an_old_one():
    want = four(jax.random.split(KEY, 4), *four_rows())
    got = four(jax.random.PRNGKey(0), *four_rows())
    np.testing.assert_array_equal(want.ids, got.ids)


IDS = jnp.array([[1, 2]])
DRAFT, TARGET = jnp.zeros((1, 2, 4)), jnp.zeros((1, 3, 4))

WRONG = [
    (
        (KEY, jnp.array([[1.0, 2.0]]), DRAFT, TARGET),
        TypeError,
        "`draft_ids` must be integers, got dtype float32; pass token ids.",
    ),
    (
        (KEY, jnp.zeros((1, 0), int), DRAFT, TARGET),
        ValueError,
        (
            "`draft_ids` must have a last axis with at least one token, got shape "
            "(1, 0); without a draft, call `jaxtemp.categorical`."
        ),
    ),
    (
        (KEY, IDS, DRAFT, DRAFT),
        ValueError,
        (
            "`target_logits` must have shape (1, 3, 'V') for `draft_ids` of shape "
            "(1, 2), got (1, 2, 4); the target gives one row more than the draft has "
            "tokens."
        ),
    ),
    (
        (KEY, IDS, TARGET, TARGET),
        ValueError,
        (
            "`draft_logits` must have shape (1, 2, 4), got (1, 3, 4); give one row "
            "for each token of the draft, over the target's classes."
        ),
    ),
    (
        (KEY, IDS, DRAFT, jnp.zeros((1, 3, 4), int)),
        TypeError,
        (
            "`target_logits` must be real floating point, got dtype int32; convert it "
            "first, for example `target_logits.astype(jnp.float32)`."
        ),
    ),
    (
        (KEY, IDS, DRAFT, TARGET, -1.0),
        ValueError,
        "`temperature` must be in [0, inf], got -1.0; pass 0 for a greedy model.",
    ),
    (
        (KEY, IDS, DRAFT, TARGET, jnp.ones((1, 3))),
        ValueError,
        (
            "`temperature` must broadcast to the batch shape (1,) (the logits' shape "
            "without the class axis), got shape (1, 3); pass one number, or one for "
            "each row."
        ),
    ),
    (
        (jax.random.split(KEY, 3), IDS, DRAFT, TARGET),
        ValueError,
        (
            "`key` must be one key or an array of keys of the batch shape (1,), got "
            "keys of shape (3,); split one key with `jax.random.split(key, (1,))`."
        ),
    ),
]


@pytest.mark.parametrize(("arguments", "error", "message"), WRONG)
def test_messages_say_what_to_do(arguments, error, message):
    with pytest.raises(error) as caught:
        speculative.verify(*arguments)
    assert str(caught.value) == message
