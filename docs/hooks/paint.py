"""Lets a page show itself before the theme's script begins.

The script reads the whole layout, which takes a phone a second on a page of formulas.
The page is complete without it, but for the palette of a reader who has not chosen one
and for what is hidden where there are no scripts.
"""

import re

from mkdocs.exceptions import PluginError

BUNDLE = re.compile(r'<script src="([^"]*/bundle\.\w+\.min\.js)"></script>')
# A browser that tells no paint gets the script at once. The script waits for an event
# that is over by then, and so is given another.
AFTER_PAINT = r"""<script>
{
  const begin = () => {
    const script = document.createElement("script");
    script.src = "\1";
    const ready = () => document.dispatchEvent(new Event("DOMContentLoaded"));
    script.onload = () => setTimeout(ready);
    document.body.append(script);
  };
  if (!PerformanceObserver.supportedEntryTypes.includes("paint")) begin();
  else new PerformanceObserver((_, painted) => { painted.disconnect(); begin(); })
    .observe({ type: "paint", buffered: true });
}
</script>"""
CHOSEN = re.compile(
    r'(<script>var palette=__md_get\("__palette"\).*?</script>)', re.DOTALL
)
# What the theme's script would do too late, from the options that stand above.
PREFERRED = r"""\1<script>
document.documentElement.className = "js";
if (!palette) {
  const preferred = [...document.querySelectorAll("[data-md-color-media]")]
    .find(({ dataset }) => matchMedia(dataset.mdColorMedia).matches);
  Object.assign(document.body.dataset, preferred?.dataset);
}
</script>"""


def on_post_page(output, page, **_):
    """Of a page."""
    return _ready(output, page.file.src_uri)


def on_post_template(output_content, template_name, **_):
    """Of the page that is shown for a missing one."""
    if template_name != "404.html":
        return output_content
    return _ready(output_content, template_name)


def _ready(output, name):
    for script, instead in ((BUNDLE, AFTER_PAINT), (CHOSEN, PREFERRED)):
        output, found = script.subn(instead, output)
        if found != 1:
            raise PluginError(f"{name}: {found} of one script of the theme: {script}")
    return output
