"""The public names of the package, each once, under the path a user would write."""

import importlib
from collections.abc import Iterator
from typing import NamedTuple

# The modules that the reference is divided into, in its order. A name that two of them
# show is the first one's.
MODULES = (
    "jaxtemp",
    "jaxtemp.random",
    "jaxtemp.random.estimators",
    "jaxtemp.sampling",
    "jaxtemp.sampling.filters",
    "jaxtemp.sampling.penalties",
    "jaxtemp.sampling.steps",
    "jaxtemp.sampling.presets",
    "jaxtemp.sampling.beam",
    "jaxtemp.sampling.speculative",
    "jaxtemp.losses",
    "jaxtemp.learning",
    "jaxtemp.learning.nnx",
    "jaxtemp.learning.linen",
    "jaxtemp.learning.schedules",
    "jaxtemp.calibration",
    "jaxtemp.policies",
    "jaxtemp.plot",
    "jaxtemp.kernels",
)


class Name(NamedTuple):
    """A function or class that a user may call."""

    module: str
    name: str
    value: object

    @property
    def path(self) -> str:
        """What a user writes."""
        return f"{self.module}.{self.name}"


def shown(path: str) -> list[Name]:
    """What a module shows, functions first, with what is imported on demand."""
    module = importlib.import_module(path)
    is_package = hasattr(module, "__path__")

    def is_own(value) -> bool:
        # A package shows what its modules define, a module what is its own.
        home = str(getattr(value, "__module__", ""))
        return home.startswith("jaxtemp") if is_package else home == path

    names = [name for name in dir(module) if not name.startswith("_")]
    names.sort(key=lambda name: (name[0].isupper(), name))
    found = [Name(path, name, getattr(module, name)) for name in names]
    return [one for one in found if callable(one.value) and is_own(one.value)]


def public_names() -> Iterator[Name]:
    """Every public name once."""
    seen = set()
    for module in MODULES:
        for found in shown(module):
            if id(found.value) not in seen:
                seen.add(id(found.value))
                yield found
