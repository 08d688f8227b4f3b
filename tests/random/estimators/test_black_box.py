"""Losses whose gradient is an estimate: without bias, against enumeration."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxtemp
from jaxtemp.random import estimators
from jaxtemp.random.estimators import _unordered

# Most of the time is the compiler's, and none of it is measured here.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
KEY = jax.random.key(11)
RNG = np.random.default_rng(5)
# Losses of two variables with three classes each: two plain ones, one with masked
# classes, and one at the ends of temperature.
Z = RNG.normal(size=(4, 2, 3))
Z[3, 0] = [1, 1, 0]
TAU = np.array([[0.7, 1.0], [1.6, 0.9], [1.0, 1.0], [0.0, np.inf]])
WHERE = np.ones(Z.shape, bool)
WHERE[2] = [[True, False, True], [False, True, False]]
TABLE = RNG.normal(size=(4, 3, 3))
PARAMS = {
    "rebar": {"scale": np.full(4, 0.6), "relaxation": np.full((4, 2), 0.4)},
    "relax": {"in": RNG.normal(size=(6, 4)), "out": RNG.normal(size=4)},
}
DRAWS = 5000


def cost(d, table):
    """Losses `[B]` that are not linear in a relaxed row, nor a sum over variables."""
    at = jnp.einsum("bi,bj,bij->b", d[:, 0], d[:, 1], table)
    return at + 0.5 * at**2


def network(params, perturbed):
    soft = jaxtemp.softmax(perturbed, where=perturbed > -jnp.inf)
    return jnp.tanh(soft.reshape(4, 6) @ params["in"]) @ params["out"]


def estimate(name, table, params):
    """An estimator of the losses, of a key, logits, temperature and mask."""
    f = functools.partial(cost, table=table)
    if name == "rebar":
        return functools.partial(estimators.rebar(f), **params)
    if name == "relax":
        return functools.partial(estimators.relax(f, network), params=params)
    return estimators.reinforce(f, samples=int(name[-1]))


def gradients(name):
    """A function of parameters and weights to losses and gradients, of all keys.

    The gradients of the weighted sum are in z, τ, the table and the parameters.
    """

    @jit
    @functools.partial(jax.vmap, in_axes=(0, None, None))
    def draw(key, varied, weights):
        def total(z, tau, table, params):
            losses = estimate(name, table, params)(key, z, tau, where=WHERE)
            return jnp.sum(weights * losses), losses

        slope = jax.grad(total, (0, 1, 2, 3), has_aux=True)
        found, losses = slope(*varied)
        return losses, *found

    def run(params, weights):
        with jax.enable_x64(True):
            keys = jax.random.split(KEY, DRAWS)
            found = draw(keys, (Z, TAU, TABLE, params), weights)
            return jax.tree.map(np.asarray, found)

    return run


def softmax(u):
    p = np.exp(u - u.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


def enumerated():
    """The expected losses and their gradients in z, τ and the table."""
    tau = np.clip(TAU, 1e-3, 1e9)[..., None]
    p = softmax(np.where(WHERE, Z, -np.inf) / tau)
    f = TABLE + 0.5 * TABLE**2
    both = p[:, 0, :, None] * p[:, 1, None, :]
    value = (both * f).sum((1, 2))
    first = (both * f).sum(2) - p[:, 0] * value[:, None]
    second = (both * f).sum(1) - p[:, 1] * value[:, None]
    of_u = np.stack([first, second], axis=1)
    of_u[3] = 0  # the limits at τ = 0 and at τ = ∞
    of_tau = -(of_u * Z).sum(-1) / tau[..., 0] ** 2
    return value, of_u / tau, of_tau, both * (1 + TABLE)


def assert_unbiased(samples, truth):
    """`[draws, ...]` arrays against their means: to 1e-12 where nothing varies."""
    for found, want in zip(samples, truth, strict=True):
        error = found.std(axis=0) / np.sqrt(len(found))
        assert (np.abs(found.mean(axis=0) - want) < 4.5 * error + 1e-12).all()
        assert (np.abs(want) > 10 * error).any()  # a bias of this size would be seen


@pytest.mark.parametrize("name", ["reinforce of 1", "reinforce of 3"])
def test_reinforce_has_no_bias(name):
    found = gradients(name)((), np.ones(4))
    assert_unbiased(found[:4], enumerated())


@pytest.mark.parametrize("name", ["rebar", "relax"])
def test_a_control_variate_leaves_no_bias_and_learns_to_reduce_the_variance(name):
    run, params = gradients(name), PARAMS[name]
    losses, of_z, of_tau, of_table, _ = run(params, np.ones(4))
    assert_unbiased((losses, of_z, of_tau, of_table), enumerated())
    assert (of_z[:, ~WHERE] == 0).all()
    assert (of_z[:, 3] == 0).all()
    # What the loss closes over has the gradient of the loss at the draw, and no other.
    assert (np.count_nonzero(of_table, axis=(2, 3)) == 1).all()

    # The parameters have the gradient of the square of that in z / τ.
    inner = np.array([1.0, 1.0, 1.0, 0.0])
    direction = jax.tree.map(lambda x: RNG.normal(size=x.shape), params)

    def square(step):
        moved = jax.tree.map(lambda x, d: x + step * d, params, direction)
        of_z = run(moved, inner)[1][:, :3]
        return ((of_z * TAU[:3, :, None]) ** 2).sum((1, 2, 3))

    want = (square(1e-5) - square(-1e-5)) / 2e-5
    parts = jax.tree.map(
        lambda g, d: (g * d).reshape(DRAWS, -1).sum(axis=1),
        run(params, inner)[4],
        direction,
    )
    found = sum(jax.tree.leaves(parts))
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-7)


def permuted_probability(p, chosen):
    """The probability of drawing a set without replacement, over all its orders."""
    total = 0.0
    for order in itertools.permutations(chosen):
        left, probability = p.sum(), 1.0
        for i in order:
            probability *= p[i] / left
            left -= p[i]
        total += probability
    return total


def test_weights_of_a_set_are_ratios_of_its_probabilities():
    p = np.stack([softmax(RNG.normal(size=7)), softmax(4 * RNG.normal(size=7))])
    sets = np.array(list(itertools.combinations(range(7), 3)))
    log_p = np.repeat(np.log(p), len(sets), axis=0)
    ids = np.tile(sets, (2, 1))
    with jax.enable_x64(True):
        own = np.take_along_axis(log_p, ids, axis=-1)
        found = jit(_unordered._weights)(*map(jnp.asarray, (log_p, own)), ids=ids)
    for row, chosen in enumerate(ids):
        q = np.exp(log_p[row])
        whole = permuted_probability(q, chosen)
        for i, s in enumerate(chosen):
            without = np.where(np.arange(7) == s, 0, q)
            one = permuted_probability(without, np.delete(chosen, i))
            assert found[0][row, i] == pytest.approx(q[s] * one / whole, rel=1e-9)
            for j, t in enumerate(chosen):
                rest = np.where(np.arange(7) == t, 0, without)
                two = (
                    permuted_probability(rest, np.delete(chosen, [i, j]))
                    if i != j
                    else one
                )
                want = q[t] * two / one
                assert found[1][row, i, j] == pytest.approx(want, rel=1e-9)


def test_an_unordered_set_has_no_bias_and_no_error_if_nothing_else_is_left():
    z, costs = RNG.normal(size=(2, 6, 5))
    tau = np.array([0.5, 1.3, 1.0, 1.0, 0.0, 1.0])
    where = np.ones((6, 5), bool)
    where[2, :2], where[3, 1:4] = False, False  # three left, and two
    z[4, :2], z[5, 1] = 3, np.nan  # a tie at τ = 0

    @jit
    @functools.partial(jax.vmap, in_axes=(0, None, None, None))
    def draw(key, z, tau, costs):
        def loss(z, tau, costs):
            three = estimators.unordered_set(lambda d: jnp.sum(d * costs, -1), 3)
            losses = three(key, z, tau, where=where)
            return jnp.sum(losses), losses

        found, losses = jax.grad(loss, (0, 1, 2), has_aux=True)(z, tau, costs)
        return losses, *found

    with jax.enable_x64(True):
        found = jax.tree.map(
            np.asarray, draw(jax.random.split(KEY, 1000), z, tau, costs)
        )
    assert np.isnan(found[0][:, 5]).all()
    found = [x[:, :5] for x in found]
    warm = np.clip(tau, 1e-3, None)[:5, None]
    p = softmax(np.where(where, z, -np.inf)[:5] / warm)
    value = (p * costs[:5]).sum(axis=-1)
    of_z = p * (costs[:5] - value[:, None]) / warm
    of_z[4] = 0
    of_tau = -(of_z * z[:5]).sum(axis=-1) / warm[:, 0]
    assert_unbiased(found, (value, of_z, of_tau, p))
    for x in found:
        assert x[:, 2:5].std(axis=0).max() < 1e-12
    assert (found[1][:, ~where[:5]] == 0).all()


def test_at_fixed_keys_rebar_has_far_less_variance_than_no_control_variate():
    target = np.linspace(0, 1, 100)

    def loss(d):
        return jnp.sum((d[:, 1] - target) ** 2)

    @jit
    @functools.partial(jax.vmap, in_axes=(None, 0, None))
    @functools.partial(jax.vmap, in_axes=(0, None, None))
    def slopes(key, scale, z):
        rebar = functools.partial(estimators.rebar(loss), scale=scale, relaxation=0.05)
        return jax.grad(rebar, argnums=1)(key, z)[:, 1]

    keys, z = jax.random.split(KEY, 200), np.zeros((100, 2), np.float32)
    plain, rebar = np.asarray(slopes(keys, np.array([0.0, 1.0], np.float32), z))
    assert np.log(rebar.var(axis=0).mean()) < np.log(plain.var(axis=0).mean()) - 4
    error = rebar.std(axis=0) / np.sqrt(200)
    assert (np.abs(rebar.mean(axis=0) - (1 - 2 * target) / 4) < 5 * error).all()


def bad(name):
    """Traces an estimator that is used in a wrong way."""
    z = np.zeros((2, 3), np.float32)

    def total(d):
        return jnp.sum(d, axis=-1)

    made = {
        "one loss a class": lambda: estimators.reinforce(lambda d: d),
        "a loss of integers": lambda: estimators.reinforce(lambda d: total(d) > 0),
        "a sum over rows": lambda: estimators.unordered_set(lambda d: jnp.sum(d), 2),
        "one of a set": lambda: estimators.unordered_set(total, 1),
        "more than there are": lambda: estimators.unordered_set(total, 4),
        "a control of rows": lambda: functools.partial(
            estimators.relax(lambda d: jnp.sum(d), lambda params, x: total(x)),
            params=(),
        ),
        "an unfit scale": lambda: functools.partial(
            estimators.rebar(total), scale=np.ones(3)
        ),
    }
    jax.eval_shape(lambda z: made[name]()(KEY, z), z)


MESSAGES = {
    "one loss a class": (
        ValueError,
        "`f` must return one loss a row or a group of rows, of the batch shape (2,) or "
        "without its last axes, got shape (2, 3); sum over the classes, and over the "
        "variables that are drawn together.",
    ),
    "a loss of integers": (
        TypeError,
        "`f` must return real floating numbers, got dtype bool; convert what it "
        "returns.",
    ),
    "a sum over rows": (
        ValueError,
        "`f` must return one loss a row, of the batch shape (2,), got shape (); join "
        "variables that are drawn together into one.",
    ),
    "one of a set": (
        ValueError,
        "`samples` must be an int of at least 2, got 1; it is how many samples an "
        "estimate is made of.",
    ),
    "more than there are": (
        ValueError,
        "`samples` must be at most the number of classes, 3, got 4; they are drawn "
        "without replacement.",
    ),
    "a control of rows": (
        ValueError,
        "`control` must return numbers of the shape of the losses (), got shape (2,); "
        "give each loss one.",
    ),
    "an unfit scale": (
        ValueError,
        "`scale` must broadcast to the batch shape (2,) (the logits' shape without the "
        "class axis), got shape (3,); pass one number, or one for each row.",
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_wrong_use_has_its_own_message(name):
    kind, message = MESSAGES[name]
    with pytest.raises(kind, match=r"^`") as caught:
        bad(name)
    assert str(caught.value) == message
