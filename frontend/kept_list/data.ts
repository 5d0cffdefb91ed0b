import type { Shape } from "../shared/canvas.ts";
import type { Faces } from "../shared/faces.ts";
import { nats } from "../shared/format.ts";
import { doubles, inflate, integers } from "../shared/packed.ts";
import { countRemoved } from "../shared/stats.ts";

/** What `kept_list` of ui/components/kept_list.py sends. */
export interface Data {
  id: string;
  title: string;
  scores: string;
  claims: string;
  predicted: string;
  calibration: string;
  names: string[];
  nats: boolean;
  axis: string;
  spaced: boolean;
  floor: number;
  low: number;
  high: number;
  bins: number;
  shape: Shape;
  pictures: string | null;
  rate: number;
  start: number;
  threshold: number;
}

/** A class and the scores of the images that claim it, ascending. */
export interface ClassScores {
  name: string;
  scores: Float64Array;
}

/** The scores of a dataset, unpacked. */
export class Scores {
  readonly all: Float64Array;
  readonly calibration: Float64Array;
  readonly classes: ClassScores[];
  readonly faces: Faces;
  private readonly inNats: boolean;
  private requested = false;

  constructor(data: Data) {
    this.all = doubles(data.scores);
    this.calibration = doubles(data.calibration);
    this.inNats = data.nats;
    const claims = integers(data.claims);
    const groups = data.names.map((name) => ({ name, scores: [] as number[] }));
    claims.forEach((claim, i) => groups[claim].scores.push(this.all[i]));
    this.classes = groups
      .filter(({ scores }) => scores.length)
      .map(({ name, scores }) => ({ name, scores: Float64Array.from(scores) }));
    const predicted = integers(data.predicted);
    const { names, shape } = data;
    const scores = this.all.subarray(0, predicted.length);
    const said = (i: number) => this.withUnit(scores[i]);
    this.faces = { scores, labels: claims, predicted, names, shape, pixels: null, said };
  }

  removed(threshold: number): number {
    return countRemoved(this.all, threshold);
  }

  /** A score for people. */
  text(score: number): string {
    if (!Number.isFinite(score)) return score < 0 ? "−∞" : "∞";
    return this.inNats ? nats(score) : String(+score.toPrecision(3)).replace("-", "−");
  }

  withUnit(score: number): string {
    return this.inNats ? `${this.text(score)} nats` : this.text(score);
  }

  /** The images come after the first picture. */
  async unpack(packed: string | null, done: () => void): Promise<void> {
    if (!packed || this.requested) return;
    this.requested = true;
    this.faces.pixels = await inflate(packed);
    done();
  }
}
