// Relaxed draws of three classes on the simplex: softmax((z + g) / τ) for fixed noise g.

import { bars } from "./bars.js";
import { gumbel, softmax, uniforms } from "./boltzmann.js";
import { button, player, temperature } from "./controls.js";
import { element, number, svg, widget } from "./elements.js";

// Of a triangle with sides of 88; the numbers stand beside them.
const CORNERS = [[6, 92], [94, 92], [50, 92 - 88 * Math.sqrt(0.75)]];
const NUMBERS = [[2, 98], [98, 98], [50, 92 - 88 * Math.sqrt(0.75) - 4]];

widget("simplex", ({ logits, tau, noise }, tell) => {
  const uniform = uniforms(1);
  const heat = temperature(update, tau);
  const table = bars(logits, update);
  const summary = element("p");
  const dots = svg("path", { class: "widget-dots" });
  const picture = svg(
    "svg",
    { viewBox: "0 0 100 100", class: "widget-simplex", "aria-hidden": true },
    svg("path", { class: "widget-frame", d: `M${CORNERS.join("L")}Z` }),
    ...NUMBERS.map(([x, y], i) => svg("text", { x, y }, String(i + 1))),
    dots,
  );

  function update() {
    const draws = noise.map((g) => relaxed(table.logits, g, heat.value));
    const nearest = draws.map((y) => y.indexOf(Math.max(...y)));
    const shares = CORNERS.map((_, i) => nearest.filter((j) => i === j).length / draws.length);
    const size = draws.reduce((total, y) => total + Math.max(...y), 0) / draws.length;
    table.show(softmax(table.logits, 1));
    dots.setAttribute("d", draws.map((y) => `M${point(y)}h0`).join(""));
    const text = shares.map((share) => number(share, 3)).join(", ");
    summary.textContent =
      `Of ${draws.length} draws, shares of ${text} are nearest to corners 1, 2, 3. ` +
      `The largest entry of a draw is ${number(size, 3)} on average.`;
    tell({ tau: heat.value, logits: table.logits, draws, shares, size });
  }

  function cool() {
    const moved = heat.step(-1);
    if (!moved) heat.set(tau); // from the coldest back to the start
    update();
    return moved;
  }

  const fresh = button("New noise", () => {
    noise = noise.map((g) => g.map(() => gumbel(uniform)));
    update();
  });
  update();
  const buttons = player("Cool a step", cool);
  buttons.append(fresh);
  const sides = element("div", { class: "widget-sides" }, picture, table.node);
  return [heat.node, sides, summary, buttons];
});

function relaxed(logits, g, tau) {
  return softmax(logits.map((z, i) => z + g[i]), tau);
}

// The mean of the corners, weighted by the entries of a draw.
function point(y) {
  const along = (axis) => y.reduce((total, share, i) => total + share * CORNERS[i][axis], 0);
  return `${along(0).toFixed(3)} ${along(1).toFixed(3)}`;
}
