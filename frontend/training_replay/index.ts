// The cloud of features, epoch by epoch, beside the curves. Both follow one position in time, which may lie between two
// epochs; Python adds epochs while a run goes on, and everything else happens here.

import { extent } from "d3-array";
import { readTheme } from "../shared/canvas.ts";
import { find, NextFrame, setText } from "../shared/dom.ts";
import { downloadPicture, downloadTable } from "../shared/download.ts";
import { count } from "../shared/format.ts";
import { type Args, mount, type View } from "../shared/mount.ts";
import { bytes } from "../shared/packed.ts";
import type { Linear } from "../shared/scale.ts";
import { type DrawnCloud, drawCloud } from "./cloud.ts";
import { drawCurves } from "./curves.ts";
import { between, type Cloud, type Data, unpackCloud } from "./data.ts";
import { describeEpoch } from "./series.ts";
import { Timeline } from "./timeline.ts";

type State = Record<string, never>;

class TrainingReplay implements View<State, Data> {
  private data: Data;
  private run: string | undefined;
  private labels = new Uint8Array();
  private readonly clouds = new Map<number, Cloud>(); // by epoch
  private readonly time = new Timeline();
  private readonly root: HTMLElement;
  private readonly cloud: HTMLCanvasElement;
  private readonly curves: HTMLCanvasElement;
  private readonly slider: HTMLInputElement;
  private readonly play: HTMLButtonElement;
  private readonly calm = matchMedia("(prefers-reduced-motion: reduce)");
  private readonly frame = new NextFrame((now) => this.advance(now));
  private readonly observer = new ResizeObserver(() => this.frame.ask());
  private shown: Cloud | undefined;
  private drawn: DrawnCloud | undefined;
  private epochs: Linear | null = null; // the curves' horizontal axis
  private sentence = "";

  constructor(root: HTMLElement, data: Data) {
    this.root = root;
    this.data = data;
    this.cloud = find(root, ".cloud");
    this.curves = find(root, ".curves");
    this.slider = find(root, ".slide");
    this.play = find(root, ".play");
    this.observer.observe(this.cloud);
    this.observer.observe(this.curves);
    this.listen();
  }

  update({ data }: Args<State, Data>): void {
    const anew = data.id !== this.run;
    this.run = data.id;
    if (anew) this.clouds.clear();
    if (anew || !this.labels.length) this.labels = bytes(data.labels);
    data.clouds.forEach((packed, i) => {
      const known = this.clouds.get(packed.epoch);
      const view = data.views[i];
      this.clouds.set(packed.epoch, known ? { ...known, view } : unpackCloud(packed, view));
    });
    const [first = 0, last = 0] = extent([...this.clouds.keys(), ...data.records.map(({ epoch }) => epoch)]);
    this.time.span(first, Math.max(0, last), anew);
    this.slider.min = String(first);
    this.slider.max = String(data.epochs);
    this.data = data;
    find(this.root, ".key").textContent = legend(data);
    this.frame.ask();
  }

  close(): void {
    this.frame.cancel();
    this.observer.disconnect();
  }

  private listen(): void {
    const { time, curves, cloud } = this;
    const then = (change: () => void) => {
      change();
      this.frame.ask();
    };
    const scrub = ({ offsetX }: PointerEvent) => {
      const epoch = this.epochs?.invert(offsetX);
      if (epoch !== undefined) then(() => time.go(Math.round(epoch)));
    };
    this.slider.oninput = () => then(() => time.go(+this.slider.value));
    this.play.onclick = () => then(() => (time.replaying ? time.pause() : time.replay()));
    curves.onpointerdown = (event) => {
      curves.setPointerCapture(event.pointerId);
      scrub(event);
    };
    curves.onpointermove = (event) => {
      if (event.buttons) scrub(event);
    };
    cloud.onpointermove = (event) => this.explain(event);
    cloud.onpointerleave = () => (find(this.root, ".tip").hidden = true);
    find(this.root, "[data-save=picture]").onclick = () => {
      const lines = [`${this.data.title}, ${this.sentence}`];
      downloadPicture("train.png", [cloud, curves], lines, readTheme(this.root), 24);
    };
    find(this.root, "[data-save=curves]").onclick = () => saveCurves(this.data);
    find(this.root, "[data-save=features]").onclick = () => saveFeatures(time.goal, this.clouds, this.labels);
  }

