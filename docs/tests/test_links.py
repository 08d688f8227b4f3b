"""Every link and anchor within the site, from its HTML alone."""

from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from docs.tests.conftest import SITE

ATTRIBUTES = ("href", "src", "poster", "data")


class _Parsed(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.links, self.anchors = set(), {"", "__skip"}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.anchors |= {attributes.get("id"), attributes.get("name")}
        self.links |= {attributes[key] for key in ATTRIBUTES if attributes.get(key)}


@cache
def parsed(path: Path) -> _Parsed:
    return _Parsed(path.read_text("utf-8"))


def broken(page: Path) -> list[str]:
    """The links of a page that lead nowhere in the site."""
    here = f"/{page.relative_to(SITE).as_posix()}"
    found = []
    for link in sorted(parsed(page).links):
        target, fragment = urldefrag(urljoin(here, link))
        if urlsplit(target).scheme or target.startswith("//"):
            continue
        path = SITE / unquote(target.split("?")[0]).lstrip("/")
        path = path / "index.html" if path.is_dir() else path
        if not path.is_file() or (
            path.suffix == ".html" and unquote(fragment) not in parsed(path).anchors
        ):
            found.append(link)
    return found


def test_no_link_is_broken():
    pages = sorted(SITE.rglob("*.html"))
    assert len(pages) > 3
    wrong = {str(page.relative_to(SITE)): broken(page) for page in pages}
    assert {page: links for page, links in wrong.items() if links} == {}


def test_a_broken_link_is_seen():
    page = SITE / "index.html"
    before = set(parsed(page).links)
    assert not broken(page)
    parsed(page).links |= {"no-such-page/", "#no-such-anchor", "assets/nothing.css"}
    assert broken(page) == ["#no-such-anchor", "assets/nothing.css", "no-such-page/"]
    parsed(page).links = before
