"""CLIP's clamp of the logit scale as a step of an optax chain."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxtemp import learning


@pytest.mark.parametrize(("maximum", "minimum"), [(100.0, 1.0), (20.0, 5.0), (10, 0)])
def test_it_is_clips_clamp_of_the_logarithm(maximum, minimum):
    """The reference: `log_scale.clamp_(log(minimum), log(maximum))` after each step."""
    rng = np.random.default_rng(0)
    gradients = np.float32(rng.standard_cauchy(400) * 2)
    optimizer = optax.chain(optax.sgd(0.5), learning.clamp_scale(maximum, minimum))
    # Without a least scale the temperature is still a float32.
    low = np.log(minimum) if minimum else -np.log(np.finfo(np.float32).max)
    high = np.log(maximum)
    start = np.float32(np.clip(np.log(1 / 0.07), low, high))

    def step(carry, gradient):
        raw, state = carry
        update, state = optimizer.update(gradient, state, raw)
        raw = optax.apply_updates(raw, update)
        return (raw, state), raw

    _, got = jax.lax.scan(step, (start, optimizer.init(start)), jnp.asarray(gradients))
    want, expected = np.float64(start), []
    for gradient in gradients:
        want = np.clip(want - 0.5 * gradient, low, high)
        expected.append(want)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-4)
    # Both bounds were reached, or nothing has been tested.
    assert max(expected) == high
    assert min(expected) == low


def test_the_defaults_are_clips():
    optimizer = learning.clamp_scale()
    raw = jnp.float32(1.0)
    for update, scale in ((50.0, 100.0), (-50.0, 1.0)):
        found, _ = optimizer.update(jnp.float32(update), optimizer.init(raw), raw)
        np.testing.assert_allclose(jnp.exp(raw + found), scale, rtol=1e-5)


@pytest.mark.parametrize(
    ("maximum", "minimum"),
    [(1.0, 1.0), (float("inf"), 1.0), (float("nan"), 1.0), (10.0, -1.0)],
)
def test_bad_bounds_get_one_message(maximum, minimum):
    with pytest.raises(ValueError, match="maximum") as raised:
        learning.clamp_scale(maximum, minimum)
    assert str(raised.value) == (
        f"`maximum` must be finite and above `minimum={minimum!r}`, which is at least "
        f"0, got {maximum!r}; pass for example `maximum=100.0`."
    )
