// Elements of a page, and the frame that all widgets share.

const SVG = "http://www.w3.org/2000/svg";

export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

// A number as text: four decimals, a minus sign, ∞.
export function number(x, digits = 4) {
  const size = Math.abs(x) === Infinity ? "∞" : Math.abs(x).toFixed(digits);
  return x < 0 && Number(size) !== 0 ? `−${size}` : size;
}

// Puts a widget in the place of each picture that has its name. `build` gets the data
// of the page's element and a function to tell the state, and returns nodes.
export function widget(name, build) {
  for (const root of document.querySelectorAll(`[data-widget="${name}"]`)) {
    const tell = (state) => {
      root.dataset.state = JSON.stringify(state, (_, value) =>
        typeof value === "number" && !Number.isFinite(value) ? String(value) : value,
      );
    };
    const nodes = build(JSON.parse(root.dataset.start), tell);
    const picture = root.querySelector("figure");
    const label = picture.querySelector("svg").getAttribute("aria-label");
    picture.replaceWith(element("div", { role: "group", "aria-label": label }, ...nodes));
  }
}
