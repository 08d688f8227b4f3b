"""What the theme and Markdown leave without a name or a role for assistive software."""

import re

EMPTY_HEADER = re.compile(r"<th([^>]*)></th>")
# A section with a page of its own is labelled by a label that has no text.
UNNAMED = re.compile(
    r'aria-labelledby="__nav_[\d_]+_label"( aria-expanded="\w+">\s*<label '
    r'class="md-nav__title" for="\w+">\s*<span class="md-nav__icon md-icon"></span>\s*)'
    r"([^<]*?)(\s*</label>)"
)
SEARCH = 'data-md-component="search" role="dialog"'


def on_page_content(html, **_):
    """Makes the empty corner of a table a cell, for it is no header of anything."""
    return EMPTY_HEADER.sub(r"<td\1></td>", html)


def on_post_template(output_content, template_name, **_):
    """Names the parts of the page that is shown for a missing one."""
    return _named(output_content) if template_name == "404.html" else output_content


def on_post_page(output, **_):
    """Names the search dialog and the sections of the navigation."""
    return _named(output)


def _named(page):
    page = page.replace(SEARCH, f'{SEARCH} aria-label="Search"')
    return UNNAMED.sub(r'aria-label="\2"\1\2\3', page)
