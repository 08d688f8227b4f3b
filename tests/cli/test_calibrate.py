"""`calibrate`: its numbers computed anew, and one clear line for every bad file."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import scipy.optimize
import scipy.special

from jaxtemp.cli import calibrate, main, scores
from tests.calibration import reference

FILES = ["nll_curve.png", "reliability.png", "temperature.json"]
NAMES = {
    "accuracy": "accuracy",
    "neg. log-likelihood": "nll",
    "Brier score": "brier",
    "calib. error, smooth": "smooth",
    "equal-width bins": "width",
    "equal-mass bins": "mass",
    "classwise": "classwise",
}


def data(rows=60, classes=3, scale=3.0, seed=0):
    """Logits that are `scale` times too large, around a common offset."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (rows, classes))
    below = scipy.special.softmax(logits, -1).cumsum(-1) < rng.random((rows, 1))
    labels = below.sum(-1).clip(0, classes - 1)
    return (scale * logits + 100).astype(np.float32), labels


def save(path, logits, labels):
    np.savez(path, logits=logits, labels=labels)
    return str(path)


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(scores, "SAMPLES", 20)


def optimum(logits, labels):
    """The root of the likelihood's slope in the inverse temperature."""
    logits = logits.astype(np.float64)
    own = logits[np.arange(len(labels)), labels].mean()

    def slope(beta):
        return (scipy.special.softmax(beta * logits, -1) * logits).sum(-1).mean() - own

    return 1 / scipy.optimize.brentq(slope, 1e-3, 1e3, xtol=1e-14)


def expected(logits, labels, temperatures):
    """Every score but the smooth error, slowly."""
    log_probs = scipy.special.log_softmax(logits / temperatures[:, None], -1)
    probs = np.exp(log_probs)
    return {
        "accuracy": np.mean(probs.argmax(-1) == labels),
        "nll": -log_probs[np.arange(len(labels)), labels].mean(),
        "brier": reference.brier_score(probs, labels),
        "width": reference.calibration_error(probs, labels, 15),
        "mass": reference.calibration_error(probs, labels, 15, "mass"),
        "classwise": reference.classwise_calibration_error(probs, labels, 15, "width"),
    }


def held_out(logits, labels, seed):
    """A temperature for each row, of the four fifths that it is not in."""
    fold = np.random.default_rng(seed).permutation(len(labels)) % 5
    found = [optimum(logits[fold != k], labels[fold != k]) for k in range(5)]
    return np.array(found)[fold]


def test_a_run_reports_what_it_should(tmp_path, capsys):
    logits, labels = data()
    file = save(tmp_path / "rows.npz", logits, labels)
    out = tmp_path / "out"
    assert main(["calibrate", file, "--seed", "3", "--out", str(out)]) == 0
    text, err = capsys.readouterr()
    assert err == ""
    assert max(map(len, text.splitlines())) <= 80 + len(str(out))
    assert f"  {file}\n  60 rows, 3 classes, float32\n" in text
    written = ["temperature.json", "reliability.png", "nll_curve.png"]
    assert text.split()[-3:] == [str(out / name) for name in written]

    best = optimum(logits, labels)
    shown = re.search(r"temperature +([\d.]+) ± ([\d.]+) \(standard error\)", text)
    assert float(shown[1]) == pytest.approx(best, abs=6e-5)
    assert f"over-confident: divide the logits by {best:.4g}" in text

    numbers = json.loads((out / "temperature.json").read_text())
    assert numbers["temperature"] == pytest.approx(best, rel=1e-5)
    assert numbers["status"] == "CONVERGED"
    assert (numbers["rows"], numbers["classes"]) == (60, 3)
    assert (numbers["seed"], numbers["folds"]) == (3, 5)
    centred = logits.astype(np.float64)
    for part, temperatures in (
        ("before", np.ones(60)),
        ("after", held_out(logits, labels, 3)),
    ):
        for name, value in expected(centred, labels, temperatures).items():
            assert numbers[part][name]["value"] == pytest.approx(value, abs=2e-6), name
    for line, name in NAMES.items():
        cells = re.search(rf"{line} +([\d.]+) .* to [\d.]+ +([\d.]+) ", text)
        for part, cell in zip(("before", "after"), cells.groups(), strict=True):
            want = numbers[part][name]
            assert float(cell) == pytest.approx(want["value"], abs=6e-5)
            assert want["low"] < want["high"]
    assert numbers["after"]["nll"]["value"] < numbers["before"]["nll"]["value"]

    assert sorted(path.name for path in out.iterdir()) == FILES
    for name in FILES[:2]:
        assert (out / name).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_two_npy_files_are_one_npz_file(tmp_path, capsys):
    logits, labels = data()
    np.save(tmp_path / "z.npy", logits.astype(np.float16))
    np.save(tmp_path / "y.npy", labels.astype(np.uint8))
    words = [str(tmp_path / "z.npy"), str(tmp_path / "y.npy")]
    assert main(["--out", str(tmp_path / "a"), "calibrate", *words]) == 0
    assert "60 rows, 3 classes, float16" in capsys.readouterr().out
    file = save(tmp_path / "rows.npz", logits.astype(np.float16), labels)
    assert main(["calibrate", file, "--out", str(tmp_path / "b")]) == 0
    first, second = (
        json.loads((tmp_path / name / "temperature.json").read_text()) for name in "ab"
    )
    assert first.pop("files") == words
    assert second.pop("files") == [file]
    assert first == second


