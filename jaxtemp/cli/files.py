"""Logits and labels from NumPy files. What cannot be used gets one clear line."""

import contextlib
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from .errors import CommandError

KEYS = ("logits", "labels")
LEAST_ROWS = 10
_SAVE = "numpy.savez(file, logits=logits, labels=labels)"
_MAGIC = {".npz": b"PK\x03\x04", ".npy": b"\x93NUMPY"}
# How far from 1 the sum of a row of probabilities may be: rounding of half precision.
_SUM_TOLERANCE = 0.02


class Rows(NamedTuple):
    """A model's logits and what was right.

    Attributes:
        logits: shape `(rows, classes)`, float32, the largest of each row 0.
        labels: the class of each row.
        dtype: the name of the dtype that the file has the logits in.
    """

    logits: np.ndarray
    labels: np.ndarray
    dtype: str


def read_rows(paths: Sequence[Path]) -> Rows:
    """Reads one `.npz` file, or logits and labels from a `.npy` file each.

    Args:
        paths: one path or two.

    Returns:
        The rows, checked.

    Raises:
        CommandError: if a file cannot be read or its arrays cannot be used.
    """
    arrays = _read_archive(paths[0]) if len(paths) == 1 else map(_read_array, paths)
    logits, labels = arrays
    _check_logits(logits)
    _check_labels(labels, logits)
    _check_not_probabilities(logits)
    return Rows(_centred(logits), labels.astype(np.int32), str(logits.dtype))


def _centred(logits: np.ndarray) -> np.ndarray:
    """Logits less the row's largest, and only then in float32, which would round it."""
    wide = logits.astype(np.promote_types(logits.dtype, np.float32))
    with np.errstate(over="ignore"):  # too low for float32 is as low as it gets
        return (wide - wide.max(axis=1, keepdims=True)).astype(np.float32)


def _read_archive(path: Path) -> list[np.ndarray]:
    fix = f"make one with {_SAVE}, or pass two .npy files, logits and labels"
    with (
        _opened(path, ".npz", fix) as file,
        np.load(file, allow_pickle=False) as archive,
    ):
        found = sorted(archive.files)
        missing = [key for key in KEYS if key not in found]
        if missing:
            raise CommandError(
                f"{str(path)!r} has no array {missing[0]!r}, it holds {found}; "
                f"save it with {_SAVE}"
            )
        return [archive[key] for key in KEYS]


def _read_array(path: Path) -> np.ndarray:
    with _opened(path, ".npy", "make one with numpy.save(file, array)") as file:
        return np.load(file, allow_pickle=False)


@contextlib.contextmanager
def _opened(path: Path, kind: str, fix: str) -> Iterator[BinaryIO]:
    """The file, if it starts as such files do; all that goes wrong becomes one line."""
    try:
        with path.open("rb") as file:
            if not file.read(6).startswith(_MAGIC[kind]):
                raise CommandError(f"{str(path)!r} is not an {kind} file; {fix}")
            file.seek(0)
            yield file
    except OSError as error:
        raise CommandError(
            f"cannot read {str(path)!r} ({error.strerror}); check the path"
        ) from None
    # What NumPy and zipfile raise; the arrays of objects in it are never loaded.
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise CommandError(
            f"cannot read {str(path)!r} ({reason}); save plain arrays of numbers again"
        ) from None


def _check_logits(logits: np.ndarray) -> None:
    if not np.issubdtype(logits.dtype, np.floating):
        raise CommandError(
            f"logits must be real floating point, got dtype {logits.dtype}; "
            "save what the model gives before softmax"
        )
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise CommandError(
            "logits must have two axes, rows and at least two classes, "
            f"got shape {logits.shape}; reshape them"
        )
    if len(logits) < LEAST_ROWS:
        raise CommandError(
            f"logits must have at least {LEAST_ROWS} rows, got {len(logits)}; "
            "a temperature of fewer says nothing"
        )
    wrong = np.isnan(logits) | (logits == np.inf)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise CommandError(
            f"logits must not be NaN or inf, got {logits[row, column]} in row {row}, "
            f"class {column}; leave out the row (-inf excludes a class)"
        )


def _check_labels(labels: np.ndarray, logits: np.ndarray) -> None:
    rows, classes = logits.shape
    if not np.issubdtype(labels.dtype, np.integer):
        raise CommandError(
            f"labels must be integers, got dtype {labels.dtype}; "
            "save the index of each row's class"
        )
    if labels.shape != (rows,):
        raise CommandError(
            f"labels must have shape {(rows,)}, one for each row of logits, "
            f"got {labels.shape}; save the index of each row's class"
        )
    wrong = (labels < 0) | (labels >= classes)
    if wrong.any():
        row = np.argmax(wrong)
        raise CommandError(
            f"labels must lie in [0, {classes}) for {classes} classes, got "
            f"{labels[row]} in row {row}; leave out rows without a class"
        )
    excluded = np.take_along_axis(logits, labels[:, None], axis=1)[:, 0] == -np.inf
    if excluded.any():
        row = np.argmax(excluded)
        raise CommandError(
            f"the label of row {row} has the logit -inf, probability 0 at every "
            "temperature; leave out the row"
        )


def _check_not_probabilities(logits: np.ndarray) -> None:
    sums = logits.sum(axis=1, dtype=np.float64)
    if (logits >= 0).all() and (np.abs(sums - 1) <= _SUM_TOLERANCE).all():
        raise CommandError(
            "logits are probabilities, each row at least 0 with sum 1; "
            "save numpy.log(probabilities) as logits"
        )
