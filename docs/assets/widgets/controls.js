// Controls of the widgets: native inputs with labels.

import { element } from "./elements.js";

let count = 0;

// A labelled range; `text` says its value.
export function slider({ label, min, max, step, start, text }, changed) {
  const id = `widget-control-${count++}`;
  const input = element("input", { type: "range", id, min, max, step, value: start });
  const shown = element("output", { for: id });
  const update = () => {
    shown.textContent = text(input.valueAsNumber);
    input.setAttribute("aria-valuetext", shown.textContent);
  };
  input.addEventListener("input", () => {
    update();
    changed();
  });
  update();
  const node = element(
    "div",
    { class: "widget-slider" },
    element("label", { for: id }, label),
    input,
    shown,
  );
  const set = (value) => {
    input.value = value;
    update();
  };
  return { node, input, set, get value() { return input.valueAsNumber; } };
}

// The temperatures of a slider: 0, then twelve steps a doubling around 1, then ∞.
const LAST = 120;
const at = (place) => {
  if (place === 0) return 0;
  if (place === LAST) return Infinity;
  return Number((2 ** ((place - LAST / 2) / 12)).toPrecision(3));
};
export const TEMPERATURES = Array.from({ length: LAST - 1 }, (_, i) => at(i + 1));

// `step` moves by so many places and says whether there was room.
export function temperature(changed, start) {
  const text = (place) => (at(place) === Infinity ? "∞" : String(at(place)));
  const place = (tau) => TEMPERATURES.indexOf(tau) + 1;
  const range = { label: "temperature τ", min: 0, max: LAST, step: 1, text };
  const { node, set, input } = slider({ ...range, start: place(start) }, changed);
  return {
    node,
    set: (tau) => set(place(tau)),
    step(by) {
      const before = input.value;
      set(Number(before) + by);
      return input.value !== before;
    },
    get value() { return at(input.valueAsNumber); },
  };
}

export function choice({ label, options, start }, changed) {
  const name = `widget-choice-${count++}`;
  const inputs = options.map((_, value) => element("input", { type: "radio", name, value }));
  inputs[start].checked = true;
  for (const input of inputs) input.addEventListener("change", changed);
  const labels = options.map((text, i) => element("label", {}, inputs[i], ` ${text}`));
  const node = element("fieldset", {}, element("legend", {}, label), ...labels);
  return { node, get value() { return inputs.findIndex((input) => input.checked); } };
}

export function button(text, pressed) {
  const node = element("button", { type: "button", class: "md-button" }, text);
  node.addEventListener("click", pressed);
  return node;
}

// Buttons that repeat a step: once, or with each frame. Who asks for less motion gets
// the first only.
export function player(text, step) {
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let frame = 0;
  const once = button(text, step);
  const play = button("Play", () => (frame ? stop() : start()));
  function start() {
    play.textContent = "Pause";
    frame = requestAnimationFrame(run);
  }
  function run() {
    frame = requestAnimationFrame(run);
    if (step() === false) stop();
  }
  function stop() {
    cancelAnimationFrame(frame);
    frame = 0;
    play.textContent = "Play";
  }
  const adapt = () => {
    stop();
    play.hidden = still.matches;
  };
  still.addEventListener("change", adapt);
  adapt();
  return element("div", { class: "widget-buttons" }, once, play);
}
