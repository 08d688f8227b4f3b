"""Penalties and bans of one row in plain Python and float64, straight from their rules.

Tokens are a list, -1 where there is none. Nothing here is vectorised or clever.
"""

import math

BANNED = -math.inf


def seen(tokens):
    return [t for t in tokens if t >= 0]


def _penalised(logits, changed):
    return [c if math.isfinite(z) else z for z, c in zip(logits, changed, strict=True)]


def _without(logits, banned):
    return [
        BANNED if i in banned and not math.isnan(z) else z for i, z in enumerate(logits)
    ]


def repetition(logits, tokens, penalty):
    changed = list(logits)
    for i in set(seen(tokens)):
        changed[i] = logits[i] * penalty if logits[i] < 0 else logits[i] / penalty
    return _penalised(logits, changed)


def presence(logits, tokens, penalty):
    changed = [z - penalty * (i in tokens) for i, z in enumerate(logits)]
    return _penalised(logits, changed)


def frequency(logits, tokens, penalty):
    changed = [z - penalty * tokens.count(i) for i, z in enumerate(logits)]
    return _penalised(logits, changed)


def repeats(history, limit):
    """The longest end of the history, up to a limit, that each token has followed."""
    longest = {}
    for place, token in enumerate(history):
        lengths = [
            k
            for k in range(min(limit, place) + 1)
            if history[place - k : place] == history[len(history) - k :]
        ]
        longest[token] = max([*lengths, longest.get(token, 0)])
    return longest


def since(history, words):
    """How many tokens stand after the last complete word."""
    for after in range(len(history)):
        before = history[: len(history) - after]
        if any(before[-len(word) :] == list(word) for word in words):
            return after
    return len(history)


def dry(logits, tokens, multiplier, base, allowed_length, breakers=()):
    history = seen(tokens)
    most = math.floor(88 / math.log(base)) if base > 1 else math.inf
    changed = list(logits)
    for i, length in repeats(history, since(history, breakers)).items():
        if length >= allowed_length and [i] not in [list(w) for w in breakers]:
            changed[i] -= multiplier * base ** min(length - allowed_length, most)
    return _penalised(logits, changed)


def no_repeat_ngram(logits, tokens, n):
    history = seen(tokens)
    if not n or len(history) < n - 1:
        return list(logits)
    start = history[len(history) - n + 1 :]
    grams = [history[i : i + n] for i in range(len(history) - n + 1)]
    return _without(logits, {gram[-1] for gram in grams if gram[:-1] == start})


def bad_words(logits, tokens, sequences):
    history = seen(tokens)
    banned = set()
    for *prefix, last in sequences:
        if history[max(0, len(history) - len(prefix)) :] == prefix:
            banned.add(last)
    return _without(logits, banned)


def logit_bias(logits, ids, values):
    changed = list(logits)
    for i, value in zip(ids, values, strict=True):
        if i >= 0 and value != BANNED:
            changed[i] += value
    pairs = zip(ids, values, strict=True)
    banned = {i for i, value in pairs if i >= 0 and value == BANNED}
    return _without(_penalised(logits, changed), banned)


def allowed(logits, mask):
    return [z if keep else BANNED for z, keep in zip(logits, mask, strict=True)]


def bitmask(logits, words):
    bits = [int(words[i // 32]) >> (i % 32) & 1 for i in range(len(logits))]
    return allowed(logits, bits)


def min_length(logits, length, minimum, eos):
    return _without(logits, {i for i in eos if i >= 0} if length < minimum else set())


def log_softmax(logits):
    top = max(logits)
    total = math.log(math.fsum(math.exp(z - top) for z in logits))
    return [z - top - total for z in logits]


def guidance(logits, unconditional, scale):
    p = log_softmax(logits)
    if scale == 1:
        return p
    q = log_softmax(unconditional)
    return [
        BANNED if BANNED in (a, b) else b + scale * (a - b)
        for a, b in zip(p, q, strict=True)
    ]
