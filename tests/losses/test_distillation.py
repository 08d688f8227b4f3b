"""Distillation: values, derivatives and limits against float64 and mpmath."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from jaxtemp.losses import cross_entropy, distillation

STUDENT = np.array([2.5, -1.0, 0.5, 3.25, -2.0, 1.0], np.float32)
TEACHER = np.array([4.0, 1.5, -2.5, 0.75, -0.5, 2.0], np.float32)
OPTIONS = [
    (divergence, shared, scaled)
    for divergence in ("forward", "reverse")
    for shared in (True, False)
    for scaled in (True, False)
]


exp, log = (np.frompyfunc(f, 1, 1) for f in (mpmath.exp, mpmath.log))


def exact(x):
    """As numbers of arbitrary precision: float64 loses what KL is near q = p."""
    return np.frompyfunc(lambda number: mpmath.mpf(float(number)), 1, 1)(x)


def truth(z, v, tau, sigma, divergence="forward", scaled=True):
    """The definition, and its derivatives in z, v, τ and σ by the textbook."""
    with mpmath.workdps(60):
        found = _truth(*map(exact, (z, v, tau, sigma)), divergence, scaled)
        return [np.float64(x) for x in found]


def _truth(z, v, tau, sigma, divergence, scaled):
    def total(x):
        return x.sum(-1, keepdims=True)

    def distribution(z, tau):
        weights = exp(z / tau[..., None])
        return weights / total(weights)

    p, q = distribution(z, tau), distribution(v, sigma)
    both = (p > 0) & (q > 0)
    r = np.where(both, log(np.where(both, p, 1)) - log(np.where(both, q, 1)), 0)
    z, v = (np.where(x == -np.inf, 0, x) for x in (z, v))
    if divergence == "forward":
        value = -(q * r).sum(-1)
        to_x, to_y = p - q, -q * (r - total(q * r))
    else:
        value = (p * r).sum(-1)
        to_x, to_y = p * (r - total(p * r)), q - p
    dz, dv = to_x / tau[..., None], to_y / sigma[..., None]
    dtau, dsigma = -(dz * z).sum(-1) / tau, -(dv * v).sum(-1) / sigma
    if not scaled:
        return value, dz, dv, dtau, dsigma
    square = tau * tau
    dz, dv = square[..., None] * dz, square[..., None] * dv
    return square * value, dz, dv, square * dtau + 2 * tau * value, square * dsigma


def rows(count, classes, seed=0, dtype=np.float32):
    """Random pairs, a third of them close to each other, with masks."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(count, classes)) * 3
    v = rng.normal(size=(count, classes)) * 3
    v[::3] = z[::3] + rng.normal(size=v[::3].shape) * 0.1
    z += rng.choice([0, 1e3, -1e3], size=(count, 1))
    tau = rng.choice([0.05, 0.3, 1, 2, 5, 30], count)
    sigma = rng.choice([0.1, 0.5, 1, 3, 20], count)
    where = rng.random((count, classes)) < 0.8
    where[:, 0] = True
    return *(np.asarray(x, dtype) for x in (z, v, tau, sigma)), where


def loss(z, v, tau, sigma, where, *, divergence, shared, scaled):
    return distillation(
        *(z, v, tau),
        teacher_temperature=None if shared else sigma,
        divergence=divergence,
        scale_by_square=scaled,
        where=where,
    )


# Half precision is float32 inside, so a part of the options is enough for it.
CASES = [("float32", *options) for options in OPTIONS]
CASES += [("float64", *options) for options in OPTIONS[::5]]
CASES += [("bfloat16", *options) for options in (OPTIONS[0], OPTIONS[7])]


@functools.cache
def compiled(*options):
    """Values and gradients in z, v, τ and σ (of τ for both if they are shared)."""
    f = functools.partial(
        loss, **dict(zip(("divergence", "shared", "scaled"), options, strict=True))
    )

    def both(*x):
        return f(*x), jax.grad(lambda *x: f(*x).sum(), (0, 1, 2, 3))(*x)

    return jax.jit(both)


