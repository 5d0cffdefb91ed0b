import { paint } from "../shared/canvas.ts";
import { find, setText } from "../shared/dom.ts";
import { count, nats } from "../shared/format.ts";
import { countBelow, countRemoved } from "../shared/stats.ts";
import type { Group, Role, Scores } from "./data.ts";

const THUMBNAILS = 12; // in each column
const ALL = "all of them, nearest to T first";

/** Three columns of images: the poisons caught and missed and the clean images thrown away, nearest to T first. */
export class Gallery {
  private readonly caught: Column;
  private readonly missed: Column;
  private readonly wrong: Column;

  constructor(root: HTMLElement) {
    this.caught = new Column(find(root, ".caught"), "poison");
    this.missed = new Column(find(root, ".missed"), "poison");
    this.wrong = new Column(find(root, ".wrong"), "clean");
  }

  colour(colors: Record<Role, string>): void {
    for (const column of [this.caught, this.missed, this.wrong])
      column.root.style.setProperty("--role", colors[column.role]);
  }

  show({ poison, clean, collided, groups }: Scores, threshold: number): void {
    const [caught, wrong, colliding] = [poison, clean, collided].map((scores) => countRemoved(scores, threshold));
    const missed = poison.length - caught;
    const likely = groups.clean.scores.length;
    this.caught.head(caught, poison.length, [`${count(colliding)} of them collide`, shownOf(caught)]);
    this.missed.head(missed, poison.length, [`${count(collided.length - colliding)} of them collide`, shownOf(missed)]);
    this.wrong.head(wrong, clean.length, [shownOf(wrong, likely) ?? (wrong ? ALL : null)]);
    this.caught.fill(groups.poison, lastOf(groups.poison.scores, caught));
    this.missed.fill(groups.poison, firstOf(groups.poison.scores, caught));
    this.wrong.fill(groups.clean, lastOf(groups.clean.scores, Math.min(wrong, likely)));
  }
}

/** Its figures are made once and filled anew as T moves. */
class Column {
  readonly root: HTMLElement;
  readonly role: Role;
  private readonly thumbnails: Thumbnail[];

  constructor(root: HTMLElement, role: Role) {
    this.root = root;
    this.role = role;
    this.thumbnails = Array.from({ length: THUMBNAILS }, () => new Thumbnail(role));
    find(root, ".faces").append(...this.thumbnails.map(({ figure }) => figure));
  }

  head(hits: number, n: number, notes: (string | null)[]): void {
    const kind = this.role === "poison" ? "poisons" : "clean";
    setText(find(this.root, ".count"), `${count(hits)} of ${count(n)} ${kind}`);
    setText(find(this.root, "small"), notes.filter((note) => note !== null).join(" · "));
  }

  fill(group: Group, chosen: number[]): void {
    find(this.root, ".none").hidden = chosen.length > 0;
    this.thumbnails.forEach((thumbnail, place) => thumbnail.show(group, chosen.at(place)));
  }
}

class Thumbnail {
  readonly figure = document.createElement("figure");
  private readonly role: Role;
  private readonly canvas = document.createElement("canvas");
  private readonly lines = Array.from({ length: 3 }, () => document.createElement("span"));
  private shown: unknown[] = [];

  constructor(role: Role) {
    this.role = role;
    this.canvas.setAttribute("role", "img");
    const caption = document.createElement("figcaption");
    caption.append(...this.lines);
    this.figure.append(this.canvas, caption);
  }

  /** The image at position i; none if it is undefined. */
  show(group: Group, i: number | undefined): void {
    const now = [group, i, group.pixels];
    if (now.every((part, k) => part === this.shown[k])) return; // as in the last frame
    this.shown = now;
    this.figure.classList.toggle("absent", i === undefined);
    if (i === undefined) return;
    const [claimed, seen] = [group.labels, group.predicted].map((classes) => group.names[classes[i]]);
    const words = [`claims ${claimed}`, `seen as ${seen}`, `${nats(group.scores[i])} nats`];
    words.forEach((text, k) => setText(this.lines[k], text));
    this.canvas.setAttribute("aria-label", [this.role, ...words].join(", "));
    paint(this.canvas, group.pixels, group.shape, i);
  }
}

/** Positions up to `end` closest to T: the last ones, of equal scores the earlier first. */
function lastOf(scores: Float32Array, end: number): number[] {
  const found: number[] = [];
  while (end && found.length < THUMBNAILS) {
    const start = countBelow(scores, scores[end - 1]);
    for (let i = start; i < end && found.length < THUMBNAILS; i++) found.push(i);
    end = start;
  }
  return found;
}

/** Positions from `start` closest to T: the first ones. */
function firstOf(scores: Float32Array, start: number): number[] {
  return Array.from({ length: Math.min(THUMBNAILS, scores.length - start) }, (_, i) => start + i);
}

/** Which of so many are shown, if not all of them. */
function shownOf(hits: number, available = hits): string | null {
  if (hits <= THUMBNAILS) return null;
  const among = hits > available ? ` among the ${count(available)} least likely` : "";
  return `here the ${THUMBNAILS} nearest to T${among}`;
}
