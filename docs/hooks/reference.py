"""The reference: one page a public name and one a module, all from the docstrings."""

import importlib
import inspect

from mkdocs.structure.files import File
from names import MODULES, public_names, shown

# Modules whose names are another's, and whose docstrings belong to its page.
ALSO = {"jaxtemp": ["jaxtemp.sparse"], "jaxtemp.random": ["jaxtemp.random.concrete"]}
USED_IN = {
    "jaxtemp": "learn/boltzmann.md",
    "jaxtemp.random": "use/gumbel-softmax.md",
    "jaxtemp.random.estimators": "use/estimators.md",
    "jaxtemp.sampling": "use/sampling.md",
    "jaxtemp.sampling.beam": "use/generation.md",
    "jaxtemp.losses": "use/losses.md",
    "jaxtemp.learning": "use/learning.md",
    "jaxtemp.learning.schedules": "use/annealing.md",
    "jaxtemp.calibration": "use/calibration.md",
    "jaxtemp.policies": "use/reinforcement.md",
    "jaxtemp.kernels": "use/accelerators.md",
}


def on_config(config):
    """Puts the modules and their names into the navigation, behind the overview."""
    reference = next(entry["Reference"] for entry in config.nav if "Reference" in entry)
    reference[1:1] = [
        {_title(module): [_module_uri(module), *names]}
        for module, names in _pages_of_modules().items()
    ]
    return config


def on_files(files, config):
    """Adds the pages."""
    names = list(public_names())
    homes = {id(found.value): found for found in names}
    pages = {_module_uri(module): _module_page(module, homes) for module in MODULES}
    pages |= {_uri(found): _name_page(found) for found in names}
    for uri, content in pages.items():
        files.append(File.generated(config, uri, content=content))
    return files


def _pages_of_modules() -> dict[str, list[dict[str, str]]]:
    pages = {module: [] for module in MODULES}
    for found in public_names():
        pages[found.module].append({found.name: _uri(found)})
    return pages


def _title(module: str) -> str:
    return module.removeprefix("jaxtemp.")


def _folder(module: str) -> str:
    # The package's own page is beside those of its names, not above the overview.
    return "/".join(["reference", *module.split(".")[1:]])


def _module_uri(module: str) -> str:
    name = "jaxtemp.md" if module == "jaxtemp" else "index.md"
    return f"{_folder(module)}/{name}"


def _uri(found) -> str:
    return f"{_folder(found.module)}/{found.name}.md"


def _summary(value) -> str:
    """The first sentence of a docstring, on one line."""
    return " ".join(inspect.getdoc(value).split("\n\n")[0].split())


def _page(title: str, description: str, *parts: str) -> str:
    # Who searches for a name wants its page, before all that mention it.
    head = (
        f'---\ntitle: "{title}"\ndescription: "{_plain(description)}"\n'
        "search: { boost: 4 }\n---"
    )
    return "\n\n".join([head, *parts, ""])


def _plain(text: str) -> str:
    return text.replace("`", "").replace('"', "'").replace("\\", "")


def _name_page(found) -> str:
    return _page(found.name, _summary(found.value), f"::: {found.path}")


def _module_page(module: str, homes: dict) -> str:
    levels = {module: 1} | dict.fromkeys(ALSO.get(module, []), 2)
    docs = [
        f"::: {path}\n    options: {{ members: false, heading_level: {level} }}"
        for path, level in levels.items()
    ]
    rows = [
        f"| [`{found.name}`][{homes[id(found.value)].path}] | {_summary(found.value)} |"
        for found in shown(module)
    ]
    table = "\n".join(["| name | what it is |", "|---|---|", *rows])
    summary = _summary(importlib.import_module(module))
    used = USED_IN.get(module)
    up = "../" * _module_uri(module).count("/")
    link = f"See them [at work]({up}{used})." if used else ""
    return _page(module, summary, docs[0], table, link, *docs[1:])
