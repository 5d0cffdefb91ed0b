import { scaleSqrt } from "d3-scale";
import { diamond, prepare, segment, write } from "../shared/canvas.ts";
import { find } from "../shared/dom.ts";
import { nats } from "../shared/format.ts";
import type { Poison, Scene } from "./data.ts";

/**
 * log p(f(x) | claimed label) of the LGM poison in nats, against T. The scale is even in sigmas, the root of nats below
 * the peak: clean images crowd near the peak, and that is where T lies.
 */
export function drawGauge(figure: HTMLElement, { data, pair, theme }: Scene, poison: Poison | null): void {
  const canvas = find<HTMLCanvasElement>(figure, "canvas");
  const peak = pair.networks.lgm?.peak;
  if (!canvas.clientWidth || peak == null) return;
  const sheet = prepare(canvas, theme);
  const { g, width, height } = sheet;
  const low = Math.min(data.threshold - 8, -30);
  const [left, right, y] = [6, width - 6, height * 0.52];
  const distance = scaleSqrt([peak - low, 0], [left, right]).clamp(true);
  const cut = distance(peak - data.threshold);
  g.fillStyle = `${data.colors.poison}55`;
  g.fillRect(left, y - 9, cut - left, 18);
  g.fillStyle = `${data.colors.clean}55`;
  g.fillRect(cut, y - 9, right - cut, 18);
  g.font = `11px ${theme.font}`;
  segment(g, theme.text, 2, [cut, y - 16], [cut, y + 12]);
  g.textBaseline = "top";
  const name = `T = ${nats(data.threshold)}`;
  const half = g.measureText(name).width / 2;
  const middle = Math.max(left + half, Math.min(cut, right - half));
  write(sheet, name, middle, y + 14, { align: "center", alpha: 1 });
  // The ends of the scale, where T leaves room for them.
  const [lowest, best, gap] = [`≤ ${low.toFixed(0)}`, peak.toFixed(1), half + 8];
  if (left + g.measureText(lowest).width < middle - gap) write(sheet, lowest, left, y + 14, { alpha: 1 });
  if (right - g.measureText(best).width > middle + gap) write(sheet, best, right, y + 14, { align: "right", alpha: 1 });
  g.textBaseline = "bottom";
  write(sheet, "removed", left, y - 13, { alpha: 1 });
  write(sheet, "kept", right, y - 13, { align: "right", alpha: 1 });
  const output = find(figure, "output");
  output.textContent = "";
  if (poison?.score !== undefined) {
    diamond(g, distance(peak - poison.score), y, data.colors.poison, theme.text);
    output.textContent = `log p(f(x) | ${data.classes[data.base_label]}) = ${nats(poison.score)} nats`;
  }
  canvas.setAttribute("aria-label", `Likelihood gauge, threshold ${nats(data.threshold)} nats. ${output.textContent}`);
}
