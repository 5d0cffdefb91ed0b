"""A linear classifier of features, as fine-tuning makes it."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LinearHead:
    """A linear classifier of features.

    Attributes:
        classes: (K,) ascending labels.
        weight: (K, D).
        bias: (K,).
    """

    classes: np.ndarray
    weight: np.ndarray
    bias: np.ndarray

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """Labels (N,) of rescaled features (N, D)."""
        return self.classes[(z @ self.weight.T + self.bias).argmax(-1)]
