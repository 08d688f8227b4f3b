"""`calibrate`: the temperature of a model, from a file of its logits."""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from ..boltzmann import softmax
from ..calibration import Status, fit_temperature
from . import calibration_report as report
from .extras import check_extras
from .files import read_rows
from .output import CURVE, NUMBERS, RELIABILITY, make_folder, save, save_numbers
from .scores import compare
from .text import print_heading, print_lines

FOLDS = 5
_NEEDED = {"matplotlib": "matplotlib"}


def run_calibrate(files: Sequence[Path], *, seed: int, out: Path | None) -> int:
    """Reads, fits, scores, reports, draws.

    Args:
        files: one `.npz` file, or two `.npy` files.
        seed: splits the rows in five and draws the resamples.
        out: the folder for the results; see
            [`make_folder`][jaxtemp.cli.output.make_folder].

    Returns:
        The exit status: 0 if a temperature was found, else 1.

    Raises:
        CommandError: if a file cannot be used, matplotlib is missing or the results
            cannot be written.
    """
    check_extras(_NEEDED, "calibrate", "plot")
    rows = read_rows(files)
    folder = make_folder(out, (NUMBERS, RELIABILITY, CURVE))
    # Only now: it needs matplotlib.
    from . import pictures

    print_heading("Rows")
    print_lines(report.rows_lines(files, rows))
    logits, labels = jnp.asarray(rows.logits), jnp.asarray(rows.labels)

    print_heading("Temperature, fitted to all rows")
    fit = fit_temperature(logits, labels)
    print_lines(report.fit_lines(fit))

    print_heading("Scores of the model as it is, and at the temperature")
    temperatures = cross_fitted(logits, labels, seed)
    scores = compare(logits, labels, temperatures, jax.random.key(seed))
    print_lines(report.score_lines(scores, FOLDS, seed))

    print_heading("Files")
    numbers = report.numbers(files, rows, fit, scores, FOLDS, seed)
    print(f"  {save_numbers(numbers, folder / NUMBERS)}")
    diagrams = pictures.reliability_picture(
        [softmax(logits), softmax(logits, temperatures)],
        rows.labels,
        after=f"temperature {float(fit.temperature):.3g}, each row held out",
        title=f"Confidence and accuracy on {len(rows.labels)} rows",
    )
    print(f"  {save(diagrams, folder / RELIABILITY)}")
    curve = pictures.curve_picture(logits, rows.labels, fit)
    print(f"  {save(curve, folder / CURVE)}")
    return 0 if fit.status == Status.CONVERGED else 1


def cross_fitted(logits: jax.Array, labels: jax.Array, seed: int) -> jax.Array:
    """Returns for each row a temperature that was fitted without it.

    Args:
        logits: shape `(rows, classes)`.
        labels: the class of each row.
        seed: of the split in five.

    Returns:
        The temperatures, shape `(rows,)`.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    fold = jnp.asarray(order % FOLDS)
    fitted = [
        fit_temperature(logits, labels, weights=(fold != k).astype(logits.dtype))
        for k in range(FOLDS)
    ]
    return jnp.stack([fit.temperature for fit in fitted])[fold]
