"""What the site shows runs in a process of its own, as a reader would run it."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "use" / "learning.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
(SHELL, INSTALL), (PYTHON, SOURCE), *_ = FENCE.findall(PAGE)


def installed(extra):
    """The distributions of an extra and of those that it includes."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    names = set()
    for requirement in project["optional-dependencies"][extra]:
        inner = re.fullmatch(r"jaxtemp\[(.*)\]", requirement)
        if inner:
            names.update(*(installed(part) for part in inner[1].split(",")))
        else:
            names.add(re.match(r"[\w-]+", requirement)[0])
    return names


def printed_by(script):
    """What a script prints, run without the flags of the tests."""
    return subprocess.run(
        [sys.executable, "-X", "utf8", str(script)],
        env=os.environ | {"XLA_FLAGS": "", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout


def test_the_first_block_installs_what_the_second_imports():
    assert (SHELL, PYTHON) == ("bash", "python")
    imported = set(re.findall(r"^(?:import|from) (\w+)", SOURCE, re.MULTILINE))
    imported = {{"sklearn": "scikit-learn"}.get(name, name) for name in imported}
    (extra,) = re.findall(r'pip install "\.\[(\w+)\]"', INSTALL)
    assert imported - {"jax", "jaxtemp"} <= installed(extra)


def test_the_second_block_runs_as_a_file_and_prints_a_learned_temperature(tmp_path):
    script = tmp_path / "learned.py"
    script.write_text(SOURCE, encoding="utf-8")
    shown = printed_by(script)
    printed = re.findall(r"loss ([\d.]+)  τ = ([\d.]+)$", shown, re.MULTILINE)
    losses, temperatures = zip(*((float(a), float(b)) for a, b in printed), strict=True)
    assert len(printed) == shown.count("\n") == 5
    # Ten cosines at τ = 1: the loss begins near log 10, and cannot fall below
    # log(1 + 9 exp(-10/9)) = 1.38, where all directions are as far apart as they can.
    assert 2 < losses[0] < 3
    assert losses[-1] < 0.1
    assert 0.01 < temperatures[-1] < 0.3


def test_split_over_devices_the_example_prints_what_it_prints_on_one():
    rows, *parts = printed_by(ROOT / "docs/examples/sharded.py").split("== ")[1:]
    assert "travels: []" in rows
    for part in parts:
        lines = part.splitlines()
        (alone,) = [i for i, line in enumerate(lines) if line.startswith("on one")]
        numbers = [re.findall(r"-?\d+(?:\.\d+)?", line) for line in lines]
        assert len(numbers[alone]) >= 8
        np.testing.assert_allclose(
            *np.float64(numbers[alone - 1 : alone + 1]), rtol=1e-4
        )
    exchanged = re.findall(r"f32\[([\d,]+)\]", parts[0])
    assert set(exchanged) == {"4,1"}  # a number for each row of a device
