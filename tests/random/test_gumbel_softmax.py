"""`gumbel_softmax` against float64 NumPy, its law, and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import jaxtemp
from jaxtemp.random import gumbel, gumbel_softmax, log_gumbel_softmax

KEY = jax.random.key(21)
DRAWS = 1_000_000
CLASSES = 37
ORDINARY, ZERO, INFINITE, NOTHING = (
    slice(0, 12),
    slice(12, 18),
    slice(18, 24),
    slice(24, 28),
)


def inputs():
    """Logits, temperatures and masks: ordinary rows, both ends, rows of nothing."""
    rng = np.random.default_rng(1)
    z = rng.normal(size=(28, CLASSES)).astype(np.float32)
    z[ORDINARY] *= 10.0 ** rng.uniform(-1, 1, (12, 1)).astype(np.float32)
    # Sixteenths are exact even beside these.
    z[8:11] = np.round(z[8:11] * 16) / 16 + np.array([[1e5], [-1e5], [3e4]])
    where = rng.random(z.shape) < 0.8
    where[:, :4] = True
    z[24, 1], z[25, 2], z[26], where[27] = np.nan, np.inf, -np.inf, False
    tau = np.geomspace(1e-3, 1e3, 28).astype(np.float32)
    tau[ORDINARY] = np.geomspace(1e-2, 1e3, 12)
    tau[ZERO], tau[INFINITE], tau[NOTHING] = 0, np.inf, 0.5
    return z, where, tau


def perturb(z, where, noise):
    """The perturbed logits, in float64."""
    x = np.where(where, np.asarray(z, np.float64), -np.inf)
    return x - x.max(-1, keepdims=True) + np.asarray(noise, np.float64)


def truth(z, where, tau, noise):
    """The logarithm of the relaxed sample, in float64."""
    x = perturb(z, where, noise)
    x = (x - x.max(-1, keepdims=True)) / np.asarray(tau, np.float64)[..., None]
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


@jax.jit
def samples(key, z, where, tau):
    wide = jnp.float64 if z.dtype == jnp.float64 else jnp.float32
    return {
        "noise": gumbel(key, z.shape, wide),
        "soft": gumbel_softmax(key, z, tau, where=where),
        "hard": gumbel_softmax(key, z, tau, where=where, hard=True),
        "log": log_gumbel_softmax(key, z, tau, where=where),
    }


@pytest.fixture(scope="module", params=["float32", "float64", "bfloat16"])
def drawn(request):
    dtype = jnp.dtype(request.param)
    with jax.enable_x64(request.param == "float64"):
        z, where, tau = inputs()
        z = jnp.asarray(z, dtype)
        out = samples(KEY, z, where, tau)
        assert {out[k].dtype for k in ("soft", "hard", "log")} == {dtype}
        out = {k: np.asarray(x).astype(np.float64) for k, x in out.items()}
    with np.errstate(all="ignore"):
        out["z"] = np.asarray(z).astype(np.float64)
        out["truth"] = truth(out["z"], where, tau, out["noise"])
    return dtype, where, tau, out


def test_the_sample_is_softmax_of_logits_and_the_published_noise(drawn):
    dtype, where, tau, out = drawn
    where, want = where[ORDINARY], out["truth"][ORDINARY]
    eps = float(jnp.finfo(dtype).eps)
    # A perturbed logit is rounded in float32 or 64 and then divided by τ.
    slack = 32 * min(eps, 2**-23) * np.maximum(1, 1 / tau[ORDINARY, None])
    log, soft = out["log"][ORDINARY], out["soft"][ORDINARY]
    error = np.abs(log[where] - want[where])
    assert (error <= (slack + eps * np.abs(want))[where]).all()
    assert (np.abs(soft - np.exp(want)) <= (slack + eps) * np.exp(want) + 1e-37).all()
    assert (soft[~where] == 0).all()
    assert (log[~where] == -np.inf).all()
    assert (soft[where] == 0).any()  # where only the logarithm is of use


def test_hard_is_one_hot_at_the_largest_perturbed_logit(drawn):
    _, where, _, out = drawn
    for rows in (ORDINARY, ZERO, INFINITE):
        best = perturb(out["z"][rows], where[rows], out["noise"][rows]).argmax(-1)
        np.testing.assert_array_equal(out["hard"][rows], np.eye(CLASSES)[best])


def test_the_ends_are_exact(drawn):
    dtype, where, _, out = drawn
    np.testing.assert_array_equal(out["soft"][ZERO], out["hard"][ZERO])
    with np.errstate(divide="ignore"):
        np.testing.assert_array_equal(out["log"][ZERO], np.log(out["hard"][ZERO]))
    share = where[INFINITE] / where[INFINITE].sum(-1, keepdims=True)
    eps = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(out["soft"][INFINITE], share, rtol=eps)


def test_rows_with_nothing_to_draw_are_nan(drawn):
    for name in ("soft", "hard", "log"):
        nan = np.isnan(drawn[-1][name])
        assert not nan[: NOTHING.start].any()
        assert nan[NOTHING].any(-1).all()
        assert nan[26:].all()


def test_any_axis_other_bits_and_the_top_level_name():
    z = np.random.default_rng(2).normal(size=(5, 6, 4)).astype(np.float32)
    tau = np.linspace(0.5, 2, 20, dtype=np.float32).reshape(5, 4)
    turned = jax.jit(
        lambda: jaxtemp.gumbel_softmax(KEY, z, tau, axis=1, bits="fast"),
    )()
    noise = gumbel(KEY, (5, 4, 6), bits="fast")
    want = truth(z.swapaxes(1, 2), True, tau, noise)
    np.testing.assert_allclose(turned.swapaxes(1, 2), np.exp(want), rtol=2e-5)


def test_the_largest_entry_has_the_law_of_softmax_at_every_temperature():
    z = np.array([0.3, -1.0, 1.2, -4.0], "f")
    tau = np.array([0.0, 0.05, 1.0, 20.0], "f")

    @jax.jit
    def counts(key, z):
        rows = jnp.broadcast_to(z, (len(tau), DRAWS, 4))
        soft = gumbel_softmax(key, rows, tau[:, None])
        return jax.nn.one_hot(soft.argmax(-1), 4, dtype=jnp.int32).sum(1)

    expected = DRAWS * np.exp(truth(z, True, 1.0, 0))
    for seen in np.asarray(counts(KEY, z)):
        found = scipy.stats.power_divergence(seen, expected, lambda_="log-likelihood")
        assert found.pvalue > 1e-4


def test_bfloat16_logits_keep_the_mass_of_the_tail():
    z = jnp.full(1000, -9.0, jnp.bfloat16).at[0].set(0)
    want = 999 * np.exp(-9) / (1 + 999 * np.exp(-9))
    assert want == pytest.approx(0.1098, abs=1e-4)

    @jax.jit
    def tail(key, z):
        rows = jnp.broadcast_to(z, (20_000, 1000))
        drawn = gumbel_softmax(key, rows, 0.5, hard=True)
        return 1 - drawn[:, 0].mean(dtype=jnp.float32)

    assert abs(tail(KEY, z) - want) < 5 * np.sqrt(want / 20_000)


def test_derivatives_are_finite_differences_with_the_same_noise():
    """Of both forms, forward, reverse and second, a temperature for every row."""
    rng = np.random.default_rng(4)
    z, w, other = rng.normal(size=(3, 6, 9))
    where = rng.random((6, 9)) < 0.8
    where[:, :2] = True
    tau = np.geomspace(0.2, 20, 6)
    along = rng.normal(size=(6, 9)), tau * rng.normal(size=6)

    def losses(z, tau):
        soft = gumbel_softmax(KEY, z, tau, where=where)
        log = log_gumbel_softmax(KEY, z, tau, where=where)
        # Not linear, so that second derivatives are of all there is.
        log = jnp.where(where, other * log, 0)
        return jnp.stack([(w * soft).sum(-1), log.sum(-1), (w * soft**2).sum(-1)])

    def gradients(z, tau):
        _, pull = jax.vjp(losses, z, tau)
        return jax.vmap(pull)(jnp.eye(3)[:, :, None] * jnp.ones(6))

    @jax.jit
    def everything(z, tau):
        value, tangent = jax.jvp(losses, (z, tau), along)
        gradient, second = jax.jvp(gradients, (z, tau), along)
        return value, tangent, gradient, second

    step = 1e-5
    with jax.enable_x64(True):
        here, after, before = (
            jax.tree.map(np.asarray, everything(z + h * along[0], tau + h * along[1]))
            for h in (0, step, -step)
        )
    _, tangent, gradient, second = here

    def close(found, a, b):
        want = (a - b) / (2 * step)
        scale = np.abs(want).max(axis=-1, keepdims=True)
        assert (np.abs(found - want) <= 1e-6 * scale).all()
        assert np.abs(want).min(axis=-1).max() > 0

    close(tangent, after[0], before[0])
    close(second[0], after[2][0], before[2][0])
    close(second[1], after[2][1], before[2][1])
    inner = (gradient[0] * along[0]).sum(-1) + gradient[1] * along[1]
    np.testing.assert_allclose(inner, tangent, rtol=1e-9, atol=1e-12)
    for masked in (gradient[0], second[0]):
        assert (masked[:, ~where] == 0).all()


def test_float32_gradients_follow_the_rule_and_hard_has_those_of_soft():
    """dy/dτ = -(y/τ)(log y + H(y)), in float64 from the noise of the sample."""
    z, where, tau = (x[: INFINITE.stop] for x in inputs())
    w = np.random.default_rng(5).normal(size=z.shape).astype(np.float32)

    @jax.jit
    def gradients(z, tau):
        def loss(z, tau, hard):
            y = gumbel_softmax(KEY, z, tau, where=where, hard=hard)
            return jnp.sum(w * y)

        both = [jax.grad(loss, (0, 1))(z, tau, hard) for hard in (False, True)]
        return *both, gumbel(KEY, z.shape)

    soft, hard, noise = gradients(z, tau)
    for one, other in zip(soft, hard, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)
    dz, dtau = (np.asarray(x) for x in soft)
    assert (dz[12:] == 0).all()  # at τ = 0 and τ = ∞
    assert (dtau[12:] == 0).all()
    assert (dz[~where] == 0).all()

    dz, dtau, tau, w = (x[ORDINARY] for x in (dz, dtau, tau, w))
    log_y = truth(z, where, np.r_[tau, np.ones(12)], noise)[ORDINARY]
    y, log_y = np.exp(log_y), np.where(where[ORDINARY], log_y, 0)
    slope = -(y / tau[:, None]) * (log_y - (y * log_y).sum(-1, keepdims=True))
    # A perturbed logit is rounded in float32 and then divided by τ.
    slack = 1e-5 + 1e-6 / tau
    error = np.abs(dtau - (w * slope).sum(-1))
    assert (error <= slack * np.abs(w * slope).sum(-1) + 1e-30).all()
    want = y * (w - (y * w).sum(-1, keepdims=True)) / tau[:, None]
    scale = (y * np.abs(w)).sum(-1) / tau
    assert (np.abs(dz - want).max(-1) <= slack * scale).all()
    assert np.median(np.abs(want).max(-1)) > 1e-4


def test_a_row_depends_on_its_own_key_logits_and_temperature_alone():
    z = np.random.default_rng(7).normal(size=(6, 5)).astype(np.float32)
    tau = np.linspace(0.2, 3, 6, dtype=np.float32)
    keys = jax.random.split(KEY, 6)

    def draw(keys, z, tau):
        return gumbel_softmax(keys, z, tau), gumbel_softmax(keys, z, tau, hard=True)

    together = np.stack(jax.jit(draw)(keys, z, tau), axis=1)
    alone = jax.jit(draw)
    alone = [np.stack(alone(*row)) for row in zip(keys, z, tau, strict=True)]
    np.testing.assert_array_equal(together, alone)
    mapped = jax.jit(jax.vmap(draw))(keys, z, tau)
    np.testing.assert_array_equal(together, np.stack(mapped, axis=1))
    np.testing.assert_array_equal(together[:, 0], gumbel_softmax(keys, z, tau))


def test_a_backward_pass_keeps_one_array_and_draws_nothing_again():
    z = jnp.zeros((16, 256))
    draw = jax.jit(lambda z, t: gumbel_softmax(KEY, z, t, hard=True))
    _, pull = jax.vjp(draw, z, 0.5)
    assert sum(x.size >= z.size for x in jax.tree.leaves(pull)) == 1
    assert "shift" not in str(jax.make_jaxpr(pull)(z))


BAD = {
    "bits": (
        ValueError,
        {"bits": "slow"},
        "`bits` must be one of 'default', 'fast', got 'slow'; choose from these.",
    ),
    "keys": (
        ValueError,
        {"key": jax.random.split(KEY, 3)},
        "`key` must be one key or an array of keys of the batch shape (2,), got keys "
        "of shape (3,); split one key with `jax.random.split(key, (2,))`.",
    ),
    "implementation": (
        ValueError,
        {"implementation": "fpga"},
        "`implementation` must be None or one of 'xla', 'mosaic_gpu', 'mosaic_tpu', "
        "got 'fpga'; pass `implementation=None` for the fastest that works.",
    ),
    "temperature": (
        ValueError,
        {"temperature": -1.0},
        "`temperature` must be in [0, inf], got -1.0; "
        "pass 0 for the most likely class, inf for all alike.",
    ),
    "integer logits": (
        TypeError,
        {"logits": np.zeros((2, 3), np.int32)},
        "`logits` must be real floating point, got dtype int32; convert it first, "
        "for example `logits.astype(jnp.float32)`.",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_has_its_own_message(case):
    error, bad, message = BAD[case]
    arguments = {"key": KEY, "logits": np.zeros((2, 3), np.float32), **bad}
    for op in (gumbel_softmax, log_gumbel_softmax):
        with pytest.raises(error) as caught:
            op(**arguments)
        assert str(caught.value) == message
