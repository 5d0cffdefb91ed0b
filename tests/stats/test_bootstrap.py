"""Resampled ROC curves: those of scikit-learn on samples that are really built."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve

from lgm.stats.bootstrap import draw, may_go, resample, tpr_interval, weighted_rates
from lgm.stats.intervals import percentile_interval, wilson_interval


def scores(kind: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(6)
    clean, poison = rng.normal(0, 1, 80), rng.normal(-1.5, 1, 30)
    if kind == "ties":
        return clean.round(), poison.round()
    if kind == "far":
        return 1000 * clean - 5000, 1000 * poison - 9000
    return (clean + 20, poison) if kind == "apart" else (clean, poison)


KINDS = ["overlapping", "ties", "far", "apart"]


def tpr_by_scikit_learn(clean: np.ndarray, poison: np.ndarray, fpr: float) -> float:
    """The most poisons that any threshold catches which removes at most this share of the clean images."""
    is_poison = np.r_[np.zeros(len(clean)), np.ones(len(poison))]
    rates = roc_curve(is_poison, -np.r_[clean, poison], drop_intermediate=False)
    return float(rates[1][rates[0] <= fpr].max())


FPRS = (0.0, 0.01, 0.1, 0.29, 1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_weighted_rates_are_those_of_the_sample_itself(kind: str) -> None:
    clean, poison = scores(kind)
    rng = np.random.default_rng(1)
    times = draw(rng, len(clean), 25), draw(rng, len(poison), 25)
    auc, *tpr = weighted_rates(clean, poison, *times, FPRS)
    for row in range(25):
        drawn_clean, drawn_poison = np.repeat(clean, times[0][row]), np.repeat(poison, times[1][row])
        is_poison = np.r_[np.zeros(len(clean)), np.ones(len(poison))]
        suspicion = -np.r_[drawn_clean, drawn_poison]
        assert auc[row] == pytest.approx(roc_auc_score(is_poison, suspicion), abs=1e-12)
        for i, fpr in enumerate(FPRS):
            assert tpr[i][row] == tpr_by_scikit_learn(drawn_clean, drawn_poison, fpr)


@pytest.mark.parametrize("kind", KINDS)
def test_every_image_once_is_the_sample_that_there_is(kind: str) -> None:
    clean, poison = scores(kind)
    auc, tpr = weighted_rates(clean, poison, np.ones((1, 80), int), np.ones((1, 30), int), [0.05])
    expected = roc_auc_score(np.r_[np.zeros(80), np.ones(30)], -np.r_[clean, poison])
    assert auc[0] == pytest.approx(expected, abs=1e-12)
    assert tpr[0] == tpr_by_scikit_learn(clean, poison, 0.05)


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
        return resample(*twice, seed=seed, resamples=120, fprs=[0.1])

    found = resampled(2)
    assert found["one"].shape == (2, 120)
    np.testing.assert_array_equal(found["one"], found["same order"])
    np.testing.assert_array_equal(found["one"], resampled(2)["one"])
    assert (found["one"] != resampled(3)["one"]).any()


def test_the_spread_is_that_of_fresh_samples() -> None:
    """DeLong's variance of the AUC: what it would vary by if all images were drawn anew."""
    rng = np.random.default_rng(4)
    clean, poison = rng.normal(0, 1, 400), rng.normal(-1, 1, 150)
    found = resample({"x": clean}, {"x": poison}, seed=1, resamples=2000, fprs=[0.1])["x"][0]
    wins = (poison[:, None] < clean).astype(float)
    expected = wins.mean(0).var(ddof=1) / len(clean) + wins.mean(1).var(ddof=1) / len(poison)
    assert found.var() == pytest.approx(expected, rel=0.1)
    assert found.mean() == pytest.approx(wins.mean(), abs=4 * np.sqrt(expected / 2000))


@pytest.mark.parametrize("n", [1, 7, 100, 1000])
@pytest.mark.parametrize("fpr", [0.0, 0.01, 0.07, 0.29, 0.5, 1.0])
def test_so_many_may_go(n: int, fpr: float) -> None:
    assert may_go(n, fpr) == max(k for k in range(n + 1) if k / n <= fpr)


@pytest.mark.parametrize("bad", [-0.01, 1.01, float("nan")])
def test_a_rate_that_is_none_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match=r"fpr: expected a rate in \[0, 1\]"):
        may_go(10, bad)


@pytest.mark.parametrize("kind", KINDS)
def test_the_interval_is_that_of_samples_that_are_really_drawn(kind: str) -> None:
    """The rank of the threshold among the clean images is drawn from its law; here the images themselves are."""
    clean, poison = scores(kind)
    rng = np.random.default_rng(9)
    times, fprs = (draw(rng, len(clean), 20_000), draw(rng, len(poison), 20_000)), (0.0, 0.02, 0.1, 0.5)
    for fpr, rates in zip(fprs, weighted_rates(clean, poison, *times, fprs)[1:], strict=True):
        drawn = percentile_interval(rates)
        caught = round(tpr_by_scikit_learn(clean, poison, fpr) * len(poison))
        wilson = wilson_interval(caught, len(poison))
        low, high = tpr_interval(clean, poison, fpr)
        assert low == pytest.approx(min(drawn[0], wilson[0]), abs=0.034), fpr  # one poison of thirty
        assert high == pytest.approx(max(drawn[1], wilson[1]), abs=0.034), fpr


def test_the_order_of_the_images_changes_nothing() -> None:
    clean, poison = scores("overlapping")
    assert tpr_interval(clean, poison, 0.1) == tpr_interval(clean[::-1], np.sort(poison), 0.1)


def test_where_all_are_caught_the_interval_has_a_width() -> None:
    clean, poison = scores("apart")
    assert tpr_interval(clean, poison, 0.01) == (wilson_interval(30, 30)[0], 1)
    assert tpr_interval(poison, clean, 0.01) == (0, wilson_interval(0, 80)[1])


@pytest.mark.slow
@pytest.mark.parametrize("apart", [2.3, 4.0, 5.0])
def test_the_interval_covers_the_true_rate_as_often_as_it_says(apart: float) -> None:
    """Normal scores, whose rate at 1 % FPR is known. Wilson's interval takes T as known, and covers too rarely."""
    clean_size, poison_size, runs = 500, 100, 400
    rng = np.random.default_rng(11)
    true = float(norm.cdf(norm.ppf(0.01) + apart))
    covered = {"ours": 0, "wilson": 0}
    for _ in range(runs):
        clean, poison = rng.standard_normal(clean_size), rng.standard_normal(poison_size) - apart
        low, high = tpr_interval(clean, poison, 0.01)
        covered["ours"] += low <= true <= high
        low, high = wilson_interval(int((poison < np.sort(clean)[may_go(clean_size, 0.01)]).sum()), poison_size)
        covered["wilson"] += low <= true <= high
    assert covered["ours"] / runs >= 0.93
    if 0.1 < true < 0.9:
        assert covered["wilson"] / runs < 0.9
