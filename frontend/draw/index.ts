// A sheet to draw on with mouse, pen or finger. Python hears of the strokes when the pen is lifted, and of nothing before.

import { context } from "../shared/canvas.ts";
import { find, NextFrame } from "../shared/dom.ts";
import { type Args, mount, type View } from "../shared/mount.ts";
import { Drawing, type Stroke } from "./strokes.ts";

interface State {
  strokes: Stroke[];
  [name: string]: unknown;
}

/** What `draw_figure` of ui/components/draw.py sends: `side` of the sheet and width of the `pen` in the strokes' units. */
interface Data {
  title: string;
  side: number;
  pen: number;
  strokes: Stroke[];
}

const FINER = 2; // pixels of the canvas for a unit of the sheet

class DrawView implements View<State, Data> {
  private readonly canvas: HTMLCanvasElement;
  private readonly undo: HTMLButtonElement;
  private readonly clear: HTMLButtonElement;
  private readonly frame = new NextFrame(() => this.draw());
  private readonly drawing: Drawing; // the hand's: what Python sends back later may be older
  private data: Data;
  private send: () => void = () => undefined;

  constructor(root: HTMLElement, data: Data) {
    this.data = data;
    this.drawing = new Drawing(data.side, data.strokes);
    this.canvas = find(root, "canvas");
    this.undo = find(root, ".undo");
    this.clear = find(root, ".clear");
    this.canvas.width = this.canvas.height = FINER * data.side;
    this.listen();
  }

  update({ data, setTriggerValue }: Args<State, Data>): void {
    this.data = data;
    this.send = () => setTriggerValue("strokes", this.drawing.strokes);
    this.frame.ask();
  }

  close(): void {
    this.frame.cancel();
  }

  private listen(): void {
    const { canvas, drawing } = this;
    canvas.onpointerdown = (event) => {
      if (!event.isPrimary || event.button !== 0) return;
      canvas.setPointerCapture(event.pointerId); // the stroke goes on outside the canvas
      drawing.begin(...this.place(event));
      this.frame.ask();
    };
    canvas.onpointermove = (event) => {
      if (!event.isPrimary || !drawing.drawing) return;
      for (const moved of [...event.getCoalescedEvents(), event]) drawing.extend(...this.place(moved));
      this.frame.ask();
    };
    canvas.onpointerup = canvas.onpointercancel = (event) => {
      if (event.isPrimary && drawing.end()) this.changed();
    };
    this.undo.onclick = () => {
      drawing.undo();
      this.changed();
    };
    this.clear.onclick = () => {
      drawing.clear();
      this.changed();
    };
  }

  private changed(): void {
    this.frame.ask();
    this.send();
  }

  /** Where an event is, in units of the sheet. */
  private place(event: PointerEvent): [number, number] {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    const { side } = this.data;
    return [(side * (event.clientX - left)) / width, (side * (event.clientY - top)) / height];
  }

  private draw(): void {
    const { canvas, drawing, data } = this;
    const g = context(canvas);
    g.setTransform(FINER, 0, 0, FINER, 0, 0);
    g.clearRect(0, 0, data.side, data.side);
    g.strokeStyle = "white";
    g.lineWidth = data.pen;
    g.lineCap = g.lineJoin = "round";
    for (const stroke of drawing.strokes) {
      g.beginPath();
      g.moveTo(...stroke[0]);
      for (const point of stroke) g.lineTo(...point); // a point by itself is a dot, by the round ends
      g.stroke();
    }
    const count = drawing.strokes.length;
    canvas.setAttribute("aria-label", `${data.title}: ${count} ${count === 1 ? "stroke" : "strokes"}`);
    this.undo.disabled = this.clear.disabled = drawing.empty;
  }
}

export default mount<State, Data>(".draw", (root, data) => new DrawView(root, data));
