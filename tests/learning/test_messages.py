"""Every message of `learning`, word for word."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from jaxtemp import learning

WRONG = [
    (
        lambda: learning.Log(lower=-1.0),
        ValueError,
        (
            "`lower` must be a finite number of at least 0, got -1.0; "
            "pass for example `lower=0.01`."
        ),
    ),
    (
        lambda: learning.Log(lower=float("nan")),
        ValueError,
        (
            "`lower` must be a finite number of at least 0, got nan; "
            "pass for example `lower=0.01`."
        ),
    ),
    (
        lambda: learning.Softplus(lower="0"),
        ValueError,
        (
            "`lower` must be a finite number of at least 0, got '0'; "
            "pass for example `lower=0.01`."
        ),
    ),
    (
        lambda: learning.Log(lower=2.0, upper=1.0),
        ValueError,
        "`upper` must be a number above `lower=2.0`, got 1.0; widen the bounds.",
    ),
    (
        lambda: learning.LogScale(upper=float("nan")),
        ValueError,
        "`upper` must be a number above `lower=0.0`, got nan; widen the bounds.",
    ),
    (
        lambda: learning.Bounded(0.0, 1.0),
        ValueError,
        (
            "`lower` of a Bounded temperature must be positive, got 0.0; "
            "pass for example `lower=0.01`, or use `learning.Log`."
        ),
    ),
    (
        lambda: learning.Bounded(0.1),
        ValueError,
        (
            "`upper` of a Bounded temperature must be finite, got inf; "
            "pass for example `upper=100.0`, or use `learning.Log`."
        ),
    ),
    (
        lambda: learning.Log().init(-1.0),
        ValueError,
        (
            "`initial` must be a positive finite number, got -1.0; "
            "pass for example `initial=1.0`."
        ),
    ),
    (
        lambda: learning.Log().init(jnp.inf),
        ValueError,
        (
            "`initial` must be a positive finite number, got inf; "
            "pass for example `initial=1.0`."
        ),
    ),
    (
        lambda: learning.Log().init([1.0, 0.0], shape=(2,)),
        ValueError,
        (
            "`initial` must be a positive finite number, got 0.0; "
            "pass for example `initial=1.0`."
        ),
    ),
    (
        lambda: learning.Log().init("warm"),
        ValueError,
        (
            "`initial` must be a positive finite number, got 'warm'; "
            "pass for example `initial=1.0`."
        ),
    ),
    (
        lambda: jax.jit(learning.Log().init)(1.0),
        TypeError,
        (
            "`initial` must be a concrete number, got a traced one; "
            "make the parameter outside of jit, grad and vmap."
        ),
    ),
    (
        lambda: learning.Log(0.5, 2.0).init(3.0),
        ValueError,
        (
            "`initial` must lie within [0.5, 2], got 3.0; "
            "move it inside or widen the bounds."
        ),
    ),
    (
        lambda: learning.Log().init(1e-60),
        ValueError,
        (
            "`initial` must lie within [1.17549e-38, 3.40282e+38], got 1e-60; "
            "move it inside or widen the bounds."
        ),
    ),
    (
        lambda: learning.Bounded(0.5, 2.0).init(2.0),
        ValueError,
        (
            "`initial` must lie strictly between 0.5 and 2, got 2.0; "
            "move it inside or widen the bounds."
        ),
    ),
    (
        lambda: learning.Log(upper=1e-60).init(1e-61),
        ValueError,
        (
            "no temperature in [0, 1e-60] is a normal number of float32; "
            "widen the bounds or use a wider `dtype`."
        ),
    ),
    (
        lambda: learning.Log().init([1.0, 2.0], shape=(3,)),
        ValueError,
        (
            "`initial` of shape (2,) does not broadcast to `shape=(3,)`; "
            "pass one number or an array of that shape."
        ),
    ),
    (
        lambda: learning.Log().init(1.0, shape=(2, -1)),
        ValueError,
        (
            "`shape` must be a tuple of non-negative integers, got (2, -1); "
            "pass for example `shape=(8, 1)`."
        ),
    ),
    (
        lambda: learning.Log().init(1.0, shape="heads"),
        ValueError,
        (
            "`shape` must be a tuple of non-negative integers, got 'heads'; "
            "pass for example `shape=(8, 1)`."
        ),
    ),
    (
        lambda: learning.Log().init(1.0, dtype=jnp.int32),
        TypeError,
        (
            "`dtype` must be floating point, got int32; "
            "pass for example `dtype=jnp.float32`."
        ),
    ),
    (
        lambda: learning.Log().init(1.0, dtype="wide"),
        TypeError,
        (
            "`dtype` must be floating point, got 'wide'; "
            "pass for example `dtype=jnp.float32`."
        ),
    ),
    (
        lambda: learning.Log().value(1),
        TypeError,
        (
            "`raw` must be real floating point, got dtype int32; "
            "convert it first, for example `raw.astype(jnp.float32)`."
        ),
    ),
    (
        lambda: learning.clamp("log"),
        TypeError,
        (
            "`parametrization` must be a learning.Parametrization, got 'log'; "
            "pass for example `learning.Log()`."
        ),
    ),
    (
        lambda: learning.nnx.Temperature(parametrization="log"),
        TypeError,
        (
            "`parametrization` must be a learning.Parametrization, got 'log'; "
            "pass for example `learning.Log()`."
        ),
    ),
    (
        lambda: learning.linen.Temperature(parametrization="log").init(
            jax.random.key(0)
        ),
        TypeError,
        (
            "`parametrization` must be a learning.Parametrization, got 'log'; "
            "pass for example `learning.Log()`."
        ),
    ),
    (
        lambda: learning.clamp(learning.Log()).update(0.0, None),
        ValueError,
        (
            "`params` must be passed to `update` of a chain with `learning.clamp`, got "
            "None; call `update(updates, state, params)`."
        ),
    ),
]


@pytest.mark.parametrize(("call", "kind", "message"), WRONG)
def test_message(call, kind, message):
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == message


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'torch'"):
        _ = learning.torch
    assert {"nnx", "linen", "Log"} <= set(dir(learning))


@pytest.mark.parametrize(
    ("package", "call", "name"),
    [
        ("flax", "learning.nnx", "jaxtemp.learning.nnx"),
        ("flax", "learning.linen", "jaxtemp.learning.linen"),
        ("optax", "learning.clamp(learning.Log())", "jaxtemp.learning.clamp"),
    ],
)
def test_a_missing_extra_is_named_and_needed_by_nothing_else(package, call, name):
    # In a process of its own, where the package cannot be imported.
    code = f"""
import sys
sys.modules["{package}"] = None
from jaxtemp import learning
assert not {{"flax", "optax", "matplotlib"}} & {{m for m in sys.modules if
    sys.modules[m] is not None}}
learning.Log().value(learning.Log().init(0.5))
try:
    {call}
except ImportError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == (
        f"`{name}` needs {package}, which is not installed; "
        "run: pip install 'jaxtemp[learn]'\n"
    )
