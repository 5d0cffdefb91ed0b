"""Thresholds on the score, and the false-positive rate each stands for. Higher score = cleaner, everywhere."""

import math
from decimal import ROUND_FLOOR, Decimal

import numpy as np
from scipy.special import gammaincc

from lgm.stats.bootstrap import may_go


def finite_scores(scores: np.ndarray, name: str) -> np.ndarray:
    """Scores as a float64 array (N,); ValueError, which names them, if there are none or one is NaN or infinite."""
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
    scores = np.sort(finite_scores(clean_score, "clean_score"))
    k = may_go(len(scores), fpr)
    return math.inf if k == len(scores) else below(float(scores[k]))


def below(score: float) -> float:
    """The largest number of six significant digits below a score; -1e-05 below 0, where there is no largest."""
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
    scores = np.sort(finite_scores(calibration_scores, "calibration_scores"))
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
