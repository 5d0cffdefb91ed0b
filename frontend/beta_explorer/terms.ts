// The objective, eq. (1), term by term.

import { max, range, sum } from "d3-array";
import { scaleLog, scaleSymlog } from "d3-scale";
import { type Point, line, prepare, segment, write } from "../shared/canvas.ts";
import { find } from "../shared/dom.ts";
import { lastFrame, type Loss, lossesOf, type Scene, TERMS } from "./data.ts";

const DASHES = [[], [6, 4], [2, 3]]; // of the lines of the terms
const FLOOR = 1e-5; // what is smaller is drawn there
const CEILING = 10;
const POWERS = ["≤10⁻⁵", "10⁻⁴", "10⁻³", "10⁻²", "10⁻¹", "10⁰", "10¹"];

/** The terms of one network's objective at a frame, with their weights. */
function weighted({ data, pair, index }: Scene, loss: Loss, frame: number): number[] {
  const poisons = pair.networks[loss]?.poisons;
  if (!poisons) return [0, 0, 0];
  const at = TERMS * (index * data.iterations.length + frame);
  const [collision, perturbation, hinge] = poisons.terms.subarray(at, at + TERMS);
  return [collision, data.betas[index] * perturbation, hinge];
}

/** How large each term is where both sliders stand: a bar a network, on one scale. */
export function showBars(figure: HTMLElement, scene: Scene): void {
  const values = (loss: Loss) => weighted(scene, loss, scene.frame ?? lastFrame(scene.data));
  const losses = lossesOf(scene.data);
  const longest = max([1e-12, ...losses.map((loss) => sum(values(loss)))]) ?? 1;
  const digits = (value: number) => (value === 0 ? "0" : value.toPrecision(2));
  for (const loss of losses) {
    const row = find(figure, `.${loss}`);
    row.querySelectorAll("i").forEach((part, term) => {
      part.style.width = `${(100 * values(loss)[term]) / longest}%`;
      part.style.setProperty("--of", scene.data.colors[loss]);
    });
    const shown = values(loss).slice(0, scene.data.gamma ? TERMS : 2);
    find(row, "output").textContent =
      `${shown.map(digits).join(" + ")} = ${digits(values(loss).reduce((a, b) => a + b))}`;
  }
}

/** The terms over the iterations, both axes logarithmic. */
export function drawTerms(canvas: HTMLCanvasElement, scene: Scene): void {
  if (!canvas.clientWidth) return;
  const { data, theme, frame } = scene;
  const sheet = prepare(canvas, theme);
  const { g, width, height } = sheet;
  const box = { left: 44, right: width - 8, top: 8, bottom: height - 34 };
  const last = data.iterations[lastFrame(data)];
  const x = scaleSymlog([0, Math.max(1, last)], [box.left, box.right]); // iteration 0 has a place
  const y = scaleLog([FLOOR, CEILING], [box.bottom, box.top]).clamp(true);
  g.font = `11px ${theme.font}`;
  g.textBaseline = "middle";
  POWERS.forEach((text, i) => {
    const at = y(10 ** (i - 5));
    segment(g, `${theme.text}33`, 1, [box.left, at], [box.right, at]);
    write(sheet, text, box.left - 6, at, { align: "right", alpha: 1 });
  });
  g.textBaseline = "top";
  for (const i of [0, 1, 3, 10, 30, 100, 300, 1000])
    if (i <= last) write(sheet, String(i), x(i), box.bottom + 5, { align: "center", alpha: 1 });
  write(sheet, "iteration", (box.left + box.right) / 2, box.bottom + 19, { align: "center", alpha: 1 });
  for (const loss of lossesOf(data)) {
    const terms = range(data.iterations.length).map((f) => weighted(scene, loss, f));
    DASHES.forEach((dash, term) => {
      if (term === 2 && !hasHinge(scene, loss)) return;
      const points = terms.map((values, f): Point => [x(data.iterations[f]), y(values[term])]);
      line(g, data.colors[loss], 2.5, points, { dash });
    });
  }
  if (frame !== null) {
    const at = x(data.iterations[frame]);
    segment(g, theme.text, 1.5, [at, box.top], [at, box.bottom]);
  }
  const hinge = data.gamma ? ", weighted lack of likelihood" : "";
  const words = "distance to the target's features, weighted distance to the base";
  canvas.setAttribute("aria-label", `Terms of the objective by iteration, both networks: ${words}${hinge}`);
}

function hasHinge({ pair }: Scene, loss: Loss): boolean {
  return pair.networks[loss]?.poisons?.terms.some((value, i) => i % TERMS === 2 && value > 0) ?? false;
}
