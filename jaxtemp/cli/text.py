"""How reports are set: a heading, an empty line, lines of text."""

from collections.abc import Iterable


def print_heading(text: str) -> None:
    """Prints a heading between two empty lines."""
    print(f"\n{text}\n")


def print_lines(lines: Iterable[str]) -> None:
    """Prints lines as they come."""
    for line in lines:
        print(line)
