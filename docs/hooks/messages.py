"""Finds every error message of the library in its source, for the page of errors."""

import ast
import importlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from jaxtemp._checks import Rule

PACKAGE = Path(__file__).parents[2] / "jaxtemp"
HOLE = "…"  # stands for what a message fills in


class Message(NamedTuple):
    """A message as it is written, with holes, and where it comes from."""

    area: str
    error: str
    rule: str
    fix: str


class Limit(NamedTuple):
    """A parameter, what it must be and what to do where it is not."""

    area: str
    name: str
    rule: str
    fix: str


def messages() -> list[Message]:
    """Every message that is raised, sorted."""
    found = set()
    for path, module in _modules():
        functions = {
            node.name: node
            for node in ast.walk(module)
            if isinstance(node, ast.FunctionDef)
        }
        for function in functions.values():
            for error, value in _raised(function):
                for text in _texts(value, function, functions):
                    rule, _, fix = text.partition("; ")
                    found.add(Message(_area(path), error, rule, fix))
    return sorted(found)


def limits() -> list[Limit]:
    """Every parameter with a range, sorted."""
    found = set()
    for path, module in _modules():
        calls = [node for node in ast.walk(module) if isinstance(node, ast.Call)]
        for call in calls:
            if not (call.args and isinstance(call.args[0], ast.Constant)):
                continue
            for argument in call.args[1:]:
                rule = _value(argument, path)
                if isinstance(rule, Rule):
                    name = call.args[0].value
                    found.add(Limit(_area(path), name, str(rule), rule.fix))
    return sorted(found)


def _modules() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path, ast.parse(path.read_text("utf-8"))


def _area(path: Path) -> str:
    """The public module that a file belongs to; none for what all of them share."""
    first = path.relative_to(PACKAGE).parts[0]
    return "" if first.startswith("_") else first.removesuffix(".py")


def _value(node: ast.expr, path: Path):
    """What a name stands for in its module."""
    if not isinstance(node, ast.Name | ast.Attribute):
        return None
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    value = importlib.import_module(".".join(parts).removesuffix(".__init__"))
    for part in ast.unparse(node).split("."):
        value = getattr(value, part, None)
    return value


def _raised(function: ast.FunctionDef) -> Iterator[tuple[str, ast.expr]]:
    """Errors and their texts: raised, made to be raised, or of a traced value."""
    for node in ast.walk(function):
        call = getattr(node, "exc", None) or getattr(node, "value", None)
        if isinstance(call, ast.Call) and call.args:
            name = ast.unparse(call.func).split(".")[-1]
            if name == "debug_check":
                yield "JaxRuntimeError", call.args[1]
            elif name.endswith("Error"):
                yield name, call.args[0]


def _texts(node: ast.expr, function: ast.FunctionDef, functions: dict) -> list[str]:
    """What an expression may say, with holes."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.JoinedStr):
        parts = (
            str(part.value) if isinstance(part, ast.Constant) else HOLE
            for part in node.values
        )
        return ["".join(parts)]
    if isinstance(node, ast.BinOp):
        sides = (_texts(side, function, functions) for side in (node.left, node.right))
        return ["".join(pair) for pair in itertools.product(*sides)]
    if isinstance(node, ast.Name):
        return [
            text
            for assigned in ast.walk(function)
            if isinstance(assigned, ast.Assign)
            and ast.unparse(assigned.targets[0]) == node.id
            for text in _texts(assigned.value, function, functions)
        ] or [HOLE]
    if isinstance(node, ast.Call) and ast.unparse(node.func) in functions:
        made = functions[ast.unparse(node.func)]
        return [
            text
            for returned in ast.walk(made)
            if isinstance(returned, ast.Return)
            for text in _texts(returned.value, made, functions)
        ]
    return [HOLE]
