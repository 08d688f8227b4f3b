"""The samplers of other systems, for one row, in NumPy and float64.

Written from the rules of each system, one function a rule, without JAX. A pipeline
takes logits `[V]` and returns them with `-inf` where the system cannot draw. Among
equal logits the lowest index comes first, where a system has an unstable sort.
"""

import numpy as np

NOTHING = -np.inf


def softmax(z):
    weight = np.exp(z - np.max(z))
    return weight / np.sum(weight)


def entropy(p):
    return -np.sum(p[p > 0] * np.log(p[p > 0]))


def keep(z, kept):
    return np.where(kept, z, NOTHING)


def descending(z):
    """Indices by logit, the largest first, the lowest index first among equals."""
    return np.argsort(-z, kind="stable")


def first(z, count):
    kept = np.zeros(z.shape, bool)
    kept[descending(z)[:count]] = True
    return keep(z, kept)


def divide(z, temperature):
    return z / temperature


def greedy_below(z, temperature, limit):
    return first(z, 1) if temperature < limit else divide(z, temperature)


# Rules shared by Hugging Face and vLLM.


def top_k_by_value(z, k):
    if k <= 0:
        return z
    return keep(z, z >= np.sort(z)[::-1][min(k, z.size) - 1])


def top_p_ascending(z, p):
    if p >= 1:
        return z
    order = descending(z)[::-1]
    removed = np.cumsum(softmax(z)[order]) <= 1 - p
    removed[-1] = False
    kept = np.ones(z.shape, bool)
    kept[order[removed]] = False
    return keep(z, kept)


def min_p(z, share):
    p = softmax(z)
    return keep(z, p >= share * np.max(p))


# Hugging Face.


def hf_top_h(z, h):
    order = descending(z)[:100]
    p = softmax(z[order])
    term = np.where(p > 0, -p * np.log(np.where(p > 0, p, 1)), 0)
    chosen = np.cumsum(term) <= h * entropy(p)
    chosen[0] = True
    kept = np.zeros(z.shape, bool)
    kept[order[chosen]] = True
    return keep(z, kept)


def hf_typical(z, mass):
    p = softmax(z)
    with np.errstate(divide="ignore"):
        distance = np.abs(-np.log(p) - entropy(p))
    order = np.argsort(distance, kind="stable")
    last = min(np.sum(np.cumsum(p[order]) < mass), z.size - 1)
    return keep(z, distance <= distance[order][last])


def hf_epsilon(z, epsilon):
    return keep(z, (softmax(z) >= epsilon) | (z == np.max(z)))


def hf_eta(z, epsilon):
    p = softmax(z)
    eta = min(epsilon, np.sqrt(epsilon) * np.exp(-entropy(p)))
    return keep(z, (p >= eta) | (z == np.max(z)))


HUGGINGFACE = {
    "temperature": divide,
    "top_h": hf_top_h,
    "top_k": top_k_by_value,
    "top_p": top_p_ascending,
    "min_p": min_p,
    "typical_p": hf_typical,
    "epsilon_cutoff": hf_epsilon,
    "eta_cutoff": hf_eta,
}
VLLM = {
    "temperature": lambda z, t: greedy_below(z, t, 1e-5),
    "min_p": min_p,
    "top_k": top_k_by_value,
    "top_p": top_p_ascending,
}


# llama.cpp: candidates leave a list, so later rules count only what is left.


def llama_top_n_sigma(z, n):
    if n <= 0:
        return z
    return keep(z, z >= np.max(z) - n * np.std(z[z > NOTHING]))


def llama_top_k(z, k):
    return z if k <= 0 else first(z, k)


def llama_until(z, p, order, reached):
    total, count = 0.0, 0
    for index in order:
        total += p[index]
        count += 1
        if reached(total):
            break
    kept = np.zeros(z.shape, bool)
    kept[order[:count]] = True
    return keep(z, kept)


