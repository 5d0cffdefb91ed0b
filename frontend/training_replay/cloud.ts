import { type Point, prepare, ring, segment, type Sheet, type Theme, write, writeWithHalo } from "../shared/canvas.ts";
import { equalScales, type Linear, spacedTicks } from "../shared/scale.ts";
import type { Cloud, Data } from "./data.ts";

const AXES = { left: 34, bottom: 22 }; // px
const REACH = 12; // px around a point in which the pointer finds it

/** A sheet with the plane's axes. */
interface Plane extends Sheet {
  x: Linear;
  y: Linear;
  scale: number; // pixels per unit
}

/** A cloud as it was drawn last. */
export interface DrawnCloud {
  /** The image at a place on the canvas, or none. */
  imageAt(x: number, y: number): number | undefined;
}

const NOTHING: DrawnCloud = { imageAt: () => undefined };

/** Points in the colour of their class, rings where sigmas are learnt, names of the classes; words if there is no cloud. */
export function drawCloud(
  canvas: HTMLCanvasElement,
  theme: Theme,
  { classes, colors }: Data,
  labels: Uint8Array,
  cloud: Cloud | string,
): DrawnCloud {
  const sheet = prepare(canvas, theme);
  const { g, width, height } = sheet;
  if (width < 100) return NOTHING; // not laid out yet
  if (typeof cloud === "string") {
    write(sheet, cloud, width / 2, height / 2, { align: "center" });
    return NOTHING;
  }
  const [cx, cy, half] = cloud.view;
  const box = { left: AXES.left, right: width, top: 0, bottom: height - AXES.bottom };
  const scale = Math.min(box.right - box.left, box.bottom) / (2 * half);
  const plane = { ...sheet, ...equalScales(box, [cx, cy], scale), scale };
  drawGrid(plane);
  g.save();
  g.beginPath();
  g.rect(box.left, box.top, box.right - box.left, box.bottom);
  g.clip();
  drawPoints(plane, cloud, labels, colors.classes);
  drawRings(plane, cloud);
  cloud.means.forEach(([mx, my], k) => {
    const font = `700 15px ${theme.font}`;
    writeWithHalo(plane, classes[k], plane.x(mx), plane.y(my) + 5, { align: "center", thick: 3.5, font });
  });
  g.restore();
  return { imageAt: (x, y) => nearest(plane, cloud, labels.length, x, y) };
}

function drawGrid(plane: Plane): void {
  const { g, theme, width, height, x, y } = plane;
  const { left } = AXES;
  const bottom = height - AXES.bottom;
  for (const { value, text } of spacedTicks(x, 70)) {
    const at = x(value);
    segment(g, theme.text, 1, [at, 0], [at, bottom], { alpha: 0.12 });
    if (at > left + 10 && at < width - 10) write(plane, text, at, height - 6, { align: "center" });
  }
  for (const { value, text } of spacedTicks(y, 70)) {
    const at = y(value);
    segment(g, theme.text, 1, [left, at], [width, at], { alpha: 0.12 });
    if (at > 8 && at < bottom - 6) write(plane, text, left - 6, at + 4, { align: "right" });
  }
}

/** A dot for each image that is read as its class, a cross for each other one. */
function drawPoints({ g, x, y }: Plane, { z, predicted }: Cloud, labels: Uint8Array, classes: readonly string[]): void {
  classes.forEach((colour, k) => {
    const [dots, crosses] = [new Path2D(), new Path2D()];
    labels.forEach((label, i) => {
      if (label !== k) return;
      const [px, py] = [x(z[2 * i]), y(z[2 * i + 1])];
      if (predicted[i] === k) {
        dots.moveTo(px + 2.4, py);
        dots.arc(px, py, 2.4, 0, 2 * Math.PI);
      } else {
        crosses.moveTo(px - 3, py - 3);
        crosses.lineTo(px + 3, py + 3);
        crosses.moveTo(px - 3, py + 3);
        crosses.lineTo(px + 3, py - 3);
      }
    });
    g.fillStyle = g.strokeStyle = colour;
    g.lineWidth = 1.4;
    g.globalAlpha = 0.7;
    g.fill(dots);
    g.globalAlpha = 0.9;
    g.stroke(crosses);
    g.globalAlpha = 1;
  });
}

/** At 1 and 2 sigma. */
function drawRings({ g, theme, x, y, scale }: Plane, { means, sigmas }: Cloud): void {
  sigmas?.forEach(([across, up], k) => {
    const center: Point = [x(means[k][0]), y(means[k][1])];
    for (const [reach, alpha] of [[1, 0.6] as const, [2, 0.35] as const])
      ring(g, theme.text, 1.2, center, [reach * across * scale, reach * up * scale], { alpha });
  });
}

function nearest({ x, y }: Plane, { z }: Cloud, images: number, px: number, py: number): number | undefined {
  let best = REACH ** 2;
  let found: number | undefined;
  for (let i = 0; i < images; i++) {
    const far = (x(z[2 * i]) - px) ** 2 + (y(z[2 * i + 1]) - py) ** 2;
    if (far < best) [best, found] = [far, i];
  }
  return found;
}
