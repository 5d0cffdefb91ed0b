import { find, prefersReducedMotion } from "../shared/dom.ts";

const TRAJECTORY_MS = 1500; // from its first frame to its last
const STOP_MS = 450; // at each beta of the story

/** What the player moves through. */
export interface Frames {
  frame: number | null;
  readonly last: number;
  /** Draw the frame now. */
  draw(): void;
  /** Draw it when there is time. */
  redraw(): void;
}

/** The iteration's slider and its button, which plays the trajectory once; a step at a time without motion. */
export class TrajectoryPlayer {
  private readonly frames: Frames;
  private request = 0;

  constructor(root: HTMLElement, frames: Frames) {
    this.frames = frames;
    const slider = find<HTMLInputElement>(root, "input");
    slider.oninput = () => {
      this.stop();
      this.go(+slider.value);
      frames.redraw();
    };
    find(root, "button").onclick = () => {
      if (this.playing) this.stop();
      else if (prefersReducedMotion()) this.go((frames.frame ?? -1) + 1);
      else this.play();
      frames.redraw();
    };
  }

  get playing(): boolean {
    return this.request !== 0;
  }

  stop(): void {
    cancelAnimationFrame(this.request);
    this.request = 0;
  }

  private go(frame: number): void {
    this.frames.frame = frame < this.frames.last ? frame : null;
  }

  private play(): void {
    const from = this.frames.frame ?? 0;
    let start: number | null = null; // when the first frame is drawn, however late
    const tick = (now: number) => {
      start ??= now;
      this.go(from + Math.floor(((now - start) / TRAJECTORY_MS) * this.frames.last));
      this.request = this.frames.frame === null ? 0 : requestAnimationFrame(tick);
      this.frames.draw();
    };
    this.request = requestAnimationFrame(tick);
  }
}

/** The story's button: beta goes down and up by itself until it is stopped. */
export class StoryPlayer {
  private readonly button: HTMLElement;
  private timer = 0;
  private started = false;

  constructor(button: HTMLElement) {
    this.button = button;
    button.textContent = "▶ play";
  }

  /** Play or stop at a click; the first time by itself, if motion is welcome. */
  offer(step: (by: number) => boolean, ready: boolean): void {
    this.button.onclick = () => (this.timer ? this.stop() : this.play(step));
    if (this.started) return;
    this.started = true;
    if (ready && !prefersReducedMotion()) this.play(step);
  }

  stop(): void {
    clearInterval(this.timer);
    this.timer = 0;
    this.button.textContent = "▶ play";
  }

  /** `step` says whether there is a stop in that direction, and goes there. */
  private play(step: (by: number) => boolean): void {
    let by = -1;
    this.button.textContent = "❚❚ pause";
    this.timer = window.setInterval(() => {
      if (step(by)) return;
      by = -by;
      step(by);
    }, STOP_MS);
  }
}
