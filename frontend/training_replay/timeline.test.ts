import assert from "node:assert/strict";
import { test } from "node:test";
import { Timeline } from "./timeline.ts";

/** A run of ten epochs, shown at its end. */
function shown(): Timeline {
  const time = new Timeline();
  time.span(0, 10, true);
  return time;
}

/** Frames of 50 ms until it stands still. */
function settle(time: Timeline, calm = false): number {
  let [now, frames] = [0, 0];
  do {
    time.advance(now, calm);
    now += 50;
    frames++;
  } while (time.moving);
  return frames;
}

test("the newest epoch is shown at once, and followed", () => {
  const time = shown();
  assert.equal(time.at, 10);
  time.span(0, 11, false);
  assert.equal(time.goal, 11);
  assert.ok(settle(time) > 5);
  assert.equal(time.at, 11);
});

test("an epoch that was chosen by hand is kept while the run grows", () => {
  const time = shown();
  time.go(4);
  settle(time);
  time.span(0, 12, false);
  assert.deepEqual([time.at, time.goal], [4, 4]);
  time.go(99);
  assert.equal(time.goal, 12);
});

test("by hand ten epochs do not take ten times as long as one, and no time without motion", () => {
  const [near, far, calm] = [shown(), shown(), shown()];
  near.go(9);
  far.go(0);
  calm.go(0);
  assert.ok(settle(far) < 4 * settle(near));
  assert.equal(settle(calm, true), 1);
});

test("a replay goes from the first epoch to the last, and can be paused", () => {
  const time = shown();
  time.replay();
  time.advance(0, true);
  time.advance(100, true);
  const at: number = time.at;
  assert.ok(at > 0 && at < 1, "without motion a replay moves all the same: it was asked for");
  time.pause();
  assert.equal(time.replaying, false);
  assert.equal(time.goal, 0);
});
