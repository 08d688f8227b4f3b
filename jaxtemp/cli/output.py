"""Where a command's files go. What is there already stays as it is."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from .errors import CommandError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SWEEP = "temperature_sweep.png"
RELIABILITY = "reliability.png"
CURVE = "nll_curve.png"
NUMBERS = "temperature.json"
_DEFAULT = "jaxtemp-out"


def make_folder(out: Path | None, names: Sequence[str] = (SWEEP, RELIABILITY)) -> Path:
    """Makes the folder for the files, before any work is done.

    Args:
        out: the folder that the user named, made if missing. If `None`, the first of
            `jaxtemp-out`, `jaxtemp-out-2`, ... in the working folder that is new.
        names: what will be written there.

    Returns:
        Its absolute path.

    Raises:
        CommandError: if it cannot be made, or holds a file of such a name.
    """
    try:
        if out is None:
            return _new_folder(Path(_DEFAULT))
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise CommandError(
            f"--out must name a folder, got the path {str(out)!r} of a file; "
            "choose another"
        ) from None
    except OSError as error:
        raise CommandError(
            f"cannot make the folder {str(out or _DEFAULT)!r} ({error.strerror}); "
            "choose another with --out"
        ) from None
    for name in names:
        if (out / name).exists():
            raise CommandError(
                f"{str(out / name)!r} exists and is never overwritten; "
                "move it or choose another folder with --out"
            )
    return out.absolute()


def save(figure: "Figure", path: Path) -> Path:
    """Writes a picture as PNG, to a path where there is nothing yet.

    Args:
        figure: the picture.
        path: where it goes.

    Returns:
        The path.

    Raises:
        CommandError: if it cannot be written.
    """
    return _write(path, lambda file: figure.savefig(file, format="png", dpi=150))


def save_numbers(numbers: dict, path: Path) -> Path:
    """Writes numbers as JSON, to a path where there is nothing yet.

    Args:
        numbers: what to write, with `None` for what is not finite.
        path: where it goes.

    Returns:
        The path.

    Raises:
        CommandError: if it cannot be written.
    """
    text = json.dumps(numbers, indent=2, allow_nan=False) + "\n"
    return _write(path, lambda file: file.write(text.encode()))


def _write(path: Path, fill: Callable[[BinaryIO], object]) -> Path:
    try:
        with path.open("xb") as file:
            fill(file)
    except OSError as error:
        raise CommandError(
            f"cannot write {str(path)!r} ({error.strerror}); choose another with --out"
        ) from None
    return path


def _new_folder(first: Path) -> Path:
    folder, number = first, 1
    while True:
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
            folder = first.with_name(f"{first.name}-{number}")
        else:
            return folder.absolute()
