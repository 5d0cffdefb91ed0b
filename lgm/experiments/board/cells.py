"""From the poisons of all trials to the cells of a board: filter, fine-tune, ask about the target."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lgm.defense.finetune import Examples, mix
from lgm.defense.heads import HEADS, Head
from lgm.defense.summary import FineTuned
from lgm.defense.trials import Trial
from lgm.detection.thresholds import is_removed
from lgm.experiments.board.record import Cell, Control
from lgm.experiments.board.setting import Setting, TrialFilters

Defence = tuple[str, float, str]  # filter, its rate, head
_NO_LABEL = -1  # label that no model gives, for there was nothing to fine-tune on


@dataclass(frozen=True)
class TrialOutcomes:
    """One trial with one budget, against all defences.

    Attributes:
        clean: Fine-tuned on D_f, by head.
        poisoned, untouched: Fine-tuned on what a defence leaves of D_f with the poisons, or with the bases as they
            were.
        removed: (N,) bool, of D_t, by filter and rate.
        poisons: (N,) bool, of D_t.
    """

    clean: dict[str, FineTuned]
    poisoned: dict[Defence, FineTuned]
    untouched: dict[Defence, FineTuned]
    removed: dict[tuple[str, float], np.ndarray]
    poisons: np.ndarray


def evaluate_trial(setting: Setting, own: TrialFilters, trial: Trial, poisons: Examples, clean: int) -> TrialOutcomes:
    """Every defence of one trial. ``poisons``: K of them; ``clean``: images a class to fine-tune on."""
    per_class = trial.clean.reshape(2, -1)[:, :clean].ravel()
    alone, held_out = setting.images(per_class), setting.images(trial.evaluation)
    mixed, untouched = mix(alone, poisons), mix(alone, setting.images(trial.bases[: len(poisons)]))
    target = setting.images(np.array([trial.target]))

    def evaluated(head: Head, examples: Examples) -> FineTuned:
        if not len(examples):
            return FineTuned(_NO_LABEL, 0.0)
        predict = head(examples)
        accuracy = float((predict(held_out.z) == held_out.labels).mean())
        return FineTuned(int(predict(target.z)[0]), accuracy)

    def defended(examples: Examples, removed: dict[tuple[str, float], np.ndarray]) -> dict[Defence, FineTuned]:
        found: dict[Defence, FineTuned] = {}
        for name, head in HEADS.items():
            known: dict[bytes, FineTuned] = {}  # filters often remove the same images
            for key, gone in removed.items():
                left = gone.tobytes()
                if left not in known:
                    known[left] = evaluated(head, examples[~gone])
                found[*key, name] = known[left]
        return found

    removed = _removed(setting, own, mixed)
    return TrialOutcomes(
        clean={name: evaluated(head, alone) for name, head in HEADS.items()},
        poisoned=defended(mixed, removed),
        untouched=defended(untouched, _removed(setting, own, untouched)),
        removed=removed,
        poisons=mixed.poisoned,
    )


def _removed(setting: Setting, own: TrialFilters, mixed: Examples) -> dict[tuple[str, float], np.ndarray]:
    found = {("none", 0.0): np.zeros(len(mixed), bool)}
    features = mixed.z / setting.scale
    for name, score in own.filters.items():
        scores = score.score_samples(features, mixed.labels)
        for fpr in setting.config.fprs:
            found[name, fpr] = is_removed(scores, score.threshold(fpr))
    return found


def cells_of(budget: tuple[int, int], trials: Sequence[Trial], outcomes: Sequence[TrialOutcomes]) -> Iterator[Cell]:
    """The cells of one budget, over all trials."""
    for name, fpr, head in outcomes[0].poisoned:
        models = [each.poisoned[name, fpr, head] for each in outcomes]
        untouched = [each.untouched[name, fpr, head] for each in outcomes]
        counts = [
            each.clean[head].predicted == trial.target_class for each, trial in zip(outcomes, trials, strict=True)
        ]
        turned, anyhow = (
            np.array([model.predicted == trial.base_class for model, trial in zip(found, trials, strict=True)])[counts]
            for found in (models, untouched)
        )
        gone = [each.removed[name, fpr] for each in outcomes]
        yield Cell(
            poisons=budget[0],
            clean=budget[1],
            filter=name,
            fpr=fpr,
            head=head,
            n=len(turned),
            hits=int(turned.sum()),
            untouched=int(anyhow.sum()),
            both=int((turned & anyhow).sum()),
            poisons_removed=_share(gone, [each.poisons for each in outcomes]),
            clean_removed=_share(gone, [~each.poisons for each in outcomes]),
            accuracy=float(np.mean([model.accuracy for model in models])),
        )


def controls_of(clean: int, outcomes: Sequence[TrialOutcomes]) -> Iterator[Control]:
    """The clean controls with so many images a class, by head."""
    for head in HEADS:
        yield Control(clean, head, float(np.mean([each.clean[head].accuracy for each in outcomes])))


def _share(removed: Sequence[np.ndarray], among: Sequence[np.ndarray]) -> float:
    return float(np.concatenate(removed)[np.concatenate(among)].mean())
