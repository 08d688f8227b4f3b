// The Ising model on a square lattice: each spin is drawn by softmax([h, -h] / τ),
// where h is the sum of its four neighbours.

import { softmax, uniforms } from "./boltzmann.js";
import { button, player, slider } from "./controls.js";
import { element, number, svg, widget } from "./elements.js";

const CRITICAL = 2 / Math.log(1 + Math.SQRT2); // Onsager
const HOTTEST = 5;
const FIELDS = [-4, -2, 0, 2, 4];

widget("lattice", ({ size, tau, spins }, tell) => {
  const uniform = uniforms(7);
  const range = { label: "temperature τ", min: 0, max: HOTTEST, step: 0.05, text: String };
  const heat = slider({ ...range, start: tau }, show);
  const summary = element("p");
  const up = svg("path", { class: "widget-spins" });
  const picture = svg(
    "svg",
    { viewBox: `0 0 ${size} ${size}`, class: "widget-lattice", "aria-hidden": true },
    up,
  );
  let state = spins.split("").map((c) => (c === "+" ? 1 : -1));
  let sweeps = 0;

  const field = (i) => {
    const [row, column] = [i - (i % size), i % size];
    return (
      state[row + ((column + 1) % size)] +
      state[row + ((column + size - 1) % size)] +
      state[(i + size) % state.length] +
      state[(i + state.length - size) % state.length]
    );
  };

  function sweep() {
    const chance = chances(heat.value);
    for (let i = 0; i < state.length; i++) {
      state[i] = uniform() < chance[field(i) / 2 + 2] ? 1 : -1;
    }
    sweeps += 1;
    show();
  }

  function show() {
    const mean = state.reduce((total, s) => total + s, 0) / state.length;
    const bonds = state.reduce((total, s, i) => total + s * field(i), 0) / 2;
    const energy = -bonds / state.length;
    const chance = chances(heat.value);
    up.setAttribute("d", squares(state, size));
    summary.textContent =
      `After ${sweeps} sweeps: magnetisation ${number(mean, 3)}, energy of a spin ` +
      `${number(energy, 3)}. A spin is drawn up with probability ${number(chance[2], 3)}, ` +
      `${number(chance[3], 3)} or ${number(chance[4], 3)} if two, three or four of its ` +
      "neighbours are.";
    tell({ tau: heat.value, sweeps, mean, energy, chance });
  }

  const restart = (spin) => () => {
    state = state.map(() => spin());
    sweeps = 0;
    show();
  };
  const buttons = player("Sweep once", sweep);
  buttons.append(
    button("All up", restart(() => 1)),
    button("At random", restart(() => (uniform() < 0.5 ? 1 : -1))),
  );
  show();
  return [heat.node, mark(), picture, summary, buttons];
});

// How likely a spin is to be drawn up, for each field.
function chances(tau) {
  return FIELDS.map((h) => softmax([h, -h], tau)[0]);
}

// Where the slider crosses the critical temperature.
function mark() {
  const text = `▲ critical τ ${number(CRITICAL, 3)}`;
  const node = element("div", { class: "widget-mark" }, element("span", {}, text));
  node.style.setProperty("--place", CRITICAL / HOTTEST);
  return node;
}

// A path around the spins that point up, a rectangle a run of them.
function squares(state, size) {
  const runs = [];
  for (let i = 0; i < state.length; i++) {
    if (state[i] < 0) continue;
    const start = i;
    while (state[i + 1] > 0 && (i + 1) % size !== 0) i++;
    const [column, row, length] = [start % size, Math.floor(start / size), i - start + 1];
    runs.push(`M${column} ${row}h${length}v1h${-length}z`);
  }
  return runs.join("");
}
