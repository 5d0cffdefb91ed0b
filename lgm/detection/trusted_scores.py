"""Scores that are learnt from a few trusted images: a head of their own, and a vote of the nearest."""

from abc import ABC, abstractmethod
from typing import Self

import numpy as np

from lgm.detection.calibration import calibration_split
from lgm.detection.neighbours import NeighbourScore
from lgm.detection.score import Score
from lgm.detection.thresholds import conformal_threshold


class _Trusting(ABC):
    """Learns from a part of the trusted examples and calibrates with the other, both stratified by class."""

    def __init__(self, calibration: float = 0.5, random_state: int = 0) -> None:
        self.calibration, self.random_state = calibration, random_state
        self.calibration_scores_ = np.empty(0)

    def fit(self, X: np.ndarray, y: np.ndarray) -> Self:
        """Learn and calibrate from trusted features (M, D) and their labels (M,), at least two of each class."""
        calibrates = calibration_split(y, self.calibration, self.random_state)
        self._learn(X[~calibrates], y[~calibrates])
        self.calibration_scores_ = self.score_samples(X[calibrates], y[calibrates])
        return self

    def threshold(self, fpr: float) -> float:
        """See `conformal_threshold`."""
        return conformal_threshold(self.calibration_scores_, fpr)

    @abstractmethod
    def _learn(self, X: np.ndarray, y: np.ndarray) -> None: ...

    @abstractmethod
    def score_samples(self, X: np.ndarray, y: np.ndarray) -> np.ndarray:
        """(N,) of features (N, D) under the labels that they claim; higher is cleaner."""


class TrustedHead(_Trusting):
    """Log-odds of the claimed label by a logistic regression on trusted examples, nats.

    Source: Northcutt, Jiang, Chuang 2021, *Confident Learning* (self-confidence, whose order it has).
    """

    def _learn(self, X: np.ndarray, y: np.ndarray) -> None:
        from sklearn.linear_model import LogisticRegression

        self.head_ = LogisticRegression(C=1.0, max_iter=5000).fit(X, y)

    def score_samples(self, X: np.ndarray, y: np.ndarray) -> np.ndarray:
        """See `Score`; -inf for a label that no trusted example had."""
        classes = self.head_.classes_
        found = self.head_.decision_function(X)
        logits = np.column_stack([np.zeros(len(X)), found]) if found.ndim == 1 else found
        claimed = classes == np.asarray(y)[:, None]
        own = np.where(claimed, logits, -np.inf).max(1)
        return own - np.logaddexp.reduce(np.where(claimed, -np.inf, logits), axis=1)


class NeighbourVote(_Trusting):
    """Share of the k nearest trusted examples that have the claimed label.

    Source: Peri et al. 2020, *Deep k-NN Defense Against Clean-Label Data Poisoning Attacks*; there the neighbours are
    among the data themselves, and the majority decides.
    """

    def __init__(self, k: int = 10, calibration: float = 0.5, random_state: int = 0) -> None:
        super().__init__(calibration, random_state)
        self.k = k

    def _learn(self, X: np.ndarray, y: np.ndarray) -> None:
        from sklearn.neighbors import NearestNeighbors

        self.points_, self.labels_ = X, y
        self.neighbours_ = NearestNeighbors(n_neighbors=min(self.k, len(y))).fit(X)

    def score_samples(self, X: np.ndarray, y: np.ndarray) -> np.ndarray:
        """See `Score`."""
        nearest = self.neighbours_.kneighbors(X, return_distance=False)
        return (self.labels_[nearest] == np.asarray(y)[:, None]).mean(1)


TITLES = {
    "gaussian": "Gaussians with one covariance",
    "gaussian-class": "A Gaussian a class",
    "log-odds": "Log-odds of the claimed label",
    "knn": "Distance to the 10th neighbour",
    "vote": "Vote of 10 neighbours",
}


def trusted_scores(calibration: float) -> dict[str, Score]:
    """All scores that need nothing but features of trusted images, by key of `TITLES`; not fitted."""
    from lgm.detection.likelihood_filter import LikelihoodFilter

    return {
        "gaussian": LikelihoodFilter(calibration=calibration),
        "gaussian-class": LikelihoodFilter(calibration=calibration, covariance="class"),
        "log-odds": TrustedHead(calibration),
        "knn": NeighbourScore(calibration=calibration),
        "vote": NeighbourVote(calibration=calibration),
    }
