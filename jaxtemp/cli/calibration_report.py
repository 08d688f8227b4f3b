"""What `calibrate` found, as lines of text and as numbers for a file."""

import math
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..calibration import Interval, Status, TemperatureFit
from .files import Rows
from .report import BINS
from .scores import MOST_RESAMPLED, SAMPLES, Comparison

_NAMES = {
    "accuracy": "accuracy",
    "nll": "neg. log-likelihood",
    "brier": "Brier score",
    "smooth": "calib. error, smooth",
    "width": "  equal-width bins",
    "mass": "  equal-mass bins",
    "classwise": "  classwise",
}
_STATUS = {
    Status.SEPARABLE: "none: every row is right, so the colder the likelier",
    Status.ANTI_CALIBRATED: "none: the labels' logits are no higher than the others'",
    Status.FLAT: "none: all temperatures are as likely",
    Status.NOT_CONVERGED: "none: the search did not converge",
    Status.INVALID: "none: a label is on a class that its row excludes",
}


def rows_lines(files: Sequence[Path], rows: Rows) -> Iterator[str]:
    """Yields what was read.

    Args:
        files: where from.
        rows: what was there.

    Yields:
        Lines of text.
    """
    count, classes = rows.logits.shape
    for file in files:
        yield f"  {file}"
    yield f"  {count} rows, {classes} classes, {rows.dtype}"


def fit_lines(fit: TemperatureFit) -> Iterator[str]:
    """Yields the temperature and what it means.

    Args:
        fit: what was found.

    Yields:
        Lines of text.
    """
    temperature, status = float(fit.temperature), Status(int(fit.status))
    if status != Status.CONVERGED:
        yield f"  {_STATUS[status]}"
        yield f"  the limit is temperature {temperature:g}"
        return
    error = float(fit.standard_error)
    yield f"  temperature     {temperature:.4f} ± {error:.4f} (standard error)"
    yield f"  verdict         {_verdict(temperature, error)}"
    yield f"  search          converged in {int(fit.iterations)} steps"


def _verdict(temperature: float, error: float) -> str:
    if abs(temperature - 1) < 1.96 * error:
        return "not distinguishable from 1: leave the model as it is"
    kind = "over-confident" if temperature > 1 else "under-confident"
    return f"{kind}: divide the logits by {temperature:.4g}"


def score_lines(scores: Comparison, folds: int, seed: int) -> Iterator[str]:
    """Yields the table of scores before and after.

    Args:
        scores: the scores.
        folds: the number of parts that the rows were split in.
        seed: what the split was drawn with.

    Yields:
        Lines of text, none wider than 80 columns.
    """
    heads = "".join(f"{name:>8}  {'95 % interval':>18}" for name in ("before", "after"))
    yield f"  {'':<22}{heads}"
    for name, shown in _NAMES.items():
        cells = "".join(map(_cells, (scores.before[name], scores.after[name])))
        yield f"  {shown:<22}{cells}"
    for paragraph in (_change(scores.change), _notes(scores, folds, seed)):
        text = " ".join(paragraph)
        yield ""
        yield from textwrap.wrap(text, 78, initial_indent="  ", subsequent_indent="  ")


def _change(change: Interval) -> Iterator[str]:
    value, low, high, _ = map(float, change)
    if math.isfinite(value):
        yield f"The negative log-likelihood changes by {value:+.4f},"
        yield f"95 % interval {low:+.4f} to {high:+.4f}."
    else:
        yield "The likelihood of a row is 0, so its change has no interval."


def _notes(scores: Comparison, folds: int, seed: int) -> Iterator[str]:
    yield "After: each row at a temperature that was fitted without it, the rows split"
    yield f"in {folds} with seed {seed}. Likelihood in nats, Brier score summed over"
    yield f"the classes, {BINS} bins. Intervals are of {SAMPLES} bootstrap resamples,"
    yield "less the bias that these show: a calibration error may lie outside its own."
    if math.isnan(float(scores.before["classwise"].low)):
        yield f"More than {MOST_RESAMPLED} probabilities: no interval classwise."


def _cells(score: Interval) -> str:
    # No score is below 0, but an interval less its bias may be.
    low, high = max(float(score.low), 0.0), max(float(score.high), 0.0)
    span = f"{low:.4f} to {high:.4f}" if math.isfinite(low + high) else "-"
    return f"{float(score.value):>8.4f}  {span:>18}"


def numbers(
    files: Sequence[Path],
    rows: Rows,
    fit: TemperatureFit,
    scores: Comparison,
    folds: int,
    seed: int,
) -> dict:
    """Returns all numbers of the report, `None` for those that are not finite.

    Args:
        files: where the rows are from.
        rows: the rows.
        fit: the temperature.
        scores: the scores before and after.
        folds: the number of parts that the rows were split in.
        seed: what the split was drawn with.

    Returns:
        Numbers, strings, lists and dictionaries of them.
    """
    count, classes = rows.logits.shape
    return {
        "files": [str(file) for file in files],
        "rows": count,
        "classes": classes,
        "temperature": _finite(fit.temperature),
        "standard_error": _finite(fit.standard_error),
        "beta": _finite(fit.beta),
        "status": Status(int(fit.status)).name,
        "folds": folds,
        "seed": seed,
        "bins": BINS,
        "samples": SAMPLES,
        "level": 0.95,
        "before": {name: _as_numbers(x) for name, x in scores.before.items()},
        "after": {name: _as_numbers(x) for name, x in scores.after.items()},
        "change_of_nll": _as_numbers(scores.change),
    }


def _as_numbers(score: Interval) -> dict:
    return {name: _finite(x) for name, x in score._asdict().items()}


def _finite(number) -> float | None:
    return float(number) if math.isfinite(float(number)) else None
