"""Bad input: every message is pinned, and nothing else is raised."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

import jaxtemp

OPS = [
    jaxtemp.softmax,
    jaxtemp.log_softmax,
    jaxtemp.logsumexp,
    jaxtemp.free_energy,
    jaxtemp.entropy,
    jaxtemp.mean_energy,
    jaxtemp.heat_capacity,
]
LOGITS = np.zeros((2, 3), np.float32)

BAD = {
    "integer logits": (
        {"logits": np.zeros((2, 3), np.int32)},
        TypeError,
        (
            "`logits` must be real floating point, got dtype int32; convert it first, "
            "for example `logits.astype(jnp.float32)`."
        ),
    ),
    "a key for logits": (
        {"logits": jax.random.key(0)},
        TypeError,
        "`logits` must be real floating point, got a key; pass the key first.",
    ),
    "complex logits": (
        {"logits": np.zeros((2, 3), np.complex64)},
        TypeError,
        (
            "`logits` must be real floating point, got dtype complex64; "
            "convert it first, for example `logits.astype(jnp.float32)`."
        ),
    ),
    "boolean logits": (
        {"logits": np.zeros((2, 3), bool)},
        TypeError,
        (
            "`logits` must be real floating point, got dtype bool; convert it first, "
            "for example `logits.astype(jnp.float32)`."
        ),
    ),
    "logits that are no array": (
        {"logits": "hot"},
        TypeError,
        (
            "`logits` must be an array or a number, got str; "
            "pass something that `jnp.asarray` accepts."
        ),
    ),
    "ragged logits": (
        {"logits": [[1.0, 2.0], [3.0]]},
        TypeError,
        (
            "`logits` must be an array or a number, got list; "
            "pass something that `jnp.asarray` accepts."
        ),
    ),
    "scalar logits": (
        {"logits": 1.0},
        ValueError,
        (
            "`logits` must have at least one axis, got a scalar; "
            "put the classes of a row along an axis."
        ),
    ),
    "empty class axis": (
        {"logits": np.zeros((2, 0), np.float32)},
        ValueError,
        (
            "`logits` must have at least one class along axis -1, got shape (2, 0); "
            "an empty row has no distribution."
        ),
    ),
    "axis out of range": (
        {"axis": 2},
        ValueError,
        (
            "`axis` must be in [-2, 2) for logits of shape (2, 3), got 2; "
            "name the axis that holds the classes."
        ),
    ),
    "two axes": (
        {"axis": (0, 1)},
        TypeError,
        (
            "`axis` must be one int, got (0, 1); "
            "reshape the logits to have a single class axis."
        ),
    ),
    "no axis": (
        {"axis": None},
        TypeError,
        (
            "`axis` must be one int, got None; "
            "reshape the logits to have a single class axis."
        ),
    ),
    "negative temperature": (
        {"temperature": -1.0},
        ValueError,
        (
            "`temperature` must be in [0, inf], got -1.0; "
            "pass 0 for the most likely class, inf for all alike."
        ),
    ),
    "negative temperature that float32 rounds to zero": (
        {"temperature": -1e-60},
        ValueError,
        (
            "`temperature` must be in [0, inf], got -1e-60; "
            "pass 0 for the most likely class, inf for all alike."
        ),
    ),
    "one negative temperature of two": (
        {"temperature": np.array([1.0, -2.0], np.float32)},
        ValueError,
        (
            "`temperature` must be in [0, inf], got -2.0; "
            "pass 0 for the most likely class, inf for all alike."
        ),
    ),
    "NaN temperature": (
        {"temperature": float("nan")},
        ValueError,
        (
            "`temperature` must be in [0, inf], got nan; "
            "pass 0 for the most likely class, inf for all alike."
        ),
    ),
    "complex temperature": (
        {"temperature": 1.0 + 0j},
        TypeError,
        (
            "`temperature` must be real, got dtype complex64; "
            "pass a real number or array in [0, inf]."
        ),
    ),
    "boolean temperature": (
        {"temperature": True},
        TypeError,
        (
            "`temperature` must be real, got dtype bool; "
            "pass a real number or array in [0, inf]."
        ),
    ),
    "temperature that is no number": (
        {"temperature": "hot"},
        TypeError,
        (
            "`temperature` must be an array or a number, got str; "
            "pass something that `jnp.asarray` accepts."
        ),
    ),
    "no temperature": (
        {"temperature": None},
        TypeError,
        (
            "`temperature` must be an array or a number, got NoneType; "
            "pass something that `jnp.asarray` accepts."
        ),
    ),
    "temperature with a class axis": (
        {"temperature": np.ones((2, 1), np.float32)},
        ValueError,
        (
            "`temperature` must broadcast to the batch shape (2,) (the logits' shape "
            "without the class axis), got shape (2, 1); "
            "drop its last axis: `temperature[..., 0]`."
        ),
    ),
    "temperature per class": (
        {"temperature": np.ones(3, np.float32)},
        ValueError,
        (
            "`temperature` must broadcast to the batch shape (2,) (the logits' shape "
            "without the class axis), got shape (3,); "
            "pass one number, or one for each row."
        ),
    ),
    "temperature per head, without the axes after it": (
        {
            "logits": np.zeros((4, 5, 6), np.float32),
            "temperature": np.ones(4, np.float32),
        },
        ValueError,
        (
            "`temperature` must broadcast to the batch shape (4, 5) (the logits' shape "
            "without the class axis), got shape (4,); "
            "add an axis for each later one: `temperature[:, None]`."
        ),
    ),
    "mask that does not fit": (
        {"where": np.ones(2, bool)},
        ValueError,
        (
            "`where` must broadcast to the logits' shape (2, 3), got shape (2,); "
            "add or remove axes so that it does."
        ),
    ),
    "mask larger than the logits": (
        {"where": np.ones((4, 2, 3), bool)},
        ValueError,
        (
            "`where` must broadcast to the logits' shape (2, 3), got shape (4, 2, 3); "
            "add or remove axes so that it does."
        ),
    ),
    "mask that is not boolean": (
        {"where": np.ones(3, np.int32)},
        TypeError,
        (
            "`where` must be boolean, got dtype int32; "
            "compare first, for example `where=mask != 0`."
        ),
    ),
    "unknown implementation": (
        {"implementation": "cudnn"},
        ValueError,
        (
            "`implementation` must be None or one of 'xla', 'mosaic_gpu', "
            "'mosaic_tpu', got 'cudnn'; "
            "pass `implementation=None` for the fastest that works."
        ),
    ),
    "absent implementation": (
        {"implementation": "mosaic_tpu"},
        ValueError,
        (
            "`implementation` 'mosaic_tpu' cannot be used: no TPU in this process; "
            "a program that is lowered for one uses it; "
            "pass `implementation=None` for the fastest that works."
        ),
    ),
    "mesh axes": (
        {"axis_name": ("x", "y")},
        TypeError,
        (
            "`axis_name` must be the name of one mesh axis, got ('x', 'y'); "
            "pass the string that `shard_map` splits the classes over."
        ),
    ),
    "a name that no mesh has": (
        {"axis_name": "classes"},
        ValueError,
        (
            "`axis_name` must name a mesh axis of the surrounding `shard_map`, got "
            "'classes'; call the op inside a `shard_map` over that axis."
        ),
    ),
}


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_its_own_message(op, case):
    arguments, error, message = BAD[case]
    with pytest.raises(error) as raised:
        op(**{"logits": LOGITS, **arguments})
    assert str(raised.value) == message


def test_a_batch_shape_as_long_as_the_classes_is_not_taken_for_them():
    square = np.arange(9.0, dtype=np.float32).reshape(3, 3)
    tau = np.array([0.5, 1.0, 2.0], np.float32)
    rows = [jaxtemp.softmax(row, t) for row, t in zip(square, tau, strict=True)]
    np.testing.assert_array_equal(jaxtemp.softmax(square, tau), np.stack(rows))


@pytest.mark.parametrize("op", OPS)
def test_no_rows_give_no_results(op):
    result = op(np.zeros((0, 3), np.float32), 0.5)
    assert result.shape in {(0, 3), (0,)}


@pytest.mark.parametrize("tau", [10**30, 2, np.float64(0.5), jnp.float32(0.0)])
def test_every_kind_of_number_is_a_temperature(tau):
    assert np.isclose(jaxtemp.softmax(LOGITS, tau).sum(), 2)


@pytest.mark.parametrize("op", OPS)
def test_a_traced_bad_temperature_makes_its_rows_nan_and_no_other(op):
    out = jax.jit(op)(LOGITS, jnp.array([-1.0, 1.0]))
    assert np.isnan(out[0]).all()
    assert not np.isnan(out[1]).any()


@pytest.mark.parametrize("bad", [-1.0, float("nan")])
def test_checked_turns_a_traced_bad_temperature_into_an_error(bad):
    step = jaxtemp.checked(
        jax.jit(jax.grad(lambda t: jaxtemp.softmax(LOGITS, t)[0, 0]))
    )
    assert step(1.0) == 0
    with pytest.raises(checkify.JaxRuntimeError, match=r"`temperature` must be in \[0"):
        step(bad)
