"""Heads of class means, against scikit-learn and SciPy."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.neighbors import NearestCentroid

from lgm.defense.finetune import Examples
from lgm.defense.heads import HEADS, nearest_mean, shared_gaussians
from lgm.detection.class_gaussians import shrunk_covariance

LABELS = np.repeat([1, 4, 6], (20, 12, 5))
POINTS = np.random.default_rng(1).normal(size=(400, 3))


@pytest.fixture
def examples(rng: np.random.Generator) -> Examples:
    z = rng.normal(size=(len(LABELS), 3)) * [1.0, 0.3, 2.0] + LABELS[:, None]
    return Examples(z, LABELS, np.zeros(len(z)), np.zeros(len(z), bool), np.empty((len(z), 0)))


def test_the_nearest_mean_is_scikit_learns(examples: Examples) -> None:
    expected = NearestCentroid().fit(examples.z, examples.labels)
    np.testing.assert_array_equal(nearest_mean(examples)(POINTS), expected.predict(POINTS))


def test_gaussians_of_one_covariance_decide_by_their_densities(examples: Examples) -> None:
    means = {k: examples.z[examples.labels == k].mean(0) for k in (1, 4, 6)}
    residuals = examples.z - np.stack([means[k] for k in examples.labels])
    covariance = shrunk_covariance(residuals)
    densities = np.stack([multivariate_normal(mean, covariance).logpdf(POINTS) for mean in means.values()])
    np.testing.assert_array_equal(shared_gaussians(examples)(POINTS), np.array([1, 4, 6])[densities.argmax(0)])


@pytest.mark.parametrize("name", HEADS)
def test_of_one_class_all_is_of_that_class_and_of_nothing_no_head_is_made(name: str, examples: Examples) -> None:
    np.testing.assert_array_equal(HEADS[name](examples[examples.labels == 4])(POINTS), np.full(len(POINTS), 4))
    np.testing.assert_array_equal(HEADS[name](examples[[25]])(POINTS), np.full(len(POINTS), 4))
    with pytest.raises(ValueError, match="expected at least one to fine-tune on, got none"):
        HEADS[name](examples[:0])
