"""The call of a case, and the comparison of what came out with the truth."""

import numpy as np

from jaxtemp.losses import cross_entropy
from tests.losses.truth import Case

TOLERANCE = {"float64": 1e-11, "float32": 4e-6, "bfloat16": 4e-6}
ROUNDING = {"float64": 0.0, "float32": 0.0, "bfloat16": 2.0**-8}


def call(case: Case):
    """Loss and log-sum-exp of a case."""
    options = {k: v for k, v in case._asdict().items() if v is not None}
    return cross_entropy(**options, return_logsumexp=True)


def assert_close(got, want, tolerance, rounding, name):
    """Equal where infinite; else within the scale's tolerance and a last rounding."""
    got = np.asarray(got, np.float64).astype(np.longdouble)
    value, scale = np.broadcast_arrays(*want)
    infinite = ~np.isfinite(value)
    np.testing.assert_array_equal(got[infinite], value[infinite], err_msg=name)
    error = np.abs(np.where(infinite, 0, got - np.where(infinite, 0, value)))
    allowed = (
        tolerance * scale + rounding * np.abs(np.where(infinite, 0, value)) + 1e-36
    )
    worst = np.unravel_index(np.argmax(error / allowed), error.shape)
    assert (error <= allowed).all(), (
        f"{name}{[int(i) for i in worst]}: got {got[worst]}, want {value[worst]}, "
        f"scale {scale[worst]}"
    )


def check(case: Case, dtype: str, pairs: dict) -> None:
    """Assert that every result, beside its truth, has the right type and value."""
    for name, (got, want) in pairs.items():
        to_tau = name == "temperature"
        assert got.dtype == (case.temperature if to_tau else case.logits).dtype
        tolerance, rounding = TOLERANCE[dtype], 0 if to_tau else ROUNDING[dtype]
        if name == "labels":  # the sum of two numbers, each rounded
            tolerance += 2 * rounding
        assert_close(got, want, tolerance, rounding, name)
