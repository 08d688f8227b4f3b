import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxtemp
from jaxtemp.learning import schedules

LARGEST = 2**31 - 1
STEPS = np.r_[-3, 0:8, 97:103, 499:502, 999:1003, 10**4, 10**6, 10**9, LARGEST]

EVERY = {  # a schedule, and its formula for t >= 0
    "linear": (
        schedules.linear(2.0, 0.25, 1000),
        lambda t: np.where(t < 1000, 2 - 1.75 * t / 1000, 0.25),
    ),
    "linear to zero": (
        schedules.linear(2.0, 0.0, 1000),
        lambda t: np.maximum(2 - 2 * t / 1000, 0),
    ),
    "linear upwards": (
        schedules.linear(0.1, 3.0, 100),
        lambda t: np.minimum(0.1 + 2.9 * t / 100, 3),
    ),
    "cosine": (
        schedules.cosine(2.0, 1e-5, 1000),
        lambda t: 1e-5 + (2 - 1e-5) * np.cos(np.pi * np.minimum(t, 1000) / 2000) ** 2,
    ),
    "exponential": (schedules.exponential(3.0, 0.02), lambda t: 3 * np.exp(-0.02 * t)),
    "exponential in steps": (
        schedules.exponential(3.0, 2e-3, minimum=0.05, every=100),
        lambda t: np.maximum(3 * np.exp(-0.2 * (t // 100)), 0.05),
    ),
    "geometric": (
        schedules.geometric(5.0, 0.9, 0.5),
        lambda t: np.maximum(10 * 0.9**t, 1) * 0.5,
    ),
    "jang": (
        schedules.jang(1e-3),
        lambda t: np.maximum(np.exp(-1e-3 * (t - t % 500)), 0.5),
    ),
    "jang, finer": (
        schedules.jang(1e-5, minimum=0.1, every=1000),
        lambda t: np.maximum(np.exp(-1e-5 * (t - t % 1000)), 0.1),
    ),
    "inverse_log": (
        schedules.inverse_log(4.0),
        lambda t: 4 / np.log(t + 2),
    ),
    "inverse_log from high": (
        schedules.inverse_log(1.0, offset=1 + 1e-9),
        lambda t: 1 / np.log1p(t + 1e-9),
    ),
}


def assert_near(got, want):
    """Float32's error: its digits, more of them where an exponent was rounded."""
    lost = 4e-7 * (1 + np.abs(np.log(np.maximum(want, 1e-38))))
    np.testing.assert_array_less(np.abs(got - want), lost * want + 1e-37)


@pytest.mark.parametrize("name", EVERY)
def test_a_schedule_is_its_formula_however_it_is_called(name):
    schedule, formula = EVERY[name]
    want = formula(np.maximum(STEPS, 0).astype(np.float64))
    together = jax.jit(schedule)(STEPS.astype(np.int32))
    assert together.dtype == jnp.float32
    assert_near(np.asarray(together, float), want)
    one_by_one = [schedule(int(step)) for step in STEPS]
    assert all(tau.shape == () and tau.dtype == jnp.float32 for tau in one_by_one)
    np.testing.assert_allclose(one_by_one, together, rtol=1e-6, atol=1e-37)
    mapped = jax.vmap(schedule)(STEPS.astype(np.int32))
    np.testing.assert_allclose(mapped, together, rtol=1e-6, atol=1e-37)


def test_both_ends_are_exact():
    for between in (schedules.linear, schedules.cosine):
        for init, end in [(0.7, 0.1), (0.1, 0.9), (1e30, 1e-30)]:
            for steps in (1, 7, LARGEST):
                taus = jax.jit(between(init, end, steps))(np.array([0, steps]))
                np.testing.assert_array_equal(taus, np.float32([init, end]))
    for schedule in (schedules.geometric(0.7, 0.9, 0.1), schedules.exponential(0.7, 1)):
        assert schedule(0) == np.float32(0.7)
    assert schedules.geometric(0.7, 0.9, 0.1)(10**6) == np.float32(0.1)


@pytest.mark.parametrize("name", EVERY)
def test_no_step_makes_it_negative_or_nan(name):
    schedule, _ = EVERY[name]
    steps = [LARGEST, 10**12, 10**30, 1e30, 3e38, -(10**12), np.uint32(2**32 - 1)]
    taus = np.array([schedule(step) for step in steps])
    assert (taus >= 0).all()
    fine = np.asarray(jax.jit(schedule)(np.geomspace(1e-30, 3e38, 10_000)))
    assert (fine >= 0).all()


def test_float64_gives_its_digits():
    with jax.enable_x64(True):
        tau = schedules.exponential(3.0, 0.02)(jnp.arange(1000))
        assert tau.dtype == jnp.float64
        np.testing.assert_allclose(tau, 3 * np.exp(-0.02 * np.arange(1000)), rtol=1e-13)


def test_optax_and_a_scanned_loop_take_a_schedule():
    schedule = schedules.geometric(1.0, 0.5, 0.1)
    logits = jnp.array([1.0, 0.0])

    def loop(count, _):
        return count + 1, jaxtemp.softmax(logits, schedule(count))[0]

    _, first = jax.jit(lambda: jax.lax.scan(loop, jnp.int32(0), length=6))()
    tau = np.maximum(0.5 ** np.arange(6), 0.1)
    np.testing.assert_allclose(first, 1 / (1 + np.exp(-1 / tau)), rtol=1e-6)

    optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=schedule)
    state = optimizer.init(logits)
    for step in range(4):
        update, state = optimizer.update(logits, state)
        np.testing.assert_allclose(update[0], -tau[step], rtol=1e-6)
    joined = optax.join_schedules([schedule, schedules.linear(0.1, 0.2, 10)], [6])
    np.testing.assert_allclose([joined(1), joined(6), joined(16)], [0.5, 0.1, 0.2])


COUNT = "an integer from 1 to 2147483647"
WRONG = [
    (
        lambda: schedules.linear(0.0, 0.1, 10),
        "`init` must be positive and finite, got 0.0; pass for example `init=1.0`.",
    ),
    (
        lambda: schedules.cosine(float("nan"), 0.1, 10),
        "`init` must be positive and finite, got nan; pass for example `init=1.0`.",
    ),
    (
        lambda: schedules.exponential(1e39, 0.1),
        "`init` must be positive and finite, got 1e+39; pass for example `init=1.0`.",
    ),
    (
        lambda: schedules.geometric("1", 0.1, 0.0),
        "`init` must be positive and finite, got '1'; pass for example `init=1.0`.",
    ),
    (
        lambda: schedules.linear(1.0, -0.1, 10),
        "`end` must be finite and at least 0, got -0.1; pass for example `end=0.1`.",
    ),
    (
        lambda: schedules.linear(1.0, 0.1, 0),
        f"`steps` must be {COUNT}, got 0; pass for example `steps=1000`.",
    ),
    (
        lambda: schedules.cosine(1.0, 0.1, 2.5),
        f"`steps` must be {COUNT}, got 2.5; pass for example `steps=1000`.",
    ),
    (
        lambda: schedules.cosine(1.0, 0.1, 2**31),
        f"`steps` must be {COUNT}, got 2147483648; pass for example `steps=1000`.",
    ),
    (
        lambda: schedules.exponential(1.0, -0.1),
        "`rate` must be positive and finite, got -0.1; pass for example `rate=1.0`.",
    ),
    (
        lambda: schedules.jang(0.0),
        "`rate` must be positive and finite, got 0.0; pass for example `rate=1.0`.",
    ),
    (
        lambda: schedules.jang(1e-4, minimum=1.5),
        (
            "`minimum` must be from 0 to `init=1.0`, got 1.5; "
            "pass for example `minimum=0`."
        ),
    ),
    (
        lambda: schedules.exponential(1.0, 0.1, minimum=-1.0),
        (
            "`minimum` must be from 0 to `init=1.0`, got -1.0; "
            "pass for example `minimum=0`."
        ),
    ),
    (
        lambda: schedules.exponential(1.0, 0.1, every=0),
        f"`every` must be {COUNT}, got 0; pass for example `every=1000`.",
    ),
    (
        lambda: schedules.geometric(1.0, 1.0, 0.1),
        (
            "`decay` must be strictly between 0 and 1, got 1.0; "
            "pass for example `decay=0.99`."
        ),
    ),
    (
        lambda: schedules.geometric(1.0, 0.5, 2.0),
        "`end` must be from 0 to `init=1.0`, got 2.0; pass for example `end=0`.",
    ),
    (
        lambda: schedules.inverse_log(-1.0),
        "`scale` must be positive and finite, got -1.0; pass for example `scale=1.0`.",
    ),
    (
        lambda: schedules.inverse_log(1.0, offset=1.0),
        "`offset` must be finite and above 1, got 1.0; pass for example `offset=2.0`.",
    ),
]


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_a_wrong_argument_has_its_own_message(call, message):
    with pytest.raises(ValueError) as raised:  # noqa: PT011  (the whole text is below)
        call()
    assert str(raised.value) == message
