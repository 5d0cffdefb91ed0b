// Parts of a histogram that is cut by a threshold T.

import { range, tickStep } from "d3-array";
import { scaleLinear } from "d3-scale";
import { MUTED, segment, write } from "./canvas.ts";
import { drawKnob, PAD, type Plot } from "./plot.ts";
import type { Linear } from "./scale.ts";
import type { Scores } from "./stats.ts";
import { countRemoved } from "./stats.ts";

/** Shares from 0 at `zero` to the largest at `end`. */
export function shareScale(largest = 0, zero: number, end: number): Linear {
  return scaleLinear([0, largest || 1], [zero, end]);
}

/** The fewest ticks of which two at least lie well below the largest share. */
export function drawShares(plot: Plot, y: Linear): void {
  const { g, theme, x } = plot;
  const [, largest] = y.domain();
  const fewest = range(1, 10).find((n) => tickStep(0, largest, n) <= largest / 2.2);
  for (const value of y.ticks(fewest).slice(1)) {
    segment(g, theme.text, 1, [x(0), y(value)], [x(1), y(value)], { alpha: 0.15 });
    write(plot, `${+(100 * value).toPrecision(2)} %`, x(0) - 6, y(value) + 4, { align: "right" });
  }
}

/** A bin and the share of a group that is in it, at positions 0..1 of the axis. */
export interface ShareBar {
  from: number;
  to: number;
  left: number;
  right: number;
  share: number;
}

/** Bars outlined in full, filled as far as T removes them. */
export function drawBars(
  { g, x }: Plot,
  bars: readonly ShareBar[],
  colour: string,
  scores: Scores,
  threshold: number,
  y: Linear,
): void {
  const filled = bars.filter((bar) => bar.share);
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
    g.fillRect(left, y(0), wide, height(bar.share));
    g.globalAlpha = 1;
    if (removed > 0) g.fillRect(left, y(0), wide, height(removed / scores.length));
    if (outlined) g.strokeRect(left, y(0), wide, height(bar.share));
  }
  g.restore();
}

/** The line of T, with what it says and the knob to drag at `middle`. */
export function drawThreshold(plot: Plot, text: string, cut: number, middle: number): void {
  const { g, theme, x, top, bottom } = plot;
  segment(g, theme.text, 2, [cut, top - 4], [cut, bottom]);
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

/** The ground of what is removed. */
export function shade({ g, theme, top, bottom }: Plot, left: number, right: number): void {
  g.fillStyle = theme.text;
  g.globalAlpha = 0.06;
  g.fillRect(left, top, right - left, bottom - top);
  g.globalAlpha = 1;
}

/** A line of the key: a swatch of this colour, or a dashed line where there is none. */
export function drawKey(plot: Plot, colour: string | null, text: string, left: number, base: number): void {
  const { g, theme } = plot;
  if (colour) {
    g.fillStyle = colour;
    g.fillRect(left, base - 9, 12, 10);
  } else segment(g, theme.text, 1.5, [left - 2, base - 4], [left + 14, base - 4], { dash: [4, 3], alpha: MUTED });
  write(plot, text, left + 18, base, { alpha: 1 });
}
