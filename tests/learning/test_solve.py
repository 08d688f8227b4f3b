import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from jaxtemp.learning import solve_temperature
from tests.cases import enable_x64

CLASSES = 40
ROWS = 1200

compiled = jax.jit(solve_temperature)


def solve(z, target):
    """Temperatures of rows in float64, by one program of float32 for all tests."""
    z = np.asarray(z, np.float32)
    padded = np.full((ROWS, CLASSES), np.nan, np.float32)
    padded[: len(z), : z.shape[1]] = z
    where = np.zeros((ROWS, CLASSES), bool)
    where[: len(z), : z.shape[1]] = True
    targets = np.ones(ROWS, np.float32)
    targets[: len(z)] = target
    return np.asarray(compiled(padded, targets, where=where), np.float64)[: len(z)]


def thermodynamics(z, tau):
    """Entropy and heat capacity of a row, a maximum summed by itself."""
    z = z[z > -np.inf].astype(np.longdouble)
    u = (z - z.max()) / tau
    e = np.exp(u)
    rest = e[u < 0].sum() + (u == 0).sum() - 1
    mean = (e * u).sum() / (1 + rest)
    capacity = (e * (u - mean) ** 2).sum() / (1 + rest)
    return np.log1p(rest) - mean, capacity


def true_temperature(z, target):
    """Brent's root of the entropy in the logarithm of the temperature."""
    log_tau = scipy.optimize.brentq(
        lambda x: thermodynamics(z, np.exp(x))[0] - target, -70, 70, xtol=1e-13
    )
    return np.exp(log_tau)


def random_rows(count, dtype):
    """Rows of all sizes, some heavy-tailed, some masked, and targets for them."""
    rng = np.random.default_rng(0)
    z = np.where(
        rng.uniform(size=(count, 1)) < 0.5,
        rng.normal(size=(count, CLASSES)),
        rng.standard_cauchy(size=(count, CLASSES)),
    )
    z *= 10.0 ** rng.integers(-6, 7, size=(count, 1))
    z = z.astype(dtype)
    where = rng.uniform(size=z.shape) < rng.uniform(0.05, 2, size=(count, 1))
    where[:, :2] = True
    most = np.log(where.sum(-1))
    share = rng.uniform(size=count)
    near = 10.0 ** rng.uniform(-5, 0, size=count)
    share = np.choose(np.arange(count) % 3, [share, near, 1 - near])
    return z, where, (most * share).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_temperature_is_as_right_as_its_condition_allows(dtype):
    z, where, target = random_rows(ROWS, dtype)
    with enable_x64(dtype):
        got = compiled(z, target, where=where)
        assert got.dtype == dtype
    got = np.asarray(got, np.float64)
    inside = target < np.log(where.sum(-1)) * (1 - 3 * np.finfo(dtype).eps)
    assert np.isfinite(got[inside]).all()
    assert inside.mean() > 0.95
    for row in np.flatnonzero(inside):
        wide = np.where(where[row], z[row].astype(np.float64), -np.inf)
        want = float(target[row])
        entropy, capacity = thermodynamics(wide, got[row])
        tau = true_temperature(wide, want)
        condition = want / capacity
        eps = np.finfo(dtype).eps
        brent = 1e-12 * (1 + condition)
        assert abs(got[row] / tau - 1) <= 3 * eps * (1 + condition) + brent
        assert abs(entropy - want) <= 3 * eps * (want + capacity)


def test_half_precision_is_rounded_once():
    z = np.random.default_rng(1).normal(size=(50, CLASSES)).astype(jnp.bfloat16)
    target = np.linspace(0.1, 3.5, 50).astype(np.float32)
    got = compiled(z, target)
    assert got.dtype == z.dtype
    want = [
        true_temperature(row, float(t))
        for row, t in zip(z.astype(np.float64), target, strict=True)
    ]
    error = np.abs(np.asarray(got, np.float64) / want - 1)
    assert error.max() <= 0.51 * float(jnp.finfo(jnp.bfloat16).eps)


