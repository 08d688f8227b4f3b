"""The command line's words, and the one line for each that is wrong."""

import subprocess
import sys
from pathlib import Path

import pytest

from jaxtemp.cli.arguments import parse


def run(*words, cwd, **environment):
    return subprocess.run(
        [sys.executable, "-m", "jaxtemp", *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment or None,
        check=False,
    )


def test_defaults_and_values():
    arguments = parse([])
    assert (arguments.command, arguments.seed, arguments.out) == (None, None, None)
    arguments = parse(["--seed", "4294967295", "--out", "a/b"])
    assert (arguments.seed, arguments.out) == (2**32 - 1, Path("a/b"))
    assert parse(["info"]).command == "info"
    arguments = parse(["calibrate", "z.npy", "y.npy"])
    assert arguments.files == [Path("z.npy"), Path("y.npy")]
    assert (arguments.command, arguments.seed, arguments.out) == (
        "calibrate",
        None,
        None,
    )


@pytest.mark.parametrize(
    "words",
    [
        ["--seed", "5", "--out", "o", "calibrate", "a.npz"],
        ["calibrate", "a.npz", "--seed", "5", "--out", "o"],
        ["--seed", "4", "calibrate", "--seed", "5", "a.npz", "--out", "o"],
    ],
)
def test_options_may_stand_before_or_after_the_command(words):
    arguments = parse(words)
    assert (arguments.seed, arguments.out) == (5, Path("o"))


def test_help_says_what_it_does_and_needs(tmp_path):
    done = run("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr == ""
    for words in (
        "--seed N",
        "--out DIR",
        "info",
        "calibrate",
        "Exit status",
        "jaxtemp[examples]",
    ):
        assert words in done.stdout
    assert all(len(line) <= 88 for line in done.stdout.splitlines())
    assert list(tmp_path.iterdir()) == []


WRONG = [
    (["--seed", "-1"], "argument --seed: must be an integer from 0 to 4294967295, got"),
    (["--seed", "x"], "argument --seed: must be an integer from 0 to 4294967295, got"),
    (["--seed", "1.5"], "got '1.5'; pass for example --seed 0"),
    (["--seed", "4294967296"], "got '4294967296'; pass for example --seed 0"),
    (["--seed"], "argument --seed: expected one argument"),
    (["--out", ""], "argument --out: must name a folder, got ''; pass for example"),
    (["--se=1"], "unrecognized arguments: --se=1"),
    (["--verbose"], "unrecognized arguments: --verbose"),
    (["inform"], "argument COMMAND: invalid choice: 'inform'"),
    (["--seed", "1", "info"], "argument --seed: not allowed with info; leave it out"),
    (["--out", "a", "info"], "argument --out: not allowed with info; leave it out"),
    (["calibrate"], "the following arguments are required: FILE"),
    (["calibrate", "a", "b", "c"], "argument FILE: expected one or two, got 3; pass"),
    (["calibrate", ""], "argument FILE: must name a file, got ''; pass for example"),
    (["calibrate", "a", "--seed", "x"], "got 'x'; pass for example --seed 0"),
    (["info", "--all"], "unrecognized arguments: --all"),
]


@pytest.mark.parametrize(("words", "message"), WRONG)
def test_a_wrong_argument_gets_one_line_and_status_2(words, message, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(words)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("jaxtemp: ")
    assert err.endswith("; see python -m jaxtemp --help\n")
    assert message in err


def test_status_2_reaches_the_shell(tmp_path):
    done = run("--seed", "-1", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
