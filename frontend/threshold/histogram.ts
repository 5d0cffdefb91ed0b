import { max, range, tickStep } from "d3-array";
import { scaleLinear } from "d3-scale";
import { line, MUTED, segment, write } from "../shared/canvas.ts";
import { count, nats } from "../shared/format.ts";
import type { Linear } from "../shared/scale.ts";
import type { Scores as Ascending } from "../shared/stats.ts";
import { countRemoved } from "../shared/stats.ts";
import type { Bar, ScoreAxis } from "./axes.ts";
import type { Data, Role, Scores } from "./data.ts";
import { drawKnob, drawOwn, drawTicks, PAD, type Plot } from "./plot.ts";

/** Clean images upwards, poisons downwards, both as shares; what T removes is shaded and filled. */
export function drawHistogram(plot: Plot, axis: ScoreAxis, data: Data, scores: Scores, threshold: number): void {
  const { g, theme, x, top, bottom } = plot;
  const cut = x(Math.min(1, Math.max(0, axis.to(threshold)))); // a link's T may lie far outside
  const middle = top + (bottom - top) * 0.56;
  const clean = shareScale(
    max(axis.bars, (bar) => Math.max(bar.clean, bar.expected)),
    middle,
    top + 40,
  );
  const poison = shareScale(
    max(axis.bars, (bar) => bar.poison),
    middle,
    bottom - 20,
  );
  shade(plot, x(0), cut);
  drawShares(plot, clean);
  drawShares(plot, poison);
  segment(g, theme.text, 1, [x(0), middle], [x(1), middle], { alpha: 0.6 });
  const border = x(axis.slot * 0.85);
  if (axis.slot) segment(g, theme.text, 1, [border, top], [border, bottom], { dash: [2, 3], alpha: 0.6 });
  drawBars(plot, axis.bars, "clean", data.colors.clean, scores.clean, threshold, clean);
  drawBars(plot, axis.bars, "poison", data.colors.poison, scores.poison, threshold, poison);
  const expected = axis.bars.flatMap((bar) => [bar.left, bar.right].map((u) => [x(u), clean(bar.expected)] as const));
  line(g, theme.text, 1.5, expected, { dash: [4, 3], alpha: MUTED });
  const inner = x(axis.slot) + 8;
  drawKey(plot, data.colors.clean, `clean: share of ${count(scores.clean.length)} in each bin`, inner, top + 14);
  drawKey(plot, null, "if features were exactly Gaussian", inner, top + 30);
  drawKey(plot, data.colors.poison, `poisons: share of ${count(scores.poison.length)} in each bin`, inner, bottom - 8);
  drawTicks(plot, axis.ticks, axis.title, 8);
  drawThreshold(plot, threshold, cut, middle);
  if (data.own !== null) drawOwn(plot, data.colors.poison, x(axis.to(data.own)), middle, -8);
}

/** Shares from 0 at `zero` to the largest at `end`. */
function shareScale(largest = 0, zero: number, end: number): Linear {
  return scaleLinear([0, largest || 1], [zero, end]);
}

/** The fewest ticks of which two at least lie well below the largest share. */
function drawShares(plot: Plot, y: Linear): void {
  const { g, theme, x } = plot;
  const [, largest] = y.domain();
  const fewest = range(1, 10).find((n) => tickStep(0, largest, n) <= largest / 2.2);
  for (const value of y.ticks(fewest).slice(1)) {
    segment(g, theme.text, 1, [x(0), y(value)], [x(1), y(value)], { alpha: 0.15 });
    write(plot, `${+(100 * value).toPrecision(2)} %`, x(0) - 6, y(value) + 4, { align: "right" });
  }
}

/** Bars outlined in full, filled as far as T removes them. */
function drawBars(
  { g, x }: Plot,
  bars: readonly Bar[],
  role: Role,
  colour: string,
  scores: Ascending,
  threshold: number,
  y: Linear,
): void {
  const filled = bars.filter((bar) => bar[role]);
  const outlined = filled.every((bar) => x(bar.right) - x(bar.left) > 6);
  const height = (share: number) => {
    const exact = y(share) - y(0);
    return Math.sign(exact) * Math.max(1.5, Math.abs(exact)); // a single image must not vanish
  };
  g.save();
  g.lineWidth = 1;
  g.fillStyle = g.strokeStyle = colour;
  for (const bar of filled) {
    const [left, wide] = [x(bar.left) + 1, Math.max(1, x(bar.right) - x(bar.left) - 2)];
    const removed = countRemoved(scores, Math.min(threshold, bar.to)) - countRemoved(scores, bar.from);
    g.globalAlpha = outlined ? 0.35 : 0.5;
    g.fillRect(left, y(0), wide, height(bar[role]));
    g.globalAlpha = 1;
    if (removed > 0) g.fillRect(left, y(0), wide, height(removed / scores.length));
    if (outlined) g.strokeRect(left, y(0), wide, height(bar[role]));
  }
  g.restore();
}

function drawThreshold(plot: Plot, threshold: number, cut: number, middle: number): void {
  const { g, theme, x, top, bottom } = plot;
  segment(g, theme.text, 2, [cut, top - 4], [cut, bottom]);
  const text = `T = ${nats(threshold)}`;
  const half = g.measureText(text).width / 2 + 7;
  const center = Math.min(x(1) - half + PAD.right, Math.max(half, cut));
  g.fillStyle = theme.text;
  g.beginPath();
  g.roundRect(center - half, 2, 2 * half, 20, 5);
  g.fill();
  write(plot, text, center, 16, { align: "center", alpha: 1, colour: theme.background });
  if (center - half - 70 > 0) write(plot, "← removed", center - half - 6, 16, { align: "right" });
  if (center + half + 50 < x(1)) write(plot, "kept →", center + half + 6, 16);
  drawKnob(plot, cut, middle);
}

function shade({ g, theme, top, bottom }: Plot, left: number, right: number): void {
  g.fillStyle = theme.text;
  g.globalAlpha = 0.06;
  g.fillRect(left, top, right - left, bottom - top);
  g.globalAlpha = 1;
}

/** A line of the key: a swatch of this colour, or a dashed line where there is none. */
function drawKey(plot: Plot, colour: string | null, text: string, left: number, base: number): void {
  const { g, theme } = plot;
  if (colour) {
    g.fillStyle = colour;
    g.fillRect(left, base - 9, 12, 10);
  } else segment(g, theme.text, 1.5, [left - 2, base - 4], [left + 14, base - 4], { dash: [4, 3], alpha: MUTED });
  write(plot, text, left + 18, base, { alpha: 1 });
}
