"""Spectral signatures, as a score."""

from typing import Self

import numpy as np

from lgm.detection.thresholds import conformal_threshold


def outside_spectrum(z: np.ndarray) -> np.ndarray:
    """(n,) minus the squared projection of features (n, D) of one class onto their first principal direction."""
    centred = z - z.mean(0)
    direction = np.linalg.svd(centred, full_matrices=False)[2][0]
    return -np.square(centred @ direction)


class SpectralSignature:
    """`outside_spectrum` of each claimed class.

    Direction and centre are those of the very examples that are scored, by claimed class. T is calibrated on trusted
    examples, which have directions of their own: so no rate is promised, and what a rate costs has to be measured.

    Attributes:
        calibration_scores_: (M,) of the trusted examples.

    Source: Tran, Li, Madry 2018, *Spectral Signatures in Backdoor Attacks*; there a share of the data is removed.
    """

    def __init__(self) -> None:
        self.calibration_scores_ = np.empty(0)

    def fit(self, X: np.ndarray, y: np.ndarray) -> Self:
        """Calibrate on trusted features (M, D) with labels (M,)."""
        self.calibration_scores_ = self.score_samples(X, y)
        return self

    def score_samples(self, X: np.ndarray, y: np.ndarray) -> np.ndarray:
        """(N,) of features (N, D) under the labels that they claim."""
        out = np.empty(len(X))
        for label in np.unique(y):
            out[y == label] = outside_spectrum(X[y == label])
        return out

    def threshold(self, fpr: float) -> float:
        """See `conformal_threshold`, for trusted examples."""
        return conformal_threshold(self.calibration_scores_, fpr)
