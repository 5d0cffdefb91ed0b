// Histogram of one dataset's scores with a threshold T to drag, what T does class by class, and the images nearest to
// it. All of it follows the hand without asking the server; Python hears of T once, on release.

import { readTheme } from "../shared/canvas.ts";
import { find, NextFrame, setText } from "../shared/dom.ts";
import { downloadPicture } from "../shared/download.ts";
import { count, percent, sixDigits } from "../shared/format.ts";
import { Hand, type Movable } from "../shared/hand.ts";
import { type Args, mount, type View } from "../shared/mount.ts";
import { PAD, plotOn } from "../shared/plot.ts";
import { conformalFpr } from "../shared/stats.ts";
import { type ScoreAxis, scoreAxis } from "./axis.ts";
import { type Data, Scores } from "./data.ts";
import { Gallery } from "./gallery.ts";
import { drawHistogram } from "./histogram.ts";
import { ClassTable } from "./table.ts";

interface State {
  threshold: number;
  [name: string]: unknown;
}

class KeptListView implements View<State, Data>, Movable {
  threshold: number;
  private data: Data;
  private scores: Scores;
  private axis: ScoreAxis;
  private send: (threshold: number) => void = () => undefined;
  private readonly root: HTMLElement;
  private readonly histogram: HTMLCanvasElement;
  private readonly slider: HTMLInputElement;
  private readonly field: HTMLInputElement;
  private readonly table: ClassTable;
  private readonly gallery: Gallery;
  private readonly hand: Hand;
  private readonly frame = new NextFrame(() => this.draw());
  private readonly observer = new ResizeObserver(() => this.frame.ask());

  constructor(root: HTMLElement, data: Data) {
    this.root = root;
    this.data = data;
    this.threshold = data.threshold;
    this.scores = new Scores(data);
    this.axis = scoreAxis(data, this.scores);
    this.histogram = find(root, ".histogram");
    this.slider = find(root, ".slide");
    this.field = find(root, ".exact");
    this.table = new ClassTable(find(root, "tbody"));
    this.gallery = new Gallery(find(root, ".gallery"));
    this.hand = new Hand(this);
    this.observer.observe(this.histogram);
    this.listen();
  }

  update({ data, setTriggerValue }: Args<State, Data>): void {
    this.send = (threshold) => setTriggerValue("threshold", threshold);
    if (data.id !== this.data.id) {
      this.scores = new Scores(data);
      this.axis = scoreAxis(data, this.scores);
    }
    if (data.threshold !== this.data.threshold && !this.hand.held) this.threshold = data.threshold;
    this.data = data;
    const { scores } = this;
    void scores.unpack(data.pictures, () => this.scores === scores && this.frame.ask());
    const [n, trusted] = [count(scores.all.length), scores.calibration.length];
    const groups = `${n} images${trusted ? `, and of ${count(trusted)} trusted ones` : ""}`;
    const rate = `${+(100 * data.rate).toPrecision(3)} %`;
    this.histogram.setAttribute("aria-label", `Histogram of the scores of ${groups}, cut by the threshold T`);
    setText(find(this.root, ".number i"), data.nats ? "nats" : "");
    setText(find(this.root, ".back"), trusted ? `T for ${rate} of clean images` : `T that removes ${rate}`);
    this.frame.ask();
  }

  close(): void {
    this.frame.cancel();
    this.hand.close();
    this.observer.disconnect();
  }

  moveTo(threshold: number): void {
    this.threshold = threshold;
    this.frame.ask();
  }

  release(): void {
    find(this.root, ".spoken").textContent = this.sentence();
    if (this.threshold !== this.data.threshold) this.send(this.threshold);
  }

  private listen(): void {
    const inRange = (t: number) => Math.min(this.data.high, Math.max(this.data.floor, t));
    const rounded = (t: number) => inRange(+t.toPrecision(6));
    const { histogram, hand } = this;
    const share = (x: number) => (x - PAD.left) / (histogram.clientWidth - PAD.left - PAD.right);
    const at = (u: number) => rounded(this.axis.from(Math.min(1, Math.max(0, u))));
    hand.drag(histogram, (x) => at(share(x)));
    hand.slide(this.slider, at);
    hand.type(this.field, inRange);
    find(this.root, ".back").onclick = () => {
      this.moveTo(this.data.start);
      this.release();
    };
    find(this.root, ".save").onclick = () => {
      downloadPicture("your-data.png", [histogram], [`${this.sentence()}.`, this.data.title], readTheme(this.root));
    };
  }

  private sentence(): string {
    const removed = this.scores.removed(this.threshold);
    return `T ${this.scores.withUnit(this.threshold)}: ${count(removed)} of ${count(this.scores.all.length)} images would go`;
  }

  private draw(): void {
    const { root, data, scores, axis, threshold, slider, field } = this;
    const colour = getComputedStyle(root).getPropertyValue("--st-primary-color").trim();
    drawHistogram(plotOn(this.histogram, readTheme(root)), axis, data, scores, threshold, colour);
    this.readOut();
    this.table.show(scores.classes, threshold);
    this.gallery.show(scores, scores.removed(threshold));
    const { activeElement } = root.getRootNode() as Document | ShadowRoot;
    if (activeElement !== field) field.value = sixDigits(threshold);
    if (this.hand.held !== slider) slider.value = String(axis.to(threshold));
    slider.setAttribute("aria-valuetext", this.sentence());
    slider.disabled = field.disabled = false; // what is moved before now would start from anywhere
  }

  private readOut(): void {
    const { root, data, scores, threshold } = this;
    const [removed, n, trusted] = [scores.removed(threshold), scores.all.length, scores.calibration.length];
    const texts = {
      where: threshold === data.start ? "where the rate puts it" : "where you put it",
      removed: count(removed),
      removed_share: `${percent(removed / n, 1)} of ${count(n)} images`,
      kept: count(n - removed),
      kept_share: `${percent((n - removed) / n, 1)} of ${count(n)} images`,
      cost: trusted ? `≤ ${percent(conformalFpr(scores.calibration, threshold), 2)}` : "–",
      calibration: trusted ? `of fresh ones, by ${count(trusted)} trusted images` : "not known: no image is trusted",
    };
    for (const [name, text] of Object.entries(texts)) setText(find(root, `[data-out=${name}]`), text);
  }
}

export default mount<State, Data>(".kept", (root, data) => new KeptListView(root, data));
