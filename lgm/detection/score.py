"""What every score of a filter can do: fit to trusted features, score claims, calibrate T."""

from collections.abc import Callable
from typing import Protocol, Self

import numpy as np

from lgm.detection.thresholds import conformal_threshold


class Score(Protocol):
    """What every score can do; `LikelihoodFilter` is one."""

    calibration_scores_: np.ndarray

    def fit(self, X: np.ndarray, y: np.ndarray) -> Self:
        """Learn, and calibrate, from trusted features (M, D) and their labels (M,)."""
        ...

    def score_samples(self, X: np.ndarray, y: np.ndarray) -> np.ndarray:
        """(N,) of features (N, D) under the labels that they claim; higher is cleaner."""
        ...

    def threshold(self, fpr: float) -> float:
        """T that removes at most this share of fresh clean examples on average; -inf where too few calibrate."""
        ...


class HeadScore:
    """A score that the network's own head gives: nothing is learnt from trusted examples, all of them calibrate."""

    def __init__(self, score: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
        self._score = score
        self.calibration_scores_ = np.empty(0)

    def fit(self, X: np.ndarray, y: np.ndarray) -> Self:
        """Calibrate."""
        self.calibration_scores_ = self.score_samples(X, y)
        return self

    def score_samples(self, X: np.ndarray, y: np.ndarray) -> np.ndarray:
        """See `Score`."""
        return self._score(X, y)

    def threshold(self, fpr: float) -> float:
        """See `conformal_threshold`."""
        return conformal_threshold(self.calibration_scores_, fpr)
