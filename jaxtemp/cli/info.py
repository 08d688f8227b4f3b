"""What a bug report needs to say about the installation."""

import importlib.metadata
import platform
from collections.abc import Iterable

import jax

from ..kernels import available

_REQUIRED = ("jaxtemp", "jax", "jaxlib", "numpy")
_EXTRAS = ("flax", "optax", "matplotlib", "scikit-learn", "tqdm")


def run_info() -> int:
    """Prints versions, platform, devices and implementations.

    Returns:
        The exit status, always 0: what does not work is part of the report.
    """
    _print_section("versions", [("python", platform.python_version()), *_versions()])
    _print_section("platform", [("system", platform.platform())])
    _print_section("devices", _devices())
    _print_section("implementations", available().items())
    return 0


def _print_section(title: str, rows: Iterable[tuple[str, str]]) -> None:
    print(title)
    for name, value in rows:
        print(f"  {name:<14} {value}")


def _versions() -> list[tuple[str, str]]:
    return [(name, _version(name)) for name in (*_REQUIRED, *_EXTRAS)]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _devices() -> list[tuple[str, str]]:
    try:
        devices = jax.devices()
    except RuntimeError as error:
        # A broken driver is what the report is for: say why, on one line.
        return [("none", " ".join(str(error).split()))]
    kinds = [(device.platform, device.device_kind) for device in devices]
    return [
        (platform, f"{kinds.count((platform, kind))} x {kind}")
        for platform, kind in dict.fromkeys(kinds)
    ]