@pytest.mark.parametrize(("dtype", "divergence", "shared", "scaled"), CASES)
def test_value_and_derivatives(dtype, divergence, shared, scaled):
    wide = np.float64 if dtype == "float64" else np.float32
    z, v, tau, sigma, where = rows(600, 7, dtype=wide)
    z, v = (x.astype(jnp.dtype(dtype)) for x in (z, v))
    sigma = tau if shared else sigma
    hidden = (np.where(where, x, jnp.nan).astype(x.dtype) for x in (z, v))
    with jax.enable_x64(dtype == "float64"):
        found = compiled(divergence, shared, scaled)(*hidden, tau, sigma, where)
        value, grads = jax.tree.map(np.asarray, found)
    assert [x.dtype for x in (value, *grads[:2])] == [dtype] * 3
    masked = [np.where(where, np.float64(x), -np.inf) for x in (z, v)]
    want, dz, dv, dtau, dsigma = truth(*masked, tau, sigma, divergence, scaled)
    # What a rounding of the logits and of the temperatures does to the result.
    eps = float(jnp.finfo(wide).eps)
    half = float(jnp.finfo(dtype).eps) if dtype == "bfloat16" else 0
    tiny = 1e-30 / eps  # below which float32 has no digits
    scale = np.abs(want) + 20 * (np.abs(dz) + np.abs(dv)).sum(-1) + tiny
    assert np.all(np.abs(value - want) <= 2 * eps * scale + half * np.abs(want))
    steep = 1 + 20 / np.minimum(tau, sigma)
    largest = [np.abs(x).reshape(600, -1).max(-1) for x in (dz, dv, dtau, dsigma)]
    room = steep * (np.max(largest, axis=0) + scale / tau)
    room = 2 * eps * (room + 20 * (1 if scaled else tau**-2)) + tiny * eps
    wants = (dz, dv, dtau + dsigma, 0 * tau) if shared else (dz, dv, dtau, dsigma)
    for got, wanted in zip(grads, wants, strict=True):
        got, wanted = (np.float64(x).reshape(600, -1) for x in (got, wanted))
        error = np.abs(got - wanted) - half * np.abs(wanted)
        assert np.all(error.max(-1) <= room)
    for got in grads[:2]:
        assert np.all(got[~where] == 0)


