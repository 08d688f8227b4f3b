"""Python blocks of the site: each one runs at every build, and figures become SVG."""

import io
import re
import sys
from itertools import count
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
from mkdocs.exceptions import PluginError

INK = "#123457"  # stands for the page's text colour until the SVG is written
SERIES = ["#3b82c4", "#d9722e", "#2e9e6b", "#b05cc4"]  # readable on white and on black
NOT_RUN = re.compile(r"^ *(```|~~~) *(py|python|python3)\b(?!.*\bexec=)", re.MULTILINE)
STYLE = {
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.prop_cycle": mpl.cycler(color=SERIES),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": "medium",
    "figure.constrained_layout.use": True,
    "figure.facecolor": "none",
    "figure.figsize": (7.0, 3.2),
    "font.size": 11,
    "grid.alpha": 0.2,
    "grid.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 2,
    "patch.edgecolor": "none",
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
_number = count()


def on_config(config):
    """Sets the style of the figures and lets blocks import this module."""
    mpl.use("agg")
    mpl.rcParams.update(STYLE)
    sys.path.insert(0, str(Path(__file__).parent))
    return config


def on_page_markdown(markdown, page, **_):
    """Refuses a Python block that would only be shown."""
    if match := NOT_RUN.search(markdown):
        line = markdown.count("\n", 0, match.start()) + 1
        raise PluginError(f'{page.file.src_uri}:{line}: Python without exec="on"')


def svg(description):
    """Closes the current figure and returns it as SVG in the page's colours."""
    file = io.StringIO()
    name = f"figure{next(_number)}"
    with mpl.rc_context({"svg.hashsalt": name}):
        plt.savefig(file, format="svg", metadata={"Date": None})
    plt.close()
    text = file.getvalue()[file.getvalue().index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"font-family: [^;\"]*", "font-family: inherit", text)
    text = text.replace(INK, "currentColor").replace('id="', f'id="{name}-')
    text = text.replace("url(#", f"url(#{name}-").replace('href="#', f'href="#{name}-')
    text = text.replace("<svg ", f'<svg role="img" aria-label="{description}" ', 1)
    return f'<figure class="plot" data-search-exclude>{text}</figure>'
