import type { Shape } from "../shared/canvas.ts";
import type { Faces } from "../shared/faces.ts";
import { nats } from "../shared/format.ts";
import { bytes, floats, inflate } from "../shared/packed.ts";
import type { Corner, NominalTable } from "../shared/stats.ts";
import { outcome, rocCurve } from "../shared/stats.ts";

export type Role = "clean" | "poison";

/** Classes, packed: of each image, the label it claims and the one the network gives it. */
interface PackedClasses {
  labels: string;
  predicted: string;
}

/** What `threshold_picture` of ui/components/threshold.py sends. */
export interface Data {
  id: string;
  title: string;
  names: string[];
  shape: Shape;
  clean: string;
  poison: string;
  collided: string;
  classes: Record<Role, PackedClasses>;
  pictures: Record<Role, string | null>;
  peak: number;
  floor: number;
  low: number;
  high: number;
  bins: number;
  nominal: NominalTable;
  auc: string;
  auc_collided: string | null;
  quick: { rate: number; threshold: number }[];
  colors: Record<Role, string>;
  threshold: number;
  own: number | null;
}

/** Images that can be shown: poisons all, clean images only the least likely. */
export type Group = Faces;

/** The scores of one dataset and its poisons, unpacked. */
export class Scores {
  readonly clean: Float32Array;
  readonly poison: Float32Array;
  readonly collided: Float32Array;
  readonly curve: Corner[];
  readonly collidedCurve: Corner[];
  readonly groups: Record<Role, Group>;
  private readonly requested = new Set<Role>();

  constructor(data: Data) {
    this.clean = floats(data.clean);
    this.poison = floats(data.poison);
    this.collided = floats(data.collided);
    this.curve = rocCurve(this.clean, this.poison);
    this.collidedCurve = rocCurve(this.clean, this.collided);
    const group = (role: Role): Group => {
      const [labels, predicted] = [bytes(data.classes[role].labels), bytes(data.classes[role].predicted)];
      const scores = this[role].subarray(0, labels.length);
      const said = (i: number) => `${nats(scores[i])} nats`;
      return { scores, labels, predicted, names: data.names, shape: data.shape, pixels: null, said };
    };
    this.groups = { clean: group("clean"), poison: group("poison") };
  }

  /** Some poisons collide, and some do not: then those that do have a curve of their own. */
  get someCollide(): boolean {
    return this.collided.length > 0 && this.collided.length < this.poison.length;
  }

  outcome(threshold: number) {
    return outcome(this.clean, this.poison, threshold);
  }

  /** The images come after the first picture; those of clean data perhaps with a later call, once they are read. */
  async unpack(role: Role, packed: string | null, done: () => void): Promise<void> {
    if (!packed || this.requested.has(role)) return;
    this.requested.add(role);
    this.groups[role].pixels = await inflate(packed);
    done();
  }
}
