"""Interactive pictures: a figure that a script of `assets/widgets` replaces.

The figure is what is seen without scripts. A page gets the scripts and the style sheet
of the widgets that it holds, and no others.
"""

import json
import re
from html import escape
from pathlib import Path

from blocks import svg
from mkdocs.utils import get_relative_url

FOLDER = Path(__file__).parents[1] / "assets" / "widgets"
WIDGET = re.compile(r'<div class="widget" data-widget="(\w+)"')


def widget(name, description, **start):
    """Closes the current figure and returns it as the picture of a widget.

    Args:
        name: The script's name.
        description: What the picture shows.
        start: What the script starts with, as JSON.
    """
    if not (FOLDER / f"{name}.js").is_file():
        raise ValueError(f"no {name}.js in {FOLDER}")
    data = escape(json.dumps(start, separators=(",", ":")))
    figure = svg(description)
    return (
        f'<div class="widget" data-widget="{name}" data-start="{data}">{figure}</div>'
    )


def on_post_page(output, page, config):
    """Adds what the page's widgets need to its head."""
    names = sorted(set(WIDGET.findall(output)))
    if not names:
        return output
    folder = get_relative_url("assets/widgets/", page.url)
    lines = [f'<link rel="stylesheet" href="{folder}widgets.css">']
    lines += [
        f'<script type="module" src="{folder}{name}.js"></script>' for name in names
    ]
    return output.replace("</head>", "\n".join([*lines, "</head>"]), 1)
