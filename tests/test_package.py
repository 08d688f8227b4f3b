"""The package as installed: what importing it costs, brings in and exposes."""

import importlib.metadata
import importlib.resources
import inspect
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import jaxtemp
from docs.hooks.names import MODULES, public_names

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
IMPORT_LIMIT = 0.050  # seconds over `import jax`
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PAGES += sorted((ROOT / "docs").rglob("*.md"))


def in_fresh_python(code, path=ROOT):
    """What the code prints in an interpreter of its own."""
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(path), str(ROOT)])},
    ).stdout.strip()


def imports_in_time(module, runs, path=ROOT):
    """Whether one of some runs imports the module in time once JAX is there.

    One is enough, and processor time is counted: a busy machine only slows a run down.
    """
    code = (
        "import time, jax; start = time.process_time();"
        f"import {module}; print(time.process_time() - start)"
    )
    seconds = (float(in_fresh_python(code, path)) for _ in range(runs))
    return any(s <= IMPORT_LIMIT for s in seconds)


def _explained_elsewhere(docs):
    """Whether a one-line docstring ends in the name of the function to read about."""
    found = re.fullmatch(r".*: `(\w+)\.(\w+)`\.", docs)
    return found and hasattr(getattr(jaxtemp.sampling, found[1]), found[2])


def test_import_adds_little_to_importing_jax():
    assert imports_in_time("jaxtemp", runs=5)


def test_the_measurement_sees_a_slow_import(tmp_path):
    slow = f"while time.process_time() < start + {IMPORT_LIMIT}: pass"
    slow = f"import time; start = time.process_time()\n{slow}\nimport jaxtemp\n"
    (tmp_path / "slow_jaxtemp.py").write_text(slow)
    assert not imports_in_time("slow_jaxtemp", runs=3, path=tmp_path)


def test_import_brings_in_no_optional_package():
    extras = {"flax", "optax", "matplotlib", "sklearn", "tqdm", "mpmath"}
    loaded = in_fresh_python("import jaxtemp, sys; print(*sys.modules)").split()
    assert "jaxtemp" in loaded
    assert not extras & set(loaded)


def test_jax_is_the_only_dependency():
    names = {re.match(r"[\w-]+", line)[0] for line in PROJECT["dependencies"]}
    assert names == {"jax", "jaxlib"}


def test_the_version_is_that_of_the_distribution():
    assert jaxtemp.__version__ == importlib.metadata.version("jaxtemp")
    assert jaxtemp.__version__ == PROJECT["version"]
    assert f"version: {PROJECT['version']}" in (ROOT / "CITATION.cff").read_text()


def test_type_hints_are_published():
    assert importlib.resources.files("jaxtemp").joinpath("py.typed").is_file()


def test_the_changelog_starts_with_what_is_unreleased():
    headings = re.findall(r"^## (.*)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert headings[0] == "Unreleased"


@pytest.mark.parametrize(
    "value", [pytest.param(found.value, id=found.path) for found in public_names()]
)
def test_a_public_name_is_explained(value):
    docs = inspect.getdoc(value) or ""
    assert docs.splitlines()[0].endswith(".")
    # Not every class is there to be called, and a step is explained by its function.
    wanted = [">>> ", *(["\nArgs:\n"] if inspect.signature(value).parameters else [])]
    missing = [part for part in wanted if part not in docs]
    assert inspect.isclass(value) or _explained_elsewhere(docs) or not missing
    assert not re.search(r"^\s*\{\w+\}$", docs, re.MULTILINE)


def test_the_reference_has_every_public_module():
    """Those that a package shows; what is in them becomes its pages by itself."""
    undivided = {"jaxtemp.boltzmann", "jaxtemp.sparse", "jaxtemp.random.concrete"}
    undivided |= {"jaxtemp.calibration.metrics"}
    found = {
        info.name
        for info in pkgutil.walk_packages(jaxtemp.__path__, "jaxtemp.")
        if not any(part.startswith("_") for part in info.name.split("."))
        and not info.name.startswith(("jaxtemp.cli", "jaxtemp.kernels."))
    }
    assert found | {"jaxtemp"} == set(MODULES) | undivided


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page):
    code = re.compile(r"^```.*?^```|`[^`\n]*`", re.DOTALL | re.MULTILINE)
    prose = code.sub("", page.read_text("utf-8"))
    targets = re.findall(r"\]\(([^)\s]+)\)", prose)
    relative = [t.split("#")[0] for t in targets if not re.match(r"[a-z]+:|#", t)]
    assert not [t for t in relative if not (page.parent / t).exists()]
