"""Distance to near examples of the claimed class, as a score."""

from typing import Self

import numpy as np

from lgm.detection.calibration import calibration_split
from lgm.detection.thresholds import conformal_threshold


class NeighbourScore:
    """Minus the distance to the k-th nearest other example of the claimed class, in features.

    Args:
        k: Which neighbour; the farthest one of a class that has fewer.
        calibration: Share of the trusted examples that calibrates, in (0, 1); the others are the neighbours.
        of_itself: Whether all examples are the neighbours of each other, and are scored themselves: none calibrates.
        random_state: Which of the trusted examples calibrate.

    Attributes:
        calibration_scores_: (n,) of trusted examples that are no neighbours.

    Source: Sun et al. 2022, *Out-of-Distribution Detection with Deep Nearest Neighbors*; here within the claimed class.
    """

    def __init__(
        self, k: int = 10, calibration: float = 0.5, *, of_itself: bool = False, random_state: int = 0
    ) -> None:
        self.k, self.calibration, self.of_itself, self.random_state = k, calibration, of_itself, random_state
        self.calibration_scores_ = np.empty(0)

    def fit(self, X: np.ndarray, y: np.ndarray) -> Self:
        """Neighbours, and what calibrates, from features (M, D) and their labels (M,)."""
        from sklearn.neighbors import NearestNeighbors

        calibrates = np.zeros(len(y), bool)
        if not self.of_itself:
            calibrates = calibration_split(y, self.calibration, self.random_state)
        wanted = self.k + self.of_itself  # the nearest of all is the example itself
        self.neighbours_: dict[int, NearestNeighbors] = {}
        for label in np.unique(y):
            mine = X[~calibrates & (y == label)]
            self.neighbours_[int(label)] = NearestNeighbors(n_neighbors=min(wanted, len(mine))).fit(mine)
        self.calibration_scores_ = self.score_samples(X[calibrates], y[calibrates])
        return self

    def score_samples(self, X: np.ndarray, y: np.ndarray) -> np.ndarray:
        """(N,) of features (N, D) under the labels that they claim; -inf for a class without examples."""
        out = np.full(len(X), -np.inf)
        for label, neighbours in self.neighbours_.items():
            mine = y == label
            if mine.any():
                out[mine] = -neighbours.kneighbors(X[mine])[0][:, -1]
        return out

    def threshold(self, fpr: float) -> float:
        """See `conformal_threshold`."""
        return conformal_threshold(self.calibration_scores_, fpr)
