"""Scores against slow loops and other libraries."""

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf, MinCovDet
from sklearn.metrics import roc_auc_score

from lgm.attacks.result import read_shipped_poisons
from lgm.detection.calibration import calibration_split
from lgm.detection.likelihood_filter import LikelihoodFilter
from lgm.detection.neighbours import NeighbourScore
from lgm.detection.scores import BY_HEAD, SCORES, make_score, score_words
from lgm.detection.self_fitted import OfItself, RobustGaussians
from lgm.detection.thresholds import is_removed
from lgm.models.classifier import Classifier
from lgm.models.features import read_features


@pytest.fixture
def data(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Three classes of 60, 30 and 3."""
    labels = np.repeat([0, 1, 2], [60, 30, 3])
    return rng.normal(0, 5, (3, 4))[labels] + rng.normal(0, 1, (93, 4)), labels


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_calibrating_part_is_stratified_and_leaves_one_of_each_class(share: float):
    labels = np.repeat([3, 7, 9, 11], [100, 40, 2, 1])
    calibrates = calibration_split(labels, share, 5)
    for k, count in ((3, 100), (7, 40), (9, 2), (11, 1)):
        assert calibrates[labels == k].sum() == min(round(share * count), count - 1)
    assert np.array_equal(calibrates, calibration_split(labels, share, 5))
    assert not np.array_equal(calibrates, calibration_split(labels, share, 6))


def test_both_fitted_scores_hold_back_the_same_examples(data: tuple[np.ndarray, np.ndarray]):
    z, labels = data
    calibrates = calibration_split(labels, 0.5, 0)
    for score in (LikelihoodFilter(random_state=0), NeighbourScore(random_state=0)):
        score.fit(z, labels)
        np.testing.assert_allclose(
            score.calibration_scores_, score.score_samples(z[calibrates], labels[calibrates]), rtol=1e-9
        )


def distances(z: np.ndarray, labels: np.ndarray, i: int, among: np.ndarray) -> np.ndarray:
    return np.sort([np.linalg.norm(z[i] - z[j]) for j in among if labels[j] == labels[i] and j != i])


def test_the_neighbour_score_is_that_of_a_slow_loop(data: tuple[np.ndarray, np.ndarray]):
    z, labels = data
    score = NeighbourScore(k=4).fit(z, labels)
    neighbours = np.flatnonzero(~calibration_split(labels, 0.5, 0))
    outside = np.setdiff1d(np.arange(93), neighbours)
    expected = [-distances(z, labels, i, neighbours)[:4][-1] for i in outside]
    np.testing.assert_allclose(score.score_samples(z[outside], labels[outside]), expected)
    assert score.score_samples(z[:2], np.array([8, 8])).tolist() == [-np.inf, -np.inf]


def test_of_itself_nobody_is_its_own_neighbour(data: tuple[np.ndarray, np.ndarray]):
    z, labels = data
    found = NeighbourScore(k=4, of_itself=True).fit(z, labels).score_samples(z, labels)
    expected = [-distances(z, labels, i, np.arange(93))[:4][-1] for i in range(93)]
    np.testing.assert_allclose(found, expected)


def test_confidence_is_the_posterior_and_has_the_order_of_the_log_odds(
    gaussian: Classifier, linear: Classifier, rng: np.random.Generator
):
    z, labels = rng.normal(0, 4, (200, 2)), rng.integers(0, 4, 200)
    for model in (gaussian, linear):
        logits = model.head.logits(torch.from_numpy(z).float()).double()
        expected = torch.softmax(logits, 1)[np.arange(200), labels].numpy()
        found = make_score("confidence", model).score_samples(z, labels)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-12)
        odds = make_score("log-odds", model).score_samples(z, labels)
        assert (np.diff(found[np.argsort(odds)]) >= 0).all()


@pytest.mark.parametrize("name", SCORES)
def test_every_score_of_itself_removes_the_share_that_is_asked_for(
    name: str, gaussian: Classifier, rng: np.random.Generator
):
    labels = np.arange(400) % 4
    means = torch.stack([gaussian.head.mixture.means[k] for k in labels]).numpy()  # type: ignore[union-attr]
    z = (means + rng.normal(0, 1, (400, 2))).astype(np.float32)
    score = make_score(name, gaussian, of_itself=True).fit(z, labels)
    removed = is_removed(score.score_samples(z, labels), score.threshold(0.05))
    assert 10 < removed.sum() <= 20
    assert len(score.calibration_scores_) == 400
    assert (score_words(name) == score_words(name, of_itself=True)) == (name in BY_HEAD)


def test_a_name_that_is_no_score_is_refused(gaussian: Classifier, linear: Classifier):
    with pytest.raises(ValueError, match="score: expected one of likelihood, gaussian, log-odds, confidence, knn, got"):
        make_score("distance", gaussian)
    for of_itself in (False, True):
        with pytest.raises(ValueError, match="softmax, which has no density"):
            make_score("likelihood", linear, of_itself=of_itself)


def test_a_robust_fit_to_all_of_each_class_is_ledoit_and_wolfs(data: tuple[np.ndarray, np.ndarray]):
    z, labels = data
    found = RobustGaussians(share=1.0).fit(z, labels).gaussians_
    means = np.stack([z[labels == k].mean(0) for k in range(3)])
    np.testing.assert_allclose(found.means, means)
    expected = LedoitWolf(assume_centered=True).fit(z - means[labels]).covariance_
    np.testing.assert_allclose(found.factors[1] @ found.factors[1].T, expected, rtol=1e-5)


def test_outliers_move_a_robust_fit_little(rng: np.random.Generator):
    labels = np.arange(600) % 2
    z = np.array([[-3.0, 0], [3, 0]])[labels] + rng.normal(0, 1, (600, 2))
    z[:120] = [40, 40]  # a fifth of each class
    fitted = RobustGaussians().fit(z, labels)
    np.testing.assert_allclose(fitted.gaussians_.means, [[-3, 0], [3, 0]], atol=0.2)
    score = fitted.score_samples(z, labels)
    assert score[:120].max() < score[120:].min()


def test_a_class_of_one_and_a_feature_that_never_varies(rng: np.random.Generator):
    z, labels = rng.normal(size=(41, 3)), np.array([0] * 40 + [1])
    z[:, 2] = 0.5
    for name in ("gaussian", "knn"):
        score = OfItself(RobustGaussians() if name == "gaussian" else NeighbourScore(of_itself=True)).fit(z, labels)
        assert np.isfinite(score.calibration_scores_).all()
        assert np.isfinite(score.threshold(0.1))


@pytest.mark.slow
def test_on_poisoned_digits_it_ranks_as_well_as_the_minimum_covariance_determinant():
    digits, poisons = read_features("mnist-lgm").splits["bundled"], read_shipped_poisons("mnist-lgm")
    z = np.concatenate([digits.z[::3], poisons.z[:180]]).astype(np.float64)
    labels = np.concatenate([digits.labels[::3], poisons.labels[:180]]).astype(np.int64)
    bad = np.arange(len(z)) >= len(digits.z[::3])
    theirs = np.empty(len(z))
    for k in range(10):
        mine = labels == k
        fitted = MinCovDet(random_state=0).fit(z[mine])
        theirs[mine] = -fitted.mahalanobis(z[mine]) - np.linalg.slogdet(fitted.covariance_)[1]
    ours = RobustGaussians().fit(z, labels).score_samples(z, labels)
    assert roc_auc_score(~bad, ours) > roc_auc_score(~bad, theirs) - 0.001 > 0.98
