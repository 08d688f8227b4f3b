"""InfoNCE and SigLIP's loss against float64 NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, PartitionSpec

from jaxtemp import learning
from jaxtemp.losses import info_nce, sigmoid_contrastive

PAIRS, SIZE = 24, 6


def embeddings(seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    queries = rng.normal(size=(PAIRS, SIZE)) * rng.choice([1e-3, 1, 1e3], (PAIRS, 1))
    keys = queries + rng.normal(size=(PAIRS, SIZE))
    return queries.astype(dtype), keys.astype(dtype)


def mask(seed=0):
    where = np.random.default_rng(seed).random((PAIRS, PAIRS)) < 0.7
    return where | np.eye(PAIRS, dtype=bool)


def unit(x):
    x = np.float64(x)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def true_nce(queries, keys, tau, where, symmetric=True):
    """By the definition, and for the slope in τ by the variance of the definition."""
    s = unit(queries) @ unit(keys).T

    def one_way(s, where):
        x = np.where(where, s / tau[:, None], -np.inf)
        top = x.max(-1)
        lse = top + np.log(np.exp(x - top[:, None]).sum(-1))
        return lse - np.diag(x)

    there = one_way(s, where)
    return (there + one_way(s.T, where.T)) / 2 if symmetric else there


def true_sigmoid(queries, keys, tau, bias, where):
    """As in the paper's algorithm 1, a row for each query."""
    logits = unit(queries) @ unit(keys).T / tau[:, None] + bias
    labels = 2 * np.eye(len(logits)) - 1
    return (np.where(where, np.logaddexp(0, -labels * logits), 0)).sum(-1)


def slope_in_tau(truth, tau):
    h = 1e-6 * tau
    return (truth(tau + h) - truth(tau - h)) / (2 * h)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_info_nce(symmetric, dtype):
    tau = np.random.default_rng(1).choice([0.05, 0.3, 1.0], PAIRS)
    where = mask()
    with jax.enable_x64(dtype == "float64"):
        queries, keys = (jnp.asarray(x, dtype) for x in embeddings(0, np.float64))
        f = functools.partial(info_nce, queries, keys, symmetric=symmetric, where=where)

        @jax.jit
        def run(tau):
            value, pull = jax.vjp(f, tau)
            return value, *pull(jnp.ones_like(value))

        value, slope = run(tau)
    assert value.dtype == dtype
    truth = functools.partial(true_nce, queries, keys, where=where, symmetric=symmetric)
    room = {"float32": 2e-6, "float64": 1e-13, "bfloat16": 4e-3}[dtype]
    np.testing.assert_allclose(np.float64(value), truth(tau), rtol=room, atol=5 * room)
    room = max(20 * room, 1e-6) if dtype != "bfloat16" else 1e-4
    want = slope_in_tau(truth, tau)
    np.testing.assert_allclose(slope, want, rtol=room, atol=room * abs(want).max())


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_sigmoid_contrastive(dtype):
    tau = np.random.default_rng(1).choice([0.05, 0.1, 1.0], PAIRS)
    where = mask()
    with jax.enable_x64(dtype == "float64"):
        queries, keys = (jnp.asarray(x, dtype) for x in embeddings(0, np.float64))
        f = functools.partial(sigmoid_contrastive, queries, keys, where=where)

        @jax.jit
        def run(tau, bias):
            value, pull = jax.vjp(f, tau, bias)
            return value, *pull(jnp.ones_like(value))

        value, slope, in_bias = run(tau, -10.0)
    assert value.dtype == dtype
    truth = functools.partial(true_sigmoid, queries, keys, where=where)
    room = {"float32": 2e-6, "float64": 1e-13, "bfloat16": 4e-3}[dtype]
    np.testing.assert_allclose(
        np.float64(value), truth(tau, -10.0), rtol=room, atol=5 * room
    )
    room = 1e-4 if dtype == "bfloat16" else max(20 * room, 1e-6)
    want = slope_in_tau(lambda tau: truth(tau, -10.0), tau)
    np.testing.assert_allclose(slope, want, rtol=room, atol=room * abs(want).max())
    h = 1e-5
    want = (truth(tau, h - 10.0) - truth(tau, -h - 10.0)).sum() / (2 * h)
    np.testing.assert_allclose(in_bias, want, rtol=room)


LOSSES = {
    "info_nce": (info_nce, true_nce),
    "one way": (
        functools.partial(info_nce, symmetric=False),
        functools.partial(true_nce, symmetric=False),
    ),
    "sigmoid": (
        functools.partial(sigmoid_contrastive, bias=-3.0),
        functools.partial(true_sigmoid, bias=-3.0),
    ),
}
each = pytest.mark.parametrize("name", LOSSES)


