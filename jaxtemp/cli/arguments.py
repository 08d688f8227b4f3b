"""The command line's arguments, and one line for each that is wrong."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

_DESCRIPTION = """\
Trains a small classifier on the handwritten digits that scikit-learn ships, learns its
temperature on rows it has not seen, and reports what that changed on a third set of
rows. Writes temperature_sweep.png and reliability.png. Takes less than a minute.
"""

_CALIBRATE = """\
Fits the temperature of a model to a file of its logits and the labels of held-out rows,
and scores the model before and after, with bootstrap intervals. Each row is scored at a
temperature that was fitted without it. Writes temperature.json, reliability.png and
nll_curve.png.
"""

_CALIBRATE_EPILOG = """\
Nothing is ever overwritten. Exit status: 0 if a temperature was found, 1 if there is
none, as for a model that is always right, or a file cannot be used, 2 for wrong
arguments. The pictures need: pip install 'jaxtemp[plot]'
"""

_EPILOG = """\
Nothing is ever overwritten. Exit status: 0 if the learned temperature agrees with the
one that a one-dimensional solver finds, 1 if it does not or the job failed, 2 for wrong
arguments. The job needs: pip install 'jaxtemp[examples]'
"""

_LAST_SEED = 2**32 - 1


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"jaxtemp: {message}; see python -m jaxtemp --help\n")


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the words of the command line, or exits with status 2.

    Args:
        argv: the words after `python -m jaxtemp`, those of this process if `None`.

    Returns:
        A namespace with `command` (`None`, `"calibrate"` or `"info"`), `seed` (an
        integer, or `None` if not given), `out` (a path, or `None` if not given) and for
        `"calibrate"` `files`, one path or two.

    >>> parse(["--seed", "3"])
    Namespace(seed=3, out=None, command=None)
    """
    parser = _Parser(
        prog="python -m jaxtemp",
        usage="%(prog)s [-h] [--seed N] [--out DIR]\n"
        "       %(prog)s calibrate [-h] [--seed N] [--out DIR] FILE [FILE]\n"
        "       %(prog)s info [-h]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_options(
        parser,
        default=None,
        seed="splits the data and initialises the classifier (default: 0)",
        out="folder for the pictures",
    )
    commands = parser.add_subparsers(
        dest="command", title="commands", metavar="COMMAND"
    )
    calibrate = commands.add_parser(
        "calibrate",
        prog="python -m jaxtemp calibrate",
        usage="%(prog)s [-h] [--seed N] [--out DIR] FILE [FILE]",
        help="fit and score the temperature of a model, from a file of its logits",
        description=_CALIBRATE,
        epilog=_CALIBRATE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    calibrate.add_argument(
        "files",
        nargs="+",
        type=_file,
        metavar="FILE",
        help="an .npz file with the arrays logits (rows x classes) and labels (rows), "
        "or two .npy files, logits and labels",
    )
    _add_options(
        calibrate,
        # What was given before the command stays.
        default=argparse.SUPPRESS,
        seed="splits the rows in five and draws the resamples (default: 0)",
        out="folder for the results",
    )
    commands.add_parser(
        "info",
        prog="python -m jaxtemp info",
        help="print versions, devices and implementations, for bug reports",
        description="Prints versions, devices and available implementations.",
        allow_abbrev=False,
    )
    arguments = parser.parse_args(argv)
    if arguments.command == "info":
        for name in ("seed", "out"):
            if getattr(arguments, name) is not None:
                parser.error(f"argument --{name}: not allowed with info; leave it out")
    if arguments.command == "calibrate" and len(arguments.files) > 2:
        parser.error(
            f"argument FILE: expected one or two, got {len(arguments.files)}; "
            "pass one .npz file, or two .npy files"
        )
    return arguments


def _add_options(
    parser: argparse.ArgumentParser, *, default: str | None, seed: str, out: str
) -> None:
    parser.add_argument("--seed", type=_seed, metavar="N", default=default, help=seed)
    parser.add_argument(
        "--out",
        type=_folder,
        metavar="DIR",
        default=default,
        help=f"{out}, made if missing; an error if it holds files of "
        "their names (default: the first new one of jaxtemp-out, jaxtemp-out-2, ...)",
    )


def _seed(word: str) -> int:
    if word.isdecimal() and int(word) <= _LAST_SEED:
        return int(word)
    raise argparse.ArgumentTypeError(
        f"must be an integer from 0 to {_LAST_SEED}, got {word!r}; "
        "pass for example --seed 0"
    )


def _folder(word: str) -> Path:
    if word:
        return Path(word)
    raise argparse.ArgumentTypeError(
        "must name a folder, got ''; pass for example --out pictures"
    )


def _file(word: str) -> Path:
    if word:
        return Path(word)
    raise argparse.ArgumentTypeError(
        "must name a file, got ''; pass for example logits.npz"
    )
