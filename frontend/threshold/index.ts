// Histogram and ROC curve with one threshold T through both, and the images nearest to T. What moves while dragging is
// computed here, from the scores themselves and by the filter's own rule; Python hears of T once, on release.

import { readTheme } from "../shared/canvas.ts";
import { find, NextFrame } from "../shared/dom.ts";
import { downloadPicture } from "../shared/download.ts";
import { count, sixDigits } from "../shared/format.ts";
import { type Args, mount, type View } from "../shared/mount.ts";
import { likelihoodAxis, linearRates, logRates, natsAxis, type ScoreAxis } from "./axes.ts";
import { type Data, Scores } from "./data.ts";
import { Gallery } from "./gallery.ts";
import { Hand, type Movable } from "../shared/hand.ts";
import { drawHistogram } from "./histogram.ts";
import { type Axis, PAD, plotOn } from "../shared/plot.ts";
import { readOut, sentence, showQuick } from "./readout.ts";
import { drawRoc, nearestOnRoc } from "./roc.ts";

interface State {
  threshold: number;
  [name: string]: unknown;
}

class ThresholdView implements View<State, Data>, Movable {
  threshold: number;
  private data: Data;
  private scores: Scores;
  private axis: ScoreAxis;
  private rates: Axis;
  private send: (threshold: number) => void = () => undefined;
  private readonly root: HTMLElement;
  private readonly histogram: HTMLCanvasElement;
  private readonly roc: HTMLCanvasElement;
  private readonly slider: HTMLInputElement;
  private readonly field: HTMLInputElement;
  private readonly gallery: Gallery;
  private readonly hand: Hand;
  private readonly frame = new NextFrame(() => this.draw());
  private readonly observer = new ResizeObserver(() => this.frame.ask());

  constructor(root: HTMLElement, data: Data) {
    this.root = root;
    this.data = data;
    this.threshold = data.threshold;
    this.scores = new Scores(data);
    [this.axis, this.rates] = this.axes();
    this.histogram = find(root, ".histogram");
    this.roc = find(root, ".roc");
    this.slider = find(root, ".slide");
    this.field = find(root, ".exact");
    this.gallery = new Gallery(find(root, ".gallery"));
    this.hand = new Hand(this);
    this.observer.observe(this.histogram);
    this.observer.observe(this.roc);
    this.listen();
  }

  update({ data, setTriggerValue }: Args<State, Data>): void {
    this.send = (threshold) => setTriggerValue("threshold", threshold);
    if (data.id !== this.data.id) this.scores = new Scores(data);
    if (data.threshold !== this.data.threshold && !this.hand.held) this.threshold = data.threshold;
    this.data = data;
    const { scores } = this;
    for (const role of ["poison", "clean"] as const)
      void scores.unpack(role, data.pictures[role], () => this.scores === scores && this.frame.ask());
    showQuick(find(this.root, ".quick"), data.quick);
    this.gallery.colour(data.colors);
    this.describe();
    this.redraw();
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
    find(this.root, ".spoken").textContent = sentence(this.scores, this.threshold);
    if (this.threshold !== this.data.threshold) this.send(this.threshold);
  }

  private listen(): void {
    const inRange = (t: number) => Math.min(this.data.high, Math.max(this.data.floor, t));
    const onLink = (t: number) => inRange(Math.round(t * 1e4) / 1e4); // a value that survives the trip to the URL
    const { histogram, roc, hand } = this;
    const share = (x: number) => (x - PAD.left) / (histogram.clientWidth - PAD.left - PAD.right);
    hand.drag(histogram, (x) => onLink(this.axis.from(share(x))));
    hand.drag(roc, (x, y) => onLink(nearestOnRoc(roc, this.rates, this.data, this.scores, [x, y])));
    hand.slide(this.slider, (u) => onLink(this.axis.from(u)));
    hand.type(this.field, inRange);
    hand.press(find(this.root, ".quick"));
    for (const radio of this.root.querySelectorAll<HTMLInputElement>("input[type=radio]"))
      radio.onchange = () => this.redraw();
    find(this.root, ".save").onclick = () => {
      const lines = [`${sentence(this.scores, this.threshold)}.`, this.data.title];
      downloadPicture("detect.png", [histogram, roc], lines, readTheme(this.root));
    };
  }

  private describe(): void {
    const { clean, poison } = this.scores;
    const groups = `${count(clean.length)} clean images and ${count(poison.length)} poisons`;
    this.histogram.setAttribute("aria-label", `Histogram of the likelihood of ${groups}, cut by the threshold T`);
    this.roc.setAttribute("aria-label", `ROC curve over ${groups}, AUC ${this.data.auc}, with T as a point`);
  }

  /** The axes that the switches ask for. */
  private axes(): [ScoreAxis, Axis] {
    const chosen = (name: string) => find<HTMLInputElement>(this.root, `input[name=${name}]:checked`).value;
    return [
      (chosen("scale") === "nats" ? natsAxis : likelihoodAxis)(this.data, this.scores),
      chosen("rates") === "log" ? logRates(this.scores.clean.length) : linearRates(),
    ];
  }

  /** Other data, or other axes. */
  private redraw(): void {
    [this.axis, this.rates] = this.axes();
    this.frame.ask();
  }

  private draw(): void {
    const { root, data, scores, axis, rates, threshold, slider, field } = this;
    const theme = readTheme(root);
    drawHistogram(plotOn(this.histogram, theme), axis, data, scores, threshold);
    drawRoc(plotOn(this.roc, theme), rates, data, scores, threshold);
    readOut(root, data, scores, threshold);
    this.gallery.show(scores, threshold);
    const { activeElement } = root.getRootNode() as Document | ShadowRoot;
    if (activeElement !== field) field.value = sixDigits(threshold);
    if (this.hand.held !== slider) slider.value = String(axis.to(threshold));
    slider.setAttribute("aria-valuetext", sentence(scores, threshold));
    slider.disabled = field.disabled = false; // what is moved before now would start from anywhere
  }
}

export default mount<State, Data>(".threshold", (root, data) => new ThresholdView(root, data));
