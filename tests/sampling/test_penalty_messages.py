"""Every message of penalties and bans, word for word."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtemp.sampling import penalties

LOGITS = jnp.zeros((2, 5))
TOKENS = np.zeros((2, 3), np.int32)
EVERY = {
    "repetition": (TOKENS, 1.0),
    "presence": (TOKENS, 1.0),
    "frequency": (TOKENS, 1.0),
    "dry": (TOKENS, 1.0),
    "no_repeat_ngram": (TOKENS, 2),
    "bad_words": (TOKENS, [[1]]),
    "logit_bias": ([1], 1.0),
    "allowed": (np.ones(5, bool),),
    "bitmask": (np.ones(1, np.uint32),),
    "min_length": (1, 2, 3),
    "guidance": (LOGITS, 1.5),
}
OF_TOKENS = list(EVERY)[:6]

WRONG = [
    (
        lambda: penalties.repetition(LOGITS, TOKENS, 0.0),
        ValueError,
        "`penalty` must be in (0, inf), got 0.0; pass 1 for no penalty.",
    ),
    (
        lambda: penalties.repetition(LOGITS, TOKENS, np.array([1.0, np.inf])),
        ValueError,
        "`penalty` must be in (0, inf), got inf; pass 1 for no penalty.",
    ),
    (
        lambda: penalties.repetition(LOGITS, TOKENS, True),
        TypeError,
        (
            "`penalty` must be real, got dtype bool; "
            "pass a real number or array in (0, inf)."
        ),
    ),
    (
        lambda: penalties.presence(LOGITS, TOKENS, np.nan),
        ValueError,
        "`penalty` must be in (-inf, inf), got nan; pass 0 for no penalty.",
    ),
    (
        lambda: penalties.frequency(LOGITS, TOKENS, -np.inf),
        ValueError,
        "`penalty` must be in (-inf, inf), got -inf; pass 0 for no penalty.",
    ),
    (
        lambda: penalties.frequency(LOGITS, TOKENS, np.ones(5)),
        ValueError,
        (
            "`penalty` must broadcast to the batch shape (2,) (the logits' shape "
            "without the class axis), got shape (5,); pass one number, or one for "
            "each row."
        ),
    ),
    (
        lambda: penalties.dry(LOGITS, TOKENS, -0.5),
        ValueError,
        "`multiplier` must be in [0, inf), got -0.5; pass 0 for no penalty.",
    ),
    (
        lambda: penalties.dry(LOGITS, TOKENS, 1.0, 0.5),
        ValueError,
        (
            "`base` must be in [1, inf), got 0.5; "
            "pass 1 for a penalty that does not grow."
        ),
    ),
    (
        lambda: penalties.dry(LOGITS, TOKENS, 1.0, 2.0, -1),
        ValueError,
        "`allowed_length` must be an integer >= 0, got -1; pass 0 for none.",
    ),
    (
        lambda: penalties.dry(LOGITS, TOKENS, 1.0, 2.0, 1.5),
        TypeError,
        "`allowed_length` must be an integer, got dtype float32; pass 0 for none.",
    ),
    (
        lambda: penalties.dry(LOGITS, TOKENS, 1.0, breakers=[1, 2]),
        TypeError,
        (
            "`breakers` must be a list of lists of ids, known when traced, got 1; "
            "write a word of one token as [id]."
        ),
    ),
    (
        lambda: penalties.dry(LOGITS, TOKENS, 1.0, breakers=[[5]]),
        ValueError,
        (
            "`breakers` must hold words of one or more ids in [0, 5), got [5]; "
            "leave it out."
        ),
    ),
    (
        lambda: penalties.no_repeat_ngram(LOGITS, TOKENS, -2),
        ValueError,
        "`n` must be an integer >= 0, got -2; pass 0 for none.",
    ),
    (
        lambda: penalties.bad_words(LOGITS, TOKENS, 3),
        TypeError,
        (
            "`sequences` must be a list of lists of ids, known when traced, got 3; "
            "write a word of one token as [id]."
        ),
    ),
    (
        lambda: penalties.bad_words(LOGITS, TOKENS, [[0.5]]),
        TypeError,
        (
            "`sequences` must be a list of lists of ids, known when traced, got [0.5]; "
            "write a word of one token as [id]."
        ),
    ),
    (
        lambda: penalties.bad_words(LOGITS, TOKENS, [[1], []]),
        ValueError,
        (
            "`sequences` must hold words of one or more ids in [0, 5), got []; "
            "leave it out."
        ),
    ),
    (
        lambda: penalties.bad_words(LOGITS, TOKENS, [[1, -1]]),
        ValueError,
        (
            "`sequences` must hold words of one or more ids in [0, 5), got [1, -1]; "
            "leave it out."
        ),
    ),
    (
        lambda: penalties.logit_bias(LOGITS, [1.0], [2.0]),
        TypeError,
        "`ids` must be integers, got dtype float32; pass token ids, -1 for none.",
    ),
    (
        lambda: penalties.logit_bias(LOGITS, "one", [2.0]),
        TypeError,
        (
            "`ids` must be an array or a number, got str; "
            "pass something that `jnp.asarray` accepts."
        ),
    ),
    (
        lambda: penalties.logit_bias(LOGITS, [5], [2.0]),
        ValueError,
        "`ids` must be in [0, 5), or -1 for none, got 5; use -1 for padding.",
    ),
    (
        lambda: penalties.logit_bias(LOGITS, np.ones((3, 1), int), 2.0),
        ValueError,
        (
            "`ids` must have the shape (K,) or (2, K) for logits of shape (2, 5), got "
            "(3, 1); put a row's ids along the last axis."
        ),
    ),
    (
        lambda: penalties.logit_bias(LOGITS, [1, 2], [1.0, 2.0, 3.0]),
        ValueError,
        (
            "`values` must broadcast to shape (2, 2), got shape (3,); "
            "add or remove axes so that it does."
        ),
    ),
    (
        lambda: penalties.logit_bias(LOGITS, [1, 2], [1.0, np.inf]),
        ValueError,
        "`values` must be in [-inf, inf), got inf; pass -inf to ban a token.",
    ),
    (
        lambda: penalties.allowed(LOGITS, np.ones(5)),
        TypeError,
        (
            "`mask` must be boolean, got dtype float32; "
            "compare first, for example `mask != 0`."
        ),
    ),
    (
        lambda: penalties.allowed(LOGITS, np.ones(4, bool)),
        ValueError,
        (
            "`mask` must broadcast to shape (2, 5), got shape (4,); "
            "add or remove axes so that it does."
        ),
    ),
    (
        lambda: penalties.bitmask(LOGITS, np.ones(1, bool)),
        TypeError,
        (
            "`words` must be uint32 or int32, got dtype bool; pack 32 classes into "
            "each word, the first one into the lowest bit."
        ),
    ),
    (
        lambda: penalties.bitmask(LOGITS, np.ones((2, 2), np.uint32)),
        ValueError,
        (
            "`words` must have 1 words of 32 classes along the last axis for 5 "
            "classes, got shape (2, 2); pad the last word with zeros."
        ),
    ),
    (
        lambda: penalties.bitmask(LOGITS, np.ones((3, 1), np.uint32)),
        ValueError,
        (
            "`words` must broadcast to shape (2, 1), got shape (3, 1); "
            "add or remove axes so that it does."
        ),
    ),
    (
        lambda: penalties.min_length(LOGITS, -1, 2, 0),
        ValueError,
        "`length` must be an integer >= 0, got -1; pass 0 for none.",
    ),
    (
        lambda: penalties.min_length(LOGITS, 1, 2.0, 0),
        TypeError,
        "`minimum` must be an integer, got dtype float32; pass 0 for none.",
    ),
    (
        lambda: penalties.min_length(LOGITS, 1, 2, -2),
        ValueError,
        "`eos` must be in [0, 5), or -1 for none, got -2; use -1 for padding.",
    ),
    (
        lambda: penalties.guidance(LOGITS, LOGITS[0], 1.5),
        ValueError,
        (
            "`unconditional` must have the logits' shape (2, 5), got (5,); "
            "pass one row of logits for each."
        ),
    ),
    (
        lambda: penalties.guidance(LOGITS, LOGITS.astype(int), 1.5),
        TypeError,
        (
            "`unconditional` must be real floating point, got dtype int32; convert it "
            "first, for example `unconditional.astype(jnp.float32)`."
        ),
    ),
    (
        lambda: penalties.guidance(LOGITS, LOGITS, np.inf),
        ValueError,
        "`scale` must be in (-inf, inf), got inf; pass 1 for no guidance.",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG)
def test_a_wrong_argument_is_refused_in_one_line(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message


@pytest.mark.parametrize("name", EVERY)
def test_logits_must_be_floating_with_a_class_axis(name):
    function = getattr(penalties, name)
    with pytest.raises(TypeError, match="`logits` must be real floating point, got"):
        function(LOGITS.astype(int), *EVERY[name])
    with pytest.raises(ValueError, match="`logits` must have at least one axis, got"):
        function(jnp.float32(1), *EVERY[name])
    with pytest.raises(ValueError, match="`logits` must have at least one class along"):
        function(LOGITS[:, :0], *EVERY[name])


@pytest.mark.parametrize("name", OF_TOKENS)
def test_tokens_must_be_ids_of_each_row(name):
    function, rest = getattr(penalties, name), EVERY[name][1:]
    shape = r"^`tokens` must have the shape \(2, T\) for logits of shape \(2, 5\), got "
    for tokens in (TOKENS[0], TOKENS[:1], np.int32(1)):
        with pytest.raises(ValueError, match=shape):
            function(LOGITS, tokens, *rest)
    with pytest.raises(ValueError, match=r"^`tokens` must have the shape \(T,\) for"):
        function(LOGITS[0], TOKENS, *rest)
    kind = (
        "^`tokens` must be integers, got dtype float32; pass token ids, -1 for none.$"
    )
    with pytest.raises(TypeError, match=kind):
        function(LOGITS, TOKENS.astype(np.float32), *rest)
    for token in (5, -2):
        message = (
            rf"^`tokens` must be in \[0, 5\), or -1 for none, got {token}; use -1 "
        )
        with pytest.raises(ValueError, match=message):
            function(LOGITS, TOKENS + token, *rest)


def test_words_must_be_known_when_traced():
    @jax.jit
    def traced(word):
        return penalties.bad_words(LOGITS, TOKENS, [word])

    with pytest.raises(TypeError, match=r"^`sequences` must be a list of lists"):
        traced(jnp.array([1, 2]))
    words = [np.array([1, 2]), jnp.array([3])]
    got = penalties.bad_words(LOGITS, TOKENS, words)
    assert np.isneginf(got[:, 3]).all()
