"""The table that everybody draws on a napkin, with the numbers of the formula."""

from collections.abc import Iterator, Sequence

import jax.numpy as jnp
import numpy as np

from ..boltzmann import softmax

LOGITS = (2.0, 1.0, 0.5, 0.1)
TEMPERATURES = (0.5, 1.0, 2.0)
_WIDTH = 40


def napkin_lines(
    logits: Sequence[float] = LOGITS,
    temperatures: Sequence[float] = TEMPERATURES,
    *,
    block: str = "#",
) -> Iterator[str]:
    """Yields the lines of a bar chart of one softmax at several temperatures.

    Args:
        logits: one row of logits.
        temperatures: where to evaluate.
        block: the character that bars are made of.

    Yields:
        For each temperature a heading and, for each class, its logit, bar and
        probability.

    >>> for line in napkin_lines([1.0, 0.0], [1.0]):
    ...     print(line.strip())
    temperature 1
    1.0 #############################            0.7311
    0.0 ###########                              0.2689
    """
    rows = jnp.tile(jnp.asarray(logits), (len(temperatures), 1))
    for temperature, probs in zip(
        temperatures, np.asarray(softmax(rows, jnp.asarray(temperatures))), strict=True
    ):
        yield f"  temperature {temperature:g}"
        for logit, prob in zip(logits, probs, strict=True):
            bar = block * round(_WIDTH * float(prob))
            yield f"    {logit:.1f} {bar:<{_WIDTH}} {prob:.4f}"