  private advance(now: number): void {
    this.time.advance(now, this.calm.matches);
    this.draw();
    if (this.time.moving) this.frame.ask();
  }

  private draw(): void {
    const { data, time, labels } = this;
    const theme = readTheme(this.root);
    this.shown = this.cloudAt(time.at);
    const missing = this.clouds.size
      ? "The features after this epoch were not kept."
      : "The first features come after the first epoch.";
    this.drawn = drawCloud(this.cloud, theme, data, labels, this.shown ?? missing);
    this.epochs = drawCurves(this.curves, theme, data, [time.first, time.last], time.at) ?? this.epochs;
    this.showControls();
  }

  /** The cloud at a position in time: between two epochs, on the way from one to the other. */
  private cloudAt(at: number): Cloud | undefined {
    const [before, part] = [Math.floor(at), at - Math.floor(at)];
    const [from, to] = [this.clouds.get(before), this.clouds.get(before + 1)];
    if (!part || !from || !to || this.calm.matches) return this.clouds.get(Math.round(at));
    return between(from, to, part * part * (3 - 2 * part));
  }

  /** The numbers that go with the position, in words; only when the epoch changes, for the sake of screen readers. */
  private showControls(): void {
    const { data, time, slider, play } = this;
    const epoch = Math.round(time.at);
    slider.value = String(epoch);
    slider.disabled = play.disabled = time.last === time.first;
    setText(play, time.replaying ? "❚❚ Pause" : "▶ Replay");
    const text = `epoch ${epoch} of ${data.epochs}`;
    const sentence = `${text}: ${describeEpoch(data, epoch)}`;
    if (sentence === this.sentence) return;
    this.sentence = sentence;
    find(this.root, ".epoch").textContent = text;
    slider.setAttribute("aria-valuetext", sentence);
    this.cloud.setAttribute("aria-label", `Features of ${count(this.labels.length)} held-out images, ${sentence}`);
    this.curves.setAttribute("aria-label", `Curves over the epochs; ${sentence}`);
  }

  /** Beside the pointer, the image that it is on. */
  private explain({ offsetX, offsetY }: PointerEvent): void {
    const { classes } = this.data;
    const tip = find(this.root, ".tip");
    const image = this.drawn?.imageAt(offsetX, offsetY);
    tip.hidden = image === undefined;
    if (image === undefined || !this.shown) return;
    tip.textContent = `${classes[this.labels[image]]}, read as ${classes[this.shown.predicted[image]]}`;
    const left = Math.min(offsetX + 14, this.cloud.clientWidth - tip.offsetWidth - 4);
    tip.style.translate = `${left}px ${offsetY - 34}px`;
    tip.style.top = `${this.cloud.offsetTop}px`;
    tip.style.left = "0";
  }
}

function legend({ loss, clouds }: Data): string {
  if (!clouds.length) return "";
  const rings = "Rings: 1σ and 2σ around the learnt mean of each class.";
  const where = loss === "lgm" ? rings : "A number stands at the mean of its class.";
  return `A dot is a held-out image in the colour of its class, a cross one read as another. ${where}`;
}

/** One row an epoch. */
function saveCurves({ records }: Data): void {
  const columns = Object.keys(records[0] ?? {}).filter((name) => !Array.isArray(records[0][name]));
  const rows = records.map((record) => columns.map((name) => record[name]));
  downloadTable("train-curves.csv", columns, rows);
}

/** One row an image at the epoch shown. */
function saveFeatures(goal: number, clouds: ReadonlyMap<number, Cloud>, labels: Uint8Array): void {
  const cloud = clouds.get(Math.round(goal));
  const columns = ["epoch", "image", "label", "predicted", "feature_1", "feature_2"];
  const rows =
    cloud && Array.from(labels, (label, i) => [goal, i, label, cloud.predicted[i], ...cloud.z.slice(2 * i, 2 * i + 2)]);
  downloadTable("train-features.csv", columns, rows ?? []);
}

export default mount<State, Data>(".training-replay", (root, data) => new TrainingReplay(root, data));
