import { max, min, sum } from "d3-array";
import { scaleLinear } from "d3-scale";
import { disc, line, MUTED, type Point, prepare, segment, type Sheet, type Theme, write } from "../shared/canvas.ts";
import { type Box, type Linear, spacedTicks } from "../shared/scale.ts";
import type { Data, EpochRecord } from "./data.ts";
import { type Panel, panelsOf, valueOf } from "./series.ts";

/** Panels above each other over a common axis of epochs, with a line at `at`; null while nothing is laid out. */
export function drawCurves(
  canvas: HTMLCanvasElement,
  theme: Theme,
  data: Data,
  [first, last]: readonly [number, number],
  at: number,
): Linear | null {
  const sheet = prepare(canvas, theme);
  if (sheet.width < 100) return null;
  const panels = panelsOf(data);
  const x = scaleLinear([first, Math.max(data.epochs, first + 1)], [44, sheet.width - 62]);
  const height = (sheet.height - 34) / panels.length;
  panels.forEach((panel, i) => {
    const box = { left: 44, right: sheet.width - 62, top: i * height + 20, bottom: (i + 1) * height - 10 };
    drawPanel(sheet, box, x, panel, data, Math.min(Math.round(at), last));
  });
  drawEpochs(sheet, x);
  segment(sheet.g, theme.text, 1.5, [x(at), 20], [x(at), sheet.height - 30], { alpha: MUTED });
  return x;
}

/** What is read at the current epoch: a number, the name of its line, and where that is. */
interface Reading {
  text: string;
  name: string;
  y: number;
}

function drawPanel(sheet: Sheet, box: Box, x: Linear, panel: Panel, data: Data, epoch: number): void {
  const { g, theme } = sheet;
  write(sheet, panel.title, box.left, box.top - 7, { alpha: 1 });
  segment(g, theme.text, 1, [box.left, box.bottom], [box.right, box.bottom], { alpha: 0.5 });
  const y = verticalScale(sheet, box, panel, data.records);
  if (!y) return;
  const readings: Reading[] = [];
  for (const { key, name, dash } of panel.lines) {
    const points = data.records.flatMap((record): Point[] => {
      const value = valueOf(record, key);
      return value === undefined ? [] : [[x(record.epoch), y(value)]];
    });
    const colour = dash ? theme.text : data.colors.run;
    line(g, colour, 2, points, { dash: dash ?? [], alpha: dash ? MUTED : 1 });
    if (points.length === 1) drawDot(sheet, points[0], colour);
    const now = data.records.find((record) => record.epoch === epoch);
    const value = valueOf(now, key);
    if (value === undefined) continue;
    drawDot(sheet, [x(epoch), y(value)], colour);
    readings.push({ text: panel.write(value), name, y: y(value) });
  }
  drawReadings(sheet, box, readings);
}

/** The scale of a panel, with its ticks; null where there is no number. */
function verticalScale(sheet: Sheet, box: Box, panel: Panel, records: readonly EpochRecord[]): Linear | null {
  const values = panel.lines.flatMap(({ key }) => records.map((record) => valueOf(record, key)));
  const [low, high] = [min(values, Number), max(values, Number)];
  if (low === undefined || high === undefined) return null;
  const y = scaleLinear(ends(panel, low, high), [box.bottom, box.top]);
  const { g, theme } = sheet;
  for (const { value, text } of spacedTicks(y, (box.bottom - box.top) / (panel.top ? 2 : 3))) {
    segment(g, theme.text, 1, [box.left, y(value)], [box.right, y(value)], { alpha: 0.12 });
    const share = `${Math.round(100 * value)} %`;
    write(sheet, panel.top ? share : text, box.left - 6, y(value) + 4, { align: "right" });
  }
  return y;
}

/** Shares reach up to 100 % from the ten per cent below the lowest, other numbers start at 0. */
function ends({ top }: Panel, low: number, high: number): [number, number] {
  if (top) return [Math.min(0.9, Math.floor(10 * Math.min(0.9, low)) / 10), top];
  return [Math.min(0, low), Math.max(high, 1e-9) * 1.05];
}

/** The numbers at the current epoch, to the right of their lines and out of each other's way. */
function drawReadings(sheet: Sheet, box: Box, readings: readonly Reading[]): void {
  const sorted = readings.toSorted((a, b) => a.y - b.y);
  const needed = sorted.map(({ name }) => (name ? 30 : 16));
  let free = box.top - 8;
  sorted.forEach(({ text, name, y }, i) => {
    const top = Math.max(free, Math.min(y - needed[i] / 2, box.bottom + 10 - sum(needed.slice(i))));
    write(sheet, text, box.right + 8, top + 12, { alpha: 1, bold: true });
    if (name) write(sheet, name, box.right + 8, top + 25);
    free = top + needed[i];
  });
}

function drawEpochs(sheet: Sheet, x: Linear): void {
  const [left, right] = x.range();
  for (const { value } of spacedTicks(x, 44))
    if (Number.isInteger(value)) write(sheet, String(value), x(value), sheet.height - 20, { align: "center" });
  write(sheet, "epoch", (left + right) / 2, sheet.height - 4, { align: "center", alpha: 1 });
}

function drawDot({ g, theme }: Sheet, [x, y]: Point, colour: string): void {
  disc(g, x, y, 5, colour, theme.background, 2);
}