@each
def test_gradients_of_embeddings_in_both_modes(name):
    """Along random directions, as difference quotients of the truth."""
    ours, truth = LOSSES[name]
    tau, where = np.full(PAIRS, 0.2), mask()
    with jax.enable_x64(True):
        queries, keys = embeddings(3, np.float64)
        rng = np.random.default_rng(4)
        along = [rng.normal(size=queries.shape) * abs(x) for x in (queries, keys)]

        def f(queries, keys):
            return ours(queries, keys, tau, where=where)

        _, pushed = jax.jit(lambda *x: jax.jvp(f, x[:2], x[2:]))(queries, keys, *along)
        pulled = jax.jit(lambda *x: jax.vjp(f, *x)[1](jnp.ones(PAIRS)))(queries, keys)
    h = 1e-6
    ends = [
        truth(queries + s * along[0], keys + s * along[1], tau, where=where)
        for s in (h, -h)
    ]
    want = (ends[0] - ends[1]) / (2 * h)
    np.testing.assert_allclose(pushed, want, rtol=1e-6, atol=1e-6 * abs(want).max())
    parts = zip(pulled, along, strict=True)
    total = sum((np.asarray(g) * d).sum() for g, d in parts)
    np.testing.assert_allclose(total, want.sum(), rtol=1e-6)


