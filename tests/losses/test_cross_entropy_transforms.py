"""`cross_entropy` under JAX's transformations, and what a backward pass keeps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtemp.losses import cross_entropy
from tests.losses.cases import random_case
from tests.losses.truth import Truth

ALL = {
    "dtype": "float64",
    "classes": 5,
    "where": True,
    "label_smoothing": True,
    "z_loss": True,
    "logit_soft_cap": True,
    "class_weights": True,
}
PLAIN = {**ALL, **dict.fromkeys(list(ALL)[2:], False)}
PER_ROW = ("labels", "where", "label_smoothing", "z_loss")


def finite(labels, options, count=16):
    """Rows at temperatures strictly between 0 and ∞, and whose loss is finite."""
    case = random_case({**options, "labels": labels}, 20 * count)
    good = (case.temperature >= 0.5) & (case.temperature <= 10)
    good &= np.isfinite(Truth(case).loss.value).astype(bool)
    good &= Truth(case).loss.value != 0
    chosen = np.flatnonzero(good)[:count]
    assert len(chosen) == count
    rows = {
        name: value[chosen]
        for name, value in case._asdict().items()
        if name in (*PER_ROW, "logits", "temperature") and value is not None
    }
    return case._replace(**rows)


def split(case):
    """Per-row arguments, to be mapped over, and the others."""
    given = {k: v for k, v in case._asdict().items() if v is not None}
    mapped = {k: v for k, v in given.items() if k in PER_ROW}
    shared = {
        k: v for k, v in given.items() if k not in (*PER_ROW, "logits", "temperature")
    }
    return case.logits, case.temperature, mapped, shared


@pytest.mark.parametrize(
    ("labels", "options", "outer", "inner"),
    [
        ("integer", PLAIN, jax.jacfwd, jax.jacrev),
        ("ignored", ALL, jax.jacfwd, jax.jacrev),
        ("ignored", ALL, jax.jacrev, jax.jacrev),
        ("soft", ALL, jax.jacrev, jax.jacfwd),
        ("soft", ALL, jax.jacfwd, jax.jacfwd),
    ],
)
def test_second_derivatives(labels, options, outer, inner):
    """Each is a difference quotient of the true gradient."""
    case = finite(labels, options)
    logits, tau, mapped, shared = split(case)
    rows, classes = logits.shape

    def loss(x, mapped):
        return cross_entropy(x[:-1], temperature=x[-1], **mapped, **shared)

    with jax.enable_x64(True):
        x = np.concatenate([logits, tau[:, None]], axis=1)
        got = jax.jit(jax.vmap(outer(inner(loss))))(x, mapped)
    want = np.zeros((rows, classes + 1, classes + 1))
    step = 1e-5
    for i in range(classes + 1):
        ends = []
        for side in (step, -step):
            moved = x.copy()
            moved[:, i] += side
            moved = case._replace(logits=moved[:, :-1], temperature=moved[:, -1])
            to_z, to_tau = Truth(moved).gradients(np.ones(rows))
            ends.append(np.concatenate([to_z.value, to_tau.value[:, None]], axis=1))
        want[:, i] = (ends[0] - ends[1]) / (2 * step)
    scale = np.maximum(1, np.abs(want).max((1, 2), keepdims=True))
    np.testing.assert_allclose(np.asarray(got) / scale, want / scale, atol=1e-8)


@pytest.mark.parametrize("labels", ["integer", "soft"])
@pytest.mark.parametrize("options", [PLAIN, ALL])
def test_forward_mode(labels, options):
    options = {**options, "dtype": "float32", "classes": 136}
    case = finite(labels, options, 100)
    logits, tau, mapped, shared = split(case)
    rng = np.random.default_rng(0)
    dz, dtau = rng.normal(size=logits.shape), rng.normal(size=tau.shape)
    tangents = dz.astype(np.float32), dtau.astype(np.float32)

    def loss(logits, tau):
        return cross_entropy(logits, temperature=tau, **mapped, **shared)

    _, got = jax.jit(lambda *x: jax.jvp(loss, x, tangents))(logits, tau)
    to_z, to_tau = Truth(case).gradients(np.ones(len(tau)))
    terms = to_z.value * tangents[0]
    want = terms.sum(-1) + to_tau.value * tangents[1]
    scale = (
        np.abs(terms).sum(-1) + to_tau.scale * np.abs(tangents[1]) + to_z.scale[:, 0]
    )
    error = np.abs(np.asarray(got, np.longdouble) - want) / scale
    assert error.max() < 1e-5


def test_derivatives_in_the_options():
    """In smoothing, z-loss and class weights: the definition's own."""
    case = finite("integer", {**ALL, "where": False})
    logits, tau, mapped, shared = split(case)
    weights = shared.pop("class_weights")

    def loss(smoothing, z_loss, weights, row):
        logits, label, tau = row
        options = {"label_smoothing": smoothing, "z_loss": z_loss}
        return cross_entropy(
            logits, label, tau, class_weights=weights, **options, **shared
        )

    with jax.enable_x64(True):
        given = mapped["label_smoothing"], mapped["z_loss"], weights
        slope = jax.vmap(jax.grad(loss, (0, 1, 2)), (0, 0, None, 0))
        got = jax.jit(slope)(*given, (logits, mapped["labels"], tau))
    want = Truth(case).in_options()
    for one, name in zip(
        got, ("label_smoothing", "z_loss", "class_weights"), strict=True
    ):
        np.testing.assert_allclose(one, want[name], rtol=1e-9, atol=1e-9, err_msg=name)


