"""Resampled ROC curves: those of scikit-learn on samples that are really built."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from lgm.bootstrap import draw, estimate, resample, weighted_rates
from lgm.detection import roc
from lgm.intervals import Estimate


def scores(kind: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(6)
    clean, poison = rng.normal(0, 1, 80), rng.normal(-1.5, 1, 30)
    if kind == "ties":
        return clean.round(), poison.round()
    if kind == "far":
        return 1000 * clean - 5000, 1000 * poison - 9000
    return (clean + 20, poison) if kind == "apart" else (clean, poison)


KINDS = ["overlapping", "ties", "far", "apart"]


@pytest.mark.parametrize("fpr", [0.0, 0.01, 0.1, 0.29, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_weighted_rates_are_those_of_the_sample_itself(kind: str, fpr: float) -> None:
    clean, poison = scores(kind)
    rng = np.random.default_rng(1)
    times = draw(rng, len(clean), 25), draw(rng, len(poison), 25)
    auc, tpr = weighted_rates(clean, poison, *times, fpr)
    for row in range(25):
        drawn_clean, drawn_poison = np.repeat(clean, times[0][row]), np.repeat(poison, times[1][row])
        is_poison = np.r_[np.zeros(len(clean)), np.ones(len(poison))]
        suspicion = -np.r_[drawn_clean, drawn_poison]
        assert auc[row] == pytest.approx(roc_auc_score(is_poison, suspicion), abs=1e-12)
        assert tpr[row] == roc(drawn_clean, drawn_poison).tpr_at(fpr)


@pytest.mark.parametrize("kind", KINDS)
def test_every_image_once_is_the_sample_that_there_is(kind: str) -> None:
    clean, poison = scores(kind)
    auc, tpr = weighted_rates(clean, poison, np.ones((1, 80), int), np.ones((1, 30), int), 0.05)
    curve = roc(clean, poison)
    assert auc[0] == pytest.approx(curve.auc, abs=1e-12)
    assert tpr[0] == curve.tpr_at(0.05)


def test_draws_are_multinomial() -> None:
    times = draw(np.random.default_rng(0), 40, 20_000)
    assert (times.sum(1) == 40).all()
    np.testing.assert_allclose(times.mean(0), 1, atol=0.03)
    covariance = np.cov(times.T)
    expected = np.eye(40) - 1 / 40  # n p (1 - p) and - n p p
    np.testing.assert_allclose(covariance, expected, atol=0.05)


def test_resamples_are_the_same_for_all_detectors_and_for_a_seed() -> None:
    clean, poison = scores("overlapping")

    def resampled(seed: int) -> dict[str, np.ndarray]:
        twice = {"one": clean, "same order": 3 * clean - 1}, {"one": poison, "same order": 3 * poison - 1}
        return resample(*twice, seed=seed, resamples=120, fpr=0.1)

    found = resampled(2)
    assert found["one"].shape == (2, 120)
    np.testing.assert_array_equal(found["one"], found["same order"])
    np.testing.assert_array_equal(found["one"], resampled(2)["one"])
    assert (found["one"] != resampled(3)["one"]).any()


def test_the_spread_is_that_of_fresh_samples() -> None:
    """DeLong's variance of the AUC: what it would vary by if all images were drawn anew."""
    rng = np.random.default_rng(4)
    clean, poison = rng.normal(0, 1, 400), rng.normal(-1, 1, 150)
    found = resample({"x": clean}, {"x": poison}, seed=1, resamples=2000, fpr=0.1)["x"][0]
    wins = (poison[:, None] < clean).astype(float)
    expected = wins.mean(0).var(ddof=1) / len(clean) + wins.mean(1).var(ddof=1) / len(poison)
    assert found.var() == pytest.approx(expected, rel=0.1)
    assert found.mean() == pytest.approx(wins.mean(), abs=4 * np.sqrt(expected / 2000))


def test_an_estimate_has_the_percentiles_of_its_resamples() -> None:
    resampled = norm.ppf((np.arange(100_000) + 0.5) / 100_000)
    value, low, high = estimate(0.5, resampled)
    assert value == 0.5
    assert (low, high) == pytest.approx(norm.ppf([0.025, 0.975]), abs=1e-3)


def test_only_a_perfect_share_reads_as_one() -> None:
    assert [Estimate(share, 0, 1).text() for share in (1.0, 0.99996, 0.9, 0.57, 0.29)] == [
        "1.0000",
        "0.9999",
        "0.9000",
        "0.5700",
        "0.2900",
    ]