def test_alone_it_is_the_peer():
    """Optax takes both views of an image as one set; one view of two is ours."""
    x = jnp.asarray(embeddings()[0])
    labels = jnp.repeat(jnp.arange(PAIRS // 2), 2)
    theirs = optax.losses.ntxent(x, labels, temperature=0.3)
    # Each embedding has to find its twin among all others but itself.
    twin = np.arange(PAIRS) ^ 1
    where = ~np.eye(PAIRS, dtype=bool)[:, twin]
    ours = info_nce(x, x[twin], 0.3, symmetric=False, where=where)
    np.testing.assert_allclose(ours.mean(), theirs, rtol=1e-5)


@each
def test_limits(name):
    ours, _ = LOSSES[name]
    queries, keys = (jnp.eye(3), jnp.eye(3)[jnp.array([0, 2, 1])])
    f = functools.partial(ours, queries, keys)
    grads = jax.jit(jax.vmap(jax.grad(lambda tau: f(tau)[0])))(jnp.array([0, jnp.inf]))
    np.testing.assert_array_equal(grads, 0)
    cold, hot = f(0.0), f(jnp.inf)
    if name == "sigmoid":
        one, none = np.logaddexp(0, 3), np.logaddexp(0, -3)
        np.testing.assert_allclose(hot, one + 2 * none, rtol=1e-6)
        np.testing.assert_allclose(cold, [2 * none, np.inf, np.inf], rtol=1e-6)
    else:
        np.testing.assert_allclose(hot, np.log(3), rtol=1e-6)
        np.testing.assert_array_equal(cold, [0, np.inf, np.inf])


@each
def test_what_a_mask_hides_is_not_read(name):
    """A padded pair of NaN changes nothing, and gets no gradient."""
    ours, _ = LOSSES[name]
    queries, keys = embeddings()
    there = np.arange(PAIRS) < PAIRS - 3
    where = there[:, None] & there

    def total(queries, keys, tau, where=None):
        loss = ours(queries, keys, tau, where=where)
        return jnp.where(there[: len(loss)], loss, 0).sum()

    grad = jax.jit(jax.value_and_grad(total, (0, 1, 2)))
    want, wants = grad(queries[there], keys[there], 0.2)
    queries[~there] = keys[~there] = np.nan
    got, gots = grad(queries, keys, 0.2, where)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    np.testing.assert_allclose(gots[2], wants[2], rtol=1e-5)
    for a, b in zip(gots[:2], wants[:2], strict=True):
        np.testing.assert_allclose(a[there], b, rtol=1e-4, atol=1e-6 * abs(b).max())
        np.testing.assert_array_equal(a[~there], 0)


def test_embeddings_of_any_length():
    """Zero stays zero, and squares neither overflow nor vanish."""
    x = jnp.array([[0.0, 0.0], [1e30, 0.0], [0.0, 1e-30]])
    loss = info_nce(x, x, 1.0)
    e = np.e
    want = [np.log(3), np.log(2 + e) - 1, np.log(2 + e) - 1]
    np.testing.assert_allclose(loss, want, rtol=1e-6)
    grad = jax.grad(lambda x: info_nce(x, x, 1.0).sum())(x)
    assert np.isfinite(grad).all()
    plain = info_nce(2 * jnp.eye(3), jnp.eye(3), 0.5, normalize=False)
    np.testing.assert_allclose(plain, np.log(np.exp(4) + 2) - 4, rtol=1e-5)


@each
@pytest.mark.parametrize("masked", [False, True])
def test_pairs_split_over_devices(name, masked):
    """Each device has some of the pairs; the loss and all gradients are the same."""
    ours, _ = LOSSES[name]
    queries, keys = embeddings()
    tau = np.linspace(0.1, 0.5, PAIRS, dtype=np.float32)
    where = mask() if masked else np.ones((PAIRS, PAIRS), bool)

    def split(queries, keys, tau, where):
        return ours(
            *(queries, keys, tau), where=where if masked else None, axis_name="data"
        )

    spec = PartitionSpec("data")
    mesh = Mesh(np.array(jax.devices()[:4]), ("data",))
    sharded = jax.shard_map(split, mesh=mesh, in_specs=(spec,) * 4, out_specs=spec)

    def both(f):
        def run(*x):
            value, pull = jax.vjp(f, *x)
            return value, pull(jnp.arange(1.0, PAIRS + 1))

        return jax.jit(run)(queries, keys, tau)

    got, gots = both(lambda *x: sharded(*x, where))
    want, wants = both(lambda *x: ours(*x, where=where))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    for a, b in zip(gots, wants, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * abs(b).max())


@each
def test_it_composes(name):
    ours, _ = LOSSES[name]
    queries, keys = embeddings()
    want = jax.jit(ours)(queries, keys, 0.2)
    stack = np.stack([queries, keys]), np.stack([keys, queries])
    batched = jax.jit(ours)(*stack, 0.2)
    np.testing.assert_allclose(batched[0], want, rtol=1e-5, atol=1e-6)
    mapped = jax.jit(jax.vmap(jax.checkpoint(ours), (0, 0, None)))(*stack, 0.2)
    np.testing.assert_allclose(mapped, batched, rtol=1e-5, atol=1e-6)


def test_a_learned_scale_goes_to_clips_bound():
    """From 1 / 0.07 up to 100 and no further, where all pairs are found."""
    keys = embeddings()[1]
    scale = learning.LogScale()
    optimizer = optax.chain(optax.adam(0.1, b2=0.9), learning.clamp_scale(100.0))

    def loss(raw):
        return info_nce(keys, keys, scale.value(raw)).mean()

    def step(carry, _):
        raw, state = carry
        value, slope = jax.value_and_grad(loss)(raw)
        update, state = optimizer.update(slope, state, raw)
        return (optax.apply_updates(raw, update), state), value

    start = scale.init(0.07)
    run = jax.jit(lambda x: jax.lax.scan(step, x, length=300))
    (raw, _), values = run((start, optimizer.init(start)))
    assert values[-1] < values[0]
    np.testing.assert_allclose(scale.value(raw), 0.01, rtol=1e-5)


GOOD = {"queries": np.zeros((4, 3), np.float32), "keys": np.zeros((4, 3), np.float32)}
BAD = {
    "integer queries": (
        {"queries": np.zeros((4, 3), int)},
        TypeError,
        "`queries` must be real floating point, got dtype int32; convert it first, "
        "for example `queries.astype(jnp.float32)`.",
    ),
    "complex keys": (
        {"keys": np.zeros((4, 3), np.complex64)},
        TypeError,
        "`keys` must be real floating point, got dtype complex64; convert it first, "
        "for example `keys.astype(jnp.float32)`.",
    ),
    "one embedding": (
        {"queries": np.zeros(3, np.float32)},
        ValueError,
        "`queries` must have at least two axes, got shape (3,); put the numbers of "
        "an embedding along the last and the pairs before it.",
    ),
    "more keys than queries": (
        {"keys": np.zeros((5, 3), np.float32)},
        ValueError,
        "`keys` must have the shape of `queries` (4, 3), got shape (5, 3); pass the "
        "key of each query at its index.",
    ),
    "negative temperature": (
        {"temperature": -1.0},
        ValueError,
        "`temperature` must be in [0, inf], got -1.0; pass 0 for the most likely "
        "class, inf for all alike.",
    ),
    "mask that does not fit": (
        {"where": np.ones((4, 3), bool)},
        ValueError,
        "`where` must broadcast to the logits' shape (4, 4), got shape (4, 3); add "
        "or remove axes so that it does.",
    ),
}


@pytest.mark.parametrize("op", [info_nce, sigmoid_contrastive])
@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_its_own_message(op, case):
    arguments, error, message = BAD[case]
    with pytest.raises(error) as raised:
        op(**{**GOOD, "temperature": 1.0, **arguments})
    assert str(raised.value) == message


def test_a_bad_bias_gets_its_own_message():
    with pytest.raises(ValueError, match="bias") as raised:
        sigmoid_contrastive(**GOOD, temperature=1.0, bias=float("nan"))
    assert str(raised.value) == (
        "`bias` must be in [-inf, inf], got nan; pass a number, for example -10.0."
    )
