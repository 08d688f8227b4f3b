"""Beam search: the likeliest sequences, or a sample of them without replacement."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from .. import _checks
from .._rows import accumulator, upcast
from ..boltzmann import log_softmax
from ..random._keys import fold_in, one_a_row, row_words
from ..random._noise import gumbel
from ._decode import StepFn, count, end_ids, read, token_ids

_TEMPERATURE = _checks.Rule(0, float("inf"), "pass 1 for the model as it is")
_PENALTY = _checks.Rule(0, float(np.finfo(np.float32).max), "pass 0 for no penalty")


class Found(NamedTuple):
    """What [`search`][jaxtemp.sampling.beam.search] returns, the best first.

    Attributes:
        tokens: int32 `[*batch, beams, length]`, without the start, end token included,
            padded with -1.
        scores: `[*batch, beams]`, descending; `-inf` where no more sequences exist.
        log_probs: `[*batch, beams]`, of the whole sequences.
    """

    tokens: jax.Array
    scores: jax.Array
    log_probs: jax.Array


class Sampled(NamedTuple):
    """What [`stochastic_search`][jaxtemp.sampling.beam.stochastic_search] returns.

    Attributes:
        tokens: int32 `[*batch, beams, length]`, as they were drawn one after another
            without replacement, end token included, padded with -1.
        perturbed: `[*batch, beams]`, log-probabilities plus Gumbel noise, descending;
            `-inf` where no more sequences exist.
        log_probs: `[*batch, beams]`, of the whole sequences.
        threshold: `[*batch]`, κ, the largest perturbed log-probability that was left
            out; `-inf` if none was.
    """

    tokens: jax.Array
    perturbed: jax.Array
    log_probs: jax.Array
    threshold: jax.Array


class _Beams(NamedTuple):
    """Sequences `[R, k]` of each row, ordered by score."""

    scores: jax.Array
    log_probs: jax.Array
    tokens: jax.Array


def search(
    step_fn: StepFn,
    state: Any,
    start: ArrayLike,
    temperature: ArrayLike = 1.0,
    *,
    beams: int,
    length: int,
    eos: int | tuple[int, ...] | None = None,
    length_penalty: ArrayLike = 0.0,
) -> Found:
    r"""Search for the likeliest sequences, keeping a few at every step.

    $$\mathrm{score}(y) = \frac{1}{n^\alpha} \sum_{t=1}^{n} \log p(y_t \mid y_{<t})$$

    with $n$ the number of tokens and $\alpha$ the `length_penalty`: at 0 the
    log-probability of the sequence, at 1 its mean over the tokens. Sequences that have
    ended leave the beam, which stays full of live ones; the search ends when no live
    one of any row can still be among the best, or at `length` tokens.

    A pure function, meant to be called under `jax.jit`: outside of it, every call
    compiles the loop again.

    Args:
        step_fn: `step_fn(ids, position, state) -> (logits, state)`: reads one token of
            each of N = rows x beams sequences, `ids` of shape `[N]`, and returns
            logits `[N, V]` for the token after it. `position` is a scalar that counts
            from 0 at `start`. `state` is `[N, ...]` in every leaf.
        state: A pytree whose leaves have the batch shape as leading axes. It has read
            what comes before `start`, and is copied for every beam.
        start: Integers of the batch shape, the token that is read first: a start
            token, or the last one of a prompt.
        temperature: τ in [0, inf] of every step, a number or an array that broadcasts
            to the batch shape.
        beams: The number of sequences to keep and to return.
        length: The largest number of tokens in a sequence, its end token included.
        eos: The id, or the ids, of tokens that end a sequence; without, all have
            `length` tokens.
        length_penalty: α >= 0, a number or an array that broadcasts to the batch shape.

    Returns:
        A [`Found`][jaxtemp.sampling.beam.Found]. A sequence whose next logits are NaN
        or allow nothing is dropped.

    Raises:
        TypeError: `start` are not integers, or `beams` or `length` not an int.
        ValueError: A shape does not fit, or a number is out of its range.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxtemp.sampling import beam
        >>> table = jnp.log(
        ...     jnp.array([[0.0, 0.5, 0.5], [0.4, 0.3, 0.3], [0.9, 0.1, 0]])
        ... )
        >>> def step_fn(ids, position, state):
        ...     return table[ids], state
        >>> found = beam.search(step_fn, (), jnp.array(0), beams=2, length=2)
        >>> found.tokens.tolist(), [f"{p:.2f}" for p in jnp.exp(found.scores)]
        ([[2, 0], [1, 0]], ['0.45', '0.20'])
    """
    root, ids, state, eos_ids = _begin(step_fn, state, start, beams, length, eos)
    tau = _per_row("temperature", temperature, jnp.shape(start), root, _TEMPERATURE)
    alpha = _per_row("length_penalty", length_penalty, jnp.shape(start), root, _PENALTY)
    nothing = jnp.full_like(root.scores, -jnp.inf)
    done = root._replace(scores=nothing, log_probs=nothing)

    def unfinished(now: tuple) -> jax.Array:
        step, live, done, _, _ = now
        # No live sequence can end better than if the rest of it were certain.
        hope = live.log_probs[:, 0] / length ** alpha[:, 0]
        return (step < length) & jnp.any(hope > done.scores[:, -1])

    def advance(now: tuple) -> tuple:
        step, live, done, ids, state = now
        totals, state = _totals(step_fn, live, ids, step, state, tau, eos_ids)
        if eos_ids.size:
            ended = totals[..., eos_ids]
            ended, _ = _extend(live, ended, ended, eos_ids, step, beams)
            done = _best(done, _scored(ended, step + 1, alpha), beams)
        totals = totals.at[..., eos_ids].set(-jnp.inf)
        classes = np.arange(totals.shape[-1])
        live, parents = _extend(live, totals, totals, classes, step, beams)
        ids = live.tokens[:, :, step]
        return step + 1, live, done, ids, _reorder(state, parents)

    begin = (jnp.int32(0), root, done, ids, state)
    step, live, done, _, _ = lax.while_loop(unfinished, advance, begin)
    best = _best(done, _scored(live, step, alpha), beams)
    return Found(*_unfold(best, jnp.shape(start)))


def stochastic_search(
    key: jax.Array,
    step_fn: StepFn,
    state: Any,
    start: ArrayLike,
    temperature: ArrayLike = 1.0,
    *,
    beams: int,
    length: int,
    eos: int | tuple[int, ...] | None = None,
) -> Sampled:
    r"""Draw distinct sequences from the model, one after another without replacement.

    The Gumbel-max trick on the tree of all sequences. Each sequence $y$ has the
    perturbed log-probability

    $$G_y = \log p(y) + g_y, \qquad g_y \sim \mathrm{Gumbel}(0)$$

    and the largest few are a sample without replacement, in the order drawn. They are
    found from the root down: the largest $G$ below a node is a Gumbel number located at
    the log of the node's probability, and the numbers of its children are drawn given
    their maximum. The set has weights too: a sequence is in it with probability
    $P(G_y > \kappa) = 1 - e^{-p(y)\, e^{-\kappa}}$ given the `threshold` $\kappa$, so

    $$\sum_{y \in \mathrm{sample}} \frac{p(y)}{P(G_y > \kappa)} f(y)$$

    is an unbiased estimate of the mean of $f$.

    A pure function, meant to be called under `jax.jit`, as `search` is.

    Args:
        key: One key, which is split over the rows, or an array of keys of the batch
            shape; then a row depends on its own key and inputs alone.
        step_fn: As in `search`.
        state: As in `search`.
        start: As in `search`.
        temperature: τ of every step, as in `search`; probabilities are at this τ.
        beams: The number of sequences to draw.
        length: The largest number of tokens in a sequence, its end token included.
        eos: As in `search`.

    Returns:
        A [`Sampled`][jaxtemp.sampling.beam.Sampled]. A sequence whose next logits are
        NaN or allow nothing is dropped.

    Raises:
        TypeError: `start` are not integers, or `beams` or `length` not an int.
        ValueError: A shape does not fit, or a number is out of its range.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from jaxtemp.sampling import beam
        >>> table = jnp.log(
        ...     jnp.array([[0.0, 0.5, 0.5], [0.4, 0.3, 0.3], [0.9, 0.1, 0]])
        ... )
        >>> def step_fn(ids, position, state):
        ...     return table[ids], state
        >>> key, start = jax.random.key(0), jnp.array(0)
        >>> drawn = beam.stochastic_search(key, step_fn, (), start, beams=9, length=2)
        >>> f"{jnp.exp(drawn.log_probs).sum():.4f}"  # all that there are
        '1.0000'

    Source:
        Kool, van Hoof and Welling, *Stochastic beams and where to find them* (2019),
        algorithm 1, equation 12 and appendix B.3.
    """
    root, ids, state, eos_ids = _begin(step_fn, state, start, beams, length, eos)
    tau = _per_row("temperature", temperature, jnp.shape(start), root, _TEMPERATURE)
    keys = one_a_row(key, jnp.shape(start)).reshape(-1)
    root = root._replace(scores=root.scores + _gumbel(keys, 0, root.scores[0, :1]))
    threshold = jnp.full_like(root.scores[:, 0], -jnp.inf)

    def unfinished(now: tuple) -> jax.Array:
        step, _, alive, *_ = now
        return (step < length) & jnp.any(alive)

    def advance(now: tuple) -> tuple:
        step, held, alive, threshold, ids, state = now
        totals, state = _totals(step_fn, held, ids, step, state, tau, eos_ids)
        noise = _gumbel(keys, step + 1, totals[0])
        perturbed = _given_maximum(totals + noise, held.scores)
        # The last candidate of a sequence is the sequence itself, if it has ended.
        classes = np.append(np.arange(totals.shape[-1]), -1)
        totals = _either(alive, totals, held.log_probs)
        perturbed = _either(alive, perturbed, held.scores)
        more, parents = _extend(held, perturbed, totals, classes, step, beams + 1)
        threshold = jnp.maximum(threshold, more.scores[:, beams])
        held = jax.tree.map(lambda leaf: leaf[:, :beams], more)
        ids = held.tokens[:, :, step]
        alive = (held.scores > -jnp.inf) & (ids >= 0) & ~jnp.isin(ids, eos_ids)
        state = _reorder(state, parents[:, :beams])
        return step + 1, held, alive, threshold, jnp.maximum(ids, 0), state

    alive = root.scores > -jnp.inf
    begin = (jnp.int32(0), root, alive, threshold, ids, state)
    _, held, _, threshold, _, _ = lax.while_loop(unfinished, advance, begin)
    best = _unfold(held, jnp.shape(start))
    return Sampled(*best, threshold.reshape(jnp.shape(start)))


def _begin(
    step_fn: StepFn, state: Any, start: ArrayLike, beams: int, length: int, eos: Any
) -> tuple[_Beams, jax.Array, Any, np.ndarray]:
    """A first beam for each row, what it reads, the states of all beams, the ends."""
    start = token_ids("start", start)
    beams, length, eos_ids = (
        count("beams", beams),
        count("length", length),
        end_ids(eos),
    )
    state = jax.tree.map(lambda leaf: _tile(leaf, start.shape, beams), state)
    ids = jnp.repeat(start.reshape(-1, 1), beams, axis=1)

    def first(ids, state):
        return read(step_fn, ids, jnp.int32(0), state, eos_ids)[0]

    dtype = accumulator(jax.eval_shape(first, ids.reshape(-1), state).dtype)
    only = jnp.where(jnp.arange(beams) == 0, 0.0, -jnp.inf).astype(dtype)
    only = jnp.broadcast_to(only, ids.shape)
    return (
        _Beams(only, only, jnp.full((*ids.shape, length), -1, jnp.int32)),
        ids,
        state,
        eos_ids,
    )


def _per_row(
    name: str, value: ArrayLike, batch_shape: tuple[int, ...], root: _Beams, rule
) -> jax.Array:
    """A number of each row, `[R, 1]`."""
    dtype = root.scores.dtype
    return _checks.per_row(name, value, batch_shape, dtype, rule).reshape(-1, 1)


def _tile(leaf: jax.Array, batch_shape: tuple[int, ...], beams: int) -> jax.Array:
    """A leaf of the state `[*batch, ...]`, copied for every beam: `[N, ...]`."""
    leaf = jnp.asarray(leaf)
    axes = len(batch_shape)
    if leaf.shape[:axes] != batch_shape:
        raise ValueError(
            f"`state` must have the batch shape {batch_shape} of `start` as leading "
            f"axes of every leaf, got shape {leaf.shape}; keep what rows share in "
            "`step_fn`."
        )
    return jnp.repeat(leaf.reshape(-1, *leaf.shape[axes:]), beams, axis=0)


def _reorder(state: Any, parents: jax.Array) -> Any:
    """The states of the beams that were extended."""
    rows, beams = parents.shape
    index = (jnp.arange(rows)[:, None] * beams + parents).reshape(-1)
    return jax.tree.map(lambda leaf: leaf[index], state)


def _totals(
    step_fn: StepFn,
    held: _Beams,
    ids: jax.Array,
    step: jax.Array,
    state: Any,
    tau: jax.Array,
    eos: np.ndarray,
) -> tuple[jax.Array, Any]:
    """Log-probabilities of all sequences with one token more, `[R, k, V]`."""
    logits, state = read(step_fn, ids.reshape(-1), step, state, eos)
    logits = upcast(logits.reshape(*ids.shape, -1))
    totals = held.log_probs[..., None] + log_softmax(logits, tau)
    return jnp.where(jnp.isnan(totals), -jnp.inf, totals), state


def _extend(
    held: _Beams,
    scores: jax.Array,
    totals: jax.Array,
    classes: np.ndarray,
    step: jax.Array,
    keep: int,
) -> tuple[_Beams, jax.Array]:
    """The best of the candidates `[R, k, C]`, and the beams that they extend."""
    rows = len(scores)
    scores, index = lax.top_k(scores.reshape(rows, -1), keep)
    log_probs = jnp.take_along_axis(totals.reshape(rows, -1), index, axis=1)
    parents = index // len(classes)
    new = jnp.asarray(classes, jnp.int32)[index % len(classes)]
    tokens = _take(held.tokens, parents).at[:, :, step].set(new)
    return _Beams(scores, log_probs, tokens), parents


def _best(one: _Beams, other: _Beams, beams: int) -> _Beams:
    """The best of two sets, of equals those of the first."""
    both = jax.tree.map(lambda *pair: jnp.concatenate(pair, axis=1), one, other)
    _, index = lax.top_k(both.scores, beams)
    return jax.tree.map(lambda leaf: _take(leaf, index), both)


def _take(leaf: jax.Array, index: jax.Array) -> jax.Array:
    """Some beams of each row."""
    index = index.reshape(index.shape + (1,) * (leaf.ndim - index.ndim))
    return jnp.take_along_axis(leaf, index, axis=1)


def _scored(ended: _Beams, tokens: jax.Array, alpha: jax.Array) -> _Beams:
    """Sequences of so many tokens, with the scores that they end with."""
    return ended._replace(scores=ended.log_probs / tokens.astype(alpha.dtype) ** alpha)


def _gumbel(keys: jax.Array, step: ArrayLike, like: jax.Array) -> jax.Array:
    """Gumbel noise of each row, of the shape and type of `like`."""
    words = row_words(fold_in(keys, step), keys.shape)
    words = (words[0][:, 0], words[1][:, 0])
    return gumbel(words, like.size, like.dtype).reshape(-1, *like.shape)


def _given_maximum(perturbed: jax.Array, maximum: jax.Array) -> jax.Array:
    r"""Gumbel numbers `[R, k, V]`, made to have the given maximum over the classes.

    $-\log(e^{-T} - e^{-Z} + e^{-G})$ with $Z$ their maximum so far and $T$ the new
    one, in a form without cancellation.
    """
    highest = jnp.max(perturbed, axis=-1, keepdims=True)
    target = maximum[..., None]
    v = target - perturbed + jax.nn.log1mexp(highest - perturbed)
    moved = target - jnp.maximum(v, 0) - jnp.log1p(jnp.exp(-jnp.abs(v)))
    possible = (perturbed > -jnp.inf) & (target > -jnp.inf)
    return jnp.where(possible, moved, -jnp.inf)


def _either(alive: jax.Array, children: jax.Array, itself: jax.Array) -> jax.Array:
    """Candidates `[R, k, V + 1]`: children of a live sequence, or itself."""
    children = jnp.where(alive[..., None], children, -jnp.inf)
    itself = jnp.where(alive, -jnp.inf, itself)
    return jnp.concatenate([children, itself[..., None]], axis=-1)


def _unfold(
    best: _Beams, batch_shape: tuple[int, ...]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Tokens, scores and log-probabilities as they are returned."""
    exists = best.scores > -jnp.inf
    tokens = jnp.where(exists[..., None], best.tokens, -1)
    log_probs = jnp.where(exists, best.log_probs, -jnp.inf)
    shape = batch_shape + exists.shape[1:]
    tokens = tokens.reshape(*shape, tokens.shape[-1])
    return tokens, best.scores.reshape(shape), log_probs.reshape(shape)
