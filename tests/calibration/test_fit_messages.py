"""Every message of the fits, word for word."""

import numpy as np
import pytest

from jaxtemp import calibration

LOGITS = np.eye(3, dtype=np.float32)
LABELS = np.array([0, 1, 2])
FITS = [
    calibration.fit_temperature,
    calibration.fit_vector_scaling,
    calibration.fit_matrix_scaling,
    calibration.fit_ensemble,
    calibration.fit_isotonic,
    lambda logits, labels, **options: calibration.fit_group_temperatures(
        logits, labels, np.zeros(3, int), 1, **options
    ),
]
SHARED = {
    "integer logits": (
        {"logits": np.eye(3, dtype=np.int32)},
        TypeError,
        (
            "`logits` must be real floating point, got dtype int32; "
            "convert it first, for example `logits.astype(jnp.float32)`."
        ),
    ),
    "no rows": (
        {"logits": np.zeros((0, 3), np.float32)},
        ValueError,
        (
            "`logits` must hold at least one row of at least one class, got shape "
            "(0, 3); its last axis is the class axis."
        ),
    ),
    "labels that are scores": (
        {"labels": np.eye(3, dtype=np.float32)},
        TypeError,
        (
            "`labels` must be integers, got dtype float32; "
            "pass the index of each row's class."
        ),
    ),
    "too few labels": (
        {"labels": np.array([0, 1])},
        ValueError,
        (
            "`labels` has shape (2,), but `logits` has shape (3, 3); "
            "pass one label per row, shape (3,)."
        ),
    ),
    "a label that is no class": (
        {"labels": np.array([0, 1, 3])},
        ValueError,
        (
            "`labels` must lie in [0, 3) for 3 classes, got 3; "
            "leave out rows without a class."
        ),
    ),
    "a negative weight": (
        {"weights": np.array([1.0, -1.0, 1.0])},
        ValueError,
        "`weights` must be in [0, inf], got -1.0; pass 0 to leave a row out.",
    ),
    "a weight for each class": (
        {"weights": np.ones((3, 3))},
        ValueError,
        (
            "`weights` must broadcast to the batch shape (3,) (the logits' shape "
            "without the class axis), got shape (3, 3); "
            "pass one number, or one for each row."
        ),
    ),
}


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("case", SHARED)
def test_bad_rows_have_the_same_message_in_every_fit(fit, case):
    arguments, error, message = SHARED[case]
    with pytest.raises(error) as raised:
        fit(**{"logits": LOGITS, "labels": LABELS, **arguments})
    assert str(raised.value) == message


OWN = {
    "a mask of numbers": (
        lambda: calibration.fit_temperature(LOGITS, LABELS, where=np.ones(3, int)),
        TypeError,
        (
            "`where` must be boolean, got dtype int32; "
            "compare first, for example `where=mask != 0`."
        ),
    ),
    "one fold": (
        lambda: calibration.fit_vector_scaling(LOGITS, LABELS, folds=1),
        ValueError,
        (
            "`folds` must be an integer >= 2, known when traced, got 1; "
            "pass for example `folds=5`."
        ),
    ),
    "no groups": (
        lambda: calibration.fit_group_temperatures(LOGITS, LABELS, LABELS, 0),
        ValueError,
        (
            "`num_groups` must be a positive integer, known when traced, got 0; "
            "pass for example `num_groups=10`."
        ),
    ),
    "groups that are names": (
        lambda: calibration.fit_group_temperatures(LOGITS, LABELS, np.ones(3), 2),
        TypeError,
        (
            "`groups` must be integers, got dtype float32; "
            "pass the index of each row's group."
        ),
    ),
    "too few groups": (
        lambda: calibration.fit_group_temperatures(LOGITS, LABELS, LABELS[:2], 3),
        ValueError,
        (
            "`groups` must have the labels' shape (3,), got shape (2,); "
            "pass one group per row."
        ),
    ),
    "a group out of range": (
        lambda: calibration.fit_group_temperatures(LOGITS, LABELS, LABELS, 2),
        ValueError,
        (
            "`groups` must lie in [0, 2) for 2 groups, got 2; "
            "give such rows weight 0 and any group."
        ),
    ),
}


@pytest.mark.parametrize("case", OWN)
def test_bad_options_have_their_own_message(case):
    call, error, message = OWN[case]
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message
