import { setText } from "../shared/dom.ts";
import { count, percent } from "../shared/format.ts";
import { countRemoved } from "../shared/stats.ts";
import type { ClassScores } from "./data.ts";

/** A row a class: how many images claim it, how many of them would go. */
export class ClassTable {
  private readonly body: HTMLElement;
  private classes: ClassScores[] = [];

  constructor(body: HTMLElement) {
    this.body = body;
  }

  show(classes: ClassScores[], threshold: number): void {
    if (classes !== this.classes) this.fill(classes);
    classes.forEach(({ scores }, i) => {
      const removed = countRemoved(scores, threshold);
      const [, , gone, share] = this.body.children[i].children;
      setText(gone, count(removed));
      setText(share, percent(removed / scores.length, 1));
      (share as HTMLElement).style.setProperty("--share", String(removed / scores.length));
    });
  }

  private fill(classes: ClassScores[]): void {
    this.classes = classes;
    const rows = classes.map(({ name, scores }) => {
      const row = document.createElement("tr");
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = head.title = name;
      const cells = [count(scores.length), "", ""].map((text) => {
        const cell = document.createElement("td");
        cell.textContent = text;
        return cell;
      });
      row.append(head, ...cells);
      return row;
    });
    this.body.replaceChildren(...rows);
  }
}
