"""Whatever the draft, the tokens that come out follow the target."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtemp.sampling import speculative
from tests.sampling.laws import fits, number, softmax

DRAWS = 2**20
P_VALUE = 1e-4


def tables(classes, seed=0, scale=1.5):
    """Logits of the token after each, for the draft and the target; row V begins."""
    random = np.random.default_rng(seed)
    return random.normal(0, scale, (2, classes + 1, classes)).astype(np.float32)


def after(table, ids):
    """Logits of what follows each token of `ids`, and of what begins."""
    begin = np.full((*ids.shape[:-1], 1), len(table) - 1)
    return table[np.concatenate([begin, ids], axis=-1)]


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
    seen, counts = np.unique(number(ids, classes), return_counts=True)
    assert np.isin(seen, codes).all()
    np.testing.assert_array_equal((np.asarray(ids) >= 0).sum(-1), accepted + 1)
    out = np.zeros(len(codes))
    order = np.argsort(codes)
    out[order[np.searchsorted(codes[order], seen)]] = counts
    return out


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


CASES = [
    # classes, drafts, τ of the target, τ of the draft, what is special
    (5, 1, 1.0, 1.0, None),
    (10, 1, 0.7, 0.7, None),
    (6, 2, 1.0, 1.0, None),
    (5, 3, 1.3, 1.3, None),
    (5, 2, 1.0, 0.25, None),
    (5, 2, 1.0, 0.0, None),
    (5, 2, 0.0, 1.0, None),
    (5, 2, 1.0, np.inf, None),
    (6, 2, 1.0, 1.0, "masked"),
    (6, 2, 1.0, 1.0, "disjoint"),
    (5, 2, 1.0, 1.0, "equal"),
    (5, 2, 0.0, 0.0, "ties"),
    (5, 2, 1.0, 0.0, "ties"),
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


@pytest.mark.parametrize(("classes", "drafts", "tau", "draft_tau", "what"), CASES)
@pytest.mark.parametrize("own_keys", [False, True])
def test_outcomes_have_the_enumerated_law(
    classes, drafts, tau, draft_tau, what, own_keys
):
    draft, target = special(*tables(classes), what)
    p, q = softmax(draft, draft_tau), softmax(target, tau)
    ids = drawn(p, DRAWS, drafts)
    key = jax.random.key(7)
    key = jax.random.split(key, DRAWS) if own_keys else key
    out = verify(
        key, ids, after(draft, ids[:, :-1]), after(target, ids), tau, draft_tau
    )
    codes, found = law(p, q, drafts)
    counts = counted(codes, out.ids, np.asarray(out.accepted), classes)
    assert fits(counts, found[:, 1]) > P_VALUE


@pytest.mark.parametrize("draft_tau", [1.0, 0.1, np.inf])
def test_the_first_token_has_the_law_of_the_target(draft_tau):
    draft, target = tables(8, seed=3)
    ids = drawn(softmax(draft, draft_tau), DRAWS, 2)
    out = verify(
        jax.random.key(1),
        ids,
        after(draft, ids[:, :-1]),
        after(target, ids),
        1.0,
        draft_tau,
    )
    counts = np.bincount(out.ids[:, 0], minlength=8)
    assert fits(counts, softmax(target)[-1]) > P_VALUE


@pytest.mark.parametrize("found", [(0, 1), (3, 3), (4, 0)])
def test_a_draft_that_was_looked_up_gives_the_law_of_the_target(found):
    _, target = tables(5)
    certain = np.zeros((6, 5))  # the draft as a law: all on one token
    certain[[5, found[0]], found] = 1
    ids = np.broadcast_to(found, (DRAWS, 2))
    logits = np.broadcast_to(after(target, ids[0]), (DRAWS, 3, 5))
    out = verify(jax.random.key(2), ids, None, logits, 0.8, None, none=True)
    codes, probabilities = law(certain, softmax(target, 0.8), 2)
    counts = counted(codes, out.ids, np.asarray(out.accepted), 5)
    assert fits(counts, probabilities[:, 1]) > P_VALUE


def test_a_row_without_a_draft_is_drawn_from_the_target():
    draft, target = tables(6)
    ids = np.full((DRAWS, 2), -1)
    out = verify(
        jax.random.key(3),
        ids,
        np.broadcast_to(draft[:2], (DRAWS, 2, 6)),
        np.broadcast_to(target[-3:], (DRAWS, 3, 6)),
        1.0,
        None,
    )
    assert not out.accepted.any()
    assert (out.ids[:, 1:] == -1).all()
    counts = np.bincount(out.ids[:, 0], minlength=6)
    assert fits(counts, softmax(target)[-3]) > P_VALUE


def test_a_shorter_draft_is_followed_by_a_draw_from_the_target():
    draft, target = tables(5)
    ids = drawn(softmax(draft), DRAWS, 1)
    padded = np.concatenate([ids, np.full((DRAWS, 2), -1)], axis=-1)
    logits = np.concatenate([after(target, ids), np.zeros((DRAWS, 2, 5))], axis=1)
    first = np.broadcast_to(draft[-1], (DRAWS, 3, 5))
    out = verify(jax.random.key(4), padded, first, logits.astype("f4"), 1.0, None)
    codes, found = law(softmax(draft), softmax(target), 1)
    counts = counted(codes, out.ids[:, :2], np.asarray(out.accepted), 5)
    assert fits(counts, found[:, 1]) > P_VALUE
    assert (out.ids[:, 2:] == -1).all()


def test_a_small_chance_of_acceptance_is_as_small_as_it_should_be():
    # Once in 2**25 draws, which a uniform number of 23 bits cannot tell from 0.
    chance = 2.0**-25
    target = np.log(np.array([chance, 1 - chance], np.float32))
    rows, rounds = 2**21, 64
    ids = np.zeros((rows, 1), np.int32)
    logits = np.broadcast_to(target, (rows, 2, 2))

    def more(hits, key):
        out = speculative.verify(key, ids, None, logits)
        return hits + out.accepted.sum(), None

    keys = jax.random.split(jax.random.key(5), rounds)
    hits, _ = jax.jit(lambda keys: jax.lax.scan(more, 0, keys))(keys)
    assert hits in range(1, 13)  # Poisson with mean 4


@pytest.mark.parametrize(
    ("batch", "drafts"), [((), 3), ((4,), 1), ((2, 3), 5), ((1, 2, 3), 7)]
)
def test_after_the_last_token_there_is_nothing(drafts, batch):
    random = np.random.default_rng(drafts)
    ids = random.integers(0, 11, (*batch, drafts))
    draft = random.normal(size=(*batch, drafts, 11)).astype("f4")
    target = random.normal(size=(*batch, drafts + 1, 11)).astype("f4")
    out = verify(jax.random.key(drafts), ids, draft, target, 1.0, None)
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


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("how", ["temperature", "one-hot"])
@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize(("draft", "choice", "expected"), GREEDY)
def test_a_certain_target_decides(draft, choice, expected, given, how, dtype):
    target = jax.nn.one_hot(jnp.array(choice), 6, dtype=dtype)
    if how == "one-hot":
        target = jnp.log(target)
    tau = 0.0 if how == "temperature" else 1.0
    logits = jnp.zeros((3, 6), dtype)
    out = verify(
        jax.random.key(0), jnp.array(draft), logits, target, tau, 1.0, none=not given
    )
    assert out.ids.tolist() == expected


def test_laws_that_differ_by_rounding_leave_the_target():
    # Both laws are the same, and the draft's token is none of theirs.
    logits = jnp.array([[0.0, 0.0, -jnp.inf]])
    out = verify(
        jax.random.split(jax.random.key(0), 64),
        jnp.full((64, 1), 2),
        jnp.broadcast_to(logits, (64, 1, 3)),
        jnp.broadcast_to(logits[None], (64, 2, 3)),
        1.0,
        None,
    )
    assert not out.accepted.any()
    assert set(out.ids[:, 0].tolist()) == {0, 1}


@pytest.mark.parametrize("bad", [np.nan, -np.inf, np.inf])
def test_a_row_without_a_law_gives_no_token_and_spoils_no_other(bad):
    draft, target = tables(5)
    keys = jax.random.split(jax.random.key(0), 3)
    ids = drawn(softmax(draft), 3, 2)
    logits = after(target, ids)
    want = verify(keys, ids, after(draft, ids[:, :-1]), logits, 1.0, None)
    logits[1, 0, :] = bad
    got = verify(keys, ids, after(draft, ids[:, :-1]), logits, 1.0, None)
    assert got.ids[1].tolist() == [-1, -1, -1]
    assert got.accepted[1] == 0
    for row in (0, 2):
        np.testing.assert_array_equal(got.ids[row], want.ids[row])


@pytest.mark.parametrize("temperature", [0.6, np.array([0.5, 1.0, 2.0, 0.0])])
def test_a_row_depends_on_its_own_key_and_inputs_alone(temperature):
    draft, target = tables(7)
    keys = jax.random.split(jax.random.key(9), 4)
    ids = drawn(softmax(draft), 4, 3)
    inputs = (keys, ids, after(draft, ids[:, :-1]), after(target, ids))
    tau = np.broadcast_to(temperature, 4)
    together = verify(*inputs, temperature, None)
    backwards = verify(*[array[::-1] for array in (*inputs, tau)], None)
    mapped = jax.vmap(functools.partial(verify, draft_temperature=None))(*inputs, tau)
    one_by_one = [
        verify(*[array[row] for array in (*inputs, tau)], None) for row in range(4)
    ]
    for row, alone in enumerate(one_by_one):
        for other in (together.ids[row], backwards.ids[3 - row], mapped.ids[row]):
            np.testing.assert_array_equal(alone.ids, other)


def test_old_keys_are_keys_too():
    draft, target = tables(5)
    ids = drawn(softmax(draft), 4, 2)
    inputs = (ids, after(draft, ids[:, :-1]), after(target, ids))
    want = speculative.verify(jax.random.key(0), *inputs)
    got = speculative.verify(jax.random.PRNGKey(0), *inputs)
    np.testing.assert_array_equal(want.ids, got.ids)


IDS = jnp.array([[1, 2]])
DRAFT, TARGET = jnp.zeros((1, 2, 4)), jnp.zeros((1, 3, 4))
KEY = jax.random.key(0)

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
