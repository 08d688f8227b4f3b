"""The main job: one full run, and every number it prints computed anew."""

import os
import re
import subprocess
import sys

import matplotlib.image
import numpy as np
import pytest
import scipy.optimize
import scipy.special

from jaxtemp.cli import classifier, digits, fitting, job, main, napkin, report

NUMBER = r"(-?[\d.]+(?:e[+-]?\d+)?)"


def number(text, label):
    return float(re.search(rf"{re.escape(label)}\s+{NUMBER}", text)[1])


def pair(text, label):
    found = re.search(rf"{re.escape(label)}\s+{NUMBER}\s+{NUMBER}", text)
    return float(found[1]), float(found[2])


def scores(logits, labels, temperature):
    """Accuracy, likelihood, calibration error and Brier score, in NumPy float64."""
    log_probs = scipy.special.log_softmax(logits / temperature, -1)
    probs = np.exp(log_probs)
    hit = np.eye(10)[labels]
    confidence, right = probs.max(-1), probs.argmax(-1) == labels
    index = np.ceil(confidence * 15).clip(1, 15)
    gaps = [np.sum((right - confidence)[index == b]) for b in range(1, 16)]
    return (
        right.mean(),
        -(hit * log_probs).sum(-1).mean(),
        np.abs(gaps).sum() / len(labels),
        ((probs - hit) ** 2).sum(-1).mean(),
    )


def optimum(logits, labels):
    """The root of the likelihood's slope in the inverse temperature."""
    own = logits[np.arange(len(labels)), labels].mean()

    def slope(beta):
        return (scipy.special.softmax(beta * logits, -1) * logits).sum(-1).mean() - own

    return 1 / scipy.optimize.brentq(slope, 1e-3, 1e3, xtol=1e-14)


@pytest.mark.slow
def test_a_full_run(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "jaxtemp", "--seed", "0", "--out", "pictures"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
        # As on a terminal that knows ASCII only.
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no progress bar in a pipe
    text = done.stdout

    # The same classifier, trained again here.
    data = digits.split_digits(0)
    model, loss = classifier.train(data.train, 0, range(classifier.STEPS))
    assert number(text, "final loss") == pytest.approx(loss, rel=0.05)
    logits = classifier.logits_of(model, data.validation).astype(np.float64)
    best = optimum(logits, data.validation.labels)
    assert number(text, "learned by gradient descent") == pytest.approx(best, rel=1e-5)
    assert number(text, "one-dimensional solver") == pytest.approx(best, rel=1e-6)
    assert number(text, "relative difference") < 1e-5
    assert re.search(r"verdict at tolerance 0.001 +agree\n", text)

    probs = scipy.special.softmax(logits / best, -1)
    spread = (probs * logits**2).sum(-1) - (probs * logits).sum(-1) ** 2
    error = 100 * best / np.sqrt(spread.sum())
    assert number(text, "standard error") == pytest.approx(error, abs=0.051)

    logits = classifier.logits_of(model, data.test).astype(np.float64)
    labels = data.test.labels
    before, after = scores(logits, labels, 1.0), scores(logits, labels, best)
    assert pair(text, "temperature  ") == (1.0, pytest.approx(best, abs=6e-5))
    for i, label in enumerate(
        (
            "accuracy",
            "negative log-likelihood",
            "expected calibration error",
            "Brier score",
        )
    ):
        got = pair(text, label)
        assert got == pytest.approx((before[i], after[i]), abs=6e-5)
    # What the job is there to show, and what temperature cannot change.
    assert before[0] == after[0]
    assert after[1] < before[1]
    assert after[2] < before[2]

    folder = tmp_path / "pictures"
    paths = [folder / "temperature_sweep.png", folder / "reliability.png"]
    assert text.split()[-2:] == [str(path) for path in paths]
    assert sorted(folder.iterdir()) == sorted(paths)
    for path in paths:
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        pixels = matplotlib.image.imread(path)
        assert min(pixels.shape[:2]) > 600
        assert pixels[..., :3].std() > 0.05  # something is drawn
    assert list(tmp_path.iterdir()) == [folder]


def test_the_napkin_prints_what_the_formula_gives():
    lines = list(napkin.napkin_lines())
    shown = [float(line.split()[-1]) for line in lines if "temperature" not in line]
    exact = [
        scipy.special.softmax(np.asarray(napkin.LOGITS) / temperature)
        for temperature in napkin.TEMPERATURES
    ]
    np.testing.assert_allclose(shown, np.ravel(exact), atol=5.1e-5)
    top = [row[0] for row in np.reshape(shown, (3, 4))]
    assert top == [0.8282, 0.5745, 0.4056]
    bars = [line.count("#") for line in lines if "temperature" not in line]
    np.testing.assert_allclose(bars, 40 * np.ravel(exact), atol=0.51)


def test_two_temperatures_that_do_not_agree_are_said_so():
    verdict = "\n".join(report.agreement_lines(2.1, 2.0, 0.05))
    assert re.search(r"relative difference +5.0e-02\n", verdict)
    assert re.search(r"verdict at tolerance 0.001 +do not agree\n", verdict)
    assert not report.agree(float("nan"), 2.0)


def test_a_disagreement_is_status_1(tmp_path, monkeypatch, capsys):
    # A job of a few steps learns too little: the verdict and the status say so.
    monkeypatch.setattr(classifier, "STEPS", 20)
    monkeypatch.setattr(fitting, "STEPS", 1)
    assert main(["--out", str(tmp_path), "--seed", "4294967295"]) == 1
    assert "do not agree" in capsys.readouterr().out


def test_seeds_split_differently_and_use_every_row_once():
    first, second = digits.split_digits(0), digits.split_digits(1)
    for data in (first, second):
        pixels = np.concatenate([rows.pixels for rows in data])
        labels = np.concatenate([rows.labels for rows in data])
        assert pixels.shape == (1797, 64)
        assert (pixels.min(), pixels.max()) == (0.0, 1.0)
        np.testing.assert_array_equal(
            np.bincount(labels), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
        )
    assert not np.array_equal(first.train.labels, second.train.labels)
    np.testing.assert_array_equal(first.test.pixels, digits.split_digits(0).test.pixels)


def test_missing_extras_are_named_on_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(
        job, "_NEEDED", {"no_flax": "flax", "sys": "sys", "no_tqdm": "tqdm"}
    )
    monkeypatch.chdir(tmp_path)
    assert main([]) == 1
    assert capsys.readouterr().err == (
        "jaxtemp: the main job needs flax, tqdm, not installed; "
        "run: pip install 'jaxtemp[examples]'\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_is_one_line(monkeypatch, capsys):
    def interrupted(**arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(job, "run_job", interrupted)
    assert main([]) == 130
    assert capsys.readouterr().err == "jaxtemp: interrupted\n"
