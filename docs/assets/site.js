// What the theme builds when a page is shown, made usable without eyes or a mouse.

// A copy button's `nav` is a landmark, one for each block, of no use in a list of them.
function unmark() {
  for (const nav of document.querySelectorAll("nav.md-code__nav")) {
    nav.setAttribute("role", "none");
  }
}

// A formula or table that scrolls can be reached and scrolled by keyboard.
function reach() {
  for (const node of document.querySelectorAll("div.arithmatex, .md-typeset__scrollwrap")) {
    if (node.scrollWidth > node.clientWidth) node.tabIndex = 0;
    else node.removeAttribute("tabindex");
  }
}

function tidy() {
  unmark();
  reach();
}

const isElement = (node) => node.nodeType === Node.ELEMENT_NODE;
new MutationObserver((records) => {
  if (records.some((record) => [...record.addedNodes].some(isElement))) tidy();
}).observe(document.body, { childList: true, subtree: true });
addEventListener("resize", reach);
tidy();
