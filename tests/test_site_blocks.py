"""A reader of the site copies two blocks and has a learned temperature."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

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


def test_the_first_block_installs_what_the_second_imports():
    assert (SHELL, PYTHON) == ("bash", "python")
    imported = set(re.findall(r"^(?:import|from) (\w+)", SOURCE, re.MULTILINE))
    imported = {{"sklearn": "scikit-learn"}.get(name, name) for name in imported}
    (extra,) = re.findall(r'pip install "\.\[(\w+)\]"', INSTALL)
    assert imported - {"jax", "jaxtemp"} <= installed(extra)


def test_the_second_block_runs_as_a_file_and_prints_a_learned_temperature(tmp_path):
    script = tmp_path / "learned.py"
    script.write_text(SOURCE, encoding="utf-8")
    command = [sys.executable, "-X", "utf8", str(script)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    printed = re.findall(r"loss ([\d.]+)  τ = ([\d.]+)$", done.stdout, re.MULTILINE)
    losses, temperatures = zip(*((float(a), float(b)) for a, b in printed), strict=True)
    assert len(printed) == done.stdout.count("\n") == 5
    # Ten cosines at τ = 1: the loss begins near log 10, and cannot fall below
    # log(1 + 9 exp(-10/9)) = 1.38, where all directions are as far apart as they can.
    assert 2 < losses[0] < 3
    assert losses[-1] < 0.1
    assert 0.01 < temperatures[-1] < 0.3
