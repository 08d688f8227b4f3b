"""What the pictures of the page have in common: their place, marks and tables."""

from html import escape

import matplotlib as mpl

MARKERS = "oD^s"
SMALL = {
    "font.size": 9,
    "legend.columnspacing": 1,
    "legend.handlelength": 1.8,
    "lines.linewidth": 1.5,
    "lines.markersize": 5,
}
WIDTH = 3.6  # inches, of a phone


def side_by_side(figures):
    """Figures made small, beside each other where there is room for two."""
    with mpl.rc_context(SMALL):
        found = "".join(figures)
    return f'<div class="plots">{found}</div>' if found else ""


def table(title, head, rows):
    """A table behind its title, as HTML; the first cell of a row is its header."""
    ths = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    trs = []
    for first, *cells in rows:
        tds = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        trs.append(f'<tr><th scope="row">{escape(first)}</th>{tds}</tr>')
    return (
        f"<details><summary>Table of {escape(title)}</summary><table>"
        f"<thead><tr>{ths}</tr></thead><tbody>{''.join(trs)}</tbody></table></details>"
    )
