// Images with what is said of them, the nearest to a threshold first.

import { paint, type Pixels, type Shape } from "./canvas.ts";
import { setText } from "./dom.ts";
import { countBelow, type Scores } from "./stats.ts";

/** Images that can be shown, by ascending score. */
export interface Faces {
  scores: Scores;
  labels: ArrayLike<number>;
  predicted: ArrayLike<number>;
  names: string[];
  shape: Shape;
  pixels: Pixels | null;
  /** The score of image i in words. */
  said: (i: number) => string;
}

/** A figure, made once and filled anew as T moves. */
export class Thumbnail {
  readonly figure = document.createElement("figure");
  private readonly kind: string;
  private readonly canvas = document.createElement("canvas");
  private readonly lines = Array.from({ length: 3 }, () => document.createElement("span"));
  private shown: unknown[] = [];

  /** `kind`: what the image is, for screen readers. */
  constructor(kind: string) {
    this.kind = kind;
    this.canvas.setAttribute("role", "img");
    const caption = document.createElement("figcaption");
    caption.append(...this.lines);
    this.figure.append(this.canvas, caption);
  }

  /** The image at position i; none if it is undefined. */
  show(group: Faces, i: number | undefined): void {
    const now = [group, i, group.pixels];
    if (now.every((part, k) => part === this.shown[k])) return; // as in the last frame
    this.shown = now;
    this.figure.classList.toggle("absent", i === undefined);
    if (i === undefined) return;
    const [claimed, seen] = [group.labels, group.predicted].map((classes) => group.names[classes[i]]);
    const words = [`claims ${claimed}`, `seen as ${seen}`, group.said(i)];
    words.forEach((text, k) => setText(this.lines[k], text));
    this.canvas.setAttribute("aria-label", [this.kind, ...words].join(", "));
    paint(this.canvas, group.pixels, group.shape, i);
  }
}

/** Positions up to `end` closest to T: the last ones, of equal scores the earlier first. */
export function lastOf(scores: Scores, end: number, most: number): number[] {
  const found: number[] = [];
  while (end && found.length < most) {
    const start = countBelow(scores, scores[end - 1]);
    for (let i = start; i < end && found.length < most; i++) found.push(i);
    end = start;
  }
  return found;
}

/** Positions from `start` closest to T: the first ones. */
export function firstOf(scores: Scores, start: number, most: number): number[] {
  return Array.from({ length: Math.min(most, scores.length - start) }, (_, i) => start + i);
}
