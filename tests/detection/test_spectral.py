"""Spectral signatures, against the eigenvectors of each class's covariance."""

import numpy as np
import pytest

from lgm.detection.spectral import SpectralSignature
from lgm.detection.thresholds import conformal_threshold


def test_it_is_the_projection_onto_the_first_eigenvector_of_the_claimed_class(rng: np.random.Generator) -> None:
    z, labels = rng.normal(size=(60, 4)) * [3.0, 1.0, 0.5, 2.0], rng.integers(0, 3, 60)
    expected = np.empty(60)
    for k in range(3):
        mine = z[labels == k]
        first = np.linalg.eigh(np.cov(mine.T))[1][:, -1]
        expected[labels == k] = -(((mine - mine.mean(0)) @ first) ** 2)
    found = SpectralSignature().fit(z, labels)
    np.testing.assert_allclose(found.score_samples(z, labels), expected, rtol=1e-9)
    assert found.threshold(0.1) == pytest.approx(conformal_threshold(expected, 0.1))
