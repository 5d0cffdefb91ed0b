"""From scores to decisions: ROC, thresholds and what they cost. Higher score = cleaner, everywhere."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from typing import Any

import numpy as np
from scipy.special import gammaincc

from lgm.bootstrap import may_go, tpr_interval
from lgm.config import FPR_GRID
from lgm.intervals import Estimate, auc_interval, plain


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
        return math.inf if stays == len(self.fpr) else _below(float(self.thresholds[stays]))

    def tpr_at(self, fpr: float) -> float:
        """The share of poisons caught at that threshold."""
        return float(self.tpr[np.searchsorted(self.thresholds, self.threshold_at(fpr), side="right") - 1])


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _finite(scores: np.ndarray, name: str) -> np.ndarray:
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 1 or not len(scores):
        raise ValueError(f"{name}: expected a non-empty 1-d array of scores, got shape {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError(
            f"{name}: expected finite scores in nats, got NaN or infinity (a softmax network has no density)"
        )
    return scores


def is_removed(score: np.ndarray, threshold: float) -> np.ndarray:
    """Which images the filter removes: those not above T. Source: algorithm 1, step 5 keeps p > T."""
    return np.asarray(score, np.float64) <= threshold  # float32 scores would round the threshold


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

    clean, poison = _finite(clean_score, "clean_score"), _finite(poison_score, "poison_score")
    is_poison = np.r_[np.zeros(len(clean)), np.ones(len(poison))]
    suspicion = -np.r_[clean, poison]
    fpr, tpr, thresholds = roc_curve(is_poison, suspicion, drop_intermediate=False)
    return Roc(fpr, tpr, -thresholds, float(auc(fpr, tpr)))


def empirical_threshold(clean_score: np.ndarray, fpr: float) -> float:
    """T of "1 % FPR": the largest number of six digits that removes at most this share of these very clean images.

    The only T that goes by this name, on screen, in files and on the command line. It follows from the clean images
    alone, whatever the poisons. Six digits are what a link carries, and what a float32 score is good for.

    The rate is that of the images at hand. T was fitted to them: of N fresh ones it removes (k + 1) / (N + 1) on
    average, k being the number that may go. A promise for fresh images is `conformal_threshold`, lower for the same
    scores.

    Args:
        clean_score: (N,) log-likelihoods of clean images, nats.
        fpr: Share of them that may be removed, in [0, 1].

    Returns:
        T in nats; removed is score <= T. inf for a rate of 1.

    Raises:
        ValueError: no scores, NaN or infinity, or a rate outside [0, 1].
    """
    scores = np.sort(_finite(clean_score, "clean_score"))
    k = may_go(len(scores), fpr)
    return math.inf if k == len(scores) else _below(float(scores[k]))


def _below(score: float) -> float:
    """The largest number of six significant digits below a score."""
    exact = Decimal(score)
    unit = Decimal(1).scaleb(exact.adjusted() - 5)
    found = exact.quantize(unit, ROUND_FLOOR)
    while float(found) >= score:
        found -= unit
    return float(found)


def empirical_words(fpr: float, clean: int) -> str:
    """What T of `empirical_threshold` promises, for where two T stand side by side."""
    return f"removes at most {100 * fpr:g} % of these {clean:,} clean images"


def conformal_words(fpr: float, calibration: int) -> str:
    """The same of `conformal_threshold`: why its T is another one, and lower on the same images."""
    return f"calibrated on {calibration:,} clean images to remove at most {100 * fpr:g} % of fresh ones on average"


def conformal_threshold(calibration_scores: np.ndarray, fpr: float) -> float:
    """T that removes a fresh clean image with a chance of at most ``fpr``, whatever the scores' distribution.

    The theorem (split conformal prediction): let n calibration scores and a fresh one be exchangeable, and
    k = floor(fpr (n + 1)). The fresh score lies below the k-th smallest calibration score with a chance of at most
    k / (n + 1), which is at most ``fpr``; equal to k / (n + 1) where scores do not tie. T is the largest number below
    that score, because what is at T is removed: so a tie is kept.

    The only assumption is exchangeability: fresh clean images are like those that calibrate, and neither had a part in
    making the score. The chance is over calibration and fresh image together: once T is known, the rate that it has is
    a draw from Beta(k, n + 1 - k), and of m fresh images a beta-binomial number is removed.

    Args:
        calibration_scores: (n,) log-likelihoods of clean images, nats, used for nothing else.
        fpr: The rate to keep to, in [0, 1].

    Returns:
        T in nats; removed is score <= T. -inf if n < 1 / fpr - 1: too few to promise so small a rate. inf for 1.

    Raises:
        ValueError: no scores, NaN or infinity, or a rate outside [0, 1].

    Source: Vovk, Gammerman, Shafer 2005; Bates et al. 2023, *Testing for outliers with conformal p-values*.
    """
    scores = np.sort(_finite(calibration_scores, "calibration_scores"))
    if not 0 <= fpr <= 1:
        raise ValueError(f"fpr: expected a rate in [0, 1], got {fpr}")
    k = math.floor(fpr * (len(scores) + 1) + 1e-9)  # 0.29 * 100 is 28.999999999999996
    if k == 0:
        return -math.inf
    return math.inf if k > len(scores) else float(np.nextafter(scores[k - 1], -np.inf))


def conformal_fpr(threshold: float, calibration_scores: np.ndarray) -> float:
    """The rate that calibration vouches for at T: (1 + those of n calibration scores that T removes) / (n + 1).

    The other way round than `conformal_threshold`: the T that it gives for a rate has at most that rate here.

    Args:
        threshold: T in nats.
        calibration_scores: (n,) log-likelihoods of clean images, nats, used for nothing else.

    Source: the conformal p-value of a fresh score just above T; Bates et al. 2023.
    """
    removed = int(is_removed(calibration_scores, threshold).sum())
    return (1 + removed) / (len(calibration_scores) + 1)


def nominal_fpr(threshold: float, peak: np.ndarray, n_dim: int) -> float:
    """Share of clean images that the filter would remove if features were exactly Gaussian.

    Args:
        threshold: T in nats.
        peak: (K,) log-density at each class's mean (`GaussianMixture.peak`).
        n_dim: D.

    Returns:
        Mean over classes of P(chi2_D > -2 (T - peak)). For D = 2 and one peak this is exp(T - peak): the
        relative likelihood itself.
    """
    squared_distance = np.maximum(0, -2 * (threshold - np.asarray(peak, np.float64)))
    return float(gammaincc(n_dim / 2, squared_distance / 2).mean())


def cut_radius(threshold: float, peak: float) -> float:
    """Distance from a class mean, in sigmas, beyond which features are removed; 0 if even the mean is."""
    return float(np.sqrt(max(0.0, 2 * (peak - threshold))))


@dataclass(frozen=True)
class Rates:
    """How well a score tells n poisons from clean images.

    Attributes:
        n: How many poisons.
        auc: Area under the ROC curve; `lgm.intervals.auc_interval`.
        tpr: By FPR, the share of the poisons caught at `empirical_threshold`; `lgm.bootstrap.tpr_interval`.
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
    """The numbers by which the filter is judged.

    Attributes:
        clean: How many clean images.
        n_collided: How many poisons the network takes for the target's class; None where that is unknown.
        overall: Over all poisons.
        collided: Over those that collide; None if none is known to. A poison that does not collide has not reached the
            target's class, and is harder to tell from clean images. Whether it does harm is not measured here.
        thresholds: T by FPR, nats: `empirical_threshold`.
        at: What T does at the FPR that was asked for.
    """

    clean: int
    n_collided: int | None
    overall: Rates
    collided: Rates | None
    thresholds: dict[float, float]
    at: Outcome

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; None where nothing is known, and for a T that is no number."""
        at, report = self.at, {"clean": self.clean, "poisons": self.overall.n, "collided": self.n_collided}
        for of, group in (("", self.overall), ("_collided", self.collided)):
            report |= {
                f"auc{of}": group and group.auc.value,
                f"auc{of}_interval": group and group.auc[1:],
                f"tpr_at_fpr{of}": {f"{fpr:g}": group and group.tpr[fpr].value for fpr in self.thresholds},
                f"tpr_at_fpr{of}_interval": {f"{fpr:g}": group and group.tpr[fpr][1:] for fpr in self.thresholds},
            }
        report["threshold_at_fpr"] = {f"{fpr:g}": threshold for fpr, threshold in self.thresholds.items()}
        numbers = ("threshold", "fpr", "tpr", "precision", "caught", "missed", "wrongly_removed", "kept")
        return plain(report | {name: getattr(at, name) for name in numbers})


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
    return DetectionReport(
        clean=len(clean_score),
        n_collided=None if collided is None else int(collided.sum()),
        overall=rates(clean_score, poison_score, fprs),
        collided=None if some is None else rates(clean_score, some, fprs),
        thresholds={each: empirical_threshold(clean_score, each) for each in fprs},
        at=outcome(clean_score, poison_score, empirical_threshold(clean_score, fpr)),
    )