def llama_typical(z, mass):
    if mass >= 1:
        return z
    p = softmax(z)
    with np.errstate(divide="ignore"):
        distance = np.abs(-np.log(p) - entropy(p))
    order = np.argsort(distance, kind="stable")
    return llama_until(z, p, order, lambda total: total > mass)


def llama_top_p(z, mass):
    if mass >= 1:
        return z
    return llama_until(z, softmax(z), descending(z), lambda total: total >= mass)


def llama_min_p(z, share):
    return z if share <= 0 else keep(z, z >= np.max(z) + np.log(share))


def llama_temperature(z, temp, width=0.0, exponent=1.0):
    if width > 0:
        count = np.sum(z > NOTHING)
        if count <= 1:
            return z
        low, high = max(0.0, temp - width), temp + width
        share = entropy(softmax(z)) / np.log(count)
        temp = low + (high - low) * share**exponent
    return first(z, 1) if temp <= 0 else z / temp


LLAMA_CPP = {
    "top_n_sigma": llama_top_n_sigma,
    "top_k": llama_top_k,
    "typ_p": llama_typical,
    "top_p": llama_top_p,
    "min_p": llama_min_p,
    "temp": llama_temperature,
}


# SGLang.


def sglang_flashinfer(z, temperature=1.0, top_k=-1, top_p=1.0, min_p=0.0):
    z = greedy_below(z, temperature, 1e-6)
    k = z.size if top_k == -1 else top_k

    def above(p):
        """How many tokens, and what mass, are strictly more likely than each."""
        more = p[None, :] > p[:, None]
        return np.sum(more, axis=1), np.sum(np.where(more, p[None, :], 0), axis=1)

    if min_p == 0:
        count, mass = above(softmax(z))
        return keep(z, (count < k) & (mass < top_p))
    z = keep(z, above(softmax(z))[0] < k)
    z = keep(z, above(softmax(z))[1] < top_p)
    p = softmax(z)
    return keep(z, p >= min_p * np.max(p))


def sglang_pytorch(z, temperature=1.0, top_k=-1, top_p=1.0, min_p=0.0):
    z = greedy_below(z, temperature, 1e-6)
    k = z.size if top_k == -1 else top_k
    p = softmax(z)
    order = descending(z)
    ranked = p[order]
    removed = np.cumsum(ranked) - ranked > top_p
    removed |= np.arange(z.size) >= k
    removed |= ranked < ranked[0] * min_p
    kept = np.ones(z.shape, bool)
    kept[order[removed]] = False
    return keep(z, kept)


# What was said so far.


def repetition(z, tokens, penalty):
    z = z.copy()
    for token in set(tokens):
        z[token] = z[token] * penalty if z[token] < 0 else z[token] / penalty
    return z


def count_penalties(z, tokens, frequency=0.0, presence=0.0):
    counts = np.bincount(tokens, minlength=z.size)
    return z - frequency * counts - presence * (counts > 0)


def dry(z, tokens, multiplier, base, allowed_length):
    """Each token loses by the longest end of the history that it has followed."""
    longest = {}
    for place in range(1, len(tokens)):
        length = 0
        while length < place and tokens[place - 1 - length] == tokens[-1 - length]:
            length += 1
        token = tokens[place]
        longest[token] = max(longest.get(token, 0), length)
    z = z.copy()
    for token, length in longest.items():
        if length >= allowed_length:
            z[token] -= multiplier * base ** (length - allowed_length)
    return z


def no_repeat(z, tokens, n):
    z = z.copy()
    if not 0 < n <= len(tokens):
        return z
    end = list(tokens[len(tokens) - n + 1 :])
    for start in range(len(tokens) - n + 1):
        if list(tokens[start : start + n - 1]) == end:
            z[tokens[start + n - 1]] = NOTHING
    return z


def ban(z, ids):
    z = z.copy()
    z[list(ids)] = NOTHING
    return z


def banned_by(words, tokens):
    """The last ids of the words whose other ids have just come."""
    return {
        word[-1]
        for word in words
        if list(word[:-1]) == list(tokens[len(tokens) - len(word) + 1 :])
        or len(word) == 1
    }
