"""The site as built in `site/` (or in `$SITE`), a server for it, and Chromium."""

import os
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from docs.hooks.npm import fetch
from docs.tests.server import serve

ROOT = Path(__file__).parents[2]
SITE = Path(os.environ.get("SITE", ROOT / "site")).resolve()
AXE = "4.14.1"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    *("--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--disable-dev-shm-usage"),
]

# The theme's script begins after the first paint, and leaves this when it has.
READY = "window.document$"


def pytest_configure(config):
    if not (SITE / "index.html").is_file():
        raise pytest.UsageError(f"no site in {SITE}: run `mkdocs build` first")
    if CHROMIUM is None:
        raise pytest.UsageError("no chromium on PATH: `apt-get install chromium`")
    os.environ["CHROME_PATH"] = CHROMIUM


def pytest_generate_tests(metafunc):
    """A test of `address` runs for each page."""
    if "address" in metafunc.fixturenames:
        found = sorted(SITE.rglob("index.html"))
        folders = [path.parent.relative_to(SITE).as_posix() for path in found]
        metafunc.parametrize("address", [f"/{f}/".replace("/./", "/") for f in folders])


@pytest.fixture(scope="session")
def origin():
    with serve(SITE) as address:
        yield address


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, chromium_sandbox=False, args=FLAGS
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe():
    """axe-core as source text; empty without npm."""
    package = fetch("axe-core", AXE)
    return (package / "axe.min.js").read_text("utf-8") if package else ""
