import { least, max, range } from "d3-array";
import { line, MUTED, type Point, segment, write } from "../shared/canvas.ts";
import { count } from "../shared/format.ts";
import { type Axis, drawKnob, drawOwn, drawTicks, PAD, type Plot } from "../shared/plot.ts";
import { type Corner, thresholdRemoving } from "../shared/stats.ts";
import type { Data, Scores } from "./data.ts";

interface CurveStyle {
  dash: number[];
  thick: number;
}

const COLLIDED: CurveStyle = { dash: [5, 4], thick: 1.5 }; // the curve over the poisons that collide
const ALL: CurveStyle = { dash: [], thick: 2.5 };

export function drawRoc(plot: Plot, rates: Axis, data: Data, scores: Scores, threshold: number): void {
  const { g, theme, x, top, bottom } = plot;
  const y = (tpr: number) => bottom - tpr * (bottom - top);
  for (const tpr of [0, 0.25, 0.5, 0.75, 1]) {
    segment(g, theme.text, 1, [x(0), y(tpr)], [x(1), y(tpr)], { alpha: tpr ? 0.15 : 0.6 });
    write(plot, `${tpr * 100} %`, x(0) - 6, y(tpr) + 4, { align: "right" });
  }
  for (const { u } of rates.ticks) segment(g, theme.text, 1, [x(u), top], [x(u), bottom], { alpha: 0.15 });
  write(plot, "TPR: poisons caught", x(0) - PAD.left + 4, 14);
  drawTicks(plot, rates.ticks, "FPR: clean images thrown away", 4);
  const path = (corners: readonly Corner[]) => corners.map(([fpr, tpr]): Point => [x(rates.to(fpr)), y(tpr)]);
  const chance = range(101).map((i): Corner => [rates.from(i / 100), rates.from(i / 100)]);
  line(g, theme.text, 1, path(chance), { dash: [1, 3], alpha: MUTED });
  if (scores.someCollide) line(g, data.colors.poison, COLLIDED.thick, path(scores.collidedCurve), COLLIDED);
  line(g, data.colors.poison, ALL.thick, path(scores.curve), ALL);
  drawKey(plot, data, scores);
  const place = (t: number): Point => {
    const { fpr, tpr } = scores.outcome(t);
    return [x(rates.to(fpr)), y(tpr)];
  };
  const [px, py] = place(threshold);
  line(
    g,
    theme.text,
    1,
    [
      [px, bottom],
      [px, py],
      [x(0), py],
    ],
    { dash: [4, 3], alpha: MUTED },
  );
  if (data.own !== null) drawOwn(plot, data.colors.poison, ...place(data.own), 21);
  drawKnob(plot, px, py);
}

function drawKey(plot: Plot, { auc, auc_collided: aucCollided, colors }: Data, scores: Scores): void {
  const { g, theme, x, bottom } = plot;
  const rows = [{ text: `all ${count(scores.poison.length)}: AUC ${auc}`, ...ALL }];
  if (scores.someCollide)
    rows.push({ text: `${count(scores.collided.length)} that collide: ${aucCollided ?? "–"}`, ...COLLIDED });
  const wide = (max(rows, (row) => g.measureText(row.text).width) ?? 0) + 44;
  const [left, first] = [x(1) - wide - 4, bottom - 18 * rows.length - 8];
  g.fillStyle = theme.background;
  g.globalAlpha = 0.85;
  g.fillRect(left, first, wide, 18 * rows.length + 4);
  g.globalAlpha = 1;
  rows.forEach(({ text, dash, thick }, i) => {
    const base = first + 15 + 18 * i;
    segment(g, colors.poison, thick, [left + 8, base - 4], [left + 32, base - 4], { dash });
    write(plot, text, left + 38, base, { alpha: 1 });
  });
}

/** T of the point on the curve nearest to a pixel: nearest in FPR or nearest in TPR, whichever is closer. */
export function nearestOnRoc(canvas: HTMLElement, rates: Axis, data: Data, scores: Scores, [x, y]: Point): number {
  const width = canvas.clientWidth - PAD.left - PAD.right;
  const height = canvas.clientHeight - PAD.top - PAD.bottom;
  const fpr = rates.from((x - PAD.left) / width);
  const tpr = 1 - (y - PAD.top) / height;
  const distance = (t: number) => {
    const point = scores.outcome(t);
    return Math.hypot(PAD.left + rates.to(point.fpr) * width - x, PAD.top + (1 - point.tpr) * height - y);
  };
  const byFpr = thresholdRemoving(scores.clean, fpr, data);
  const byTpr = thresholdRemoving(scores.poison, tpr, data);
  return least([byFpr, byTpr], distance) ?? byFpr;
}