def test_a_common_offset_changes_nothing(tmp_path):
    logits, labels = data()
    found = []
    for name, offset in (("a", 0.0), ("b", 1e6)):
        file = save(tmp_path / f"{name}.npz", logits.astype(float) + offset, labels)
        main(["calibrate", file, "--out", str(tmp_path / name)])
        numbers = json.loads((tmp_path / name / "temperature.json").read_text())
        found.append(numbers["temperature"])
    assert found[0] == pytest.approx(found[1], rel=1e-5)


SEPARABLE = np.eye(3)[np.arange(60) % 3] * 4.0


@pytest.mark.parametrize(
    ("logits", "status", "words"),
    [
        (
            SEPARABLE,
            "SEPARABLE",
            "none: every row is right, so the colder the likelier",
        ),
        (
            -SEPARABLE,
            "ANTI_CALIBRATED",
            "none: the labels' logits are no higher than the others'",
        ),
        (np.zeros((60, 3)), "FLAT", "none: all temperatures are as likely"),
    ],
)
def test_no_temperature_is_said_in_words(tmp_path, capsys, logits, status, words):
    file = save(tmp_path / "rows.npz", logits, np.arange(60) % 3)
    assert main(["calibrate", file, "--out", str(tmp_path / "out")]) == 1
    out, err = capsys.readouterr()
    assert err == ""
    assert words in out
    numbers = json.loads((tmp_path / "out/temperature.json").read_text())
    assert numbers["status"] == status
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES


