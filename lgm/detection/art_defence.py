"""The filter in the shape of the Adversarial Robustness Toolbox, for pipelines that are built on it."""

from typing import Any

import numpy as np

from lgm.data.pixels import to_labels
from lgm.detection.likelihood_filter import LikelihoodFilter
from lgm.utils.json import to_json

_OUTCOMES = {(0, 0): "TruePositive", (1, 1): "TrueNegative", (0, 1): "FalsePositive", (1, 0): "FalseNegative"}


class LikelihoodDefence:
    """`LikelihoodFilter` with the methods of ART's ``PoisonFilteringDefence``; ART itself is not imported.

    Deviation: a threshold is calibrated, so images are needed whose labels are right.
    """

    def __init__(
        self,
        classifier: Any,
        x_train: np.ndarray,
        y_train: np.ndarray,
        *,
        x_trusted: np.ndarray,
        y_trusted: np.ndarray,
        layer: int | str = -2,
        batch_size: int = 128,
        likelihood_filter: LikelihoodFilter | None = None,
    ) -> None:
        """A defence of ``x_train``.

        Args:
            classifier: An estimator of ART's with ``get_activations``, pre-trained on other images.
            x_train: (N, ...) images with untrusted labels, as the classifier takes them.
            y_train: (N,) labels, or (N, K) one-hot.
            x_trusted: (M, ...) images whose labels are right, none of them in ``x_train``.
            y_trusted: Their labels, as ``y_train``.
            layer: Of the classifier, by number or name: where features are taken.
            batch_size: Images at a time.
            likelihood_filter: Its rate and covariance; None: the defaults.
        """
        self.classifier = classifier
        self.x_train, self.y_train = x_train, y_train
        self.x_trusted, self.y_trusted = x_trusted, y_trusted
        self.layer, self.batch_size = layer, batch_size
        self.filter = likelihood_filter or LikelihoodFilter()

    def detect_poison(self, **kwargs: Any) -> tuple[dict[str, Any], list[int]]:
        """A report (threshold in nats, how many are removed, scores), and for each image 1 if it is clean, 0 if not.

        ``kwargs`` are parameters of the filter, such as ``fpr``.
        """
        classes = int(self.classifier.nb_classes)
        self.filter.set_params(**kwargs).fit(self._features(self.x_trusted), self._labels(self.y_trusted, classes))
        z, labels = self._features(self.x_train), self._labels(self.y_train, classes)
        scores, is_clean = self.filter.score_samples(z, labels), self.filter.predict(z, labels) == 1
        report = {"threshold": self.filter.offset_, "removed": int((~is_clean).sum()), "scores": scores.tolist()}
        return report, is_clean.astype(int).tolist()

    def evaluate_defence(self, is_clean: np.ndarray, **kwargs: Any) -> str:
        """JSON with a confusion matrix a class, as ART's ``GroundTruthEvaluator`` has it; positive: removed.

        Args:
            is_clean: (N,) 1 for what is clean, 0 for poisons.
            kwargs: See `detect_poison`.
        """
        found, truth = np.array(self.detect_poison(**kwargs)[1]), np.asarray(is_clean).astype(int)
        if truth.shape != found.shape:
            raise ValueError(f"is_clean: expected one value for each of {len(found)} images, got shape {truth.shape}")
        labels = self._labels(self.y_train, int(self.classifier.nb_classes))
        of_class = (labels == k for k in range(int(self.classifier.nb_classes)))
        return to_json({f"class_{k}": _confusion(found[mine], truth[mine]) for k, mine in enumerate(of_class)})

    def _features(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self.classifier.get_activations(x, self.layer, self.batch_size)).reshape(len(x), -1)

    @staticmethod
    def _labels(y: np.ndarray, classes: int) -> np.ndarray:
        return to_labels(y, classes, len(y))


def _confusion(found: np.ndarray, truth: np.ndarray) -> dict[str, dict[str, float]]:
    counts = {name: int(((found == f) & (truth == t)).sum()) for (f, t), name in _OUTCOMES.items()}
    totals = {name: int((truth == t).sum()) for (_, t), name in _OUTCOMES.items()}
    return {
        name: {
            "rate": round(100 * counts[name] / totals[name], 2) if totals[name] else -1,
            "numerator": counts[name],
            "denominator": totals[name],
        }
        for name in ("TruePositive", "TrueNegative", "FalsePositive", "FalseNegative")
    }
