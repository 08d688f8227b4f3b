"""Every page in a browser: in both palettes, on a phone and on a desk."""

import json

import pytest

from docs.tests.conftest import READY

SCHEMES = {"light": "default", "dark": "slate"}
PHONE, DESK = 390, 1280
ALTERNATIVES = """() => [
  ...document.querySelectorAll("img, svg[role=img], figure")
].filter((node) => node.matches("figure")
    ? !node.querySelector("img[alt], [role=img][aria-label], figcaption")
    : !(node.getAttribute("alt") ?? node.getAttribute("aria-label"))
).map((node) => node.outerHTML.slice(0, 200))"""
# When nothing moves any more, as side bars slide when the window widens. What moves
# where nothing is laid out never ends.
WIDE = """async () => {
  const ends = document.getAnimations().map((moving) => moving.finished);
  const second = new Promise((resolve) => setTimeout(resolve, 1000));
  await Promise.race([Promise.allSettled(ends), second]);
  const limit = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= limit) return [];
  return [...document.querySelectorAll(".md-content *")]
    .filter((node) => node.getBoundingClientRect().right > limit)
    .map((node) => node.outerHTML.slice(0, 120)).slice(0, 3)
    .concat("wider than the page");
}"""
# Also of what is laid out only when it comes into view.
VIOLATIONS = """async () => {
  const all = new CSSStyleSheet();
  all.replaceSync("* { content-visibility: visible !important }");
  document.adoptedStyleSheets.push(all);
  const frame = () => new Promise(requestAnimationFrame);
  await frame().then(frame);
  const found = await axe.run(document, { resultTypes: ["violations"] });
  return found.violations.map(({ id, help, nodes }) =>
    ({ id, help, nodes: nodes.slice(0, 3).map((node) => node.html.slice(0, 200)) }));
}"""


class Tab:
    """A browser tab of one palette that notes what goes wrong in it."""

    def __init__(self, browser, origin, scheme):
        self.origin, self.wrong = origin, []
        context = browser.new_context(color_scheme=scheme)
        self.page = context.new_page()
        self.page.on("request", self._request)
        self.page.on("response", self._response)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))

    def _request(self, request):
        if not request.url.startswith((self.origin + "/", "data:", "blob:")):
            self.wrong.append(f"off-origin: {request.url}")

    def _response(self, response):
        if response.status >= 400:
            self.wrong.append(f"{response.status}: {response.url}")

    def _console(self, message):
        if message.type in ("error", "warning"):
            self.wrong.append(f"console: {message.text}")

    def open(self, address, width):
        self.wrong.clear()
        self.widen(width)
        self.page.goto(self.origin + address, wait_until="load")
        self.page.wait_for_function(READY)

    def widen(self, width):
        self.page.set_viewport_size({"width": width, "height": 900})


@pytest.fixture(scope="session")
def tabs(browser, origin):
    return {scheme: Tab(browser, origin, scheme) for scheme in SCHEMES}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_page_is_sound(address, scheme, tabs, axe):
    tab = tabs[scheme]
    tab.open(address, PHONE)
    body = tab.page.locator("body")
    assert body.get_attribute("data-md-color-scheme") == SCHEMES[scheme]
    assert tab.page.locator("h1").count() == 1
    assert tab.page.locator(".katex-error").count() == 0
    assert tab.page.evaluate(ALTERNATIVES) == []
    assert tab.page.evaluate(WIDE) == []
    if axe:
        tab.page.evaluate(axe)
        found = tab.page.evaluate(VIOLATIONS)
        assert not found, json.dumps(found, indent=1, ensure_ascii=False)
    tab.widen(DESK)
    assert tab.page.evaluate(WIDE) == []
    assert tab.wrong == []


def test_a_link_into_a_page_leads_to_its_place(tabs):
    tab = tabs["light"]
    tab.open("/learn/boltzmann/#three-regimes", PHONE)
    tab.page.wait_for_timeout(500)
    assert 0 < tab.page.locator("#three-regimes").bounding_box()["y"] < 150


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_first_paint_has_the_palette(scheme, browser, origin):
    page = browser.new_context(color_scheme=scheme).new_page()
    page.route("**/bundle.*", lambda route: route.abort())
    page.goto(origin)
    body = page.locator("html.js body")
    assert body.get_attribute("data-md-color-scheme") == SCHEMES[scheme]
    page.context.close()


def test_axe_is_here(axe):
    if not axe:
        pytest.skip("axe-core comes from npm, which is not here")
    assert "axe.run" in axe


def test_what_goes_wrong_is_seen(browser, origin):
    tab = Tab(browser, origin, "light")
    tab.open("/no-such-page/", PHONE)
    assert [line for line in tab.wrong if line.startswith("404")]
    tab.page.evaluate("fetch('http://127.0.0.1:9/').catch(() => {})")
    tab.page.evaluate("setTimeout(() => { throw new Error('thrown'); })")
    tab.page.wait_for_timeout(200)
    assert [line for line in tab.wrong if line.startswith("off-origin")]
    assert [line for line in tab.wrong if "thrown" in line]
    wide = "document.querySelector('.md-content').style.minWidth = '2000px'"
    tab.page.evaluate(wide)
    assert tab.page.evaluate(WIDE)[-1:] == ["wider than the page"]
