"""The estimator against scikit-learn's own checks, SciPy's densities, and the rate that it promises."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.covariance import LedoitWolf
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from lgm.detection.likelihood_filter import LikelihoodFilter


@parametrize_with_checks([LikelihoodFilter()])  # type: ignore[bad-argument-type, missing-argument] it is a decorator
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_it_is_an_estimator(estimator: Any, check: Any):
    check(estimator)


@pytest.fixture
def trusted(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Three classes of 200, a name each."""
    means, mixing = rng.normal(0, 5, (3, 4)), rng.normal(0, 1, (4, 4))
    labels = np.repeat(np.array(["ant", "bee", "wasp"]), 200)
    return means.repeat(200, axis=0) + rng.normal(0, 1, (600, 4)) @ mixing, labels


@pytest.mark.parametrize("covariance", ["shared", "class"])
def test_the_score_is_scipys_density(covariance: str, trusted: tuple[np.ndarray, np.ndarray]):
    z, labels = trusted
    found = LikelihoodFilter(covariance=covariance).fit(z, labels)  # type: ignore[arg-type]
    assert found.classes_.tolist() == ["ant", "bee", "wasp"]
    for k, name in enumerate(found.classes_):
        mine = z[labels == name]
        expected = multivariate_normal(found.means_[k], found.covariances_[k]).logpdf(mine)
        np.testing.assert_allclose(found.score_samples(mine, labels[labels == name]), expected, rtol=1e-9)


def test_the_gaussians_know_nothing_of_what_calibrates(trusted: tuple[np.ndarray, np.ndarray]):
    z, labels = trusted
    found = LikelihoodFilter(calibration=0.25).fit(z, labels)
    assert len(found.calibration_scores_) == 150
    fitted = ~np.isin(found.score_samples(z, labels), found.calibration_scores_)
    assert fitted.sum() == 450
    means = np.stack([z[fitted & (labels == name)].mean(0) for name in found.classes_])
    np.testing.assert_allclose(found.means_, means)
    residuals = z[fitted] - means[np.searchsorted(found.classes_, labels[fitted])]
    expected = LedoitWolf(assume_centered=True).fit(residuals).covariance_
    np.testing.assert_allclose(found.covariances_[0], expected, rtol=1e-5)


def test_fresh_clean_examples_are_removed_at_the_promised_rate():
    """Over many draws: of heavy tails, so that no Gaussian fits."""
    rng, fpr, removed = np.random.default_rng(3), 0.1, []
    for _ in range(300):
        z = rng.standard_t(3, (140, 2))
        labels = np.arange(140) % 2
        found = LikelihoodFilter(fpr=fpr).fit(z[:80], labels[:80])
        removed.append((found.predict(z[80:], labels[80:]) == -1).mean())
    # (n + 1) / 10 is no whole number for n = 40, so the rate is floor(4.1) / 41.
    error = np.std(removed) / np.sqrt(len(removed))
    assert np.mean(removed) == pytest.approx(4 / 41, abs=4 * error)


def test_what_claims_another_class_is_removed(trusted: tuple[np.ndarray, np.ndarray]):
    z, labels = trusted
    found = LikelihoodFilter().fit(z, labels)
    assert (found.predict(z[:50], np.full(50, "bee")) == -1).mean() > 0.9
    assert (found.predict(z[:50], np.full(50, "moth")) == -1).all(), "nobody has ever seen one"
    assert (found.predict(z[:50], labels[:50]) == 1).mean() > 0.9


def test_without_labels_the_likeliest_class_is_meant(trusted: tuple[np.ndarray, np.ndarray]):
    z, labels = trusted
    found = LikelihoodFilter().fit(z, labels)
    each = [found.score_samples(z, np.full(len(z), name)) for name in found.classes_]
    np.testing.assert_array_equal(found.score_samples(z), np.max(each, axis=0))


def test_more_features_than_examples(rng: np.random.Generator):
    z, labels = rng.normal(size=(40, 200)), np.arange(40) % 2
    z[:, 3] = 0.5  # never varies
    found = LikelihoodFilter(fpr=0.1).fit(z, labels)
    assert np.isfinite(found.score_samples(z, labels)).all()


def test_too_few_to_promise_a_rate_remove_nothing(rng: np.random.Generator):
    z = rng.normal(size=(60, 2))
    found = LikelihoodFilter(fpr=0.02).fit(z)
    assert found.offset_ == -np.inf
    assert (found.predict(1e6 * z) == 1).all()
    assert found.threshold(0.1) > -np.inf


def test_it_works_in_a_pipeline_and_is_cloned(trusted: tuple[np.ndarray, np.ndarray]):
    z, labels = trusted
    pipeline = make_pipeline(StandardScaler(), LikelihoodFilter(fpr=0.05, calibration=0.3))
    pipeline.fit(z, labels)
    assert set(pipeline.predict(z)) <= {-1, 1}
    copy: Any = clone(pipeline[-1])
    assert copy.get_params() == pipeline[-1].get_params()
    assert not hasattr(copy, "means_")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"fpr": 1.5}, "fpr: expected a rate"),
        ({"calibration": 1.0}, "calibration: expected a share"),
        ({"covariance": "full"}, "covariance: expected shared or class"),
    ],
)
def test_a_parameter_out_of_range_is_refused(options: dict, said: str):
    with pytest.raises(ValueError, match=said):
        LikelihoodFilter(**options).fit(np.zeros((5, 2)))


def test_one_example_of_each_class_cannot_calibrate():
    with pytest.raises(ValueError, match=r"^y: expected two examples of some class, one of which calibrates"):
        LikelihoodFilter().fit(np.eye(3), [0, 1, 2])


def test_labels_of_another_length_are_refused():
    with pytest.raises(ValueError, match="y: expected one label for each of 5 examples, got shape"):
        LikelihoodFilter().fit(np.zeros((5, 2)), np.zeros(4))
