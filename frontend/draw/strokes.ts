import type { Point } from "../shared/canvas.ts";

const NEAREST = 1.5; // of the sheet's units: what moves less is the same point

export type Stroke = [x: number, y: number][];

/** Strokes of a pen on a square sheet, the last of which may still be under way. */
export class Drawing {
  readonly strokes: Stroke[];
  private readonly side: number;
  private current: Stroke | null = null;

  constructor(side: number, strokes: readonly (readonly Point[])[] = []) {
    this.side = side;
    this.strokes = strokes.map((stroke) => stroke.map(([x, y]) => [x, y]));
  }

  get drawing(): boolean {
    return this.current !== null;
  }

  get empty(): boolean {
    return this.strokes.length === 0;
  }

  /** The pen comes down: a point by itself is a dot. */
  begin(x: number, y: number): void {
    this.current = [this.onSheet(x, y)];
    this.strokes.push(this.current);
  }

  /** The pen moves; without effect while it is not down. */
  extend(x: number, y: number): void {
    if (!this.current) return;
    const point = this.onSheet(x, y);
    const last = this.current[this.current.length - 1];
    if (Math.hypot(point[0] - last[0], point[1] - last[1]) >= NEAREST) this.current.push(point);
  }

  /** The pen is lifted. Returns whether it was down. */
  end(): boolean {
    const ended = this.drawing;
    this.current = null;
    return ended;
  }

  /** Take the last stroke back. */
  undo(): void {
    this.current = null;
    this.strokes.pop();
  }

  clear(): void {
    this.current = null;
    this.strokes.length = 0;
  }

  /** A point of the sheet, to a tenth of a unit; who leaves the sheet draws along its edge. */
  private onSheet(x: number, y: number): [number, number] {
    const inside = (value: number) => Math.round(10 * Math.min(this.side, Math.max(0, value))) / 10;
    return [inside(x), inside(y)];
  }
}
