"""Docstrings as the reference shows them: put together, and their examples as code."""

import importlib
import inspect
import re

import griffe

SESSION = re.compile(r"^>>> .*(?:\n(?!\s*$).*)*", re.MULTILINE)


class LiveDocstrings(griffe.Extension):
    """Takes functions' docstrings from the imported package, which completes them.

    Sessions outside of a section get fences, or Markdown takes them for quotations.
    """

    def on_instance(self, *, obj, **_):
        """Changes the docstring before it is parsed; sections are indented and stay."""
        docs = obj.docstring
        if not docs:
            return
        if obj.is_function and obj.parent.is_module:
            live = getattr(importlib.import_module(obj.parent.path), obj.name, None)
            docs.value = inspect.getdoc(live) or docs.value
        docs.value = SESSION.sub(r"```pycon\n\g<0>\n```", docs.value)
