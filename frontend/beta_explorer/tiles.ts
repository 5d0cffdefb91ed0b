// The images: base, target, both poisons, and what was changed.

import { paint, type Pixels, type Shape } from "../shared/canvas.ts";
import { find } from "../shared/dom.ts";
import { isRemoved } from "../shared/stats.ts";
import type { Data, Loss, Pair, Poison } from "./data.ts";

const DIFFERENCE_GAIN = 3;

/** The two images that no slider changes. */
export function showPair(root: HTMLElement, { shape, classes, colors, ...data }: Data, pair: Pair): void {
  show(root, "base", pair.base, shape, colors.base);
  say(root, "base", `${classes[data.base_label]}: what the poison claims to be`);
  show(root, "target", pair.target, shape, colors.target);
  say(root, "target", `${classes[data.target_label]}: what the attacker wants misread`);
}

export function showPoison(root: HTMLElement, data: Data, pair: Pair, loss: Loss, poison: Poison | null): void {
  if (!poison) {
    show(root, loss, pair.base, data.shape, "transparent");
    say(root, loss, "crafting …");
    return;
  }
  show(root, loss, poison.image, data.shape, data.colors.poison);
  say(root, loss, verdict(poison, data));
  const [channels, ...sides] = data.shape;
  const change = (channels === 1 ? inkChange : colourChange)(poison.image, pair.base);
  paint(canvasOf(root, `${loss}-d`), change, [3, ...sides]);
  say(root, `${loss}-d`, `L2 ${poison.l2.toFixed(2)} · L∞ ${poison.linf.toFixed(2)}`);
}

/** How the network sees the poison, and whether the filter lets it pass. */
function verdict({ predicted, score }: Poison, { classes, target_label: target, threshold }: Data): string {
  const seen = `seen as ${classes[predicted]}${predicted === target ? ", collides" : ""}`;
  if (score === undefined) return `${seen}; no density to filter by`;
  return `${seen}; ${isRemoved(score, threshold) ? "removed by the filter" : "passes the filter"}`;
}

const canvasOf = (root: HTMLElement, tile: string) => find<HTMLCanvasElement>(root, `.tile.${tile} canvas`);

function show(root: HTMLElement, tile: string, pixels: Pixels, shape: Shape, border: string): void {
  const canvas = canvasOf(root, tile);
  paint(canvas, pixels, shape);
  canvas.style.borderColor = border;
}

function say(root: HTMLElement, tile: string, text: string): void {
  const output = find(root, `.tile.${tile} output`);
  if (output.dataset.said === text) return; // a word of it may be explaining itself
  output.dataset.said = text;
  const [before, ...after] = text.split("collides");
  const explained = find<HTMLTemplateElement>(root, ".collides").content;
  output.replaceChildren(before, ...after.flatMap((rest) => [explained.cloneNode(true), rest]));
  canvasOf(root, tile).setAttribute("aria-label", `${find(root, `.tile.${tile} figcaption`).textContent}: ${text}`);
}

/** Of grey images: white where nothing changed, orange where brighter, blue where darker; (3, height, width). */
function inkChange(image: Pixels, base: Pixels): Uint8ClampedArray {
  const size = image.length;
  const shown = new Uint8ClampedArray(3 * size);
  for (let i = 0; i < size; i++) {
    const d = Math.max(-255, Math.min(255, (image[i] - base[i]) * DIFFERENCE_GAIN));
    const colour = d > 0 ? [255, 255 - d * 0.63, 255 - d] : [255 + d, 255 + d * 0.55, 255];
    colour.forEach((value, c) => {
      shown[c * size + i] = value;
    });
  }
  return shown;
}

/** Of images in colour: grey where nothing changed. */
function colourChange(image: Pixels, base: Pixels): Uint8ClampedArray {
  return Uint8ClampedArray.from(image, (value, i) => 128 + (value - base[i]) * DIFFERENCE_GAIN);
}
