// What the theme builds when a page is shown, made usable without eyes or a mouse.

const SCROLLS = "div.arithmatex, .md-typeset__scrollwrap";

// A formula or table that scrolls can be reached and scrolled by keyboard. All are
// measured before one is changed, or each would be laid out anew.
const reach = new ResizeObserver((entries) => {
  const nodes = entries.map(({ target }) => target);
  const scroll = nodes.map((node) => node.scrollWidth > node.clientWidth);
  nodes.forEach((node, k) => {
    if (scroll[k]) node.tabIndex = 0;
    else node.removeAttribute("tabindex");
  });
});

function tidy(root) {
  for (const node of root.querySelectorAll(SCROLLS)) reach.observe(node);
  // A copy button's `nav` is a landmark, one for each block, of no use in a list of them.
  for (const nav of root.querySelectorAll("nav.md-code__nav")) {
    nav.setAttribute("role", "none");
  }
}

const isElement = (node) => node.nodeType === Node.ELEMENT_NODE;
new MutationObserver((records) => {
  const added = records.filter((record) => [...record.addedNodes].some(isElement));
  for (const { target } of added) tidy(target);
}).observe(document.body, { childList: true, subtree: true });
tidy(document);
