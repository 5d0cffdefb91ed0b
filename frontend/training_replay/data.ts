import type { Point } from "../shared/canvas.ts";
import { bytes } from "../shared/packed.ts";

/** Numbers of an epoch, by name; those of `Epoch.record` in ui/training_runs.py. */
export type EpochRecord = { epoch: number } & Record<string, unknown>;

/** Centre of what is shown of the plane, and half its height. */
type Viewport = [x: number, y: number, half: number];

/** Features as 16-bit numbers, `scale` each. */
interface PackedCloud {
  epoch: number;
  scale: number;
  z: string;
  predicted: string;
  means: Point[];
  sigmas: Point[] | null;
}

/** What `training_replay` of ui/components/training_replay.py sends. */
export interface Data {
  id: string;
  title: string;
  loss: string;
  epochs: number;
  records: EpochRecord[];
  classes: string[];
  labels: string;
  clouds: PackedCloud[];
  views: Viewport[];
  colors: { run: string; classes: string[] };
}

/** The held-out images in the plane after an epoch, or between two. */
export interface Cloud {
  z: Float32Array; // (image, 2)
  predicted: Uint8Array;
  means: readonly Point[];
  sigmas: readonly Point[] | null;
  view: Viewport;
}

export function unpackCloud({ z, scale, predicted, means, sigmas }: PackedCloud, view: Viewport): Cloud {
  const features = Float32Array.from(new Int16Array(bytes(z).buffer), (value) => value * scale);
  return { z: features, predicted: bytes(predicted), means, sigmas, view };
}

/** On the way from one cloud to another; `share` of it is done. */
export function between(from: Cloud, to: Cloud, share: number): Cloud {
  const mix = (a: number, b: number) => a + share * (b - a);
  const mixPoints = (a: readonly Point[], b: readonly Point[]) =>
    a.map(([x, y], k): Point => [mix(x, b[k][0]), mix(y, b[k][1])]);
  return {
    z: from.z.map((value, i) => mix(value, to.z[i])),
    predicted: to.predicted,
    means: mixPoints(from.means, to.means),
    sigmas: from.sigmas && to.sigmas && mixPoints(from.sigmas, to.sigmas),
    view: [mix(from.view[0], to.view[0]), mix(from.view[1], to.view[1]), mix(from.view[2], to.view[2])],
  };
}
