"""Lighthouse, as a slow phone sees the home page, a derivation and a reference page."""

import json
import subprocess

import pytest

from docs.hooks.npm import fetch
from docs.tests.conftest import FLAGS

VERSION = "12.8.2"  # the newest that runs on Node 20
FLOORS = {"performance": 95, "accessibility": 100, "best-practices": 100, "seo": 100}
RUNS = 5  # a busy machine only lowers the score of performance: the best of them counts


@pytest.fixture(scope="module")
def lighthouse():
    package = fetch("lighthouse", VERSION)
    if package is None:
        pytest.skip("Lighthouse comes from npm, which is not here")
    return package / "cli" / "index.js"


def scores(lighthouse, url):
    """The scores of one run, and what took points away."""
    flags = " ".join(["--headless=new", "--no-sandbox", *FLAGS])
    command = ["node", str(lighthouse), url, "--quiet", "--output=json"]
    command += [f"--only-categories={','.join(FLOORS)}", f"--chrome-flags={flags}"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    found = {name: round(100 * report["categories"][name]["score"]) for name in FLOORS}
    audits = report["audits"].values()
    lost = {a["title"]: a.get("displayValue", "") for a in audits if a["score"] == 0}
    return found, lost


@pytest.mark.parametrize("path", ["/", "/learn/boltzmann/", "/reference/softmax/"])
def test_scores(lighthouse, origin, path):
    for _ in range(RUNS):
        found, lost = scores(lighthouse, origin + path)
        low = {name: score for name, score in found.items() if score < FLOORS[name]}
        if set(low) != {"performance"}:
            break
    assert low == {}, lost
