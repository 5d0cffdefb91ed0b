// Numbers for people. `percent` and `outward` read as in Python's lgm/stats/intervals.py (see numbers.json).

import { wilsonInterval } from "./stats.ts";

export const count = (n: number) => n.toLocaleString("en-US");

/** Log-likelihoods and T in nats. */
export const nats = (value: number) => value.toFixed(2).replace("-", "−");

/** T with all six digits that it has, as a link carries it. */
export const sixDigits = (threshold: number) => String(+threshold.toPrecision(6));

/** A share in percent, as `percent_text`: what is not quite 100 % (or 0) does not read as that. */
export function percent(share: number, digits: number): string {
  const [value, least] = [100 * share, 10 ** -digits];
  const near = Math.floor(value * 10 ** digits + 0.5) / 10 ** digits;
  if (value < 100 && near >= 100) return `> ${(100 - least).toFixed(digits)} %`;
  if (value > 0 && near <= 0) return `< ${least.toFixed(digits)} %`;
  return `${near.toFixed(digits)} %`;
}

/** The ends of an interval, rounded so that it only grows. */
export function outward(low: number, high: number, digits: number): [string, string] {
  const unit = 10 ** digits;
  return [
    (Math.floor(low * unit + 1e-9) / unit + 0).toFixed(digits), // + 0: no -0
    (Math.ceil(high * unit - 1e-9) / unit + 0).toFixed(digits),
  ];
}

/** "44 of 60 (60–83 %)": a share with its 95 % Wilson interval. */
export function shareWithInterval(hits: number, n: number): string {
  const [low, high] = wilsonInterval(hits, n);
  const digits = high - low < 0.02 ? 2 : 0; // or it would say 100–100 %
  return `${count(hits)} of ${count(n)} (${outward(100 * low, 100 * high, digits).join("–")} %)`;
}

/** A positive number of any size in two significant digits. */
export function scientific(value: number): string {
  if (value < 1e-300) return "< 10⁻³⁰⁰"; // of a T far below, nothing is left
  if (value >= 0.001) return value.toPrecision(2);
  const [digits, power] = value.toExponential(1).split("e-");
  return `${digits} · 10⁻${Array.from(power, (digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[+digit]).join("")}`;
}
