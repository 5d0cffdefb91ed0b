"""Detection metrics: ROC, rates and counts at a threshold. Higher score = cleaner, everywhere."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from lgm.config import FPR_GRID
from lgm.detection.thresholds import below, empirical_threshold, finite_scores, is_removed
from lgm.stats.bootstrap import tpr_interval
from lgm.stats.intervals import Estimate, auc_interval
from lgm.utils.codec import WithInterval


@dataclass(frozen=True)
class Outcome:
    """What a threshold does: poisons caught and missed, clean images wrongly removed and rightly kept."""

    threshold: float
    caught: int
    missed: int
    wrongly_removed: int
    kept: int

    @property
    def tpr(self) -> float:
        """Share of the poisons that is removed; NaN without poisons."""
        return _ratio(self.caught, self.caught + self.missed)

    @property
    def fpr(self) -> float:
        """Share of the clean images that is removed."""
        return _ratio(self.wrongly_removed, self.wrongly_removed + self.kept)

    @property
    def precision(self) -> float:
        """Share of what is removed that is poison; NaN if nothing is removed."""
        return _ratio(self.caught, self.caught + self.wrongly_removed)


@dataclass(frozen=True)
class Roc:
    """The ROC curve, poisons being the positives.

    Attributes:
        fpr, tpr: (M,) ascending from 0 to 1.
        thresholds: (M,) descending rank of suspicion: T in nats, ascending from -inf; removed is score <= T.
        auc: Area under the curve in [0, 1].
    """

    fpr: np.ndarray
    tpr: np.ndarray
    thresholds: np.ndarray
    auc: float

    def threshold_at(self, fpr: float) -> float:
        """`empirical_threshold` of the clean images on the curve; the poisons have no part in it."""
        if not 0 <= fpr <= 1:
            raise ValueError(f"fpr: expected a rate in [0, 1], got {fpr}")
        stays = int(np.searchsorted(self.fpr, fpr, side="right"))  # with its score the rate would exceed fpr
        return math.inf if stays == len(self.fpr) else below(float(self.thresholds[stays]))

    def tpr_at(self, fpr: float) -> float:
        """The share of poisons caught at that threshold."""
        return float(self.tpr[np.searchsorted(self.thresholds, self.threshold_at(fpr), side="right") - 1])


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def outcome(clean_score: np.ndarray, poison_score: np.ndarray, threshold: float) -> Outcome:
    """Counts at one threshold (nats), from scores of clean images and of poisons, each 1-d."""
    removed_clean = int(is_removed(clean_score, threshold).sum())
    caught = int(is_removed(poison_score, threshold).sum())
    return Outcome(
        threshold=float(threshold),
        caught=caught,
        missed=len(poison_score) - caught,
        wrongly_removed=removed_clean,
        kept=len(clean_score) - removed_clean,
    )


def roc(clean_score: np.ndarray, poison_score: np.ndarray) -> Roc:
    """The ROC curve of "remove what is at most T" over all T.

    Args:
        clean_score: (N,) log-likelihoods of clean images, nats.
        poison_score: (M,) log-likelihoods of poisons, nats.

    Raises:
        ValueError: an empty array, NaN or infinity.
    """
    from sklearn.metrics import auc, roc_curve  # over a second to import; most pages never need it

    clean, poison = finite_scores(clean_score, "clean_score"), finite_scores(poison_score, "poison_score")
    is_poison = np.r_[np.zeros(len(clean)), np.ones(len(poison))]
    suspicion = -np.r_[clean, poison]
    fpr, tpr, thresholds = roc_curve(is_poison, suspicion, drop_intermediate=False)
    return Roc(fpr, tpr, -thresholds, float(auc(fpr, tpr)))


@dataclass(frozen=True)
class Rates:
    """How well a score tells n poisons from clean images.

    Attributes:
        n: How many poisons.
        auc: Area under the ROC curve; `lgm.stats.intervals.auc_interval`.
        tpr: By FPR, the share of the poisons caught at `empirical_threshold`; `lgm.stats.bootstrap.tpr_interval`.
    """

    n: int
    auc: Estimate
    tpr: dict[float, Estimate]


def rates(clean_score: np.ndarray, poison_score: np.ndarray, fprs: Iterable[float] = FPR_GRID) -> Rates:
    """AUC and TPRs with their intervals. Raises ValueError for what `roc` refuses, or a rate outside [0, 1]."""
    return rates_of(roc(clean_score, poison_score), clean_score, poison_score, fprs)


def rates_of(curve: Roc, clean_score: np.ndarray, poison_score: np.ndarray, fprs: Iterable[float]) -> Rates:
    """`rates` where the curve is known already."""
    n = len(poison_score)
    tpr = {fpr: Estimate(curve.tpr_at(fpr), *tpr_interval(clean_score, poison_score, fpr)) for fpr in sorted({*fprs})}
    return Rates(n, Estimate(curve.auc, *auc_interval(curve.auc, len(clean_score), n)), tpr)


@dataclass(frozen=True)
class DetectionReport:
    """The numbers by which the filter is judged: over all poisons, and over those that collide.

    A poison that does not collide has not reached the target's class, and is harder to tell from clean images. Whether
    it does harm is not measured here.

    Attributes:
        clean, poisons: How many.
        collided: How many poisons the network takes for the target's class; None where that is unknown.
        auc, auc_collided: See `Rates.auc`; None if no poison is known to collide.
        tpr_at_fpr, tpr_at_fpr_collided: See `Rates.tpr`.
        threshold_at_fpr: T by FPR, nats: `empirical_threshold`.
        threshold, fpr, tpr, precision, caught, missed, wrongly_removed, kept: `Outcome` of T for the FPR asked for; an
            infinite T is stored as null.
    """

    clean: int
    poisons: int
    collided: int | None
    auc: WithInterval[Estimate]
    tpr_at_fpr: WithInterval[dict[float, Estimate]]
    auc_collided: WithInterval[Estimate | None]
    tpr_at_fpr_collided: WithInterval[dict[float, Estimate | None]]
    threshold_at_fpr: dict[float, float]
    threshold: float
    fpr: float
    tpr: float
    precision: float
    caught: int
    missed: int
    wrongly_removed: int
    kept: int


def detection_report(
    clean_score: np.ndarray, poison_score: np.ndarray, collided: np.ndarray | None, fpr: float
) -> DetectionReport:
    """The filter over all poisons, and over those that collide, at `FPR_GRID` and at ``fpr``.

    Args:
        clean_score: (N,) log-likelihoods of clean images, nats.
        poison_score: (M,) of poisons.
        collided: (M,) bool; None where it is unknown.
        fpr: For the counts.

    Raises:
        ValueError: see `rates`.
    """
    fprs = sorted({*FPR_GRID, fpr})
    some = poison_score[collided] if collided is not None and collided.any() else None
    overall = rates(clean_score, poison_score, fprs)
    colliding = None if some is None else rates(clean_score, some, fprs)
    at = outcome(clean_score, poison_score, empirical_threshold(clean_score, fpr))
    return DetectionReport(
        clean=len(clean_score),
        poisons=overall.n,
        collided=None if collided is None else int(collided.sum()),
        auc=overall.auc,
        tpr_at_fpr=overall.tpr,
        auc_collided=colliding.auc if colliding else None,
        tpr_at_fpr_collided={each: colliding.tpr[each] if colliding else None for each in fprs},
        threshold_at_fpr={each: empirical_threshold(clean_score, each) for each in fprs},
        threshold=at.threshold,
        fpr=at.fpr,
        tpr=at.tpr,
        precision=at.precision,
        caught=at.caught,
        missed=at.missed,
        wrongly_removed=at.wrongly_removed,
        kept=at.kept,
    )
