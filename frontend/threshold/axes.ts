// Axes of both plots: `to` gives a position in 0..1, `from` is its inverse.

import { range } from "d3-array";
import { scaleLinear, scaleLog, scaleSqrt } from "d3-scale";
import type { Axis, Tick } from "../shared/plot.ts";
import type { Scores as Ascending } from "../shared/stats.ts";
import { countRemoved, nominalFpr } from "../shared/stats.ts";
import type { Data, Scores } from "./data.ts";

const SLOT = 0.07; // share of an axis set apart: for scores below it (histogram), for FPR 0 (logarithmic ROC)
const BINS = 40; // of the likelihood axis

/** Share of each group with a score in (from, to], and the share of clean images were features exactly Gaussian. */
export interface Bar {
  from: number;
  to: number;
  left: number;
  right: number;
  clean: number;
  poison: number;
  expected: number;
}

export interface ScoreAxis extends Axis {
  bars: Bar[];
  slot: number; // of the axis, at its left: everything below it
  title: string;
}

/**
 * Log-likelihood, spaced by distance from the class mean, sqrt(2 (high - t)): in even steps of nats, all that matters
 * would crowd at the right end.
 */
export function natsAxis(data: Data, scores: Scores): ScoreAxis {
  const { floor, low, high, bins } = data;
  const slot = floor < low ? SLOT : 0;
  const below = scaleLinear([floor, low], [0, slot]);
  const distance = scaleSqrt([high - low, 0], [slot, 1]);
  const to = (t: number) => (t < low ? below(t) : distance(Math.max(0, high - t)));
  const from = (u: number) => (u < slot ? below.invert(u) : high - distance.invert(u));
  const edges = range(bins + 1).map((i) => from(slot + ((1 - slot) * i) / bins));
  const bars = histogram(data, scores, edges, to);
  if (slot)
    bars.unshift(...histogram(data, scores, [-Infinity, low], () => 0).map((bar) => ({ ...bar, right: slot * 0.7 })));
  const whole = (t: number) => t.toFixed(0).replace("-", "−");
  const ticks: Tick[] = [];
  for (let t = Math.floor(high); t > low; t--) {
    const step = high - t < 6 ? 1 : high - t < 30 ? 5 : 10;
    if (t % step === 0) ticks.push({ u: to(t), text: whole(t) });
  }
  if (slot) ticks.push({ u: slot * 0.35, text: `< ${whole(low)}` });
  return { to, from, bars, ticks, slot, title: "log p(f(x) | claimed label), nats; spaced by distance from the mean" };
}

export function likelihoodAxis(data: Data, scores: Scores): ScoreAxis {
  const to = (t: number) => Math.min(1, Math.exp(t - data.peak));
  const from = (u: number) => data.peak + Math.log(Math.max(u, 1e-300));
  const edges = [-Infinity, ...range(1, BINS).map((i) => from(i / BINS)), data.high];
  const ticks = [0, 0.2, 0.4, 0.6, 0.8, 1].map((u) => ({ u, text: String(u) }));
  const title = "likelihood relative to the peak; exp(log p − log p at the mean)";
  return { to, from, bars: histogram(data, scores, edges, to), ticks, slot: 0, title };
}

function histogram(data: Data, { clean, poison }: Scores, edges: number[], to: (t: number) => number): Bar[] {
  const part = (scores: Ascending, low: number, high: number) =>
    (countRemoved(scores, high) - countRemoved(scores, low)) / scores.length;
  const nominal = (t: number) => nominalFpr(data.nominal, data.peak, t);
  return edges.slice(1).map((edge, i) => ({
    from: edges[i],
    to: edge,
    left: to(edges[i]),
    right: to(edge),
    clean: part(clean, edges[i], edge),
    poison: part(poison, edges[i], edge),
    expected: nominal(edge) - nominal(edges[i]),
  }));
}

export function linearRates(): Axis {
  const ticks = [0, 0.2, 0.4, 0.6, 0.8, 1].map((u) => ({ u, text: `${u * 100} %` }));
  return { to: (fpr) => fpr, from: (u) => u, ticks };
}

/** Rates of n images on a logarithmic axis, with a place for 0. */
export function logRates(n: number): Axis {
  const decades = Math.ceil(Math.log10(n));
  const scale = scaleLog([10 ** -decades, 1], [SLOT, 1]);
  const to = (fpr: number) => (fpr > 0 ? scale(fpr) : 0);
  const from = (u: number) => (u < SLOT / 2 ? 0 : scale.invert(u));
  const ticks = range(decades, -1, -1).map((k) => ({ u: to(10 ** -k), text: `${+(100 / 10 ** k).toPrecision(1)} %` }));
  return { to, from, ticks: [{ u: 0, text: "0" }, ...ticks] };
}
