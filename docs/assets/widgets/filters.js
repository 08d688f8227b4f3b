// Top-k, top-p and min-p on tempered logits, or before the temperature.

import { bars } from "./bars.js";
import { minP, softmax, topK, topP } from "./boltzmann.js";
import { choice, slider, temperature } from "./controls.js";
import { element, widget } from "./elements.js";

const ORDERS = ["temperature, then filters (as sample does)", "filters, then temperature"];

widget("filters", ({ logits, tau, k, p, least }, tell) => {
  const heat = temperature(update, tau);
  const off = (value) => (text) => (text === value ? "off" : String(text));
  const topk = slider(
    { label: "top-k", min: 0, max: logits.length, step: 1, start: k, text: off(0) },
    update,
  );
  const topp = slider(
    { label: "top-p", min: 0, max: 1, step: 0.05, start: p, text: off(1) },
    update,
  );
  const minp = slider(
    { label: "min-p", min: 0, max: 1, step: 0.05, start: least, text: off(0) },
    update,
  );
  const order = choice({ label: "Order", options: ORDERS, start: 0 }, update);
  const table = bars(logits, update);
  const summary = element("output");

  function update() {
    const z = table.logits;
    const cuts = [heat.value, 1].map((at) => cut(z, at, topk.value, topp.value, minp.value));
    const [here, there] = order.value === 0 ? cuts : [cuts[1], cuts[0]];
    const probabilities = softmax(z, heat.value, here.kept);
    table.show(probabilities, here.notes);
    summary.textContent =
      `${size(here.kept)} of ${z.length} classes are kept; ` +
      `in the other order ${size(there.kept)}.`;
    tell({
      ...{ tau: heat.value, k: topk.value, p: topp.value, least: minp.value },
      ...{ order: order.value, logits: z, kept: here.kept, other: there.kept, probabilities },
    });
  }

  update();
  const controls = [heat, topk, topp, minp].map((one) => one.node);
  return [...controls, order.node, table.node, element("p", {}, summary)];
});

function size(mask) {
  return mask.filter(Boolean).length;
}

// What is kept at a temperature, and which filter cut the rest.
function cut(logits, tau, k, p, least) {
  const all = logits.map(() => true);
  const first = topK(logits, all, k);
  const second = topP(logits, tau, first, p);
  const kept = minP(logits, tau, second, least);
  const notes = logits.map((_, i) => {
    if (!first[i]) return "cut by top-k";
    if (!second[i]) return "cut by top-p";
    return kept[i] ? undefined : "cut by min-p";
  });
  return { kept, notes };
}
