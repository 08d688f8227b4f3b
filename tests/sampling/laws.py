"""Laws of sequences, enumerated in float64, and how counts are compared with them."""

import numpy as np
from scipy.stats import chi2


def fits(counts, probabilities, least=10.0):
    """The p-value of counts under a law; rare outcomes are one."""
    counts, probabilities = np.ravel(counts), np.ravel(probabilities)
    assert np.isclose(probabilities.sum(), 1, atol=1e-9)
    assert not counts[probabilities == 0].any()
    expected = probabilities * counts.sum()
    rare = expected < least
    counts = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    some = expected > 0
    if some.sum() == 1:
        return 1.0
    terms = (counts[some] - expected[some]) ** 2 / expected[some]
    return chi2.sf(terms.sum(), some.sum() - 1)


def softmax(logits, temperature=1.0):
    """Probabilities in float64; at 0 the largest logits share them."""
    z = np.asarray(logits, np.float64)
    below = z - z.max(axis=-1, keepdims=True)
    weights = np.exp(below / temperature) if temperature else 1.0 * (below == 0)
    return weights / weights.sum(axis=-1, keepdims=True)


def number(ids, base):
    """Sequences `[..., T]` as numbers with one digit a token; -1 is a digit too."""
    ids = np.asarray(ids, np.int64)
    return (ids + 1) @ (base + 1) ** np.arange(ids.shape[-1])
