"""From the poisons of all trials to the cells of a board: filter, fine-tune, ask about the target."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lgm.data.base import Split
from lgm.defense.finetune import Examples, fine_tune, fine_tune_layers, mix
from lgm.defense.heads import HEADS
from lgm.defense.summary import FineTuned
from lgm.defense.trials import Trial
from lgm.detection.thresholds import is_removed
from lgm.experiments.board.config import ALL_CLASSES, FROZEN, LAYERS, frozen_head
from lgm.experiments.board.record import Cell, Control
from lgm.experiments.board.setting import Setting, TrialFilters
from lgm.models.linear_head import LinearHead

Defence = tuple[str, float, str]  # filter, its rate, head
Fit = Callable[[Examples], FineTuned]  # fine-tune on some, and ask about the target and held-out images
_ASKED = 200  # held-out images at most: all of them cost half as much as fine-tuning all layers
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


def evaluate_trial(
    setting: Setting,
    own: TrialFilters,
    trial: Trial,
    poisons: Examples,
    clean: int,
    *,
    all_classes: bool = False,
    split: Split | None = None,
) -> TrialOutcomes:
    """Every defence of one trial.

    Args:
        setting: Network and clean images.
        own: Filters of the trial.
        trial: With the target that the attacker chose.
        poisons: K of them; with their pixels, if there is a split.
        clean: Images a class to fine-tune on.
        all_classes: Whether heads tell all classes apart, of which the trial has clean images.
        split: The images. With them it is all layers that are fine-tuned.

    All layers are measured without a filter and with that by density only.
    """

    def images(positions: np.ndarray) -> Examples:
        found = setting.images(positions)
        return found if split is None else replace(found, pixels=split.pixels(positions).numpy())

    alone = images(trial.clean.reshape(-1, setting.config.clean)[:, :clean].ravel())
    mixed, untouched = mix(alone, poisons), mix(alone, images(trial.bases[: len(poisons)]))
    names = list(own.filters) if split is None else [own.density]
    removed = _removed(setting, own, mixed, names)
    if split is None:
        heads = ALL_CLASSES if all_classes else FROZEN
        models, controls = (_on_features(setting, trial, heads, how) for how in (_fitted, _fitted_once))
    else:
        models = controls = {LAYERS: _all_layers(setting, trial, split)}
    return TrialOutcomes(
        clean={name: fit(alone) for name, fit in controls.items()},
        poisoned=_defended(models, mixed, removed),
        untouched=_defended(controls, untouched, _removed(setting, own, untouched, names)),
        removed=removed,
        poisons=mixed.poisoned,
    )


def _on_features(
    setting: Setting, trial: Trial, heads: Iterable[str], fitted: Callable[[str, Examples], LinearHead]
) -> dict[str, Fit]:
    """New heads on frozen features."""
    held_out, target = setting.images(trial.evaluation), setting.images(np.array([trial.target]))

    def of(head: str) -> Fit:
        def fit(examples: Examples) -> FineTuned:
            predict = fitted(head, examples)
            return FineTuned(int(predict(target.z)[0]), float((predict(held_out.z) == held_out.labels).mean()))

        return fit

    return {name: of(frozen_head(name)) for name in heads}


def _fitted(head: str, examples: Examples) -> LinearHead:
    return HEADS[head](examples)


def _fitted_once(head: str, examples: Examples) -> LinearHead:
    """The same, kept: on clean images and untouched bases, which are those of every attacker's trials."""
    key = head, examples.z.tobytes(), examples.labels.tobytes()
    if (found := _kept.get(key)) is None:
        if len(_kept) >= _KEPT:
            _kept.clear()
        found = _kept[key] = _fitted(head, examples)
    return found


_kept: dict[tuple[str, bytes, bytes], LinearHead] = {}
_KEPT = 50_000  # heads, a kilobyte each; a network with 100 trials has fewer


def _all_layers(setting: Setting, trial: Trial, split: Split) -> Fit:
    """All layers, from logistic regression on their features."""
    held_out = trial.evaluation[:: math.ceil(len(trial.evaluation) / _ASKED)]
    pixels, labels = split.pixels(np.append(trial.target, held_out)).numpy(), setting.labels[held_out]

    def fit(examples: Examples) -> FineTuned:
        predicted = fine_tune_layers(setting.model, examples, fine_tune(examples))(pixels)
        return FineTuned(int(predicted[0]), float((predicted[1:] == labels).mean()))

    return fit


def _defended(
    models: dict[str, Fit], examples: Examples, removed: dict[tuple[str, float], np.ndarray]
) -> dict[Defence, FineTuned]:
    """What comes of fine-tuning on what each filter leaves."""
    found: dict[Defence, FineTuned] = {}
    for name, fit in models.items():
        known: dict[bytes, FineTuned] = {}  # filters often remove the same images
        for key, gone in removed.items():
            left = gone.tobytes()
            if left not in known:
                known[left] = FineTuned(_NO_LABEL, 0.0) if gone.all() else fit(examples[~gone])
            found[*key, name] = known[left]
    return found


def _removed(
    setting: Setting, own: TrialFilters, mixed: Examples, names: Sequence[str]
) -> dict[tuple[str, float], np.ndarray]:
    """By filter, of these names, and rate."""
    found = {("none", 0.0): np.zeros(len(mixed), bool)}
    features = mixed.z / setting.scale
    for name in names:
        score = own.filters[name]
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
    for head in outcomes[0].clean:
        yield Control(clean, head, float(np.mean([each.clean[head].accuracy for each in outcomes])))


def _share(removed: Sequence[np.ndarray], among: Sequence[np.ndarray]) -> float:
    return float(np.concatenate(removed)[np.concatenate(among)].mean())
