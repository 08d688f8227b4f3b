"""`gumbel_sigmoid` against float64 NumPy, its law, and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from jaxtemp.random import gumbel_sigmoid, log_gumbel_sigmoid, logistic

KEY = jax.random.key(31)
DRAWS = 1_000_000


@jax.jit
def samples(key, z, tau):
    wide = jnp.float64 if z.dtype == jnp.float64 else jnp.float32
    return {
        "noise": logistic(key, z.shape, wide),
        "soft": gumbel_sigmoid(key, z, tau),
        "hard": gumbel_sigmoid(key, z, tau, hard=True),
        "log": log_gumbel_sigmoid(key, z, tau),
    }


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_the_sample_is_sigmoid_of_logits_and_the_published_noise(dtype):
    rng = np.random.default_rng(1)
    tau = np.r_[np.geomspace(1e-3, 1e3, 12), 0, 0, np.inf, np.inf].astype("f")
    with jax.enable_x64(dtype == "float64"):
        z = jnp.asarray(rng.normal(size=(16, 40)), dtype).at[:, 0].set(-jnp.inf)
        z = z.at[:, 1].set(jnp.inf).at[:, 2].set(jnp.nan)
        out = samples(KEY, z, tau[:, None])
        assert {out[k].dtype for k in ("soft", "hard", "log")} == {jnp.dtype(dtype)}
        z, out = jax.tree.map(lambda x: np.asarray(x).astype(float), (z, out))
    x = z + out["noise"]
    assert np.isnan([out[k][:, 2] for k in ("soft", "hard", "log")]).all()
    x, out = np.delete(x, 2, 1), {k: np.delete(v, 2, 1) for k, v in out.items()}
    np.testing.assert_array_equal(out["hard"], x > 0)
    np.testing.assert_array_equal(out["soft"][12:14], x[12:14] > 0)
    assert (out["soft"][14:, 2:] == 0.5).all()
    np.testing.assert_array_equal(out["soft"][:, :2], [[0, 1]] * 16)
    np.testing.assert_array_equal(out["log"][:, :2], [[-np.inf, 0]] * 16)
    x = x[:12, 2:] / tau[:12, None].astype(float)
    eps = float(jnp.finfo(dtype).eps)
    # A perturbed logit is rounded in float32 or 64 and then divided by τ.
    slack = 32 * min(eps, 2**-23) * np.maximum(1, 1 / tau[:12, None])
    soft, log = out["soft"][:12, 2:], out["log"][:12, 2:]
    want = scipy.special.log_expit(x)
    assert (np.abs(log - want) <= slack + eps * np.abs(want)).all()
    want = scipy.special.expit(x)
    assert (np.abs(soft - want) <= (slack + eps) * want + 1e-37).all()
    assert (soft == 0).any()  # where only the logarithm is of use


def test_one_is_drawn_with_the_probability_of_sigmoid_at_every_temperature():
    z = np.array([-4.0, -0.5, 0.0, 2.0], np.float32)
    tau = np.array([0.0, 0.1, 1.0, 10.0], np.float32)

    @jax.jit
    def ones(key, z):
        rows = jnp.broadcast_to(z, (DRAWS, 4))
        soft = gumbel_sigmoid(key, rows, tau, bits="fast")
        return (soft > 0.5).sum(0)

    p = scipy.special.expit(z.astype(float))
    for seen, q in zip(np.asarray(ones(KEY, z)), p, strict=True):
        assert scipy.stats.binomtest(int(seen), DRAWS, q).pvalue > 1e-4


def test_derivatives_are_finite_differences_with_the_same_noise():
    """Of both forms, forward, reverse and second."""
    rng = np.random.default_rng(4)
    z, w = rng.normal(size=(2, 60))
    tau = np.geomspace(0.1, 20, 60)
    along = rng.normal(size=60), tau * rng.normal(size=60)

    def losses(z, tau):
        soft = gumbel_sigmoid(KEY, z, tau)
        hard = gumbel_sigmoid(KEY, z, tau, hard=True)
        log = log_gumbel_sigmoid(KEY, z, tau)
        return jnp.stack([w * soft, log, soft**2, hard])

    def gradients(z, tau):
        _, pull = jax.vjp(losses, z, tau)
        return jax.vmap(pull)(jnp.eye(4)[:, :, None] * jnp.ones(60))

    @jax.jit
    def everything(z, tau):
        value, tangent = jax.jvp(losses, (z, tau), along)
        gradient, second = jax.jvp(gradients, (z, tau), along)
        return value, tangent, gradient, second

    step = 1e-6
    with jax.enable_x64(True):
        here, after, before = (
            jax.tree.map(np.asarray, everything(z + h * along[0], tau + h * along[1]))
            for h in (0, step * tau, -step * tau)
        )
    value, tangent, gradient, second = here

    def close(found, a, b):
        want = (a - b) / (2 * step * tau)
        error = np.abs(found - want)
        assert (error <= 1e-4 * np.abs(want) + 1e-6 * np.abs(want).max()).all()

    close(tangent[:3], after[0][:3], before[0][:3])
    close(second[0], after[2][0], before[2][0])
    close(second[1], after[2][1], before[2][1])
    inner = gradient[0] * along[0] + gradient[1] * along[1]
    np.testing.assert_allclose(inner, tangent, rtol=1e-9, atol=1e-30)
    # The straight-through estimator: the value of one, the derivatives of the other.
    assert set(value[3]) == {0, 1}
    np.testing.assert_allclose(tangent[3] * w, tangent[0], rtol=1e-9)
    # dy/dτ = -y(1 - y)/τ log(y/(1 - y))
    y = value[0] / w
    want = -y * (1 - y) / tau * scipy.special.logit(y)
    np.testing.assert_allclose(gradient[1][3], want, rtol=1e-6, atol=1e-12)


def test_derivatives_at_the_ends_are_zero_and_finite_close_to_them():
    z = jnp.array([-jnp.inf, -3.0, 0.0, 2.0, jnp.inf])
    tau = jnp.array([0.0, 1e-38, 1e-30, 1e-6, 1e30, jnp.inf])[:, None]

    @jax.jit
    def gradients(z, tau):
        def total(op):
            return jax.grad(lambda z, t: op(KEY, z, t).sum(), (0, 1))(z, tau)

        return total(gumbel_sigmoid), total(log_gumbel_sigmoid)

    z = jnp.broadcast_to(z, (6, 5))
    soft, log = gradients(z, jnp.broadcast_to(tau, (6, 5)))
    for dz, dtau in (soft, log):
        assert not np.isnan(dz).any()
        assert not np.isnan(dtau).any()
        for flat in (0, 5):
            assert (dz[flat] == 0).all()
            assert (dtau[flat] == 0).all()
        for excluded in (0, 4):
            assert (dz[:, excluded] == 0).all()
            assert (dtau[:, excluded] == 0).all()


def test_an_entry_depends_on_its_own_key_alone():
    z = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
    keys = jax.random.split(KEY, (2, 3))
    draw = jax.jit(lambda key, z: gumbel_sigmoid(key, z, 0.5))
    together = draw(keys, z)
    alone = [draw(key, x) for key, x in zip(keys.ravel(), z.ravel(), strict=True)]
    np.testing.assert_array_equal(np.ravel(together), alone)
    assert len(np.unique(draw(KEY, np.zeros((20, 30), np.float32)))) > 590


BAD = {
    "bits": (
        ValueError,
        {"bits": "slow"},
        "`bits` must be one of 'default', 'fast', got 'slow'; choose from these.",
    ),
    "keys": (
        ValueError,
        {"key": jax.random.split(KEY, 2)},
        "`key` must be one key or an array of keys of the batch shape (2, 3), got keys "
        "of shape (2,); split one key with `jax.random.split(key, (2, 3))`.",
    ),
    "a column for each row": (
        ValueError,
        {"temperature": np.ones(2)},
        "`temperature` must broadcast to the logits' shape (2, 3), got shape (2,); "
        "pass one number, or one for each logit.",
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
    for op in (gumbel_sigmoid, log_gumbel_sigmoid):
        with pytest.raises(error) as caught:
            op(**arguments)
        assert str(caught.value) == message
