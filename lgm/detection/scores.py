"""Scores that a filter can go by, with one interface: fit to trusted features, score claims, calibrate T."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np

from lgm.detection.thresholds import conformal_threshold

if TYPE_CHECKING:
    from lgm.models.classifier import Classifier


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


def own_likelihood(model: "Classifier") -> HeadScore:
    """Log p(z | y) of the Gaussians that the network was trained with, nats.

    Raises:
        ValueError: a softmax network, which has none.

    Source: the paper, section 4.4.
    """
    from lgm.models.scoring import require_mixture, score_claims

    require_mixture(model)
    return HeadScore(lambda z, labels: score_claims(model, z, labels)[1])


def own_log_odds(model: "Classifier") -> HeadScore:
    """Log-odds of the claimed label against all others, nats.

    Source: Northcutt, Jiang, Chuang 2021, *Confident Learning* (self-confidence, whose order it has).
    """
    from lgm.models.scoring import score_claims

    return HeadScore(lambda z, labels: score_claims(model, z, labels)[0])


class NeighbourScore(HeadScore):
    """Minus the distance to the k-th nearest trusted example of the claimed class, in features.

    Source: Sun et al. 2022, *Out-of-Distribution Detection with Deep Nearest Neighbors*; here within the claimed class.
    """

    def __init__(self, k: int = 10, calibration: float = 0.5) -> None:
        super().__init__(self._nearness)
        self.k, self.calibration = k, calibration

    def fit(self, X: np.ndarray, y: np.ndarray) -> Self:
        """A part of the trusted examples are the neighbours, the other part calibrates."""
        from sklearn.neighbors import NearestNeighbors

        random = np.random.default_rng(0).permutation(len(X))
        cut = round(self.calibration * len(X))
        calibrates, seen = random[:cut], random[cut:]
        self.neighbours: dict[int, NearestNeighbors] = {}
        for label in np.unique(y[seen]):
            mine = X[seen][y[seen] == label]
            self.neighbours[int(label)] = NearestNeighbors(n_neighbors=min(self.k, len(mine))).fit(mine)
        known = np.isin(y[calibrates], list(self.neighbours))
        return super().fit(X[calibrates][known], y[calibrates][known])

    def _nearness(self, z: np.ndarray, labels: np.ndarray) -> np.ndarray:
        out = np.full(len(z), -np.inf)
        for label, neighbours in self.neighbours.items():
            mine = labels == label
            if mine.any():
                out[mine] = -neighbours.kneighbors(z[mine])[0][:, -1]
        return out


# By name, in words.
SCORES = {
    "likelihood": "that of the Gaussians that the network was trained with (LGM only)",
    "gaussian": "that of Gaussians fitted to the features of trusted images",
    "log-odds": "of the claimed label by the network's own head",
    "knn": "minus the distance to the tenth nearest trusted image of the claimed class",
}
BY_HEAD = ("likelihood", "log-odds")  # of the network itself, so of classes that it knows


def make_score(name: str, model: "Classifier", seed: int = 0) -> Score:
    """One of `SCORES`, not fitted. Raises ValueError for another name, or for a likelihood of a softmax network."""
    match name:
        case "likelihood":
            return own_likelihood(model)
        case "gaussian":
            from lgm.detection.likelihood_filter import LikelihoodFilter  # scikit-learn takes a second

            return LikelihoodFilter(random_state=seed)
        case "log-odds":
            return own_log_odds(model)
        case "knn":
            return NeighbourScore()
    raise ValueError(f"score: expected one of {', '.join(SCORES)}, got {name!r}")
