"""The main job: from pixels to a calibrated classifier."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from .extras import check_extras
from .napkin import LOGITS, napkin_lines
from .output import RELIABILITY, SWEEP, make_folder, save
from .text import print_heading, print_lines

# What is imported, and the name that pip knows it by.
_NEEDED = {
    "flax": "flax",
    "matplotlib": "matplotlib",
    "optax": "optax",
    "sklearn": "scikit-learn",
    "tqdm": "tqdm",
}


def run_job(*, seed: int, out: Path | None) -> int:
    """Trains, learns the temperature, reports, draws.

    Args:
        seed: of the split and of the initial weights.
        out: the folder for the pictures; see
            [`make_folder`][jaxtemp.cli.output.make_folder].

    Returns:
        The exit status: 0 if the learned temperature agrees with the solver's, else 1.

    Raises:
        CommandError: if an extra is missing or the pictures cannot be written.
    """
    check_extras(_NEEDED, "the main job", "examples")
    folder = make_folder(out)
    # Only now: these need the extras, and seconds to import.
    from ..boltzmann import softmax
    from . import classifier, digits, fitting, pictures, report

    print_heading(f"softmax({list(LOGITS)}, temperature)")
    print_lines(napkin_lines(block=_block()))

    print_heading("A classifier that is too sure of itself")
    data = digits.split_digits(seed)
    model, loss = classifier.train(
        data.train, seed, _progress(classifier.STEPS, "training")
    )
    rows = [len(part.labels) for part in data]
    print_lines(_training_lines(rows, seed, classifier.STEPS, loss))

    print_heading("Its temperature, on the validation rows")
    labels = data.validation.labels
    logits = classifier.logits_of(model, data.validation)
    learned = fitting.learn_temperature(
        logits, labels, _progress(fitting.STEPS, "temperature")
    )
    solved = fitting.solve_temperature(logits, labels)
    error = fitting.relative_standard_error(logits, learned)
    print_lines(report.agreement_lines(learned, solved, error))

    print_heading("What that changes, on the test rows")
    labels = data.test.labels
    logits = classifier.logits_of(model, data.test)
    before, after = (report.score(logits, labels, value) for value in (1.0, learned))
    print_lines(report.score_lines(before, after, learned))

    print_heading("Pictures")
    sweep = pictures.sweep_picture(logits, labels, learned)
    print(f"  {save(sweep, folder / SWEEP)}")
    diagram = pictures.reliability_picture(
        [softmax(logits, value) for value in (1.0, learned)],
        labels,
        after=f"temperature {learned:.2f}",
        title=f"Confidence and accuracy on {len(labels)} test digits",
    )
    print(f"  {save(diagram, folder / RELIABILITY)}")
    return 0 if report.agree(learned, solved) else 1


def _progress(steps: int, name: str) -> Iterable[int]:
    from tqdm import tqdm

    # `disable=None`: a bar on a terminal, silence in a file.
    return tqdm(range(steps), desc=f"  {name}", leave=False, disable=None)


def _training_lines(
    rows: list[int], seed: int, steps: int, loss: float
) -> Iterator[str]:
    train, validation, test = rows
    yield f"  data        digits of scikit-learn, split with seed {seed}:"
    yield f"              {train} training, {validation} validation, {test} test rows"
    yield "  model       64-128-128-10, rectified linear, flax.nnx"
    yield f"  training    {steps} steps of Adam on all training rows; no weight decay,"
    yield "              no dropout, no early stopping, so it ends over-confident"
    yield f"  final loss  {loss:.1e} nats on the training rows"


def _block() -> str:
    """A full block, or a hash where the terminal's encoding has none."""
    try:
        "█".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return "#"
    return "█"
