"""The handwritten digits that scikit-learn ships, split in three."""

from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_digits

TRAIN_ROWS = 200
VALIDATION_ROWS = 600


class Rows(NamedTuple):
    """Pictures and what they show.

    Attributes:
        pixels: shape `(rows, 64)`, float32 in [0, 1].
        labels: shape `(rows,)`, int32 in [0, 10).
    """

    pixels: np.ndarray
    labels: np.ndarray


class Digits(NamedTuple):
    """Three disjoint sets of rows that together are the whole data set.

    Attributes:
        train: for the classifier's weights.
        validation: for the temperature.
        test: for the report.
    """

    train: Rows
    validation: Rows
    test: Rows


def split_digits(seed: int) -> Digits:
    """Shuffles the 1797 digits and splits them: 200, 600 and the other 997.

    Source: Alpaydin and Kaynak 1998, *Optical Recognition of Handwritten Digits*, UCI
    repository; scikit-learn ships its test part.

    Args:
        seed: of the shuffle.

    Returns:
        The three parts.

    >>> [len(rows.labels) for rows in split_digits(seed=0)]
    [200, 600, 997]
    """
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    parts = np.split(order, [TRAIN_ROWS, TRAIN_ROWS + VALIDATION_ROWS])
    scaled = (pixels / 16).astype(np.float32)
    return Digits(*(Rows(scaled[i], labels[i].astype(np.int32)) for i in parts))
