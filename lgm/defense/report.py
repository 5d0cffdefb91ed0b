"""What an experiment on fine-tuning found, by filter rate: the record that is stored, printed and shown."""

import math
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

import numpy as np

from lgm.config import DefenseConfig
from lgm.stats.intervals import Estimate, wilson_interval
from lgm.utils.codec import Inline, Interval, WithInterval

T = TypeVar("T")
ATTACK_SUCCESS = (
    "share of the targets, among those that the clean control classifies correctly, "
    "to which the fine-tuned model gives the label of the base"
)
ARMS = ("clean", "unfiltered", "filtered")  # fine-tuned on D_f, on D_t, on D_w
FILTERS = {
    "own": "log-likelihood under the Gaussian of the claimed label that the network was trained with",
    "fitted": "log-density of a full Gaussian that was fitted afterwards to clean features of the claimed label",
}
Success = Annotated[T, Interval("interval")]  # attack success: the files call its interval just that


def attack_success(hits: int, n: int) -> Estimate:
    """Share of n attacks that succeed, with its 95 % Wilson interval; NaN if n is 0. See `ATTACK_SUCCESS`."""
    if not n:
        return Estimate(math.nan, math.nan, math.nan)
    return Estimate(hits / n, *wilson_interval(hits, n))


@dataclass(frozen=True)
class ByArm(Generic[T]):
    """A value for each arm: fine-tuned on D_f, on D_t, and on D_w, which is D_t filtered."""

    clean: T
    unfiltered: T
    filtered: T


@dataclass(frozen=True)
class AccuracyLost:
    """Accuracy of the clean control minus that of the other arms; the intervals are over trials."""

    unfiltered: Estimate
    filtered: Estimate


@dataclass(frozen=True)
class UntouchedBases:
    """Attack success with the bases in place of the poisons: more images of a class may by themselves move a border."""

    attack_success: Success[Estimate]


@dataclass(frozen=True)
class Filtered:
    """What the filter does to the attack at one wanted false-positive rate. Shares in [0, 1], intervals of 95 %.

    Attributes:
        attack_success: See `ATTACK_SUCCESS`.
        threshold: T in nats, the median over trials; removed is score <= T.
        hits: Targets that get the base's label although D_t was filtered.
        accuracy: Mean over trials, on clean images that nothing was fine-tuned on.
        accuracy_lost: Accuracy of the clean control minus that; its interval is over trials.
        poisons_removed, clean_removed: Images of D_p and of D_f, over all trials.
        poisons_share, clean_share: The same as shares; their intervals are over trials. NaN if there are none.
        measured_fpr: Share that T removes of all clean images that had no part in calibrating it.
    """

    attack_success: Success[Estimate]
    threshold: float
    hits: int
    accuracy: float
    accuracy_lost: WithInterval[Estimate]
    poisons_removed: int
    poisons_share: WithInterval[Estimate]
    clean_removed: int
    clean_share: WithInterval[Estimate]
    measured_fpr: float


@dataclass(frozen=True)
class DefenseReport:
    """What the attack does without the filter and with it. Shares in [0, 1], intervals of 95 %, over trials.

    Attributes:
        model, data: Names of network and split.
        weights_sha256, data_sha256: Their hashes.
        attack_revision: `lgm.config.ATTACK_REVISION` when it was measured; None if unknown.
        config: The setting. Its density is not stored: ``filter`` says which it was.
        filter: What scores the images: of `FILTERS`.
        threshold, poisons_removed, clean_removed, measured_fpr: See `Filtered`: at the setting's own rate.
        calibration_images: Clean images that T is calibrated on in a trial; the mean.
        definition: `ATTACK_SUCCESS`.
        attack_success: By arm; NaN if no target counts.
        n: Targets that count: the clean control classifies them correctly.
        untouched_bases: Attack success without poisons.
        accuracy: As `Filtered.accuracy`, by arm.
        accuracy_lost: As `Filtered.accuracy_lost`, by arm.
        collided: Share of the poisons that the network takes for the target's class; NaN without poisons.
        poisons_total, clean_total: Images of D_p and of D_f, over all trials.
        by_fpr: By the false-positive rate that T was calibrated for; the setting's is among them. It is the only one
            for an adaptive attacker, who aims at one T, and where all layers are fine-tuned.
    """

    model: str
    weights_sha256: str
    data: str
    data_sha256: str
    attack_revision: int | None
    config: Annotated[DefenseConfig, Inline(without=("density",))]
    filter: str
    threshold: float
    calibration_images: float
    definition: str
    attack_success: Success[ByArm[Estimate]]
    n: int
    untouched_bases: UntouchedBases
    accuracy: ByArm[float]
    accuracy_lost: WithInterval[AccuracyLost]
    collided: float
    poisons_removed: int
    poisons_total: int
    clean_removed: int
    clean_total: int
    measured_fpr: float
    by_fpr: dict[float, Filtered]

    @property
    def filtered(self) -> Filtered:
        """At the setting's own rate."""
        return self.by_fpr[self.config.fpr]


@dataclass(frozen=True)
class FalsePositiveRates:
    """The share of clean images that a T removes.

    Attributes:
        nominal: If features were exactly Gaussian.
        calibrated: What calibration vouches for, if fresh images are like those that calibrated.
        empirical: Of the fresh images at hand.
    """

    nominal: float
    calibrated: float
    empirical: float


@dataclass(frozen=True)
class ArmReport:
    """A fine-tuned model of an example: the label that it gives the target, and its accuracy on held-out images."""

    target_predicted: int
    accuracy: float


@dataclass(frozen=True)
class ExampleReport:
    """An attack and what T does to it, for a file; names as in `lgm.defense.example.Attack` and `DefenseConfig`.

    An infinite T is stored as null; an arm is None where the filter has left nothing to fine-tune on.
    """

    model: str
    data: str
    task: str
    seed: int
    beta: float
    clean_per_class: int
    poisons: int
    base_class: int
    target_class: int
    target: int
    bases: np.ndarray
    filter: str
    threshold: float
    poisons_collided: int
    poisons_removed: int
    clean_removed: int
    false_positive_rate: FalsePositiveRates
    arms: ByArm[ArmReport | None]