def test_many_probabilities_are_not_resampled_by_class(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(scores, "MOST_RESAMPLED", 179)
    file = save(tmp_path / "rows.npz", *data())
    assert main(["calibrate", file, "--out", str(tmp_path / "out")]) == 0
    assert re.search(r"classwise +[\d.]+ +- +[\d.]+ +-\n", capsys.readouterr().out)
    numbers = json.loads((tmp_path / "out/temperature.json").read_text())
    assert numbers["after"]["classwise"]["low"] is None


def logits_with(value, row=4, column=1):
    logits, labels = data()
    logits[row, column] = value
    return {"logits": logits, "labels": labels}


LOGITS, LABELS = data()
LABEL = int(LABELS[4])
SAVE = "numpy.savez(file, logits=logits, labels=labels)"
BAD = {
    "other keys": (
        {"z": LOGITS, "labels": LABELS},
        f"FILE has no array 'logits', it holds ['labels', 'z']; save it with {SAVE}",
    ),
    "integer logits": (
        {"logits": LABELS[:, None] * [[1, 2]], "labels": LABELS},
        (
            "logits must be real floating point, got dtype int64; "
            "save what the model gives before softmax"
        ),
    ),
    "one axis": (
        {"logits": LOGITS[:, 0], "labels": LABELS},
        (
            "logits must have two axes, rows and at least two classes, "
            "got shape (60,); reshape them"
        ),
    ),
    "one class": (
        {"logits": LOGITS[:, :1], "labels": LABELS},
        (
            "logits must have two axes, rows and at least two classes, "
            "got shape (60, 1); reshape them"
        ),
    ),
    "few rows": (
        {"logits": LOGITS[:9], "labels": LABELS[:9]},
        (
            "logits must have at least 10 rows, got 9; "
            "a temperature of fewer says nothing"
        ),
    ),
    "NaN": (
        logits_with(np.nan),
        (
            "logits must not be NaN or inf, got nan in row 4, class 1; "
            "leave out the row (-inf excludes a class)"
        ),
    ),
    "infinity": (
        logits_with(np.inf),
        (
            "logits must not be NaN or inf, got inf in row 4, class 1; "
            "leave out the row (-inf excludes a class)"
        ),
    ),
    "excluded label": (
        logits_with(-np.inf, column=LABEL),
        (
            "the label of row 4 has the logit -inf, probability 0 at every "
            "temperature; leave out the row"
        ),
    ),
    "probabilities": (
        {"logits": scipy.special.softmax(LOGITS, -1), "labels": LABELS},
        (
            "logits are probabilities, each row at least 0 with sum 1; "
            "save numpy.log(probabilities) as logits"
        ),
    ),
    "float labels": (
        {"logits": LOGITS, "labels": LABELS.astype(float)},
        (
            "labels must be integers, got dtype float64; "
            "save the index of each row's class"
        ),
    ),
    "one-hot labels": (
        {"logits": LOGITS, "labels": np.eye(3, dtype=int)[LABELS]},
        (
            "labels must have shape (60,), one for each row of logits, "
            "got (60, 3); save the index of each row's class"
        ),
    ),
    "labels of other rows": (
        {"logits": LOGITS, "labels": LABELS[:-1]},
        (
            "labels must have shape (60,), one for each row of logits, "
            "got (59,); save the index of each row's class"
        ),
    ),
    "label out of range": (
        {"logits": LOGITS, "labels": np.where(np.arange(60) == 7, 3, LABELS)},
        (
            "labels must lie in [0, 3) for 3 classes, got 3 in row 7; "
            "leave out rows without a class"
        ),
    ),
    "negative label": (
        {"logits": LOGITS, "labels": np.where(np.arange(60) == 0, -1, LABELS)},
        (
            "labels must lie in [0, 3) for 3 classes, got -1 in row 0; "
            "leave out rows without a class"
        ),
    ),
}


def fails(words, message, capsys):
    """One line, status 1, and no folder."""
    assert main(["calibrate", *words]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"jaxtemp: {message}\n"


@pytest.mark.parametrize("case", BAD)
def test_a_bad_array_gets_one_line(case, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arrays, message = BAD[case]
    np.savez("rows.npz", **arrays)
    fails(["rows.npz"], message.replace("FILE", "'rows.npz'"), capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.npz"]


def test_a_bad_file_gets_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = "cannot read 'none.npz' (No such file or directory); check the path"
    fails(["none.npz"], message, capsys)
    fails(["."], "cannot read '.' (Is a directory); check the path", capsys)

    (tmp_path / "text.csv").write_text("0.1, 0.9\n")
    message = (
        f"'text.csv' is not an .npz file; make one with {SAVE}, or pass two "
        ".npy files, logits and labels"
    )
    fails(["text.csv"], message, capsys)
    np.save("z.npy", LOGITS)
    message = "'text.csv' is not an .npy file; make one with numpy.save(file, array)"
    fails(["z.npy", "text.csv"], message, capsys)

    whole = (tmp_path / "z.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[: len(whole) // 2])
    assert main(["calibrate", "cut.npy", "z.npy"]) == 1
    err = capsys.readouterr().err
    assert re.fullmatch(
        r"jaxtemp: cannot read 'cut.npy' \(.+\); save plain arrays of numbers again\n",
        err,
    )
    np.savez("whole.npz", logits=LOGITS, labels=LABELS)
    whole = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    message = (
        "cannot read 'cut.npz' (File is not a zip file); "
        "save plain arrays of numbers again"
    )
    fails(["cut.npz"], message, capsys)


def test_a_pickle_is_never_loaded(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = (
        "cannot read FILE (Object arrays cannot be loaded when allow_pickle=False); "
        "save plain arrays of numbers again"
    )
    np.savez("rows.npz", logits=np.array([[1.0], [2.0, 3.0]], object), labels=LABELS)
    fails(["rows.npz"], message.replace("FILE", "'rows.npz'"), capsys)
    np.save("z.npy", np.array([[1.0], [2.0, 3.0]], object))
    fails(["z.npy", "z.npy"], message.replace("FILE", "'z.npy'"), capsys)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_exists_is_an_error_before_any_work(name, tmp_path, capsys):
    file = save(tmp_path / "rows.npz", *data())
    (tmp_path / name).write_text("precious")
    message = (
        f"{str(tmp_path / name)!r} exists and is never overwritten; "
        "move it or choose another folder with --out"
    )
    fails([file, "--out", str(tmp_path)], message, capsys)
    assert (tmp_path / name).read_text() == "precious"


def test_a_missing_matplotlib_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(calibrate, "_NEEDED", {"no_matplotlib": "matplotlib"})
    message = (
        "calibrate needs matplotlib, not installed; run: pip install 'jaxtemp[plot]'"
    )
    fails(["rows.npz"], message, capsys)


def test_the_shell_sees_the_status_and_the_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "jaxtemp", "calibrate", "none.npz"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "jaxtemp: cannot read 'none.npz' (No such file or directory); check the path\n"
    )
    assert list(tmp_path.iterdir()) == []
