"""Renders the site's formulas to HTML and MathML at build time, with KaTeX.

KaTeX comes from its npm package, pinned below. A formula that KaTeX refuses fails the
build. Without Node and npm the formulas stay as TeX.
"""

import html
import json
import logging
import re
import subprocess

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File
from mkdocs.utils import get_relative_url
from npm import fetch

VERSION = "0.19.1"
FOLDER = "assets/katex/"
# Loaded before the text is laid out, or lines would move when they arrive.
FONTS = ("KaTeX_Main-Regular", "KaTeX_Math-Italic")
FORMULA = re.compile(r'<(span|div) class="arithmatex">(.*?)</\1>', re.DOTALL)
RENDER = """
const katex = require(process.argv[1]);
const formulas = JSON.parse(require("fs").readFileSync(0, "utf8"));
const options = { throwOnError: true, strict: "error" };
console.log(JSON.stringify(formulas.map(({ tex, displayMode }) => {
  try { return { html: katex.renderToString(tex, { ...options, displayMode }) }; }
  catch (error) { return { error: error.message }; }
})));
"""
log = logging.getLogger("mkdocs.hooks.katex")


def on_config(config):
    """Fetches KaTeX."""
    package = fetch("katex", VERSION)
    config.extra["katex"] = package and package / "dist"
    if not package:
        log.info("The formulas stay as TeX.")
    return config


def on_files(files, config):
    """Adds the style sheet and the fonts that browsers load from it."""
    if dist := config.extra["katex"]:
        for path in [dist / "katex.min.css", *sorted(dist.glob("fonts/*.woff2"))]:
            uri = FOLDER + path.relative_to(dist).as_posix()
            files.append(File.generated(config, uri, abs_src_path=str(path.resolve())))
    return files


def on_post_page(output, page, config):
    """Replaces TeX in the finished page; the search index has read its TeX before."""
    found = [(tag, html.unescape(tex)) for tag, tex in FORMULA.findall(output)]
    if not (found and config.extra["katex"]):
        return output
    # Arithmatex leaves \( inline \) and \[ display \].
    formulas = [
        {"tex": tex.strip()[2:-2], "displayMode": tag == "div"} for tag, tex in found
    ]
    process = subprocess.run(
        ["node", "-e", RENDER, str((config.extra["katex"] / "katex.min.js").resolve())],
        input=json.dumps(formulas),
        capture_output=True,
        text=True,
    )
    if process.returncode:
        raise PluginError(f"KaTeX failed on {page.file.src_uri}: {process.stderr}")
    rendered = json.loads(process.stdout)
    for formula, result in zip(formulas, rendered, strict=True):
        if "error" in result:
            raise PluginError(
                f"{page.file.src_uri}: {result['error']} in {formula['tex']}"
            )
    pieces = iter(rendered)
    output = FORMULA.sub(
        lambda match: (
            f'<{match[1]} class="arithmatex">{next(pieces)["html"]}</{match[1]}>'
        ),
        output,
    )
    return output.replace("</head>", f"{_links(page)}</head>", 1)


def _links(page) -> str:
    """What a page with formulas loads."""
    folder = get_relative_url(FOLDER, page.url)
    preload = '<link rel="preload" as="font" crossorigin'
    fonts = [f'{preload} href="{folder}fonts/{font}.woff2">' for font in FONTS]
    return "\n".join(
        [*fonts, f'<link rel="stylesheet" href="{folder}katex.min.css">', ""]
    )
