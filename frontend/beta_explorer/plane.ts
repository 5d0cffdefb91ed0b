import { range } from "d3-array";
import { type Context, diamond, line, type Point, prepare, ring, type Sheet, tag } from "../shared/canvas.ts";
import { find } from "../shared/dom.ts";
import { equalScales, type Linear } from "../shared/scale.ts";
import { lastFrame, type Loss, type Network, type Poison, type Scene } from "./data.ts";

const AHEAD = 0.25; // opacity of the part of the trajectory that is still to come

/** Where a feature is drawn. */
interface Projection {
  x: Linear;
  y: Linear;
  scale: number; // pixels per unit
}

/** The plane of one network: what no slider moves is drawn once and kept until `forget`. */
export class FeaturePlane {
  private readonly figure: HTMLElement;
  private readonly loss: Loss;
  private background: OffscreenCanvas | null = null;

  constructor(figure: HTMLElement, loss: Loss) {
    this.figure = figure;
    this.loss = loss;
  }

  /** Other data, another size or another theme. */
  forget(): void {
    this.background = null;
  }

  draw(scene: Scene, poison: Poison | null): void {
    const canvas = find<HTMLCanvasElement>(this.figure, "canvas");
    const network = scene.pair.networks[this.loss];
    if (!canvas.clientWidth || !network) return;
    const sheet = prepare(canvas, scene.theme);
    const { g, theme, width, height } = sheet;
    const projection = fit(network, width, height);
    this.background ??= drawBackground(scene, network, sheet, projection);
    g.drawImage(this.background, 0, 0, width, height);
    const { colors } = scene.data;
    const { x, y } = projection;
    if (poison) {
      drawTrajectory(g, scene, network, projection);
      diamond(g, x(poison.z[0]), y(poison.z[1]), colors.poison, theme.text);
    }
    // Hollow and over it: a poison lies on one of the two, if it is good, and both must be seen.
    const [[bx, by], [tx, ty]] = [network.base_z, network.target_z];
    const circle = new Path2D();
    circle.arc(x(bx), y(by), 11, 0, 2 * Math.PI);
    outline(g, circle, colors.base, theme.background);
    const square = new Path2D();
    square.rect(x(tx) - 11, y(ty) - 11, 22, 22);
    outline(g, square, colors.target, theme.background);
    canvas.setAttribute("aria-label", this.describe(network, poison));
  }

  private describe({ base_z: base, target_z: target }: Network, poison: Poison | null): string {
    const at = (z: Point) => z.map((value) => value.toFixed(1)).join(", ");
    const words = poison ? `poison at ${at(poison.z)}` : "poison not made yet";
    return `${find(this.figure, "figcaption").textContent}: base at ${at(base)}, target at ${at(target)}, ${words}`;
  }
}

function fit({ extent: [left, right, bottom, top] }: Network, width: number, height: number): Projection {
  const scale = Math.min(width / (right - left), height / (top - bottom));
  const box = { left: 0, right: width, top: 0, bottom: height };
  return { ...equalScales(box, [(left + right) / 2, (bottom + top) / 2], scale), scale };
}

function drawTrajectory(g: Context, { data, index, frame }: Scene, { poisons }: Network, { x, y }: Projection): void {
  if (!poisons) return;
  const last = lastFrame(data);
  const first = index * (last + 1);
  const points = range(first, first + last + 1).map((k): Point => [x(poisons.path[2 * k]), y(poisons.path[2 * k + 1])]);
  const here = frame ?? last;
  line(g, data.colors.poison, 2.5, points.slice(here), { alpha: AHEAD });
  line(g, data.colors.poison, 2.5, points.slice(0, here + 1));
}

/** An outline wider than a poison, on a halo of the page's colour. */
function outline(g: Context, shape: Path2D, colour: string, background: string): void {
  for (const [style, width] of [[background, 4.5] as const, [colour, 2.5] as const]) {
    g.strokeStyle = style;
    g.lineWidth = width;
    g.stroke(shape);
  }
}

/** Points, class names, rings at 1 and 2 sigma, and the ring at which the filter cuts. */
function drawBackground({ data }: Scene, network: Network, sheet: Sheet, { x, y, scale }: Projection): OffscreenCanvas {
  const { theme, width, height, ratio } = sheet;
  const canvas = new OffscreenCanvas(Math.max(1, width * ratio), Math.max(1, height * ratio));
  const g = canvas.getContext("2d");
  if (!g) return canvas;
  g.scale(ratio, ratio);
  g.globalAlpha = 0.5;
  network.labels.forEach((label, i) => {
    g.fillStyle = data.colors.classes[label];
    g.fillRect(x(network.cloud[2 * i]) - 1, y(network.cloud[2 * i + 1]) - 1, 2, 2);
  });
  g.globalAlpha = 1;
  const { cut, sigma, means } = network;
  if (cut !== null && sigma) {
    const [mx, my] = means[data.base_label];
    const center: Point = [x(mx), y(my)];
    const radii = (sigmas: number): Point => [sigmas * sigma[0] * scale, sigmas * sigma[1] * scale];
    ring(g, `${theme.text}66`, 1, center, radii(1));
    ring(g, `${theme.text}66`, 1, center, radii(2));
    ring(g, data.colors.clean, 2, center, radii(cut), { dash: [5, 4] });
  }
  g.font = `700 12px ${theme.font}`;
  means.forEach(([mx, my], k) => tag(g, data.classes[k], data.colors.classes[k], x(mx), y(my)));
  return canvas;
}
