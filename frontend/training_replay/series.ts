// What is told of each epoch: the lines of the curves and the sentence.

import { percent } from "../shared/format.ts";
import type { Data, EpochRecord } from "./data.ts";

export interface Series {
  key: string;
  name: string;
  spoken: string;
  dash?: readonly number[];
}

/** A title, how a number is written, and lines; `top`: shares, which end there. */
export interface Panel {
  title: string;
  write: (value: number) => string;
  top?: number;
  lines: Series[];
}

const PANELS: readonly Panel[] = [
  {
    title: "accuracy",
    write: (share) => percent(share, 1),
    top: 1,
    lines: [
      { key: "validation_accuracy", name: "held-out", spoken: "held-out accuracy" },
      { key: "accuracy", name: "training", spoken: "training accuracy", dash: [5, 4] },
    ],
  },
  {
    title: "training loss (nats)",
    write: (value) => value.toFixed(3),
    lines: [{ key: "loss", name: "", spoken: "training loss" }],
  },
  {
    title: "distance of the two closest means (σ)",
    write: (value) => `${value.toFixed(2)} σ`,
    lines: [{ key: "closest_centers", name: "", spoken: "closest means" }],
  },
];

/** The number of this name; undefined where it was not measured. */
export function valueOf(record: EpochRecord | undefined, key: string): number | undefined {
  const value = record?.[key];
  return typeof value === "number" && Number.isFinite(value) ? value : undefined;
}

/** The panels that there are numbers for. */
export function panelsOf({ loss, records }: Data): Panel[] {
  const known = ({ key }: Series) => !records.length || records.some((record) => valueOf(record, key) !== undefined);
  return PANELS.filter(({ lines }) => loss === "lgm" || lines[0].key !== "closest_centers")
    .map((panel) => ({ ...panel, lines: panel.lines.filter(known) }))
    .filter(({ lines }) => lines.length);
}

export function describeEpoch(data: Data, epoch: number): string {
  const record = data.records.find((one) => one.epoch === epoch);
  if (!record) return epoch ? "no numbers were kept" : "before training";
  return panelsOf(data)
    .flatMap(({ lines, write }) => lines.map(({ key, spoken }) => `${spoken} ${write(Number(record[key]))}`))
    .join(", ");
}
