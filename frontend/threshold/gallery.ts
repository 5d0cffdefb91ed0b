import { find, setText } from "../shared/dom.ts";
import { firstOf, lastOf, Thumbnail } from "../shared/faces.ts";
import { count } from "../shared/format.ts";
import { countRemoved } from "../shared/stats.ts";
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
    this.caught.fill(groups.poison, lastOf(groups.poison.scores, caught, THUMBNAILS));
    this.missed.fill(groups.poison, firstOf(groups.poison.scores, caught, THUMBNAILS));
    this.wrong.fill(groups.clean, lastOf(groups.clean.scores, Math.min(wrong, likely), THUMBNAILS));
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

/** Which of so many are shown, if not all of them. */
function shownOf(hits: number, available = hits): string | null {
  if (hits <= THUMBNAILS) return null;
  const among = hits > available ? ` among the ${count(available)} least likely` : "";
  return `here the ${THUMBNAILS} nearest to T${among}`;
}
