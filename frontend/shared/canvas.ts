// Drawing on canvases, in CSS pixels.

export type Context = CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D;
export type Point = readonly [x: number, y: number];

/** What the page looks like. */
export interface Theme {
  text: string;
  background: string;
  font: string;
}

/** A canvas to draw on: its context and its size. */
export interface Sheet {
  g: CanvasRenderingContext2D;
  theme: Theme;
  width: number;
  height: number;
  ratio: number; // device pixels per CSS pixel
}

export const MUTED = 0.78; // opacity of secondary text

export function context(canvas: HTMLCanvasElement, settings?: CanvasRenderingContext2DSettings) {
  const g = canvas.getContext("2d", settings);
  if (!g) throw new Error("expected a canvas that can be drawn on, got one without a 2d context");
  return g;
}

/** Computed styles are slow to read while the page changes. */
export function readTheme(root: Element): Theme {
  const style = getComputedStyle(root);
  const value = (name: string) => style.getPropertyValue(name).trim();
  return { text: value("--st-text-color"), background: value("--st-background-color"), font: style.fontFamily };
}

/** The canvas at the screen's own resolution, wiped. */
export function prepare(canvas: HTMLCanvasElement, theme: Theme): Sheet {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  resize(canvas, Math.round(width * ratio), Math.round(height * ratio));
  const g = context(canvas);
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.clearRect(0, 0, width, height);
  g.font = `12px ${theme.font}`;
  return { g, theme, width, height, ratio };
}

function resize(canvas: HTMLCanvasElement, width: number, height: number): void {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
}

export type Shape = readonly [channels: number, height: number, width: number];
export type Pixels = Uint8Array | Uint8ClampedArray;

/** Image number i of many, each (channels, height, width) bytes, onto a canvas of as many pixels; null wipes it. */
export function paint(canvas: HTMLCanvasElement, images: Pixels | null, [channels, height, width]: Shape, i = 0): void {
  resize(canvas, width, height);
  const g = context(canvas, { willReadFrequently: true }); // in main memory: too small for a GPU
  if (!images) {
    g.clearRect(0, 0, width, height);
    return;
  }
  const image = g.createImageData(width, height);
  const size = width * height;
  const [red, green, blue] = [0, 1, 2].map((c) => size * (channels * i + Math.min(c, channels - 1)));
  for (let k = 0; k < size; k++) {
    image.data[4 * k] = images[red + k];
    image.data[4 * k + 1] = images[green + k];
    image.data[4 * k + 2] = images[blue + k];
    image.data[4 * k + 3] = 255;
  }
  g.putImageData(image, 0, 0);
}

export interface LineStyle {
  dash?: readonly number[];
  alpha?: number;
}

/** A path in a style of its own. */
function stroke(
  g: Context,
  colour: string,
  thick: number,
  { dash = [], alpha = 1 }: LineStyle,
  path: () => void,
): void {
  g.save();
  g.strokeStyle = colour;
  g.lineWidth = thick;
  g.globalAlpha = alpha;
  g.setLineDash([...dash]);
  g.beginPath();
  path();
  g.stroke();
  g.restore();
}

/** A line through points. */
export function line(g: Context, colour: string, thick: number, points: readonly Point[], style: LineStyle = {}): void {
  stroke(g, colour, thick, style, () => {
    for (const [x, y] of points) g.lineTo(x, y);
  });
}

/** A line from one point to another. */
export function segment(
  g: Context,
  colour: string,
  thick: number,
  from: Point,
  to: Point,
  style: LineStyle = {},
): void {
  line(g, colour, thick, [from, to], style);
}

export interface TextStyle {
  align?: CanvasTextAlign;
  alpha?: number;
  bold?: boolean;
  colour?: string;
}

/** A text in the page's colour; `y` is its baseline. */
export function write(
  { g, theme }: { g: Context; theme: Theme },
  text: string,
  x: number,
  y: number,
  { align = "left", alpha = MUTED, bold = false, colour = theme.text }: TextStyle = {},
): void {
  g.save();
  if (bold) g.font = `600 ${g.font}`;
  g.textAlign = align;
  g.fillStyle = colour;
  g.globalAlpha = alpha;
  g.fillText(text, x, y);
  g.restore();
}

/** The name of a class on a pill of its colour, centred. */
export function tag(g: Context, name: string, colour: string, x: number, y: number): void {
  g.textAlign = "center";
  g.textBaseline = "middle";
  const half = Math.max(9, g.measureText(name).width / 2 + 5);
  g.fillStyle = colour;
  g.beginPath();
  g.roundRect(x - half, y - 9, 2 * half, 18, 9);
  g.fill();
  g.fillStyle = "white";
  g.fillText(name, x, y + 1);
}

/** An axis-parallel ellipse, such as the points at so many sigmas from a mean. */
export function ring(
  g: Context,
  colour: string,
  thick: number,
  center: Point,
  radii: Point,
  style: LineStyle = {},
): void {
  stroke(g, colour, thick, style, () => {
    g.ellipse(...center, ...radii, 0, 0, 2 * Math.PI);
  });
}

/** The mark of a poison. */
export function diamond(g: Context, x: number, y: number, fill: string, edge: string): void {
  g.fillStyle = fill;
  g.strokeStyle = edge;
  g.lineWidth = 2;
  g.beginPath();
  g.moveTo(x, y - 9);
  g.lineTo(x + 9, y);
  g.lineTo(x, y + 9);
  g.lineTo(x - 9, y);
  g.closePath();
  g.fill();
  g.stroke();
}

/** A disc with an outline. */
export function disc(
  g: Context,
  x: number,
  y: number,
  radius: number,
  fill: string,
  edge: string,
  thick: number,
): void {
  g.fillStyle = fill;
  g.strokeStyle = edge;
  g.lineWidth = thick;
  g.beginPath();
  g.arc(x, y, radius, 0, 2 * Math.PI);
  g.fill();
  g.stroke();
}

/** A text with an outline of the page's colour, so that it hides nothing and is read over anything. */
export function writeWithHalo(
  { g, theme }: { g: Context; theme: Theme },
  text: string,
  x: number,
  y: number,
  { align, thick, font = g.font }: { align: CanvasTextAlign; thick: number; font?: string },
): void {
  g.save();
  g.font = font;
  g.textAlign = align;
  g.lineJoin = "round";
  g.lineWidth = thick;
  g.strokeStyle = theme.background;
  g.fillStyle = theme.text;
  g.strokeText(text, x, y);
  g.fillText(text, x, y);
  g.restore();
}
