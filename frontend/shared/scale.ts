import { tickStep } from "d3-array";
import type { ScaleLinear } from "d3-scale";
import { scaleLinear } from "d3-scale";
import type { Point } from "./canvas.ts";

export type Linear = ScaleLinear<number, number>;

/** Ticks at multiples of 1, 2 or 5 times a power of ten, the closest that lie at least `gap` pixels apart. */
export function spacedTicks(scale: Linear, gap: number): { value: number; text: string }[] {
  const count = tickCount(scale, gap);
  const text = scale.tickFormat(count);
  return scale.ticks(count).map((value) => ({ value, text: text(value) }));
}

function tickCount(scale: Linear, gap: number): number {
  const [[low, high], [from, to]] = [scale.domain(), scale.range()];
  const pixels = Math.abs((to - from) / (high - low));
  let count = Math.max(1, Math.ceil((1.5 * Math.abs(to - from)) / gap));
  while (count > 1 && tickStep(low, high, count) * pixels < gap * (1 - 1e-9)) count--; // d3 gives about as many
  return count;
}

/** The rectangle that a plot is drawn in, pixels. */
export interface Box {
  left: number;
  right: number;
  top: number;
  bottom: number;
}

/** A plane with one unit for both axes: `scale` pixels each, with this point in the middle of the box. */
export function equalScales(box: Box, [x, y]: Point, scale: number): { x: Linear; y: Linear } {
  const [across, up] = [(box.right - box.left) / 2 / scale, (box.bottom - box.top) / 2 / scale];
  return {
    x: scaleLinear([x - across, x + across], [box.left, box.right]),
    y: scaleLinear([y - up, y + up], [box.bottom, box.top]),
  };
}
