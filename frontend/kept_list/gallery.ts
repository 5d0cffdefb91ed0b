import { find, setText } from "../shared/dom.ts";
import { type Faces, firstOf, lastOf, Thumbnail } from "../shared/faces.ts";
import { count } from "../shared/format.ts";
import type { Scores } from "./data.ts";

const THUMBNAILS = 12; // in each column

/** Three columns of images: the least likely of all, and those nearest to T on both sides. */
export class Gallery {
  private readonly least: Column;
  private readonly last: Column;
  private readonly next: Column;

  constructor(root: HTMLElement) {
    this.least = new Column(find(root, ".least"), "image");
    this.last = new Column(find(root, ".last"), "would go");
    this.next = new Column(find(root, ".next"), "would stay");
  }

  show({ all, faces }: Scores, removed: number): void {
    const available = faces.scores.length; // the least likely: of the others, no picture was sent
    const without = (what: string) => `No pictures here: ${what} are not among the ${count(available)} least likely.`;
    this.least.fill(faces, firstOf(faces.scores, 0, THUMBNAILS), "whether they go or stay");
    const seen = removed <= available;
    this.last.fill(
      faces,
      seen ? lastOf(faces.scores, removed, THUMBNAILS) : [],
      seen ? `nearest to T first, of ${count(removed)} that go` : without("those nearest to T"),
      removed > 0,
    );
    const more = removed < available;
    this.next.fill(
      faces,
      more ? firstOf(faces.scores, removed, THUMBNAILS) : [],
      more || removed === all.length
        ? `nearest to T first, of ${count(all.length - removed)} that stay`
        : without("those nearest to T"),
      removed < all.length,
    );
  }
}

class Column {
  private readonly root: HTMLElement;
  private readonly thumbnails: Thumbnail[];

  constructor(root: HTMLElement, kind: string) {
    this.root = root;
    this.thumbnails = Array.from({ length: THUMBNAILS }, () => new Thumbnail(kind));
    find(root, ".faces").append(...this.thumbnails.map(({ figure }) => figure));
  }

  /** `any`: whether there are images of this kind, even if none of them can be shown. */
  fill(faces: Faces, chosen: number[], note: string, any = true): void {
    setText(find(this.root, "small"), note);
    find(this.root, ".none").hidden = any;
    this.thumbnails.forEach((thumbnail, place) => thumbnail.show(faces, chosen.at(place)));
  }
}
