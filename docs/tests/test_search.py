"""The search box finds the page of every public name, and answers every letter."""

from string import ascii_lowercase

import pytest

from docs.count import inventory
from docs.hooks.names import public_names
from docs.tests.conftest import READY, SITE

# Clears the box, types a name and goes down the list to a result at an address.
FIND = """async ([name, address, wait]) => {
  const box = document.querySelector("[data-md-component=search-query]");
  const results = document.querySelector("[data-md-component=search-result]");
  const paths = () => [...results.querySelectorAll("a")]
    .map((link) => new URL(link.href).pathname);
  const list = results.closest(".md-search__scrollwrap");
  const type = (text) => {
    box.value = text;
    box.dispatchEvent(new KeyboardEvent("keyup", { bubbles: true }));
  };
  const until = async (done) => {
    for (const end = performance.now() + wait; performance.now() < end && !done();) {
      await new Promise((resolve) => setTimeout(resolve, 10));
      list.scrollTop = list.scrollHeight;
    }
  };
  type("");
  await until(() => paths().length === 0);
  type(name);
  await until(() => paths().includes(address));
  return paths();
}"""


@pytest.fixture(scope="module")
def page(browser, origin):
    page = browser.new_page()
    page.goto(origin)
    page.wait_for_function(READY)
    page.locator("[data-md-component=search-query]").click()
    yield page
    page.close()


def test_search_finds_every_public_name(page):
    places = inventory(SITE)
    missed = []
    for found in public_names():
        address = "/" + places[found.path].split("#")[0]
        if address not in page.evaluate(FIND, [found.name, address, 5000]):
            missed.append(found.path)
    assert missed == []


def test_search_does_not_find_what_is_not_there(page):
    assert page.evaluate(FIND, ["nosuchname", "", 1000]) == []


def test_search_answers_every_letter(page):
    failed = []
    page.on("console", lambda message: failed.append(message.text))
    for letter in ascii_lowercase:
        # A letter is the beginning of many words, and the index is asked for them all.
        assert page.evaluate(FIND, [letter, "", 100])
        assert failed == []
