"""The filter as an estimator of scikit-learn's: class-conditional Gaussians of features, and a calibrated threshold."""

from typing import Any, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils.validation import (
    check_is_fitted,
    validate_data,  # type: ignore[missing-module-attribute] newer than its stubs
)

from lgm.detection.calibration import calibration_split
from lgm.detection.class_gaussians import ClassGaussians, shrunk_covariance
from lgm.detection.thresholds import conformal_threshold, is_removed


class LikelihoodFilter(OutlierMixin, BaseEstimator):
    """Removes labelled examples whose features are unlikely under the label that they claim.

    Fitted to trusted examples: a part of them gives each class its Gaussian, the other part calibrates the threshold T,
    so that at most a share ``fpr`` of fresh clean examples is removed on average (`conformal_threshold`).

    Args:
        fpr: Share of clean examples that may be removed, in [0, 1].
        covariance: "shared": one for all classes, as in linear discriminant analysis, for few examples or many
            features; "class": one for each.
        calibration: Share of the trusted examples that calibrates, in (0, 1).
        random_state: Which of them these are.

    Attributes:
        classes_: (K,) labels.
        means_: (K, D).
        covariances_: (K, D, D), shrunk by Ledoit and Wolf's rule.
        calibration_scores_: (n,) nats, of trusted examples that had no part in the Gaussians.
        offset_: T in nats: what scores T or less is removed. -inf where too few calibrate to promise such a rate.

    Source: the paper, section 4.4, with Gaussians fitted afterwards as in Lee et al. 2018, *A Simple Unified Framework
    for Detecting Out-of-Distribution Samples and Adversarial Attacks*; there the covariance is shared and not shrunk.
    """

    def __init__(
        self,
        *,
        fpr: float = 0.02,
        covariance: Literal["shared", "class"] = "shared",
        calibration: float = 0.5,
        random_state: int = 0,
    ) -> None:
        self.fpr = fpr
        self.covariance = covariance
        self.calibration = calibration
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Gaussians and T from trusted features (M, D) and their labels (M,); without labels all are of one class.

        Raises:
            ValueError: a parameter out of range, or too few examples.
        """
        self._check()
        z: np.ndarray = np.asarray(validate_data(self, X, dtype=np.float64, ensure_min_samples=2))
        labels = np.zeros(len(z), np.int64) if y is None else _labels(y, len(z))
        calibrates = calibration_split(labels, self.calibration, self.random_state)
        self.classes_ = np.unique(labels[~calibrates])
        known = calibrates & np.isin(labels, self.classes_)
        if not known.any():
            raise ValueError("y: expected two examples of some class, one of which calibrates, got one of each")
        self.means_ = np.stack([z[~calibrates & (labels == k)].mean(0) for k in self.classes_])
        self.covariances_ = self._covariances(z[~calibrates], labels[~calibrates])
        fitted = self.covariances_[0] if self.covariance == "shared" else self.covariances_
        self._gaussians = ClassGaussians.of(self.classes_, self.means_, fitted)
        self.calibration_scores_ = self._gaussians.log_density(z[known], labels[known])
        self.offset_ = self.threshold(self.fpr)
        return self

    def score_samples(self, X: Any, y: Any = None) -> np.ndarray:
        """Log p(z | label) in nats of features (N, D), (N,); higher is cleaner.

        Under the claimed labels ``y`` (N,), -inf for a label that no trusted example had. Without labels, under the one
        of the K classes that is likeliest.
        """
        check_is_fitted(self)
        z: np.ndarray = np.asarray(validate_data(self, X, dtype=np.float64, reset=False))
        if y is not None:
            return self._gaussians.log_density(z, _labels(y, len(z)))
        return np.max([self._gaussians.log_density(z, np.full(len(z), k)) for k in self.classes_], axis=0)

    def decision_function(self, X: Any, y: Any = None) -> np.ndarray:
        """Nats above T, (N,); what is not above 0 is removed."""
        return self.score_samples(X, y) - self.offset_

    def predict(self, X: Any, y: Any = None) -> np.ndarray:
        """1 for what is kept, -1 for what is removed, (N,)."""
        return np.where(is_removed(self.score_samples(X, y), self.offset_), -1, 1)

    def fit_predict(self, X: Any, y: Any = None, **kwargs: Any) -> np.ndarray:
        """What is kept of the very examples that it is fitted to; the promise of ``fpr`` is for fresh ones."""
        return self.fit(X, y, **kwargs).predict(X, y)

    def threshold(self, fpr: float) -> float:
        """T in nats for another rate, from the same calibration; see `lgm.detection.thresholds.conformal_threshold`."""
        check_is_fitted(self, "calibration_scores_")
        return conformal_threshold(self.calibration_scores_, fpr)

    def _check(self) -> None:
        if not 0 <= self.fpr <= 1:
            raise ValueError(f"fpr: expected a rate in [0, 1], got {self.fpr}")
        if not 0 < self.calibration < 1:
            raise ValueError(f"calibration: expected a share in (0, 1), got {self.calibration}")
        if self.covariance not in ("shared", "class"):
            raise ValueError(f"covariance: expected shared or class, got {self.covariance!r}")

    def _covariances(self, z: np.ndarray, labels: np.ndarray) -> np.ndarray:
        residuals = z - self.means_[np.searchsorted(self.classes_, labels)]
        if self.covariance == "shared":
            shape = (len(self.classes_), *2 * residuals.shape[1:])
            return np.broadcast_to(shrunk_covariance(residuals), shape)
        return np.stack([shrunk_covariance(residuals[labels == k]) for k in self.classes_])


def _labels(y: Any, count: int) -> np.ndarray:
    labels = np.asarray(y)
    if labels.shape != (count,):
        raise ValueError(f"y: expected one label for each of {count} examples, got shape {labels.shape}")
    return labels
