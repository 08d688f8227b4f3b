"""The machine, the software and the code that a result was measured with."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

_ROOT = Path(__file__).resolve().parent.parent
_TELLING = ("JAX_", "XLA_", "MALLOC_", "GLIBC_", "OMP_", "LD_PRELOAD")


def device_facts(device: Any) -> dict[str, Any]:
    """Platform and chip; a CPU's chip is the processor's own name."""
    on_cpu = device.platform == "cpu"
    return {
        "platform": device.platform,
        "chip": cpu_model() if on_cpu else device.device_kind,
        "count": len(jax.devices(device.platform)),
    }


def machine_facts() -> dict[str, Any]:
    """Processor, usable cores, memory, system, and load before the run."""
    return {
        "cpu": cpu_model(),
        "cores": _cores(),
        "memory_bytes": _memory_bytes(),
        "os": _system(),
        "load_1min": _load(),
        "environment": {
            key: value
            for key, value in sorted(os.environ.items())
            if key.startswith(_TELLING)
        },
    }


def versions() -> dict[str, Any]:
    """Versions of everything timed, and the commit of the code; None if absent."""
    packages = ("jax", "jaxlib", "numpy", "torch", "jaxtemp")
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in packages},
        "commit": _git("rev-parse", "HEAD"),
        "dirty": _dirty(),
    }


def cpu_model() -> str:
    """The processor's name, without trademarks and clock."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            name = value.replace("(R)", "").replace("(TM)", "").partition("@")[0]
            return " ".join(name.split())
    return platform.processor() or platform.machine()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _system() -> str:
    release = re.sub(r"[^\d.].*", "", platform.release())  # without a builder's suffix
    kernel = f"{platform.system()} {release} {platform.machine()}"
    try:
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {kernel}"
    except (OSError, KeyError):
        return kernel


def _load() -> float | None:
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _dirty() -> bool | None:
    # Results of the same run are no change of the code.
    found = _git("status", "--porcelain", "--", ".", ":!bench/results")
    return None if found is None else found != ""


def _git(*args: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(_ROOT), *args],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
