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
        A namespace with `command` (`None` or `"info"`), `seed` (an integer, or `None`
        if not given) and `out` (a path, or `None` if not given).

    >>> parse(["--seed", "3"])
    Namespace(seed=3, out=None, command=None)
    """
    parser = _Parser(
        prog="python -m jaxtemp",
        usage="%(prog)s [-h] [--seed N] [--out DIR]\n       %(prog)s info [-h]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--seed",
        type=_seed,
        metavar="N",
        help="splits the data and initialises the classifier (default: 0)",
    )
    parser.add_argument(
        "--out",
        type=_folder,
        metavar="DIR",
        help="folder for the pictures, made if missing; an error if it holds files of "
        "their names (default: the first new one of jaxtemp-out, jaxtemp-out-2, ...)",
    )
    commands = parser.add_subparsers(
        dest="command", title="commands", metavar="COMMAND"
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
    return arguments


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
