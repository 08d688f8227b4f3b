// Probabilities of editable logits at a temperature, and four quantities against it.

import { bars } from "./bars.js";
import { softmax, thermodynamics } from "./boltzmann.js";
import { TEMPERATURES, button, temperature } from "./controls.js";
import { element, number, svg, widget } from "./elements.js";

const QUANTITIES = {
  free: "free energy F",
  mean: "mean energy U",
  entropy: "entropy S",
  capacity: "heat capacity C",
};
const WIDTH = 120;
const HEIGHT = 60;

widget("temperature", ({ logits, tau }, tell) => {
  const slider = temperature(update, tau);
  const table = bars(logits, update);
  const panels = Object.entries(QUANTITIES).map(([key, title]) => panel(key, title));
  const reset = button("Reset", () => {
    slider.set(tau);
    table.logits = logits;
    update();
  });

  function update() {
    const probabilities = softmax(table.logits, slider.value);
    const now = thermodynamics(table.logits, slider.value);
    const sweep = TEMPERATURES.map((t) => thermodynamics(table.logits, t));
    table.show(probabilities);
    for (const one of panels) one.show(sweep, slider.value, now);
    tell({ tau: slider.value, logits: table.logits, probabilities, ...now });
  }

  update();
  const curves = element("div", { class: "widget-panels" }, ...panels.map((p) => p.node));
  const buttons = element("div", { class: "widget-buttons" }, reset);
  return [slider.node, table.node, curves, buttons];
});

// A curve over all temperatures, on a logarithmic axis, with the present one marked.
function panel(key, title) {
  const curve = svg("path", { class: "widget-curve" });
  const now = svg("path", { class: "widget-now" });
  const dot = svg("path", { class: "widget-dot" });
  const one = svg("path", { class: "widget-one", d: `M${place(1)} 0V${HEIGHT}` });
  const picture = svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": true },
    ...[one, now, curve, dot],
  );
  const value = element("output");
  const top = element("span");
  const bottom = element("span");
  const node = element(
    "div",
    { class: "widget-panel" },
    element("div", {}, `${title} = `, value),
    element("div", { class: "widget-range", "aria-hidden": true }, top, bottom),
    picture,
  );

  function show(sweep, tau, state) {
    const values = sweep.map((each) => each[key]);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const scale = (HEIGHT - 6) / (high - low || 1);
    const y = (v) => HEIGHT - 3 - scale * (clamp(v, low, high) - low);
    const points = values.map((v, i) => `${place(TEMPERATURES[i])} ${y(v)}`);
    curve.setAttribute("d", `M${points.join("L")}`);
    now.setAttribute("d", `M${place(tau)} 0V${HEIGHT}`);
    dot.setAttribute("d", `M${place(tau)} ${y(state[key])}h0`);
    value.textContent = number(state[key]);
    [top.textContent, bottom.textContent] = [number(high, 1), number(low, 1)];
  }
  return { node, show };
}

function clamp(x, low, high) {
  return Math.min(Math.max(x, low), high);
}

// The horizontal place of a temperature; 0 and ∞ stand at the ends.
function place(tau) {
  const [low, high] = [TEMPERATURES[0], TEMPERATURES.at(-1)].map(Math.log2);
  return 3 + ((WIDTH - 6) * (clamp(Math.log2(tau), low, high) - low)) / (high - low);
}
