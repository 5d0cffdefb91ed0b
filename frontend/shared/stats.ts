// What follows a threshold T in nats while it moves. The reference is Python's `lgm.stats` and `lgm.detection`:
// numbers.json holds what they compute, and stats.test.ts compares. Higher scores are cleaner; removed is score <= T.

import { bisectLeft, bisectRight } from "d3-array";

/** Scores in nats, ascending. */
export type Scores = ArrayLike<number>;
/** A corner of the ROC curve: false- and true-positive rate. */
export type Corner = [fpr: number, tpr: number];

const Z = 1.959963984540054; // 97.5 % quantile of the standard normal distribution

/** Whether the filter removes an image of this score. */
export const isRemoved = (score: number, threshold: number) => score <= threshold;

/** How many of the ascending scores the filter removes: those of at most T. */
export const countRemoved = (scores: Scores, threshold: number) => bisectRight(scores, threshold);

/** How many of the ascending scores lie strictly below this one. */
export const countBelow = (scores: Scores, score: number) => bisectLeft(scores, score);

/** What T does: poisons caught and clean images wrongly removed, as counts and as rates; precision is NaN of nothing. */
export function outcome(clean: Scores, poison: Scores, threshold: number) {
  const caught = countRemoved(poison, threshold);
  const wronglyRemoved = countRemoved(clean, threshold);
  const [tpr, fpr] = [caught / poison.length, wronglyRemoved / clean.length];
  return { caught, wronglyRemoved, tpr, fpr, precision: caught / (caught + wronglyRemoved) };
}

/** 95 % Wilson score interval of the share `hits / n`, n >= 1. */
export function wilsonInterval(hits: number, n: number): [low: number, high: number] {
  const [share, z2] = [hits / n, Z * Z];
  const center = share + z2 / (2 * n);
  const half = Math.sqrt((z2 * share * (1 - share)) / n + (z2 / (2 * n)) ** 2);
  const end = (value: number) => Math.min(1, Math.max(0, value / (1 + z2 / n)));
  return [end(center - half), end(center + half)];
}

/** Corners of the ROC curve, poisons being the positives, from (0, 0) to (1, 1); (0, 0) alone without poisons. */
export function rocCurve(clean: Scores, poison: Scores): Corner[] {
  const corners: Corner[] = [[0, 0]];
  if (!poison.length) return corners;
  let caught = 0;
  while (caught < poison.length) {
    const threshold = poison[caught];
    const before = caught / poison.length;
    const { caught: upTo, fpr, tpr } = outcome(clean, poison, threshold);
    // Clean images strictly below T go first; those of the same score go together with the poison.
    corners.push([countBelow(clean, threshold) / clean.length, before], [fpr, tpr]);
    caught = upTo;
  }
  corners.push([1, 1]);
  return corners;
}

/** Nominal FPR by T: natural logarithms at even steps of T from `start` to the highest peak of the mixture. */
export interface NominalTable {
  start: number;
  log: readonly number[];
}

/** Share of clean images that T would remove if features were exactly Gaussian, interpolated in the table. */
export function nominalFpr(table: NominalTable, peak: number, threshold: number): number {
  if (threshold >= peak) return 1;
  const position = ((threshold - table.start) / (peak - table.start)) * (table.log.length - 1);
  if (position < 0) return 0;
  const i = Math.min(Math.floor(position), table.log.length - 2);
  return Math.exp(table.log[i] + (position - i) * (table.log[i + 1] - table.log[i]));
}

/** The rate that n calibration scores vouch for at T: (1 + those that T removes) / (n + 1). */
export const conformalFpr = (calibration: Scores, threshold: number) =>
  (1 + countRemoved(calibration, threshold)) / (calibration.length + 1);

/** T that removes this share of a group, within the range of T; rounded up to what survives the trip to a link. */
export function thresholdRemoving(scores: Scores, share: number, range: { floor: number; high: number }): number {
  const n = Math.round(share * scores.length);
  if (n <= 0) return range.floor;
  return n >= scores.length ? range.high : Math.ceil(scores[n - 1] * 1e4) / 1e4;
}
