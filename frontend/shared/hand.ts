const SETTLE = 400; // ms after the last key press at which T counts as released

/** What the hand moves. */
export interface Movable {
  threshold: number;
  /** To T as it is. */
  moveTo(threshold: number): void;
  /** The hand has let go. */
  release(): void;
}

/** The ways to move T: a pointer on a plot, a slider and its keys, a typed number, buttons. */
export class Hand {
  /** The canvas or slider that the hand is on. */
  held: Element | null = null;
  private readonly moved: Movable;
  private timer = 0;

  constructor(moved: Movable) {
    this.moved = moved;
  }

  /** T follows the pointer: it is what `thresholdAt` says of a place on the canvas. */
  drag(canvas: HTMLCanvasElement, thresholdAt: (x: number, y: number) => number): void {
    let before = this.moved.threshold;
    const follow = (event: PointerEvent) => {
      const box = canvas.getBoundingClientRect();
      this.moved.moveTo(thresholdAt(event.clientX - box.left, event.clientY - box.top));
    };
    canvas.onpointerdown = (event) => {
      if (event.button) return;
      clearTimeout(this.timer);
      canvas.setPointerCapture(event.pointerId);
      this.held = canvas;
      before = this.moved.threshold;
      follow(event);
    };
    canvas.onpointermove = (event) => {
      if (this.held === canvas) follow(event);
    };
    canvas.onpointerup = () => {
      if (this.held === canvas) this.release();
    };
    canvas.onpointercancel = () => {
      this.held = null; // the finger turned out to scroll the page
      this.moved.moveTo(before);
    };
  }

  slide(slider: HTMLInputElement, thresholdAt: (u: number) => number): void {
    slider.oninput = () => {
      clearTimeout(this.timer);
      this.held = slider;
      this.moved.moveTo(thresholdAt(+slider.value));
    };
    slider.onchange = () => this.settle();
  }

  /** An empty field takes T as it is. */
  type(field: HTMLInputElement, thresholdOf: (typed: number) => number): void {
    field.onchange = () => {
      this.moved.moveTo(field.value ? thresholdOf(+field.value) : this.moved.threshold);
      if (field.value) this.settle();
    };
  }

  /** Buttons whose value is T. */
  press(buttons: HTMLElement): void {
    buttons.onclick = (event) => {
      if (!(event.target instanceof HTMLButtonElement)) return;
      this.moved.moveTo(+event.target.value);
      this.release();
    };
  }

  close(): void {
    clearTimeout(this.timer);
  }

  private settle(): void {
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.release(), SETTLE);
  }

  private release(): void {
    this.held = null;
    this.moved.release();
  }
}
