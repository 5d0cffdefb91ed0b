import { max } from "d3-array";
import { line, MUTED, segment } from "../shared/canvas.ts";
import { count } from "../shared/format.ts";
import { drawBars, drawKey, drawShares, drawThreshold, shade, shareScale } from "../shared/histogram.ts";
import { drawTicks, type Plot } from "../shared/plot.ts";
import type { Linear } from "../shared/scale.ts";
import type { ScoreAxis } from "./axis.ts";
import type { Data, Scores } from "./data.ts";

/** All images of the data as bars, those that calibrate T as an outline; what T removes is shaded and filled. */
export function drawHistogram(
  plot: Plot,
  axis: ScoreAxis,
  data: Data,
  scores: Scores,
  threshold: number,
  colour: string,
): void {
  const { g, theme, x, top, bottom } = plot;
  const cut = x(Math.min(1, Math.max(0, axis.to(threshold))));
  const y = shareScale(
    max(axis.bars, (bar) => Math.max(bar.share, bar.trusted)),
    bottom,
    top + 40,
  );
  shade(plot, x(0), cut);
  drawShares(plot, y);
  segment(g, theme.text, 1, [x(0), bottom], [x(1), bottom], { alpha: 0.6 });
  const border = x(axis.slot * 0.85);
  if (axis.slot) segment(g, theme.text, 1, [border, top], [border, bottom], { dash: [2, 3], alpha: 0.6 });
  drawBars(plot, axis.bars, colour, scores.all, threshold, y);
  const inner = x(axis.slot) + 8;
  drawKey(plot, colour, `your data: share of ${count(scores.all.length)} in each bin`, inner, top + 14);
  if (scores.calibration.length) drawTrusted(plot, axis, scores, y, inner);
  drawTicks(plot, axis.ticks, data.axis, 8);
  drawThreshold(plot, `T = ${scores.text(threshold)}`, cut, (top + bottom) / 2);
}

function drawTrusted(plot: Plot, axis: ScoreAxis, scores: Scores, y: Linear, inner: number): void {
  const { g, theme, x, top } = plot;
  const trusted = axis.bars.flatMap((bar) => [bar.left, bar.right].map((u) => [x(u), y(bar.trusted)] as const));
  line(g, theme.text, 1.5, trusted, { dash: [4, 3], alpha: MUTED });
  drawKey(plot, null, `the ${count(scores.calibration.length)} trusted images that calibrate T`, inner, top + 30);
}