def test_ends_ties_and_empty_rows():
    inf, nan = np.inf, np.nan
    log = np.log
    cases = [  # logits, target, temperature
        ([1.0, 2.0, 0.0, -1.0], 0.0, 0.0),
        ([1.0, 2.0, 2.0, -1.0], log(2), 0.0),
        ([1.0, 2.0, 2.0, -1.0], 0.1, 0.0),
        ([1.0, 2.0, 0.0, -1.0], log(4), inf),
        ([1.0, 2.0, 0.0, -1.0], 7.0, inf),
        ([1.0, 2.0, 0.0, -1.0], inf, inf),
        ([1.0, 2.0, -inf, -inf], log(2), inf),
        ([3.0, 3.0, 3.0, 3.0], 1.0, 0.0),
        ([3.0, 3.0, 3.0, 3.0], 2.0, inf),
        ([3.0, -inf, -inf, -inf], 0.0, 0.0),
        ([-inf, -inf, -inf, -inf], 1.0, nan),
        ([1.0, nan, 0.0, 0.0], 1.0, nan),
        ([1.0, inf, 0.0, 0.0], 0.5, nan),
        ([3e38, -3e38, 0.0, 1.0], 0.0, 0.0),
    ]
    logits, target, want = zip(*cases, strict=True)
    np.testing.assert_array_equal(solve(logits, target), np.float32(want))
    # Traced, a bad target makes its own row NaN.
    bad = solve(logits[:3], [-1.0, nan, 0.0])
    np.testing.assert_array_equal(bad, [nan, nan, 0.0])


def test_the_largest_and_smallest_logits_have_a_temperature():
    base = np.float32([0.0, -1.0, -2.5])
    sizes = np.float64([1e-35, 1e-20, 1, 1e20, 1e38])
    tau = solve(sizes[:, None] * base, 0.7)
    want = true_temperature(base.astype(np.float64), 0.7)
    np.testing.assert_allclose(tau / sizes, want, rtol=1e-5)
    # Two gaps of forty orders of magnitude: the entropy rises in two steps.
    steps = np.float32([0.0, -1e-30, -1e10])
    low, high = solve([steps] * 2, [0.3, 0.9])
    assert low == pytest.approx(true_temperature(np.array([0.0, -1e-30]), 0.3), 1e-5)
    assert np.exp(-1e10 / high) > 0.01


def test_derivatives_are_those_of_the_implicit_function():
    rng = np.random.default_rng(2)
    z = rng.normal(size=(4, 6))
    where = np.ones((4, 6), bool)
    where[1, 3:] = where[2, 0] = False
    target = np.array([0.3, 0.9, 1.2, 1.5])
    dz, dtarget = rng.normal(size=(4, 6)), rng.normal(size=4)

    with jax.enable_x64(True):

        def tau(z, target):
            return solve_temperature(z, target, where=where)

        def slopes(z, target):
            return jax.grad(lambda *args: tau(*args).sum(), (0, 1))(z, target)

        @jax.jit
        def everything(z, target):
            forward = jax.jvp(tau, (z, target), (dz, dtarget))[1]
            second = jax.jvp(slopes, (z, target), (dz, dtarget))[1]
            return tau(z, target), forward, slopes(z, target), second

        step = 1e-4
        found, after, before = jax.tree.map(
            np.asarray,
            [everything(z + s * dz, target + s * dtarget) for s in (0, step, -step)],
        )

    value, forward, (to_z, to_target), second = found
    # By finite differences of the solution, and of Brent's.
    np.testing.assert_allclose(forward, (after[0] - before[0]) / (2 * step), rtol=1e-6)
    for got, up, down in zip(second, after[2], before[2], strict=True):
        np.testing.assert_allclose(got, (up - down) / (2 * step), rtol=1e-5, atol=1e-8)
    along = (to_z * dz).sum(-1) + to_target * dtarget
    np.testing.assert_allclose(along, forward, rtol=1e-12)
    for row in range(4):
        masked = np.where(where[row], z[row], -np.inf)
        difference = np.subtract(
            *(true_temperature(masked, target[row] + s) for s in (step, -step))
        )
        assert to_target[row] == pytest.approx(difference / (2 * step), rel=1e-6)
    assert (np.asarray(to_z)[~where] == 0).all()
    # τ scales as the logits do, and does not see what is added to all.
    np.testing.assert_allclose((to_z * z).sum(-1), value, rtol=1e-10)
    np.testing.assert_allclose(to_z.sum(-1), 0, atol=1e-12)


def test_where_the_temperature_is_an_end_it_does_not_move():
    z = np.float32([[0.0, 1.0, 1.0]] * 3 + [[-np.inf] * 3])
    target = np.float32([0.5, 2.0, 1.0, 1.0])

    @jax.jit
    def slopes(z, target):
        tau, pull = jax.vjp(solve_temperature, z, target)
        return tau, *pull(jnp.ones_like(tau))

    tau, to_z, to_target = slopes(z, target)
    np.testing.assert_array_equal(tau[jnp.array([0, 1, 3])], [0, np.inf, np.nan])
    np.testing.assert_array_equal(to_z[jnp.array([0, 1, 3])], 0)
    np.testing.assert_array_equal(to_target[jnp.array([0, 1, 3])], 0)
    assert np.isfinite(to_z[2]).all()
    assert to_target[2] > 0