def test_it_goes_to_the_distance_of_the_logits_at_high_temperatures():
    """In float32, to the last digits, where KL itself falls as 1/τ²."""
    taus = np.float32([1, 1e1, 1e2, 1e3, 1e4, 1e6, 1e8])
    found = jax.vmap(jax.value_and_grad(distillation, 2), (None, None, 0))
    values, slopes = jax.jit(found)(STUDENT, TEACHER, taus)
    same = (np.broadcast_to(x, (7, 6)) for x in (STUDENT, TEACHER))
    want, _, _, dtau, dsigma = truth(*same, taus, taus)
    np.testing.assert_allclose(values, want, rtol=1e-6)
    np.testing.assert_allclose(slopes, dtau + dsigma, rtol=1e-5)
    plain = jax.jit(functools.partial(distillation, scale_by_square=False))
    np.testing.assert_allclose(plain(STUDENT, TEACHER, 1e4), want[4] / 1e8, rtol=1e-6)

    apart = np.float64(STUDENT) - TEACHER
    apart -= apart.mean()
    limit = np.square(apart).sum() / (2 * 6)
    np.testing.assert_allclose(limit, 161 / 72, rtol=1e-12)
    # The truth itself: a tenth of the way is left at ten times the temperature.
    left = want[2:6] - limit
    np.testing.assert_allclose(left, left[0] / np.array([1, 10, 100, 1e4]), rtol=0.02)
    found = jax.jit(jax.value_and_grad(distillation, (0, 1, 2)))
    value, (dz, dv, dtau) = found(STUDENT, TEACHER, jnp.inf)
    np.testing.assert_allclose(value, limit, rtol=1e-6)
    np.testing.assert_allclose(dz, apart / 6, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(dv, -apart / 6, rtol=1e-5, atol=1e-7)
    assert dtau == 0
    assert plain(STUDENT, TEACHER, jnp.inf) == 0


def test_the_sequence_of_a_case_of_six_classes():
    """Logits with the limit and the first corrections of a published sequence."""
    z = np.float32([-1.341, -0.034, -1.681, -0.183, -0.764, 3.123])
    v = np.float32([-0.698, 0.299, 0.963, 1.929, -2.249, -0.321])
    taus = np.float32([1e2, 1e3, 1e4, np.inf])
    found = jax.jit(jax.vmap(distillation, (None, None, 0)))(z, v, taus)
    np.testing.assert_allclose(found, [2.17163, 2.16226, 2.16131, 2.16121], atol=6e-6)


def test_it_goes_to_the_gap_at_low_temperatures():
    """τ KL goes to max z - z at the teacher's choice: here 3.25 - 2.5."""
    taus = np.float32([1e-30, 1e-10, 1e-4, 1e-2])
    values = jax.jit(jax.vmap(distillation, (None, None, 0)))(STUDENT, TEACHER, taus)
    np.testing.assert_allclose(values / taus, 0.75, rtol=1e-6)
    found = jax.jit(jax.value_and_grad(distillation, 2))
    value, slope = found(STUDENT, TEACHER, 0.0)
    assert value == 0
    assert slope == 0.75


def test_unscaled_at_zero_it_compares_the_maximisers():
    z = np.float32([[1, 1, 0], [1, 1, 0], [1, 0, 1], [2, 1, 0]])
    v = np.float32([[3, 0, 0], [3, 3, 0], [3, 3, 0], [3, 3, 0]])
    got = distillation(z, v, 0.0, scale_by_square=False)
    np.testing.assert_allclose(got, [np.log(2), 0, np.inf, np.inf], rtol=1e-6)


@functools.cache
def with_gradients(divergence):
    f = functools.partial(distillation, divergence=divergence)
    total = jax.grad(lambda *x: f(*x)[:3].sum(), (0, 1, 2))
    return jax.jit(lambda *x: (f(*x), total(*x)))


@pytest.mark.parametrize("divergence", ["forward", "reverse"])
@pytest.mark.parametrize("tau", [0.0, 1.0, np.inf])
def test_excluded_classes(divergence, tau):
    """None costs what no side has; what only one has is inf, or its share."""
    inf = np.inf
    z = np.float32([[1, 2, -inf], [1, 2, 4], [1, 2, -inf], [-inf] * 3])
    v = np.float32([[2, 0, -inf], [2, 0, -inf], [2, 0, 4], [1, 2, 3]])
    value, grads = with_gradients(divergence)(z, v, tau)
    assert all(np.isfinite(g).all() for g in grads)
    assert np.all(np.asarray(grads[0])[~np.isfinite(z)] == 0)
    lost = 2 if divergence == "forward" else 1
    assert value[lost] == np.inf
    assert np.all(np.asarray(grads[0])[lost] == 0)
    assert np.isnan(value[3])
    assert np.isinf(value[3 - lost]) == np.isinf(tau)
    if tau == 1:
        want = truth(z[:3], v[:3], np.ones(3), np.ones(3), divergence)[0]
        finite = np.arange(3) != lost
        np.testing.assert_allclose(value[:3][finite], want[finite], rtol=1e-6)
    narrow = [np.where(np.isinf(x[0]), -5, x[0]) for x in (z, v)]
    shown = np.array([True, True, False])
    whole = distillation(*narrow, tau, divergence=divergence, where=shown)
    np.testing.assert_allclose(value[0], whole, rtol=1e-6)


def test_bad_logits_stay_in_their_row():
    z, v = np.stack([STUDENT] * 4), np.stack([TEACHER] * 4)
    z[0, 1], v[1, 2], z[2, 3] = np.nan, np.inf, np.inf
    tau = np.float32([2, 2, 2, 2, -1])
    z, v = np.vstack([z, STUDENT]), np.vstack([v, TEACHER])
    value = jax.jit(distillation)(z, v, tau)
    np.testing.assert_array_equal(np.isnan(value), [True] * 3 + [False, True])
    want = truth(z[3:4], v[3:4], tau[3:4], tau[3:4])[0]
    np.testing.assert_allclose(value[3], want[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("divergence", "shared", "scaled", "outer"),
    [
        ("forward", True, True, jax.jacfwd),
        ("reverse", True, False, jax.jacrev),
        ("forward", False, True, jax.jacrev),
    ],
)
def test_second_derivatives(divergence, shared, scaled, outer):
    """Those of the first: difference quotients of the textbook's gradients."""
    z, v, tau, sigma, _ = rows(24, 4, seed=1, dtype=np.float64)
    v[::3] = z[::3] + 0.5 * v[1::3]
    z -= z.mean(-1, keepdims=True)
    v -= v.mean(-1, keepdims=True)
    tau, sigma = np.clip(tau, 0.5, 10), np.clip(sigma, 0.5, 10)
    x = np.concatenate([z, v, tau[:, None], sigma[:, None]], -1)
    options = {"divergence": divergence, "shared": shared, "scaled": scaled}

    def one(x):
        return loss(x[:4], x[4:8], x[8], x[9], None, **options)

    def textbook(x):
        parts = x[:, :4], x[:, 4:8], x[:, 8], x[:, 8] if shared else x[:, 9]
        _, dz, dv, dtau, dsigma = truth(*parts, divergence, scaled)
        last = (dtau + dsigma, 0 * dtau) if shared else (dtau, dsigma)
        return np.concatenate([dz, dv, np.stack(last, -1)], -1)

    with jax.enable_x64(True):
        hessian = np.asarray(jax.jit(jax.vmap(outer(jax.grad(one))))(x))
    h = 1e-5
    columns = [(textbook(x + e) - textbook(x - e)) / (2 * h) for e in h * np.eye(10)]
    want = np.stack(columns, -1)
    size = np.abs(want).max((-1, -2), keepdims=True)
    assert np.all(np.abs(hessian - want) < 1e-7 * size)


def test_it_composes():
    """vmap, scan, remat, forward mode and another axis give what a plain call does."""
    z, v, tau, _, where = rows(12, 5)
    rng = np.random.default_rng(5)
    tangents = [rng.normal(size=x.shape).astype(np.float32) for x in (z, v, tau)]

    def one(z, v, tau, where):
        return distillation(z, v, tau, where=where)

    @jax.jit
    def every_way(z, v, tau, where):
        f = functools.partial(one, where=where)
        value, pull = jax.vjp(f, z, v, tau)
        _, pushed = jax.jvp(jax.checkpoint(f), (z, v, tau), tuple(tangents))
        ways = [
            jax.vmap(one)(z, v, tau, where),
            jax.lax.map(lambda x: one(*x), (z, v, tau, where)),
            distillation(z.T, v.T, tau, where=where.T, axis=0),
        ]
        return value, pull(jnp.ones(12)), pushed, ways

    value, grads, pushed, ways = every_way(z, v, tau, where)
    for way in ways:
        np.testing.assert_allclose(way, value, rtol=1e-6)
    parts = zip(grads, tangents, strict=True)
    pulled = sum((np.asarray(g) * t).reshape(12, -1).sum(-1) for g, t in parts)
    np.testing.assert_allclose(pushed, pulled, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("divergence", "shared", "scaled"), OPTIONS[::3])
def test_classes_split_over_a_mesh(divergence, shared, scaled):
    z, v, tau, sigma, where = rows(16, 8)
    f = functools.partial(loss, divergence=divergence, shared=shared, scaled=scaled)

    def total(*x):
        value = f(*x)
        return value.sum(), value

    whole = jax.jit(jax.value_and_grad(total, (0, 1, 2, 3), has_aux=True))
    (_, value), grads = whole(z, v, tau, sigma, where)

    def split(z, v, tau, sigma, where):
        return distillation(
            *(z, v, tau),
            teacher_temperature=None if shared else sigma,
            divergence=divergence,
            scale_by_square=scaled,
            where=where,
            axis_name="classes",
        )

    wide, row = PartitionSpec(None, "classes"), PartitionSpec()
    mesh = Mesh(np.array(jax.devices()[:4]), ("classes",))
    sharded = jax.shard_map(
        split, mesh=mesh, in_specs=(wide, wide, row, row, wide), out_specs=row
    )

    def sharded_total(*x):
        value = sharded(*x)
        return value.sum(), value

    (_, got), got_grads = jax.jit(
        jax.value_and_grad(sharded_total, (0, 1, 2, 3), has_aux=True)
    )(z, v, tau, sigma, where)
    np.testing.assert_allclose(got, value, rtol=1e-5, atol=1e-6)
    for a, b in zip(got_grads, grads, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_labels_are_mixed_in():
    z, v, tau, _, where = rows(50, 6)
    where[:, 1] = True
    labels = np.arange(50) % 2
    weight = np.linspace(0, 1, 50, dtype=np.float32)

    @jax.jit
    def mixed(weight):
        return distillation(z, v, tau, labels=labels, hard_weight=weight, where=where)

    got, slope = jax.jvp(mixed, (weight,), (np.ones_like(weight),))
    masked = [np.where(where, np.float64(x), -np.inf) for x in (z, v)]
    soft = truth(*masked, tau, tau)[0]
    weights = np.exp(masked[0] - masked[0].max(-1, keepdims=True))
    hard = -np.log((weights / weights.sum(-1, keepdims=True))[np.arange(50), labels])
    np.testing.assert_allclose(
        got, (1 - weight) * soft + weight * hard, rtol=2e-4, atol=1e-5
    )
    np.testing.assert_allclose(slope, hard - soft, rtol=2e-4, atol=1e-3)


def test_an_infinite_part_without_weight_does_not_count():
    inf = np.inf
    z = np.float32([[1, 2, -inf]] * 4)
    v = np.float32([[1, 2, 3], [1, 2, 3], [1, 2, -inf], [1, 2, -inf]])
    labels, weight = np.array([0, 0, 2, 2]), np.array([1, 0.5, 0, 0.5])
    found = distillation(z, v, labels=labels, hard_weight=weight)
    np.testing.assert_array_equal(np.isfinite(found), [True, False, True, False])
    assert not np.isnan(found).any()


def test_separate_temperatures_at_their_ends():
    """τ² is the student's: nothing at 0, and infinite at ∞ unless KL is 0."""
    f = functools.partial(distillation, STUDENT, TEACHER)
    assert f(0.0, teacher_temperature=1.0) == 0
    assert f(jnp.inf, teacher_temperature=1.0) == np.inf
    np.testing.assert_allclose(
        f(1.0, teacher_temperature=0.0), cross_entropy(STUDENT, 0), rtol=1e-6
    )
    uniform = f(1.0, teacher_temperature=jnp.inf)
    want = truth(STUDENT[None], 0 * TEACHER[None], np.ones(1), np.ones(1))[0][0]
    np.testing.assert_allclose(uniform, want, rtol=1e-6)


MATRIX = np.zeros((2, 3), np.float32)
BAD = {
    "integer student": (
        {"student_logits": np.zeros((2, 3), int)},
        TypeError,
        "`student_logits` must be real floating point, got dtype int32; convert it "
        "first, for example `student_logits.astype(jnp.float32)`.",
    ),
    "integer teacher": (
        {"teacher_logits": np.zeros((2, 3), int)},
        TypeError,
        "`teacher_logits` must be real floating point, got dtype int32; convert it "
        "first, for example `teacher_logits.astype(jnp.float32)`.",
    ),
    "one teacher for all": (
        {"teacher_logits": np.zeros(3, np.float32)},
        ValueError,
        "`teacher_logits` must have the shape of `student_logits` (2, 3), got shape "
        "(3,); broadcast it first.",
    ),
    "negative temperature": (
        {"temperature": -1.0},
        ValueError,
        "`temperature` must be in [0, inf], got -1.0; pass 0 for the most likely "
        "class, inf for all alike.",
    ),
    "negative teacher temperature": (
        {"teacher_temperature": -1.0},
        ValueError,
        "`teacher_temperature` must be in [0, inf], got -1.0; pass 0 for the most "
        "likely class, inf for all alike.",
    ),
    "teacher temperature with a class axis": (
        {"teacher_temperature": np.ones((2, 1))},
        ValueError,
        "`teacher_temperature` must broadcast to the batch shape (2,) (the logits' "
        "shape without the class axis), got shape (2, 1); drop its last axis: "
        "`teacher_temperature[..., 0]`.",
    ),
    "unknown divergence": (
        {"divergence": "jensen"},
        ValueError,
        "`divergence` must be one of 'forward', 'reverse', got 'jensen'; choose from "
        "these.",
    ),
    "weight of labels without labels": (
        {"hard_weight": 0.5},
        ValueError,
        "`labels` must be given where `hard_weight` is not 0, got None; pass the "
        "class of each row.",
    ),
    "weight above one": (
        {"labels": np.zeros(2, int), "hard_weight": 2.0},
        ValueError,
        "`hard_weight` must be in [0, 1], got 2.0; pass the share of the labels' "
        "loss, for example 0.1.",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_its_own_message(case):
    arguments, error, message = BAD[case]
    good = {"student_logits": MATRIX, "teacher_logits": MATRIX, "temperature": 1.0}
    with pytest.raises(error) as raised:
        distillation(**{**good, **arguments})
    assert str(raised.value) == message