def test_every_transformation_computes_the_same():
    """vmap, scan, remat and an axis in the middle, against the truth."""
    case = finite("ignored", {**ALL, "dtype": "float32", "classes": 17}, 12)
    logits, tau, mapped, shared = split(case)
    total = lambda z, t, mapped: cross_entropy(  # noqa: E731
        z, temperature=t, **mapped, **shared
    ).sum()
    slope = jax.grad(total, (0, 1))
    ways = {
        "jit": jax.jit(slope),
        "vmap": jax.jit(jax.vmap(slope)),
        "scan": jax.jit(
            lambda *rows: jax.lax.scan(lambda c, row: (c, slope(*row)), 0, rows)[1]
        ),
        "remat": jax.jit(jax.grad(jax.checkpoint(total), (0, 1))),
        "eager": slope,
    }
    want = Truth(case).gradients(np.ones(len(tau)))
    for name, way in ways.items():
        for got, (value, scale) in zip(way(logits, tau, mapped), want, strict=True):
            error = np.abs(np.asarray(got, np.longdouble) - value)
            assert (error <= 1e-5 * scale + 1e-30).all(), name


def test_the_class_axis_may_be_any():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 7, 2)).astype(np.float32)
    labels = rng.integers(7, size=(3, 2))
    weights = rng.uniform(size=7).astype(np.float32)
    tau = np.array([0.5, 2.0], np.float32)
    soft = rng.uniform(size=logits.shape).astype(np.float32)
    for target in (labels, soft):
        got = cross_entropy(
            logits,
            target,
            tau,
            axis=1,
            class_weights=weights,
            label_smoothing=0.1,
        )
        last = target if target.ndim == 2 else np.moveaxis(target, 1, -1)
        want = cross_entropy(
            np.moveaxis(logits, 1, -1).reshape(6, 7),
            last.reshape(6, *last.shape[2:]),
            np.tile(tau, 3),
            class_weights=weights,
            label_smoothing=0.1,
        )
        np.testing.assert_allclose(got, np.reshape(want, (3, 2)), rtol=1e-6)


