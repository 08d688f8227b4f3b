// A table of classes: logits to edit, and their probabilities as bars and numbers.

import { element, number } from "./elements.js";

export function bars(logits, changed) {
  const rows = logits.map((z, i) => row(z, i, changed));
  const heads = ["class", "logit", "probability"].map((text) =>
    element("th", { scope: "col" }, text),
  );
  const node = element(
    "table",
    { class: "widget-bars" },
    element("thead", {}, element("tr", {}, ...heads)),
    element("tbody", {}, ...rows.map((one) => one.node)),
  );
  return {
    node,
    get logits() { return rows.map((one) => one.logit); },
    set logits(values) { rows.forEach((one, i) => one.set(values[i])); },
    // `notes` say of a class why it is cut, or nothing.
    show(shares, notes = []) { rows.forEach((one, i) => one.show(shares[i], notes[i])); },
  };
}

function row(start, index, changed) {
  let logit = start;
  const name = String(index + 1);
  const input = element("input", {
    ...{ type: "number", step: 0.1, min: -99, max: 99, value: start },
    "aria-label": `logit of class ${name}`,
  });
  input.addEventListener("input", () => {
    if (input.value === "" || !input.validity.valid && !input.validity.stepMismatch) return;
    logit = input.valueAsNumber;
    changed();
  });
  const text = element("span");
  const bar = element("td", { class: "widget-bar" }, text);
  const node = element(
    "tr",
    {},
    element("th", { scope: "row" }, name),
    element("td", {}, input),
    bar,
  );
  return {
    node,
    get logit() { return logit; },
    set(value) {
      logit = value;
      input.value = value;
    },
    show(share, note) {
      bar.style.setProperty("--share", share);
      bar.classList.toggle("widget-cut", note !== undefined);
      text.textContent = note ?? number(share);
    },
  };
}
