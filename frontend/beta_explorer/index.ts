// Beta explorer: receives the poisons of one pair for all betas and iterations once, and then answers every move of
// both sliders in the browser. Nothing goes to the server until beta is released; of the iteration it never hears.

import { readTheme, type Theme } from "../shared/canvas.ts";
import { find, NextFrame, prefersReducedMotion } from "../shared/dom.ts";
import { type Args, mount, type View } from "../shared/mount.ts";
import * as unpack from "./data.ts";
import type { ByLoss, Data, Loss, Pair, Scene } from "./data.ts";
import { drawGauge } from "./gauge.ts";
import { showLegends } from "./legends.ts";
import { FeaturePlane } from "./plane.ts";
import { type Frames, StoryPlayer, TrajectoryPlayer } from "./player.ts";
import { drawTerms, showBars } from "./terms.ts";
import { showPair, showPoison } from "./tiles.ts";

interface State {
  beta: number;
  [name: string]: unknown;
}

class BetaExplorer implements View<State, Data>, Scene, Frames {
  data: Data;
  pair: Pair;
  theme: Theme;
  index: number;
  frame: number | null = null;
  images: ByLoss<Uint8Array> | null = null;
  private packed: ByLoss<string> | null = null;
  private dragging = false;
  private themeIsOld = true;
  private readonly root: HTMLElement;
  private readonly slider: HTMLInputElement;
  private readonly planes: ByLoss<FeaturePlane>;
  private readonly trajectory: TrajectoryPlayer;
  private readonly story: StoryPlayer;
  private readonly nextFrame = new NextFrame(() => this.draw());
  private readonly observer = new ResizeObserver(() => this.redrawAll());

  constructor(root: HTMLElement, data: Data) {
    this.root = root;
    this.data = data;
    this.pair = unpack.unpackPair(data);
    this.theme = readTheme(root);
    this.index = data.index;
    this.slider = find(root, ".beta input");
    const plane = (loss: Loss) => new FeaturePlane(find(root, `.plane.${loss}`), loss);
    this.planes = { lgm: plane("lgm"), softmax: plane("softmax") };
    this.trajectory = new TrajectoryPlayer(find(root, ".scrub"), this);
    this.story = new StoryPlayer(find(root, ".play"));
    this.observer.observe(root);
  }

  get last(): number {
    return unpack.lastFrame(this.data);
  }

  update({ data, setStateValue }: Args<State, Data>): void {
    if (data !== this.data) {
      this.data = data;
      this.pair = unpack.unpackPair(data);
      if (!this.dragging) this.index = data.index;
    }
    this.listen((beta) => setStateValue("beta", beta));
    this.root.classList.toggle("pending", !this.pair.ready);
    this.root.classList.toggle("story", data.story);
    showLegends(this.root, data);
    showPair(this.root, data, this.pair);
    this.redrawAll(); // the theme may have changed
    void this.unpackImages();
  }

  close(): void {
    this.story.stop();
    this.trajectory.stop();
    this.nextFrame.cancel();
    this.observer.disconnect();
  }

  redraw(): void {
    this.nextFrame.ask();
  }

  draw(): void {
    if (this.themeIsOld) this.theme = readTheme(this.root);
    this.themeIsOld = false;
    this.showControls();
    for (const loss of unpack.lossesOf(this.data)) {
      const poison = unpack.shownPoison(this, loss);
      showPoison(this.root, this.data, this.pair, loss, poison);
      this.planes[loss].draw(this, poison);
      if (loss === "lgm") drawGauge(find(this.root, ".gauge"), this, poison);
    }
    if (!this.pair.ready) return;
    drawTerms(find(this.root, ".terms canvas"), this);
    showBars(find(this.root, ".bars"), this);
  }

  private listen(send: (beta: number) => void): void {
    const { data, slider, story } = this;
    slider.max = String(data.betas.length - 1);
    slider.value = String(this.index);
    slider.disabled = !this.pair.ready || data.betas.length < 2;
    slider.oninput = () => {
      story.stop();
      this.dragging = true;
      this.index = +slider.value;
      this.redraw();
    };
    slider.onchange = () => {
      this.dragging = false;
      if (!data.story) send(data.betas[this.index]);
    };
    find(this.root, ".play").hidden = !data.story;
    if (data.story) story.offer((by) => this.step(by), this.pair.ready);
  }

  /** Beta to the next stop; false if there is none. */
  private step(by: number): boolean {
    if (!(this.index + by in this.data.betas)) return false;
    this.index += by;
    this.slider.value = String(this.index);
    this.redraw();
    return true;
  }

  private redrawAll(): void {
    for (const plane of Object.values(this.planes)) plane.forget();
    this.themeIsOld = true;
    this.redraw();
  }

  /** Every answer of the server repeats the trajectories' images; they are unpacked once for each pair. */
  private async unpackImages(): Promise<void> {
    const packed = unpack.packedImages(this.data);
    if (packed?.lgm === this.packed?.lgm && packed?.softmax === this.packed?.softmax) return;
    this.packed = packed;
    this.images = this.frame = null;
    this.trajectory.stop();
    if (!packed) return;
    const [frames, size] = [this.data.iterations.length, this.pair.base.length];
    const { lgm, softmax } = packed;
    const images = await Promise.all([lgm, softmax].map((text) => unpack.unpackImages(text, frames, size)));
    if (this.packed !== packed) return; // another pair has come meanwhile
    this.images = { lgm: images[0], softmax: images[1] };
    this.redraw();
  }

  /** What both sliders stand at, in words. The second one waits for the images of the trajectories. */
  private showControls(): void {
    const { data, pair, index, last } = this;
    const [beta, scrub] = [find(this.root, ".beta"), find(this.root, ".scrub")];
    find(beta, "output").textContent = String(data.betas[index]);
    find(beta, ".more").hidden = !(data.more && pair.ready);
    this.slider.setAttribute("aria-valuetext", `beta ${data.betas[index]}`);
    const [range, button] = [find<HTMLInputElement>(scrub, "input"), find<HTMLButtonElement>(scrub, "button")];
    const words = `${data.iterations[this.frame ?? last]} of ${data.iterations[last]}`;
    range.max = String(last);
    range.value = String(this.frame ?? last);
    range.setAttribute("aria-valuetext", `iteration ${words}`);
    range.disabled = button.disabled = !this.images || !last;
    find(scrub, "output").textContent = pair.ready ? words : "";
    button.textContent = this.trajectory.playing ? "❚❚ pause" : prefersReducedMotion() ? "▶ step" : "▶ play";
  }
}

export default mount<State, Data>(".beta-explorer", (root, data) => new BetaExplorer(root, data));
