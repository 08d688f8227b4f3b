"""Packages from npm that the site is built and tested with: pinned, never committed."""

import logging
import shutil
import subprocess
from pathlib import Path

OPTIONS = ["--no-audit", "--no-fund", "--no-save", "--ignore-scripts"]
log = logging.getLogger("mkdocs.hooks.npm")


def fetch(name: str, version: str) -> Path | None:
    """The folder of a package in .cache/, or None and a line that says why."""
    cache = Path(f".cache/{name}-{version}")
    package = cache / "node_modules" / name
    if (package / "package.json").is_file():
        return package
    if not (shutil.which("node") and shutil.which("npm")):
        log.info(f"No Node and npm here, so no {name}.")
        return None
    cache.mkdir(parents=True, exist_ok=True)
    command = ["npm", "install", "--prefix", str(cache), *OPTIONS, f"{name}@{version}"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or ["no message"])[0]
        log.info(f"npm cannot fetch {name}: {reason}")
        return None
    return package
