import assert from "node:assert/strict";
import { test } from "node:test";
import { scaleLinear } from "d3-scale";
import { equalScales, spacedTicks } from "./scale.ts";

test("ticks are the closest that keep their distance", () => {
  const scale = scaleLinear([0, 103], [0, 500]);
  const texts = (gap: number) => spacedTicks(scale, gap).map(({ text }) => text);
  assert.deepEqual(texts(90), ["0", "20", "40", "60", "80", "100"]);
  assert.deepEqual(texts(100), ["0", "50", "100"]);
  assert.deepEqual(texts(1000), ["0", "100"]);
});

test("negative ticks have a minus sign and as many digits as they need", () => {
  const texts = spacedTicks(scaleLinear([-0.4, 0.4], [0, 100]), 25).map(({ text }) => text);
  assert.deepEqual(texts, ["−0.4", "−0.2", "0.0", "0.2", "0.4"]);
});

test("a plane has one unit for both axes, and its centre in the middle", () => {
  const { x, y } = equalScales({ left: 10, right: 110, top: 0, bottom: 60 }, [2, 3], 5);
  assert.deepEqual([x(2), y(3)], [60, 30]);
  assert.deepEqual([x(4), y(1)].map(Math.round), [70, 40]);
});