def test_axis_mask_batch_and_vmap_agree():
    z, where, target = random_rows(12, "float32")
    z, where = z.reshape(3, 4, CLASSES), where.reshape(3, 4, CLASSES)
    target = target.reshape(3, 4)
    masked = np.where(where, z, -np.inf)
    blind = np.where(where, z, np.nan)

    @jax.jit
    def ways(masked, blind, where, target):
        return (
            solve_temperature(blind, target, where=where),
            solve_temperature(jnp.moveaxis(masked, 2, 0), target, axis=0),
            jax.vmap(jax.vmap(solve_temperature))(masked, target),
        )

    want = solve(masked.reshape(12, -1), target.reshape(12)).reshape(3, 4)
    by_mask, by_axis, by_vmap = ways(masked, blind, where, target)
    for got in (by_mask, by_axis, by_vmap):
        np.testing.assert_allclose(got, want, rtol=1e-4)


def test_a_row_does_not_see_its_neighbours():
    z, where, target = random_rows(60, "float32")
    z = np.where(where, z, -np.inf)
    together = solve(z, target)
    for row in range(0, 60, 7):
        alone = solve(z[row : row + 1], target[row : row + 1])
        np.testing.assert_array_equal(alone, together[row])


def test_the_duals_of_mpo_and_sac_have_this_temperature():
    rng = np.random.default_rng(3)
    q = rng.normal(size=(3, 8)) * [[1.0], [5.0], [0.2]]
    epsilon = np.array([0.1, 0.5, 1.5])

    def log_z(q, tau):
        return q.max() / tau + np.log(np.exp((q - q.max()) / tau).sum())

    def mpo(log_tau, q, epsilon):
        tau = np.exp(log_tau)
        return tau * epsilon + tau * (log_z(q, tau) - np.log(len(q)))

    def sac(log_alpha, q, target):
        alpha = np.exp(log_alpha)
        return alpha * log_z(q, alpha) - alpha * target

    target = np.log(8) - epsilon
    got = solve(q, target)
    for row in range(3):
        for dual, constant in ((mpo, epsilon), (sac, target)):
            found = scipy.optimize.minimize_scalar(
                dual, args=(q[row], constant[row]), bracket=(-1.0, 1.0), tol=1e-12
            )
            assert np.exp(found.x) == pytest.approx(got[row], rel=1e-5)
        # The dual's slope in τ: ε + S - log n, zero at the solution.
        assert thermodynamics(q[row], got[row])[0] == pytest.approx(target[row], 1e-5)


LOGITS = np.zeros((2, 3), np.float32)
FIX = "pass nats, at most the log of the number of classes."
WRONG = {
    "a negative target": (
        {"target_entropy": -0.5},
        ValueError,
        f"`target_entropy` must be in [0, inf], got -0.5; {FIX}",
    ),
    "a NaN among targets": (
        {"target_entropy": np.float32([0.5, np.nan])},
        ValueError,
        f"`target_entropy` must be in [0, inf], got nan; {FIX}",
    ),
    "a target for each class": (
        {"target_entropy": np.ones((2, 3), np.float32)},
        ValueError,
        (
            "`target_entropy` must broadcast to the batch shape (2,) (the logits' "
            "shape without the class axis), got shape (2, 3); "
            "pass one number, or one for each row."
        ),
    ),
    "no target": (
        {"target_entropy": None},
        TypeError,
        (
            "`target_entropy` must be an array or a number, got NoneType; "
            "pass something that `jnp.asarray` accepts."
        ),
    ),
    "integer logits": (
        {"logits": np.zeros((2, 3), np.int32)},
        TypeError,
        (
            "`logits` must be real floating point, got dtype int32; convert it first, "
            "for example `logits.astype(jnp.float32)`."
        ),
    ),
    "a mask of numbers": (
        {"where": np.ones(3)},
        TypeError,
        (
            "`where` must be boolean, got dtype float32; "
            "compare first, for example `where=mask != 0`."
        ),
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_bad_input_has_its_own_message(case):
    arguments, error, message = WRONG[case]
    with pytest.raises(error) as raised:
        solve_temperature(**{"logits": LOGITS, "target_entropy": 0.5, **arguments})
    assert str(raised.value) == message
