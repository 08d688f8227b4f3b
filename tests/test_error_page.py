"""The page of errors finds each message that a test has pinned."""

import importlib
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TABLES = ["tests.test_checks"]
TABLES += [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "tests").rglob("test_*messages.py"))
]


@pytest.fixture(scope="module")
def hook():
    path = ROOT / "docs" / "hooks" / "messages.py"
    spec = importlib.util.spec_from_file_location("messages_hook", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pinned(value):
    """The messages in a table of a test: texts that name an argument and a fix."""
    if isinstance(value, str):
        if value.startswith("`") and "; " in value:
            yield value
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from pinned(part)


@pytest.mark.parametrize("module", TABLES)
def test_every_pinned_message_is_on_the_page(hook, module):
    written = [
        re.escape(f"{one.rule}; {one.fix}").replace(hook.HOLE, ".*")
        for one in hook.messages()
    ]
    any_of_them = re.compile("|".join(written), re.DOTALL)
    texts = list(pinned(vars(importlib.import_module(module))))
    assert texts
    assert not [text for text in texts if not any_of_them.fullmatch(text)]


def test_a_range_on_the_page_is_the_one_in_the_message(hook):
    found = {(one.name, one.rule, one.fix) for one in hook.limits()}
    fix = "pass 0 for the most likely class, inf for all alike"
    assert ("temperature", "in [0, inf]", fix) in found
    assert (
        "h",
        "in [0, 1]",
        "pass the share of the entropy to keep, 1 for all tokens",
    ) in found