@pytest.mark.parametrize("kind", ["integer", "soft"])
def test_no_component_is_lost(kind):
    """A label of probability 1 - 2·10⁻²⁰: loss and each derivative are right."""
    low = np.float32(-20 * np.log(10) * 0.5)
    logits = np.array([[low, 0, low] + [-np.inf] * 125], np.float32)
    labels = np.array([1])
    if kind == "soft":
        labels = (np.arange(128) == 1)[None].astype(np.float32)
    loss = lambda z, t: cross_entropy(z, labels, t)[0]  # noqa: E731
    value, (to_z, to_tau) = jax.jit(jax.value_and_grad(loss, (0, 1)))(logits, 0.5)
    p = np.exp(float(low) / 0.5)
    np.testing.assert_allclose(value, 2 * p, rtol=1e-5)
    np.testing.assert_allclose(to_z[0, :3] * 0.5, [p, -2 * p, p], rtol=1e-5)
    np.testing.assert_allclose(to_tau, -2 * p * float(low) / 0.25, rtol=1e-5)


def test_edges_by_hand():
    inf = np.inf
    logits = np.array([[1.0, 3.0, 2.0], [3.0, 1.0, 3.0], [1.0, -inf, 2.0]], np.float32)
    f = jax.jit(jax.value_and_grad(lambda z, y, t: cross_entropy(z, y, t), (0, 2)))
    cases = [
        (0, 1, 0.0, 0.0),  # the largest
        (0, 2, 0.0, inf),
        (1, 0, 0.0, np.log(2)),
        (0, 0, inf, np.log(3)),
        (2, 0, inf, np.log(2)),
        (2, 1, 1.0, inf),  # not allowed
        (2, 1, 0.0, inf),
        (2, 1, inf, inf),
    ]
    for row, label, tau, want in cases:
        value, gradients = f(logits[row], label, tau)
        np.testing.assert_allclose(value, want, rtol=1e-6)
        assert all((x == 0).all() for x in gradients)
    nothing = np.full(3, -inf, np.float32)
    value, gradients = f(nothing, 0, 1.0)
    assert np.isnan(value)
    assert all((x == 0).all() for x in gradients)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_row_is_nan_alone_and_zero_if_ignored(bad):
    logits = np.zeros((3, 128), np.float32)
    logits[:2, 5] = bad
    labels = np.array([0, -1, 2])

    def loss(logits, tau):
        return cross_entropy(logits, labels, tau, ignore_index=-1, z_loss=0.1)

    tau = np.ones(3, np.float32)
    value, pull = jax.vjp(loss, logits, tau)
    to_z, to_tau = pull(jnp.ones(3))
    for x in (value, to_z, to_tau):
        assert np.isnan(np.asarray(x)[0]).any()
        assert (np.asarray(x)[1] == 0).all()
        assert np.isfinite(np.asarray(x)[2]).all()


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("labels", ["integer", "ignored", "soft"])
@pytest.mark.parametrize("options", [PLAIN, ALL])
def test_only_arguments_and_numbers_a_row_are_kept(labels, options, compiled):
    options = {**options, "dtype": "float32", "classes": 256}
    case = finite(labels, options)
    logits, tau, mapped, shared = split(jax.tree.map(jnp.asarray, case))

    def run(logits, tau, mapped):
        function = functools.partial(cross_entropy, **mapped, **shared)
        return jax.vjp(lambda z, t: function(z, temperature=t), logits, tau)[1]

    kept = jax.tree.leaves((jax.jit(run) if compiled else run)(logits, tau, mapped))
    known = [logits, *mapped.values()]
    if case.where is not None:
        known.append(jnp.where(mapped["where"], logits, -jnp.inf))
    for x in kept:
        if x.size >= logits.size:
            assert any(_same(x, y) for y in known), f"keeps {x.dtype}{x.shape}: {x}"
    small = sum(x.size for x in kept if x.size < logits.size)
    assert small <= 16 * len(logits) + 2 * options["classes"]


def _same(x, y):
    alike = x.dtype == y.dtype and x.shape == y.shape
    return alike and bool(np.array_equal(x, y, equal_nan=True))
