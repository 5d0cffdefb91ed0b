// What plots with one horizontal axis share.

import type { Sheet, Theme } from "./canvas.ts";
import { diamond, disc, prepare, segment, write, writeWithHalo } from "./canvas.ts";

/** A mark on an axis, at a position in 0..1. */
export interface Tick {
  u: number;
  text: string;
}

/** `to` gives a position in 0..1, `from` is its inverse. */
export interface Axis {
  to: (value: number) => number;
  from: (u: number) => number;
  ticks: Tick[];
}

export const PAD = { left: 46, right: 14, top: 26, bottom: 40 }; // px around each plot; the slider's margins follow it

/** A canvas to plot on, with the way from shares of the axis to CSS pixels. */
export interface Plot extends Sheet {
  x: (u: number) => number;
  top: number;
  bottom: number;
}

export function plotOn(canvas: HTMLCanvasElement, theme: Theme): Plot {
  const sheet = prepare(canvas, theme);
  const x = (u: number) => PAD.left + u * (sheet.width - PAD.left - PAD.right);
  return { ...sheet, x, top: PAD.top, bottom: sheet.height - PAD.bottom };
}

/** Ticks and title of the horizontal axis; `gap` px are left free between the labels. */
export function drawTicks(plot: Plot, ticks: readonly Tick[], title: string, gap: number): void {
  const { g, theme, x, bottom, width } = plot;
  let free = Infinity;
  for (const { u, text } of ticks.toSorted((a, b) => b.u - a.u)) {
    const half = g.measureText(text).width / 2;
    const center = Math.min(width - half, x(u));
    segment(g, theme.text, 1, [x(u), bottom], [x(u), bottom + 4], { alpha: 0.6 });
    if (center + half > free) continue; // no room beside its right neighbour
    write(plot, text, center, bottom + 16, { align: "center" });
    free = center - half - gap;
  }
  const fitting = g.measureText(title).width < x(1) - x(0) ? title : title.split(";")[0];
  write(plot, fitting, (x(0) + x(1)) / 2, bottom + 34, { align: "center", alpha: 1 });
}

/** What the hand drags. */
export function drawKnob({ g, theme }: Plot, x: number, y: number): void {
  disc(g, x, y, 7.5, theme.background, theme.text, 2.5);
}

/** The user's own poison; its name stands `lower` px below its centre. */
export function drawOwn(plot: Plot, colour: string, x: number, y: number, lower: number): void {
  diamond(plot.g, x, y, colour, plot.theme.text);
  const [align, left] = x > plot.width - 70 ? (["right", x - 13] as const) : (["left", x + 13] as const);
  writeWithHalo(plot, "yours", left, y + lower, { align, thick: 4 });
}
