"""Samples that carry a gradient: bias, variance and derivatives against enumeration."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtemp._rows import fold
from jaxtemp.random import estimators
from jaxtemp.random._noise import row_gumbel

# Most of the time is the compiler's, and none of it is measured here.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
KEY = jax.random.key(7)
ALL = {
    "straight_through": estimators.straight_through,
    "straight_through_gumbel": estimators.straight_through_gumbel,
    "gumbel_rao": functools.partial(estimators.gumbel_rao, samples=3),
    "reinmax": estimators.reinmax,
}


def softmax(u):
    p = np.exp(u - u.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


def jacobian(q):
    return q[..., None] * np.eye(q.shape[-1]) - q[..., None] * q[..., None, :]


class Problems:
    """Random losses of five classes: linear, quadratic, cubic and sine, 20 of each."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.z = rng.uniform(-0.7, 0.7, (80, 5))
        self.tau = rng.uniform(0.6, 1.8, 80)
        self.rate = np.where(np.arange(80) % 2, 1.0, 1.5)
        self.linear = rng.normal(size=(80, 5))
        self.quadratic = rng.normal(size=(80, 5, 5))
        self.kind = np.arange(80) // 20

    def loss(self, xp, d):
        line = (self.linear * d).sum(-1)
        square = xp.einsum("pi,pij,pj->p", d, self.quadratic, d)
        each = [line, square, line**3, xp.sin(2 * line)]
        return sum(f * (self.kind == kind) for kind, f in enumerate(each))

    def slopes(self, hot):
        """The gradient of every loss at one-hot rows."""
        line = (self.linear * hot).sum(-1)[:, None]
        both = self.quadratic + self.quadratic.swapaxes(-1, -2)
        each = [
            self.linear,
            np.einsum("pij,pj->pi", both, hot),
            3 * line**2 * self.linear,
            2 * np.cos(2 * line) * self.linear,
        ]
        return sum(g * (self.kind == kind)[:, None] for kind, g in enumerate(each))

    def exact(self):
        """The gradient of E f(D) in z / τ."""
        p = softmax(self.z / self.tau[:, None])
        hots = [np.broadcast_to(hot, p.shape) for hot in np.eye(5)]
        f = np.stack([self.loss(np, hot) for hot in hots], axis=-1)
        return p * (f - (p * f).sum(-1, keepdims=True))

    def expected(self, name):
        """The mean of the estimate as its paper defines it, in z / τ."""
        p = softmax(self.z / self.tau[:, None])
        relaxed = softmax(self.z / (self.tau * self.rate)[:, None])
        total = 0
        for k, hot in enumerate(np.eye(5)):
            if name == "reinmax":
                matrix = 2 * jacobian((hot + relaxed) / 2) - jacobian(p) / 2
            else:
                matrix = jacobian(relaxed) / self.rate[:, None, None]
            slopes = self.slopes(np.broadcast_to(hot, p.shape))
            total = total + p[:, k : k + 1] * np.einsum("pij,pj->pi", matrix, slopes)
        return total

    def found(self, name, dtype):
        """The mean of the estimate, enumerated: what it is at each of the classes."""

        @jit
        @functools.partial(jax.vmap, in_axes=(0, None, None))
        def draw(key, z, tau):
            def loss(z, tau):
                d = ALL[name](key, z, tau, relaxation=self.rate)
                return self.loss(jnp, d).sum(), jnp.argmax(d, axis=-1)

            return jax.grad(loss, (0, 1), has_aux=True)(z, tau)

        with jax.enable_x64(dtype == "float64"):
            keys = jax.random.split(KEY, 400)
            gradients, ids = draw(keys, self.z.astype(dtype), self.tau.astype(dtype))
        of_z, of_tau = (np.asarray(x, np.float64) for x in gradients)
        p, at = softmax(self.z / self.tau[:, None]), np.arange(80)
        total_z, total_tau = 0, 0
        for k in range(5):
            seen = np.asarray(ids) == k
            assert seen.any(axis=0).all()
            first = seen.argmax(axis=0), at
            total_z = total_z + p[:, k : k + 1] * of_z[first]
            total_tau = total_tau + p[:, k] * of_tau[first]
        return total_z, total_tau


PROBLEMS = Problems()


def relative_error(found, truth):
    return np.linalg.norm(found - truth, axis=-1) / np.linalg.norm(truth, axis=-1)


