"""Summary of an experiment: from what each trial gave to a report with intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lgm.config import ATTACK_REVISION, DefenseConfig
from lgm.data.base import Split
from lgm.defense.report import (
    ATTACK_SUCCESS,
    FILTERS,
    AccuracyLost,
    ByArm,
    DefenseReport,
    Filtered,
    UntouchedBases,
    attack_success,
)
from lgm.defense.trials import Trial
from lgm.models.card import Card
from lgm.stats.intervals import Estimate, mean_interval, share_over_trials


@dataclass(frozen=True)
class FineTuned:
    """A fine-tuned model of one trial: the label that it gives the target, and its accuracy on held-out images."""

    predicted: int
    accuracy: float


@dataclass(frozen=True)
class FilteredTrial:
    """One trial, filtered for one false-positive rate.

    Attributes:
        model: Fine-tuned on D_w.
        threshold: T in nats.
        removed: (N,) bool, of D_t.
        fresh_removed: Clean images that had no part in calibrating T and that it removes.
    """

    model: FineTuned
    threshold: float
    removed: np.ndarray
    fresh_removed: int


@dataclass(frozen=True)
class TrialResult:
    """All models of one trial.

    Attributes:
        trial: The draw.
        clean, unfiltered, untouched: Fine-tuned on D_f, on D_t, and on D_f and the bases as they were.
        filtered: By the rate that T was calibrated for.
        poisoned: (N,) bool, of D_t.
        collided: (K,) bool: the network takes the poison for the target's class.
        calibration_images: How many calibrated T.
    """

    trial: Trial
    clean: FineTuned
    unfiltered: FineTuned
    untouched: FineTuned
    filtered: dict[float, FilteredTrial]
    poisoned: np.ndarray
    collided: np.ndarray
    calibration_images: int


def successes(predicted: np.ndarray, control: np.ndarray, base: np.ndarray, target: np.ndarray) -> tuple[int, int]:
    """How many attacks succeed, and of how many: see `ATTACK_SUCCESS`.

    Args:
        predicted: (N,) label that the fine-tuned model gives each target.
        control: (N,) label that the clean control gives it.
        base: (N,) the base's label.
        target: (N,) the true label.
    """
    counts = control == target
    return int((counts & (predicted == base)).sum()), int(counts.sum())


def summarize(
    config: DefenseConfig, card: Card, split: Split, density: str, results: Sequence[TrialResult]
) -> DefenseReport:
    """The report of these trials, of a network and a split. ``density``: key of `FILTERS`."""
    by_fpr = {rate: _filtered(rate, results) for rate in results[0].filtered}
    own = by_fpr[config.fpr]
    clean, unfiltered = [r.clean for r in results], [r.unfiltered for r in results]
    hits, n = _successes(clean, results)
    collided = np.concatenate([result.collided for result in results])
    return DefenseReport(
        model=card.name,
        weights_sha256=card.weights_sha256,
        data=split.name,
        data_sha256=split.sha256,
        attack_revision=ATTACK_REVISION,
        config=config,
        filter=FILTERS[density],
        threshold=own.threshold,
        calibration_images=float(np.mean([result.calibration_images for result in results])),
        definition=ATTACK_SUCCESS,
        attack_success=ByArm(
            attack_success(hits, n), attack_success(*_successes(unfiltered, results)), own.attack_success
        ),
        n=n,
        untouched_bases=UntouchedBases(attack_success(*_successes([r.untouched for r in results], results))),
        accuracy=ByArm(float(_accuracy(clean).mean()), float(_accuracy(unfiltered).mean()), own.accuracy),
        accuracy_lost=AccuracyLost(_lost(clean, unfiltered), own.accuracy_lost),
        collided=float(collided.mean()) if len(collided) else math.nan,
        poisons_removed=own.poisons_removed,
        poisons_total=len(collided),
        clean_removed=own.clean_removed,
        clean_total=sum(len(result.trial.clean) for result in results),
        measured_fpr=own.measured_fpr,
        by_fpr=by_fpr,
    )


def _filtered(rate: float, results: Sequence[TrialResult]) -> Filtered:
    """One rate, over all trials."""
    at = [result.filtered[rate] for result in results]
    models = [each.model for each in at]
    hits, n = _successes(models, results)
    counts = {
        kind: np.array(
            [
                (f.removed[r.poisoned == kind].sum(), (r.poisoned == kind).sum())
                for f, r in zip(at, results, strict=True)
            ]
        )
        for kind in (True, False)
    }
    fresh = sum(len(result.trial.fresh) for result in results)
    return Filtered(
        attack_success=attack_success(hits, n),
        threshold=float(np.median([each.threshold for each in at])),
        hits=hits,
        accuracy=float(_accuracy(models).mean()),
        accuracy_lost=_lost([result.clean for result in results], models),
        poisons_removed=int(counts[True][:, 0].sum()),
        poisons_share=share_over_trials(*counts[True].T),
        clean_removed=int(counts[False][:, 0].sum()),
        clean_share=share_over_trials(*counts[False].T),
        measured_fpr=sum(each.fresh_removed for each in at) / fresh,
    )


def _successes(models: Sequence[FineTuned], results: Sequence[TrialResult]) -> tuple[int, int]:
    predicted, control = np.array([m.predicted for m in models]), np.array([r.clean.predicted for r in results])
    base, target = (np.array([getattr(r.trial, name) for r in results]) for name in ("base_class", "target_class"))
    return successes(predicted, control, base, target)


def _accuracy(models: Sequence[FineTuned]) -> np.ndarray:
    return np.array([model.accuracy for model in models])


def _lost(control: Sequence[FineTuned], models: Sequence[FineTuned]) -> Estimate:
    """Of the clean control's accuracy."""
    return Estimate(*mean_interval(_accuracy(control) - _accuracy(models)))
