"""Every message of `losses.cross_entropy` that is its own, word for word."""

import jax
import numpy as np
import pytest

from jaxtemp.losses import cross_entropy

LOGITS = np.zeros((2, 4), np.float32)
LABELS = np.array([0, 2])

BAD = {
    "labels out of range": (
        {"labels": np.array([0, 4])},
        ValueError,
        (
            "`labels` must lie in [0, 4) for 4 classes, got 4; "
            "mark a row that does not count with `ignore_index`."
        ),
    ),
    "a negative label that is not ignored": (
        {"labels": np.array([0, -100]), "ignore_index": -1},
        ValueError,
        (
            "`labels` must lie in [0, 4) for 4 classes, got -100; "
            "mark a row that does not count with `ignore_index`."
        ),
    ),
    "labels that are no array": (
        {"labels": "cat"},
        TypeError,
        (
            "`labels` must be an array, got str; "
            "pass the index of each row's class, or a number for each class."
        ),
    ),
    "boolean labels": (
        {"labels": np.ones((2, 4), bool)},
        TypeError,
        (
            "`labels` must be integers or real floating point, got dtype bool; "
            "pass the index of each row's class, or a number for each class."
        ),
    ),
    "one-hot integers": (
        {"labels": np.zeros((2, 4), int)},
        ValueError,
        (
            "`labels` of integers must have the batch shape (2,) (the logits' shape "
            "without the class axis), got shape (2, 4); "
            "convert one-hot labels with `labels.astype(logits.dtype)`."
        ),
    ),
    "labels of another shape": (
        {"labels": np.zeros((2, 1), int)},
        ValueError,
        (
            "`labels` of integers must have the batch shape (2,) (the logits' shape "
            "without the class axis), got shape (2, 1); pass one integer for each row."
        ),
    ),
    "soft labels of another shape": (
        {"labels": np.zeros(2, np.float32)},
        ValueError,
        (
            "`labels` of a number for each class must have the logits' shape (2, 4), "
            "got shape (2,); for one class a row pass integers."
        ),
    ),
    "soft labels to ignore": (
        {"labels": np.zeros((2, 4), np.float32), "ignore_index": 3},
        ValueError,
        (
            "`ignore_index` must be None where `labels` has a number for each class, "
            "got 3; make the labels of a row that does not count zero."
        ),
    ),
    "a fraction to ignore": (
        {"ignore_index": 0.5},
        TypeError,
        (
            "`ignore_index` must be an integer known when traced, got 0.5; "
            "pass for example `ignore_index=-100`."
        ),
    ),
    "smoothing of more than all": (
        {"label_smoothing": 1.5},
        ValueError,
        (
            "`label_smoothing` must be in [0, 1], got 1.5; "
            "pass the share that goes to all classes alike, for example 0.1."
        ),
    ),
    "negative z-loss": (
        {"z_loss": -1.0},
        ValueError,
        (
            "`z_loss` must be in [0, inf], got -1.0; "
            "pass the weight of the squared log-sum-exp, for example 1e-4."
        ),
    ),
    "no room under the cap": (
        {"logit_soft_cap": 0},
        ValueError,
        (
            "`logit_soft_cap` must be positive and finite, got 0.0; "
            "pass None for logits as they are."
        ),
    ),
    "a cap that is no number": (
        {"logit_soft_cap": "tight"},
        TypeError,
        (
            "`logit_soft_cap` must be one number known when traced, got 'tight'; "
            "pass for example `logit_soft_cap=30.0`."
        ),
    ),
    "weights of other classes": (
        {"class_weights": np.ones(3, np.float32)},
        ValueError,
        (
            "`class_weights` must have shape (4,), one number for each class, "
            "got shape (3,); to weigh rows multiply the result."
        ),
    ),
    "integer weights": (
        {"class_weights": np.ones(4, int)},
        TypeError,
        (
            "`class_weights` must be real floating point, got dtype int32; "
            "convert it first, for example `class_weights.astype(jnp.float32)`."
        ),
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_its_own_message(case):
    arguments, error, message = BAD[case]
    with pytest.raises(error) as raised:
        cross_entropy(**{"logits": LOGITS, "labels": LABELS, **arguments})
    assert str(raised.value) == message


@pytest.mark.parametrize("name", ["ignore_index", "logit_soft_cap"])
def test_what_must_be_known_may_not_be_traced(name):
    with pytest.raises(TypeError, match=f"`{name}` must be .* known when traced"):
        jax.jit(lambda x: cross_entropy(LOGITS, LABELS, **{name: x}))(1)


def test_a_traced_label_out_of_range_makes_its_row_nan_and_no_other():
    loss = jax.jit(cross_entropy)(LOGITS, np.array([0, 4]))
    np.testing.assert_array_equal(np.isnan(loss), [False, True])
