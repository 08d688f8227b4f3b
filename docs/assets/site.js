// What the theme builds when a page is shown, made usable without eyes or a mouse.

const SCROLLS = "div.arithmatex, .md-typeset__scrollwrap";

// A formula or table that scrolls can be reached and scrolled by keyboard.
const reach = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
    else target.removeAttribute("tabindex");
  }
});

function tidy() {
  for (const node of document.querySelectorAll(SCROLLS)) reach.observe(node);
  // A copy button's `nav` is a landmark, one for each block, of no use in a list of them.
  for (const nav of document.querySelectorAll("nav.md-code__nav")) {
    nav.setAttribute("role", "none");
  }
}

const isElement = (node) => node.nodeType === Node.ELEMENT_NODE;
new MutationObserver((records) => {
  if (records.some((record) => [...record.addedNodes].some(isElement))) tidy();
}).observe(document.body, { childList: true, subtree: true });
tidy();
