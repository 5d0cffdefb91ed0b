import { range } from "d3-array";
import { scaleLinear, scalePow } from "d3-scale";
import type { Axis } from "../shared/plot.ts";
import { type Scores as Ascending, countRemoved } from "../shared/stats.ts";
import type { Data, Scores } from "./data.ts";

const SLOT = 0.07; // share of the axis set apart for scores below it

/** A bin with the share of the data's images in it, and of those that calibrate T. */
export interface Bar {
  from: number;
  to: number;
  left: number;
  right: number;
  share: number;
  trusted: number;
}

export interface ScoreAxis extends Axis {
  bars: Bar[];
  slot: number;
}

/** Scores from `low` to `high`; those below share a slot. Of log-likelihoods, spaced by sqrt(high - score). */
export function scoreAxis(data: Data, scores: Scores): ScoreAxis {
  const { floor, low, high, bins } = data;
  const slot = floor < low ? SLOT : 0;
  const below = scaleLinear([floor, low], [0, slot]).clamp(true);
  const above = scalePow([high - low, 0], [slot, 1]).exponent(data.spaced ? 0.5 : 1);
  const to = (t: number) => (t < low ? below(t) : above(Math.max(0, high - t)));
  const from = (u: number) => (slot && u < slot ? below.invert(u) : high - above.invert(u));
  const edges = range(bins + 1).map((i) => (i === bins ? high : from(slot + ((1 - slot) * i) / bins)));
  const share = (group: Ascending, start: number, end: number) =>
    (countRemoved(group, end) - countRemoved(group, start)) / (group.length || 1);
  const bar = (start: number, end: number, left: number, right: number): Bar => ({
    from: start,
    to: end,
    left,
    right,
    share: share(scores.all, start, end),
    trusted: share(scores.calibration, start, end),
  });
  const bars = edges.slice(1).map((end, i) => bar(edges[i], end, to(edges[i]), to(end)));
  if (slot) bars.unshift(bar(-Infinity, low, 0, slot * 0.7));
  else bars[0] = bar(-Infinity, bars[0].to, bars[0].left, bars[0].right);
  const ticks = scaleLinear([low, high], [0, 1])
    .ticks(12)
    .filter((t) => t > low)
    .map((t) => ({ u: to(t), text: String(+t.toPrecision(6)).replace("-", "−") }));
  if (slot) ticks.push({ u: slot * 0.35, text: `< ${scores.text(low)}` });
  return { to, from, bars, ticks, slot };
}
