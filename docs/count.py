"""Counts what the built site holds: `python docs/count.py`, after `mkdocs build`.

Exits with 1 if a public name of the package has no page.
"""

import re
import sys
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from docs.hooks.names import public_names  # noqa: E402  (found through the line above)

SITE = ROOT / "site"
BLOCK = re.compile(r'^ *(?:```|~~~) *python\b.*\bexec="on"', re.MULTILINE)
FORMULA = re.compile(r'<(?:span|div) class="arithmatex"')
WIDGET = re.compile(r'<div class="widget" data-widget=')


def inventory(site: Path) -> dict[str, str]:
    """The documented names, and the address of each in the site."""
    content = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    lines = zlib.decompress(content).decode("utf-8").splitlines()
    entries = [line.split(maxsplit=4) for line in lines]
    return {name: uri.replace("$", name) for name, _, _, uri, _ in entries}


def without_page(site: Path) -> list[str]:
    """The public names that no page of the site has an anchor for."""
    places = inventory(site)
    return [
        found.path for found in public_names() if not _is_there(found, places, site)
    ]


def _is_there(found, places, site):
    address, _, anchor = places.get(found.path, "").partition("#")
    page = site / address / "index.html"
    return bool(anchor) and f'id="{anchor}"' in page.read_text("utf-8")


def counts(site: Path) -> dict[str, int]:
    """What there is to count, by its name."""
    pages = [path.read_text("utf-8") for path in site.rglob("index.html")]
    sources = [path.read_text("utf-8") for path in (ROOT / "docs").rglob("*.md")]
    return {
        "pages": len(pages),
        "executed blocks": sum(len(BLOCK.findall(text)) for text in sources),
        "formulas": sum(len(FORMULA.findall(text)) for text in pages),
        "widgets": sum(len(WIDGET.findall(text)) for text in pages),
        "public names": len(list(public_names())),
    }


def main() -> int:
    for name, count in counts(SITE).items():
        print(f"{count:6} {name}")
    missing = without_page(SITE)
    print(f"{len(missing):6} public names without a page", *missing)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
