"""From scores to decisions: ROC, thresholds and what they cost. Higher score = cleaner, everywhere."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import gammaincc


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

    def _at(self, fpr: float) -> int:
        if not 0 <= fpr <= 1:
            raise ValueError(f"fpr: expected a rate in [0, 1], got {fpr}")
        return int(np.searchsorted(self.fpr, fpr, side="right")) - 1

    def threshold_at(self, fpr: float) -> float:
        """T that catches most while removing at most this share of the clean images; -inf if none does."""
        return float(self.thresholds[self._at(fpr)])

    def tpr_at(self, fpr: float) -> float:
        """The share of poisons caught at that threshold."""
        return float(self.tpr[self._at(fpr)])


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


def detection_report(
    clean_score: np.ndarray, poison_score: np.ndarray, collided: np.ndarray, fpr: float
) -> dict[str, Any]:
    """The numbers by which the filter is judged, over all poisons and over those that collide.

    A poison that fails to collide is harmless as well as hard to detect, so both are needed. ``None`` stands where
    no poison collides. The threshold is the one for ``fpr``.
    """
    over_all = roc(clean_score, poison_score)
    over_collided = roc(clean_score, poison_score[collided]) if collided.any() else None
    rates = sorted({0.01, 0.05, 0.1, fpr})
    threshold = over_all.threshold_at(fpr)
    at = outcome(clean_score, poison_score, threshold)
    return {
        "clean": len(clean_score),
        "poisons": len(poison_score),
        "collided": int(collided.sum()),
        "auc": over_all.auc,
        "auc_collided": over_collided.auc if over_collided else None,
        "tpr_at_fpr": {f"{rate:g}": over_all.tpr_at(rate) for rate in rates},
        "tpr_at_fpr_collided": {f"{rate:g}": over_collided.tpr_at(rate) if over_collided else None for rate in rates},
        "threshold": threshold if np.isfinite(threshold) else None,
        "fpr": at.fpr,
        "tpr": at.tpr,
        "precision": at.precision if at.caught + at.wrongly_removed else None,
        "caught": at.caught,
        "missed": at.missed,
        "wrongly_removed": at.wrongly_removed,
        "kept": at.kept,
    }
