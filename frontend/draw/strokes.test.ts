import assert from "node:assert/strict";
import { test } from "node:test";
import { Drawing } from "./strokes.ts";

test("a stroke is what lies between pen down and pen up", () => {
  const drawing = new Drawing(280);
  drawing.extend(5, 5); // the pen only hovers
  assert.equal(drawing.end(), false);
  drawing.begin(10, 20);
  drawing.extend(30, 20);
  assert.equal(drawing.drawing, true);
  assert.equal(drawing.end(), true);
  drawing.extend(90, 90);
  drawing.begin(50, 60);
  drawing.end();
  assert.deepEqual(drawing.strokes, [
    [
      [10, 20],
      [30, 20],
    ],
    [[50, 60]],
  ]);
});

test("points that hardly differ are one, and none lies outside the sheet", () => {
  const drawing = new Drawing(280);
  drawing.begin(-7, 100.04);
  drawing.extend(0.5, 100.5);
  drawing.extend(1000, 100);
  assert.deepEqual(drawing.strokes, [
    [
      [0, 100],
      [280, 100],
    ],
  ]);
});

test("undo takes strokes back one by one, clear all of them, and neither fails on an empty sheet", () => {
  const drawing = new Drawing(280, [[[1, 2]], [[3, 4]], [[5, 6]]]);
  drawing.undo();
  assert.deepEqual(drawing.strokes, [[[1, 2]], [[3, 4]]]);
  drawing.clear();
  assert.equal(drawing.empty, true);
  drawing.undo();
  assert.equal(drawing.empty, true);
});

test("undo ends a stroke that is under way", () => {
  const drawing = new Drawing(280);
  drawing.begin(1, 1);
  drawing.undo();
  drawing.extend(50, 50);
  assert.equal(drawing.empty, true);
  assert.equal(drawing.end(), false);
});

test("what was drawn before can be drawn on, and is copied", () => {
  const before: [number, number][][] = [[[1, 2]]];
  const drawing = new Drawing(280, before);
  drawing.begin(3, 4);
  drawing.extend(9, 9);
  assert.deepEqual(before, [[[1, 2]]]);
  assert.equal(drawing.strokes.length, 2);
});
