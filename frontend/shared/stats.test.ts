// What the components compute and write is what Python computes and writes. tests/ui/test_frontend_numbers.py writes
// numbers.json, and checks that it is current.

import assert from "node:assert/strict";
import { test } from "node:test";
import { bisectRight, pairs, sum } from "d3-array";
import { outward, percent, shareWithInterval, sixDigits } from "./format.ts";
import numbers from "./numbers.json" with { type: "json" };
import {
  conformalFpr,
  countBelow,
  countRemoved,
  isRemoved,
  nominalFpr,
  outcome,
  rocCurve,
  thresholdRemoving,
  wilsonInterval,
} from "./stats.ts";

/** Equal but for the rounding of the last digits. */
function assertClose(found: readonly number[], expected: readonly number[], tolerance = 1e-9): void {
  assert.equal(found.length, expected.length);
  found.forEach((value, i) => {
    const near = Math.abs(value - expected[i]) <= tolerance * Math.abs(expected[i]) + 1e-12;
    assert.ok(near || (Number.isNaN(value) && Number.isNaN(expected[i])), `${value} instead of ${expected[i]} at ${i}`);
  });
}

test("shares in percent read as in Python", () => {
  for (const [share, ...texts] of numbers.percent as [number, ...string[]][])
    assert.deepEqual(
      texts.map((_, digits) => percent(share, digits)),
      texts,
    );
});

test("what is not quite 100 % does not read as that", () => {
  for (const share of [0.9999, 1 - 1e-9]) assert.equal(percent(share, 1), "> 99.9 %");
});

test("Wilson intervals are those of Python, and read the same", () => {
  for (const { hits, n, interval, text } of numbers.wilson) {
    assertClose(wilsonInterval(hits, n), interval);
    assert.equal(shareWithInterval(hits, n), text);
  }
});

test("an interval only grows when it is rounded", () => {
  assert.deepEqual(outward(97.21, 98.69, 0), ["97", "99"]);
  assert.deepEqual(outward(-0.001, 0, 2), ["-0.01", "0.00"]);
});

test("a threshold keeps all its digits", () => {
  for (const threshold of numbers.thresholds) assert.equal(+sixDigits(threshold), threshold);
});

for (const { name, clean, poison, auc, tpr_at: tprAt, outcomes } of numbers.roc) {
  test(`the ROC curve, ${name}`, () => {
    const curve = rocCurve(clean, poison);
    assert.deepEqual(curve[0], [0, 0]);
    assert.deepEqual(curve.at(-1), [1, 1]);
    const area = sum(pairs(curve), ([[from, low], [to, high]]) => ((to - from) * (low + high)) / 2);
    if (auc !== null) assertClose([area], [auc]);
    const rates = curve.map(([fpr]) => fpr);
    for (const [rate, tpr] of tprAt) assert.equal(curve[bisectRight(rates, rate) - 1][1], tpr);
  });

  test(`what a threshold does, ${name}`, () => {
    for (const { threshold, caught, wrongly_removed: wronglyRemoved, ...rates } of outcomes) {
      const found = outcome(clean, poison, threshold);
      assert.deepEqual([found.caught, found.wronglyRemoved], [caught, wronglyRemoved]);
      assert.equal(clean.filter((score) => isRemoved(score, threshold)).length, wronglyRemoved);
      assertClose([found.tpr, found.fpr, found.precision], [rates.tpr, rates.fpr, rates.precision ?? NaN]);
    }
  });
}

test("without poisons there is no curve", () => assert.deepEqual(rocCurve([-1], []), [[0, 0]]));

for (const { name, table, peak, thresholds, rates, tolerance } of numbers.nominal) {
  test(`the nominal FPR, ${name}`, () => {
    const found = thresholds.map((threshold) => nominalFpr(table, peak, threshold));
    assertClose(found, rates, tolerance);
  });
}

test("the rate that calibration vouches for", () => {
  for (const { calibration, thresholds, rates } of numbers.conformal)
    assertClose(
      thresholds.map((threshold) => conformalFpr(calibration, threshold)),
      rates,
    );
});

test("counts of ascending scores, with ties", () => {
  const scores = [-3, -2, -2, -1];
  assert.deepEqual(
    [-4, -3, -2, -1.5, 0].map((t) => [countBelow(scores, t), countRemoved(scores, t)]),
    [
      [0, 0],
      [0, 1],
      [1, 3],
      [3, 3],
      [4, 4],
    ],
  );
  assert.equal(countRemoved(scores, -Infinity), 0);
});

test("the threshold that removes a share removes it", () => {
  const scores = [-3.00001, -2, -1.5, -1];
  const range = { floor: -4, high: 0 };
  assert.deepEqual(
    [0, 0.25, 0.5, 1].map((share) => countRemoved(scores, thresholdRemoving(scores, share, range))),
    [0, 1, 2, 4],
  );
});
