"""The edge of what a filter passes: against the closed form of a Gaussian, and as a goal of crafting."""

import numpy as np
import pytest

from lgm.attacks.craft import craft_poisons
from lgm.attacks.edge import edge_of
from lgm.config import PoisonConfig
from lgm.data.base import Split
from lgm.detection.scores import own_likelihood
from lgm.detection.thresholds import cut_radius
from lgm.models.classifier import Classifier
from lgm.models.scoring import require_mixture

CENTRE = np.zeros(2, np.float32)


@pytest.mark.parametrize("margin", [0.0, 0.1])
def test_of_a_gaussian_it_is_the_nearest_point_of_the_sphere(gaussian: Classifier, margin: float) -> None:
    mixture, target = require_mixture(gaussian), np.array([3.0, 1.0])
    mean, peak = mixture.means[0].numpy(), float(mixture.peak()[0])
    found = edge_of(own_likelihood(gaussian).score_samples, mean, target, 0, peak - 4.5, margin=margin)
    way = target - mean
    radius = cut_radius(peak - 4.5, peak) - margin * np.linalg.norm(way)
    np.testing.assert_allclose(found, mean + radius * way / np.linalg.norm(way), atol=1e-5)


def test_ends_of_the_way(gaussian: Classifier) -> None:
    mixture, target = require_mixture(gaussian), np.array([3.0, 1.0])
    mean, peak, score = mixture.means[0].numpy(), float(mixture.peak()[0]), own_likelihood(gaussian).score_samples
    np.testing.assert_array_equal(edge_of(score, mean, target, 0, -np.inf), target)
    np.testing.assert_array_equal(edge_of(score, mean, target, 0, peak + 1), mean)


def test_what_passes_need_not_be_in_one_piece() -> None:
    """Neighbours may lie in several places: the piece nearest to the target counts."""

    def score(z: np.ndarray, labels: np.ndarray) -> np.ndarray:
        near = (z[:, 0] < 0.2) | ((z[:, 0] > 0.5) & (z[:, 0] < 0.7))
        return np.where(near & (labels == 7), 1.0, 0.0)

    found = edge_of(score, CENTRE, np.array([1.0, 0.0]), 7, 0.5, margin=0.0)
    np.testing.assert_allclose(found, [0.7, 0.0], atol=1e-6)


def test_poisons_have_the_features_they_are_aimed_at(gaussian: Classifier, blobs: Split) -> None:
    bases, targets = blobs[blobs.labels == 0][:6], blobs[blobs.labels == 3][:6]
    goal = np.random.default_rng(0).uniform(-2, 2, (6, 2))
    found = craft_poisons(gaussian, bases, targets, PoisonConfig(beta=1e-7, tolerance=0.0), goal=goal)
    np.testing.assert_allclose(found.z, goal, atol=0.02)
    np.testing.assert_allclose(found.target_z, goal, rtol=1e-6)
    distance = np.square((found.z - goal.astype(np.float32)) * gaussian.feature_scale.numpy()).sum(1)
    np.testing.assert_allclose(found.collision, distance, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("goal", [np.zeros((5, 2)), np.zeros((6, 3)), np.full((6, 2), np.nan)])
def test_goals_that_do_not_fit_are_refused(gaussian: Classifier, blobs: Split, goal: np.ndarray) -> None:
    bases, targets = blobs[blobs.labels == 0][:6], blobs[blobs.labels == 3][:6]
    with pytest.raises(ValueError, match=r"goal: expected 6 finite features of 2 dimensions"):
        craft_poisons(gaussian, bases, targets, goal=goal)
