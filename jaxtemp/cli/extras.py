"""What a command needs beside JAX."""

import importlib.util
from collections.abc import Mapping

from .errors import CommandError


def check_extras(needed: Mapping[str, str], user: str, extra: str) -> None:
    """Goes on only if every package can be imported.

    Args:
        needed: what is imported, and the name that pip knows it by.
        user: the command that needs them.
        extra: the extra of `jaxtemp` that contains them.

    Raises:
        CommandError: if one is missing.

    >>> check_extras({"json": "json"}, "the test", "test")
    """
    missing = [
        package
        for module, package in needed.items()
        if importlib.util.find_spec(module) is None
    ]
    if missing:
        raise CommandError(
            f"{user} needs {', '.join(missing)}, not installed; "
            f"run: pip install 'jaxtemp[{extra}]'"
        )