@pytest.mark.parametrize(
    ("name", "dtype", "within"),
    [
        ("reinmax", "float64", 1e-12),
        ("reinmax", "float32", 1e-5),
        ("straight_through", "float64", 1e-12),
    ],
)
def test_mean_gradient_is_what_the_paper_says(name, dtype, within):
    of_z, of_tau = PROBLEMS.found(name, dtype)
    tau = PROBLEMS.tau[:, None]

    def error(truth):
        along_tau = -(truth * PROBLEMS.z).sum(-1) / tau[:, 0] ** 2
        size = (np.abs(truth * PROBLEMS.z) / tau**2).sum(-1)
        in_tau = np.abs(of_tau - along_tau) / size
        return np.maximum(relative_error(of_z, truth / tau), in_tau)

    assert error(PROBLEMS.expected(name)).max() <= within
    degree = 2 if name == "reinmax" else 1
    unbiased = (PROBLEMS.kind < degree) & (PROBLEMS.rate == 1)
    biased = error(PROBLEMS.exact())
    assert biased[unbiased].max() <= within
    assert biased[~unbiased].min() > 1e-3


# A Bernoulli variable with logit θ and the loss (d - 0.45)²: θ, λ, the mean of the
# estimate with one relaxed draw, the logarithm of its variance, and that of the average
# of K, which are published elsewhere to some digits of a Monte Carlo estimate.
TOY = [
    (0.0, 1.0, 0.0166, -3.399, 10, -3.564),
    (0.0, 0.5, 0.0214, -2.552, 100, -3.071),
    (-2.0, 1.0, -0.0569, -4.247, 10, -4.610),
    (-2.0, 0.5, -0.0371, -3.402, 100, -4.163),
]


def toy_truth(theta, rate, averaged):
    """Mean and variance of the estimate averaged over some draws given the class."""
    u = (np.arange(200_000) + 0.5) / 200_000
    x = theta + np.log(u) - np.log1p(-u)
    y = 1 / (1 + np.exp(-x / rate))
    g = 2 * ((x > 0) - 0.45) * y * (1 - y) / rate
    parts = [g[x > 0], g[x <= 0]]
    mean, share = g.mean(), np.array([part.size / g.size for part in parts])
    between = share @ [(part.mean() - mean) ** 2 for part in parts]
    within = share @ [part.var() for part in parts]
    return mean, between + within / averaged


class Draws:
    """Gradients of many draws: of the toy in θ, and of a loss of five classes.

    The toy's variable has five classes too, of which three are masked.
    """

    def __init__(self, averaged):
        rng = np.random.default_rng(1)
        self.theta, self.rate = np.array(TOY).T[:2]
        self.count = 100_000 // averaged
        five = rng.normal(size=5)
        z = np.full((5, 5), -np.inf)
        z[:4, 0], z[:4, 1], z[4] = self.theta, 0, five
        tau = np.array([1, 1, 1, 1, 0.7])
        rate = np.append(self.rate, 0.6)
        matrix = np.zeros((5, 5, 5))
        matrix[:4, 0, 0], matrix[4] = 1, rng.normal(size=(5, 5))
        vector = np.zeros((5, 5))
        vector[:4, 0] = -2 * 0.45
        sample = estimators.straight_through_gumbel
        if averaged > 1:
            sample = functools.partial(estimators.gumbel_rao, samples=averaged)
        wide = (self.count, *z.shape)

        @jit
        def run(z, tau, rate):
            def loss(z, tau, rate):
                d = sample(KEY, z, tau, relaxation=rate)
                square = jnp.einsum("nri,rij,nrj->nr", d, matrix, d)
                return jnp.sum(square + jnp.sum(vector * d, -1)), d

            arguments = (
                jnp.broadcast_to(z, wide),
                *(jnp.broadcast_to(x, wide[:2]) for x in (tau, rate)),
            )
            return jax.grad(loss, (0, 1, 2), has_aux=True)(*arguments)

        found = run(*(np.asarray(x, np.float32) for x in (z, tau, rate)))
        (of_z, of_tau, of_rate), hot = jax.tree.map(np.asarray, found)
        self.toy = of_z[:, :4, 0].astype(float)
        assert (of_z[:, :4, 2:] == 0).all()
        self.share, self.p = hot.mean(axis=0, dtype=float), softmax(z / tau[:, None])
        self.five = np.column_stack([of_z[:, 4], of_tau[:, 4], of_rate[:, 4]])

    def mean(self):
        """Of the gradients of the five-class loss in z, τ and λ, and its error."""
        five = self.five.astype(float)
        return five.mean(axis=0), five.var(axis=0) / self.count


@functools.cache
def draws(averaged):
    return Draws(averaged)


