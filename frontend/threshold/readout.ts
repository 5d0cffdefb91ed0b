// The numbers that go with T.

import { find, setText } from "../shared/dom.ts";
import { count, nats, percent, scientific, shareWithInterval } from "../shared/format.ts";
import { countRemoved, nominalFpr } from "../shared/stats.ts";
import type { Data, Scores } from "./data.ts";

/** Fill the tiles, and mark the button whose T does the same. */
export function readOut(root: HTMLElement, data: Data, scores: Scores, threshold: number): void {
  const { caught, wronglyRemoved, tpr, fpr, precision } = scores.outcome(threshold);
  const removed = caught + wronglyRemoved;
  const texts = {
    relative: `likelihood ${scientific(Math.min(1, Math.exp(threshold - data.peak)))} of peak`,
    tpr: percent(tpr, 1),
    caught: shareWithInterval(caught, scores.poison.length),
    fpr: percent(fpr, 2),
    wrong: shareWithInterval(wronglyRemoved, scores.clean.length),
    nominal: percent(nominalFpr(data.nominal, data.peak, threshold), 2),
    precision: removed ? percent(precision, 1) : "–",
    removed: removed ? `${count(caught)} poisons of ${count(removed)} removed` : "nothing is removed",
  };
  for (const [name, text] of Object.entries(texts)) setText(find(root, `[data-out=${name}]`), text);
  for (const button of root.querySelectorAll<HTMLButtonElement>(".quick button"))
    button.setAttribute("aria-pressed", String(countRemoved(scores.clean, +button.value) === wronglyRemoved));
}

/** The same in one sentence, for screen readers and below a saved picture. */
export function sentence(scores: Scores, threshold: number): string {
  const { caught, wronglyRemoved } = scores.outcome(threshold);
  return (
    `T ${nats(threshold)} nats: ${count(caught)} of ${count(scores.poison.length)} poisons caught, ` +
    `${count(wronglyRemoved)} of ${count(scores.clean.length)} clean images thrown away`
  );
}

/** A button for each of the rates. */
export function showQuick(place: HTMLElement, quick: Data["quick"]): void {
  const buttons = quick.map(({ rate, threshold }) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = `${rate * 100} %`;
    button.value = String(threshold);
    button.setAttribute("aria-label", `Threshold for at most ${rate * 100} % FPR`);
    return button;
  });
  const before = Array.from(place.querySelectorAll("button"), (button) => button.value);
  if (String(before) === String(buttons.map((button) => button.value))) return; // keeps the keyboard focus
  place.replaceChildren(...buttons);
}
