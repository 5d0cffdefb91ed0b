"""Gaussian class densities of features, with covariances that stay invertible however few examples there are."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cholesky, solve_triangular

LEAST = 1e-6  # share of the mean variance that is added to each: features that never vary would have none
_BLOCK = 65_536  # examples that are in double precision at a time


@dataclass(frozen=True)
class ClassGaussians:
    """One Gaussian a class.

    Attributes:
        classes: (K,) labels, ascending.
        means: (K, D).
        factors: (K, D, D) lower Cholesky factors of the covariances; one array for all classes where they share it.
    """

    classes: np.ndarray
    means: np.ndarray
    factors: np.ndarray

    @classmethod
    def of(cls, classes: np.ndarray, means: np.ndarray, covariances: np.ndarray) -> "ClassGaussians":
        """From covariances (K, D, D), or one (D, D) that all classes share."""
        if covariances.ndim == 2:
            shape = (len(classes), *covariances.shape)
            return cls(classes, means, np.broadcast_to(cholesky(covariances, lower=True), shape))
        return cls(classes, means, np.stack([cholesky(covariance, lower=True) for covariance in covariances]))

    def log_density(self, z: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """(N,) log p(z | label) in nats, of features (N, D); -inf for a label that is none of the classes."""
        out = np.full(len(z), -np.inf)
        for k, mean, lower in zip(self.classes, self.means, self.factors, strict=True):
            constant = 2 * np.log(lower.diagonal()).sum() + z.shape[1] * np.log(2 * np.pi)
            mine = np.flatnonzero(labels == k)
            for at in np.split(mine, range(_BLOCK, len(mine), _BLOCK)):
                whitened = solve_triangular(lower, (z[at] - mean).T, lower=True)
                out[at] = -0.5 * (np.square(whitened).sum(0) + constant)
        return out


def shrunk_covariance(residuals: np.ndarray) -> np.ndarray:
    """(D, D) covariance about 0, positive definite however few the residuals (n, D). Source: Ledoit, Wolf 2004."""
    from sklearn.covariance import ledoit_wolf  # scikit-learn takes a second

    covariance, _ = ledoit_wolf(residuals, assume_centered=True)
    mean = covariance.diagonal().mean()
    return covariance + np.eye(len(covariance)) * (LEAST * mean if mean > 0 else 1.0)