@pytest.mark.parametrize("averaged", [1, 10])
def test_gumbel_estimates_have_the_published_mean_and_variance(averaged):
    drawn = draws(averaged)
    error = np.sqrt(drawn.p * (1 - drawn.p) / drawn.count)
    assert (np.abs(drawn.share - drawn.p) <= 4.5 * error).all()
    for found, row in zip(drawn.toy.T, TOY, strict=True):
        theta, rate, mean, log_var, count, log_var_of_average = row
        want, variance = toy_truth(theta, rate, averaged)
        assert want == pytest.approx(mean, abs=4e-4)
        for many, published in ((1, log_var), (count, log_var_of_average)):
            of_many = np.log(toy_truth(theta, rate, many)[1])
            assert of_many == pytest.approx(published, abs=0.01)
        assert abs(found.mean() - want) < 4.5 * np.sqrt(variance / drawn.count)
        assert found.var() == pytest.approx(variance, rel=15 / np.sqrt(drawn.count))


def test_gumbel_rao_has_the_mean_of_straight_through_gumbel_and_less_variance():
    one, ten = draws(1), draws(10)
    (mean, error), (mean_of_ten, error_of_ten) = one.mean(), ten.mean()
    assert (np.abs(mean) > 20 * np.sqrt(error)).any()
    z = (mean - mean_of_ten) / np.sqrt(error + error_of_ten)
    assert (np.abs(z) < 4.5).all()
    assert (ten.five.var(axis=0) < one.five.var(axis=0)).all()


def test_derivatives_are_those_of_the_relaxed_sample_at_fixed_noise():
    rng = np.random.default_rng(2)
    z, weights = rng.normal(size=(2, 3, 6))
    tau, rate = np.array([0.4, 1.0, 3.0]), np.array([1.0, 0.3, 2.0])
    direction = rng.normal(size=(3, 6)), rng.normal(size=3), rng.normal(size=3)

    def of_sample(z, tau, rate):
        sample = estimators.straight_through_gumbel(KEY, z, tau, relaxation=rate)
        return jnp.sum(weights * sample)

    with jax.enable_x64(True):
        rows = fold(jnp.asarray(z), tau, axis=-1, where=None)
        noise = np.asarray(jit(lambda: row_gumbel(KEY, rows))())
        both = jax.value_and_grad(of_sample, (0, 1, 2))
        push = jit(lambda *point: jax.jvp(both, point, direction))
        (_, slopes), (forward, second) = jax.tree.map(np.asarray, push(z, tau, rate))

    def relaxed(step):
        at = (x + step * d for x, d in zip((z, tau, rate), direction, strict=True))
        z_at, tau_at, rate_at = at
        u = (z_at / tau_at[:, None] + noise) / rate_at[:, None]
        return np.sum(weights * softmax(u))

    def along(gradients):
        return sum(np.sum(g * d) for g, d in zip(gradients, direction, strict=True))

    h = 1e-4
    first = (relaxed(h) - relaxed(-h)) / (2 * h)
    twice = (relaxed(h) - 2 * relaxed(0) + relaxed(-h)) / h**2
    assert forward == pytest.approx(first, rel=1e-6)
    assert along(slopes) == pytest.approx(first, rel=1e-6)
    assert along(second) == pytest.approx(twice, rel=1e-4)


TEMPERATURES = np.array([0, 1e-45, 1e-30, 1e-3, 0.5, 1, 1e3, 1e30, np.inf], np.float32)
RATES = np.array([0, 1e-30, 0.1, 1, 1e30, np.inf], np.float32)
ROWS = np.array(
    [
        [0.5, -1, 2, 0, 1],
        [3, 3, 1, 3, 0],  # a tie
        [1e5, 1e5 - 512, 1e5 + 512, 0, -1e5],
        [-np.inf, 2, -np.inf, 2.5, -np.inf],
        [np.nan, 0, 1, 2, np.inf],  # masked below where it is not a number
        [np.nan, 0, 1, 2, 0],
        [0, 1, 2, np.inf, 0],
        [0, 0, 0, 0, 0],  # nothing is allowed
    ]
)
WHERE = np.ones((8, 5), bool)
WHERE[4, [0, 4]], WHERE[7] = False, False
GOOD = np.arange(8) < 5


