import type { Pixels, Point, Shape, Theme } from "../shared/canvas.ts";
import { bytes, floats, inflate } from "../shared/packed.ts";

export const LOSSES = ["lgm", "softmax"] as const;
export type Loss = (typeof LOSSES)[number];
export type ByLoss<T> = Record<Loss, T>;
export const TERMS = 3; // of the objective: to the target's features, to the base, the adaptive attacker's hinge

/** The poisons of one pair for all betas, and the trajectory of each; the last four are packed arrays (beta, frame, …). */
interface Poisons<Packed> {
  images: Packed;
  z: Point[];
  predicted: number[];
  score: number[] | null;
  l2: number[];
  linf: number[];
}

interface PackedPoisons extends Poisons<string> {
  path: string;
  terms: string;
  path_score?: string | null;
  path_predicted?: string;
  path_images?: string; // each as its change modulo 256 from the frame before, deflated
}

interface Trajectories extends Poisons<Uint8Array> {
  path: Float32Array;
  terms: Float32Array;
  pathScore: Float32Array | null;
  pathPredicted: Uint8Array | null;
}

/** The plane of one network's features; `cut` in sigmas and `sigma` where the filter's ring can be drawn. */
interface Plane {
  seen: string;
  means: Point[];
  extent: [left: number, right: number, bottom: number, top: number];
  cut: number | null;
  sigma: Point | null;
  peak: number | null;
  base_z: Point;
  target_z: Point;
}

interface PackedNetwork extends Plane {
  cloud: string;
  labels: string;
  poisons: PackedPoisons | null;
}

export interface Network extends Plane {
  cloud: Float32Array;
  labels: Uint8Array;
  poisons: Trajectories | null;
}

/** What `beta_explorer` of ui/components/beta_explorer.py sends. */
export interface Data {
  story: boolean;
  index: number;
  betas: number[];
  more: boolean;
  iterations: number[];
  shape: Shape;
  classes: string[];
  base: string;
  target: string;
  base_label: number;
  target_label: number;
  gamma: number;
  threshold: number;
  colors: Record<"clean" | "poison" | "base" | "target" | Loss, string> & { classes: string[] };
  networks: Partial<ByLoss<PackedNetwork>>; // the story shows one alone
}

/** The same, unpacked; `ready`: the poisons of all networks are there. */
export interface Pair {
  networks: Partial<ByLoss<Network>>;
  base: Uint8Array;
  target: Uint8Array;
  ready: boolean;
}

/** What is on show. */
export interface Scene {
  data: Data;
  pair: Pair;
  theme: Theme;
  /** Position of beta. */
  index: number;
  /** Of the trajectory; null at its end, whatever beta is. */
  frame: number | null;
  /** Images of all trajectories (beta, frame, …) once they are unpacked. */
  images: ByLoss<Uint8Array> | null;
}

/** The losses that there is a network of. */
export const lossesOf = ({ networks }: Data) => LOSSES.filter((loss) => networks[loss]);

export function unpackPair(data: Data): Pair {
  const networks: Pair["networks"] = {};
  for (const loss of LOSSES) {
    const packed = data.networks[loss];
    if (packed) networks[loss] = unpackNetwork(packed);
  }
  const ready = Object.values(networks).every(({ poisons }) => poisons);
  return { networks, base: bytes(data.base), target: bytes(data.target), ready };
}

function unpackNetwork({ cloud, labels, poisons, ...plane }: PackedNetwork): Network {
  return { ...plane, cloud: floats(cloud), labels: bytes(labels), poisons: poisons && unpackPoisons(poisons) };
}

function unpackPoisons(packed: PackedPoisons): Trajectories {
  const { path_score: score, path_predicted: predicted, ...poisons } = packed;
  return {
    ...poisons,
    images: bytes(packed.images),
    path: floats(packed.path),
    terms: floats(packed.terms),
    pathScore: score ? floats(score) : null,
    pathPredicted: predicted ? bytes(predicted) : null,
  };
}

/** The images of a pair's trajectories as they were sent; null while there are none. */
export function packedImages({ networks }: Data): ByLoss<string> | null {
  const [lgm, softmax] = LOSSES.map((loss) => networks[loss]?.poisons?.path_images);
  return lgm && softmax ? { lgm, softmax } : null;
}

export async function unpackImages(packed: string, frames: number, size: number): Promise<Uint8Array> {
  const images = await inflate(packed);
  for (let at = size; at < images.length; at += size) {
    if ((at / size) % frames === 0) continue; // the first image of another beta
    for (let i = at; i < at + size; i++) images[i] += images[i - size];
  }
  return images;
}

export const lastFrame = ({ iterations }: Data) => iterations.length - 1;

/** One poison of one network. */
export interface Poison {
  image: Pixels;
  z: Point;
  score: number | undefined;
  predicted: number;
  l2: number;
  linf: number;
}

/** The poison that both sliders ask for: at the end with its own numbers, before that as its trajectory has it. */
export function shownPoison({ data, pair, index, frame, images }: Scene, loss: Loss): Poison | null {
  const poisons = pair.networks[loss]?.poisons;
  const size = pair.base.length;
  if (!poisons) return null;
  if (frame === null || !images || !poisons.pathPredicted) {
    const image = poisons.images.subarray(size * index, size * (index + 1));
    const { z, predicted, score, l2, linf } = poisons;
    return { image, z: z[index], score: score?.[index], predicted: predicted[index], l2: l2[index], linf: linf[index] };
  }
  const k = index * data.iterations.length + frame;
  const image = images[loss].subarray(size * k, size * (k + 1));
  return {
    image,
    z: [poisons.path[2 * k], poisons.path[2 * k + 1]],
    score: poisons.pathScore?.[k],
    predicted: poisons.pathPredicted[k],
    l2: Math.sqrt(poisons.terms[TERMS * k + 1]),
    linf: largestChange(image, pair.base),
  };
}

function largestChange(image: Pixels, base: Pixels): number {
  let largest = 0;
  for (let i = 0; i < base.length; i++) largest = Math.max(largest, Math.abs(image[i] - base[i]));
  return largest / 255;
}
