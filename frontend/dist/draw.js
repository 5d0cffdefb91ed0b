// shared/canvas.ts
function context(canvas, settings) {
  const g = canvas.getContext("2d", settings);
  if (!g) throw new Error("expected a canvas that can be drawn on, got one without a 2d context");
  return g;
}

// shared/dom.ts
function find(root, selector) {
  const found = root.querySelector(selector);
  if (!found) throw new Error(`expected an element ${selector} in the component's HTML, found none`);
  return found;
}
var NextFrame = class {
  draw;
  pending = 0;
  constructor(draw) {
    this.draw = draw;
  }
  ask() {
    this.pending ||= requestAnimationFrame((now) => {
      this.pending = 0;
      this.draw(now);
    });
  }
  cancel() {
    cancelAnimationFrame(this.pending);
    this.pending = 0;
  }
};

// shared/mount.ts
function mount(selector, open) {
  const views = /* @__PURE__ */ new WeakMap();
  return (args) => {
    const root = find(args.parentElement, selector);
    const view = views.get(root) ?? open(root, args.data);
    views.set(root, view);
    view.update(args);
    return () => {
      if (root.isConnected) return;
      view.close();
      views.delete(root);
    };
  };
}

// draw/strokes.ts
var NEAREST = 1.5;
var Drawing = class {
  strokes;
  side;
  current = null;
  constructor(side, strokes = []) {
    this.side = side;
    this.strokes = strokes.map((stroke) => stroke.map(([x, y]) => [x, y]));
  }
  get drawing() {
    return this.current !== null;
  }
  get empty() {
    return this.strokes.length === 0;
  }
  /** The pen comes down: a point by itself is a dot. */
  begin(x, y) {
    this.current = [this.onSheet(x, y)];
    this.strokes.push(this.current);
  }
  /** The pen moves; without effect while it is not down. */
  extend(x, y) {
    if (!this.current) return;
    const point = this.onSheet(x, y);
    const last = this.current[this.current.length - 1];
    if (Math.hypot(point[0] - last[0], point[1] - last[1]) >= NEAREST) this.current.push(point);
  }
  /** The pen is lifted. Returns whether it was down. */
  end() {
    const ended = this.drawing;
    this.current = null;
    return ended;
  }
  /** Take the last stroke back. */
  undo() {
    this.current = null;
    this.strokes.pop();
  }
  clear() {
    this.current = null;
    this.strokes.length = 0;
  }
  /** A point of the sheet, to a tenth of a unit; who leaves the sheet draws along its edge. */
  onSheet(x, y) {
    const inside = (value) => Math.round(10 * Math.min(this.side, Math.max(0, value))) / 10;
    return [inside(x), inside(y)];
  }
};

// draw/index.ts
var FINER = 2;
var DrawView = class {
  canvas;
  undo;
  clear;
  frame = new NextFrame(() => this.draw());
  drawing;
  // the hand's: what Python sends back later may be older
  data;
  send = () => void 0;
  constructor(root, data) {
    this.data = data;
    this.drawing = new Drawing(data.side, data.strokes);
    this.canvas = find(root, "canvas");
    this.undo = find(root, ".undo");
    this.clear = find(root, ".clear");
    this.canvas.width = this.canvas.height = FINER * data.side;
    this.listen();
  }
  update({ data, setTriggerValue }) {
    this.data = data;
    this.send = () => setTriggerValue("strokes", this.drawing.strokes);
    this.frame.ask();
  }
  close() {
    this.frame.cancel();
  }
  listen() {
    const { canvas, drawing } = this;
    canvas.onpointerdown = (event) => {
      if (!event.isPrimary || event.button !== 0) return;
      canvas.setPointerCapture(event.pointerId);
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
  changed() {
    this.frame.ask();
    this.send();
  }
  /** Where an event is, in units of the sheet. */
  place(event) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    const { side } = this.data;
    return [side * (event.clientX - left) / width, side * (event.clientY - top) / height];
  }
  draw() {
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
      for (const point of stroke) g.lineTo(...point);
      g.stroke();
    }
    const count = drawing.strokes.length;
    canvas.setAttribute("aria-label", `${data.title}: ${count} ${count === 1 ? "stroke" : "strokes"}`);
    this.undo.disabled = this.clear.disabled = drawing.empty;
  }
};
var draw_default = mount(".draw", (root, data) => new DrawView(root, data));
export {
  draw_default as default
};