@functools.cache
def at_the_edges():
    """Samples and gradients in z, τ and λ, in bfloat16, with the classes in front."""
    shape = (len(TEMPERATURES), len(RATES), 8)
    z = jnp.asarray(np.broadcast_to(ROWS.T[:, None, None], (5, *shape)), jnp.bfloat16)
    tau = np.broadcast_to(TEMPERATURES[:, None, None], shape)
    rate = np.broadcast_to(RATES[:, None], shape)
    where = WHERE.T[:, None, None]
    weights = jnp.asarray(np.linspace(-1, 1, 5)[:, None, None, None], jnp.bfloat16)

    def losses(points):
        found = {
            name: ALL[name](KEY, z, tau, relaxation=rate, axis=0, where=where)
            for name, (z, tau, rate) in points.items()
        }
        return {name: jnp.sum(weights * d, axis=0) for name, d in found.items()}, found

    @jit
    def run(z, tau, rate):
        points = dict.fromkeys(ALL, (z, tau, rate))
        tangent = jnp.ones_like(z), jnp.ones_like(tau), jnp.zeros_like(rate)
        # Forward once, and the transpose of the same.
        push, found = jax.linearize(losses, points, has_aux=True)[1:]
        pull = jax.linear_transpose(push, points)
        ones = dict.fromkeys(ALL, jnp.ones(shape, z.dtype))
        return found, pull(ones)[0], push(dict.fromkeys(ALL, tangent))

    return run(z, tau, rate)


@pytest.mark.parametrize("name", ALL)
def test_no_temperature_mask_or_neighbour_makes_a_valid_row_nan(name):
    found, gradients, pushed = at_the_edges()
    d = np.moveaxis(np.asarray(found[name].astype(float)), 0, -1)
    assert found[name].dtype == jnp.bfloat16
    assert np.isnan(d[:, :, ~GOOD]).all()
    good = d[:, :, GOOD]
    assert ((good == 0) | (good == 1)).all()
    assert (good.sum(axis=-1) == 1).all()
    allowed = (WHERE & (-np.inf < ROWS))[GOOD]
    assert (good[..., ~allowed] == 0).all()
    # The smallest temperatures are too far below the gaps to draw anything else.
    cold = good[TEMPERATURES < 1e-20]
    assert (cold[:, :, 0, 2] == 1).all()
    assert (cold[:, :, 1, [2, 4]] == 0).all()

    of_z, of_tau, of_rate = gradients[name]
    of_z = np.moveaxis(np.asarray(of_z.astype(float)), 0, -1)[:, :, GOOD]
    of_tau, of_rate, pushed = (
        np.asarray(x.astype(float))[:, :, GOOD] for x in (of_tau, of_rate, pushed[name])
    )
    for gradient in (of_z, of_tau, of_rate, pushed):
        assert not np.isnan(gradient).any()
    assert (of_z[..., ~allowed] == 0).all()
    ends = (TEMPERATURES == 0) | np.isinf(TEMPERATURES)
    assert (of_z[ends] == 0).all()
    assert (of_tau[ends] == 0).all()
    assert (of_z[TEMPERATURES == 1] != 0).any()
    if name != "reinmax":
        assert (of_z[:, RATES == 0] == 0).all()


def test_with_a_key_for_each_row_a_row_depends_on_its_own_alone():
    z = np.random.default_rng(3).normal(size=(4, 6)).astype(np.float32)
    keys = jax.random.split(KEY, 4)

    @jit
    def run(keys, z):
        def loss(z):
            d = ALL["gumbel_rao"](keys, z)
            return jnp.sum(d * jnp.arange(6.0)), d

        gradient, d = jax.grad(loss, has_aux=True)(z)
        return d, gradient

    order = np.array([2, 0, 3, 1])
    for straight, turned in zip(run(keys, z), run(keys[order], z[order]), strict=True):
        np.testing.assert_array_equal(np.asarray(straight)[order], turned)


MESSAGES = {
    "negative relaxation": (
        {"relaxation": -1.0},
        "`relaxation` must be in [0, inf], got -1.0; pass 1 for the temperature of the "
        "draw.",
    ),
    "relaxation of another shape": (
        {"relaxation": np.ones((2, 1))},
        "`relaxation` must broadcast to the batch shape (2,) (the logits' shape "
        "without the class axis), got shape (2, 1); drop its last axis: "
        "`relaxation[..., 0]`.",
    ),
    "no samples": (
        {"samples": 0},
        "`samples` must be an int of at least 1, got 0; it is how many samples an "
        "estimate is made of.",
    ),
    "a fraction of samples": (
        {"samples": 2.5},
        "`samples` must be an int of at least 1, got 2.5; it is how many samples an "
        "estimate is made of.",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), MESSAGES.values(), ids=MESSAGES)
def test_bad_arguments_have_their_own_messages(arguments, message):
    with pytest.raises(ValueError, match=r"^`") as caught:
        estimators.gumbel_rao(KEY, np.zeros((2, 3), np.float32), **arguments)
    assert str(caught.value) == message
