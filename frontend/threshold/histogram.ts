import { max } from "d3-array";
import { line, MUTED, segment } from "../shared/canvas.ts";
import { count, nats } from "../shared/format.ts";
import { drawBars, drawKey, drawShares, drawThreshold, shade, shareScale } from "../shared/histogram.ts";
import { drawOwn, drawTicks, type Plot } from "../shared/plot.ts";
import type { ScoreAxis } from "./axes.ts";
import type { Data, Role, Scores } from "./data.ts";

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
  const of = (role: Role) => axis.bars.map((bar) => ({ ...bar, share: bar[role] }));
  drawBars(plot, of("clean"), data.colors.clean, scores.clean, threshold, clean);
  drawBars(plot, of("poison"), data.colors.poison, scores.poison, threshold, poison);
  const expected = axis.bars.flatMap((bar) => [bar.left, bar.right].map((u) => [x(u), clean(bar.expected)] as const));
  line(g, theme.text, 1.5, expected, { dash: [4, 3], alpha: MUTED });
  const inner = x(axis.slot) + 8;
  drawKey(plot, data.colors.clean, `clean: share of ${count(scores.clean.length)} in each bin`, inner, top + 14);
  drawKey(plot, null, "if features were exactly Gaussian", inner, top + 30);
  drawKey(plot, data.colors.poison, `poisons: share of ${count(scores.poison.length)} in each bin`, inner, bottom - 8);
  drawTicks(plot, axis.ticks, axis.title, 8);
  drawThreshold(plot, `T = ${nats(threshold)}`, cut, middle);
  if (data.own !== null) drawOwn(plot, data.colors.poison, x(axis.to(data.own)), middle, -8);
}
