"""What holds of ROC curves and thresholds whatever the scores."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu
from sklearn.metrics import roc_auc_score

from lgm.detection.metrics import outcome, roc
from lgm.detection.thresholds import conformal_fpr, conformal_threshold, empirical_threshold, is_removed

# Few values, so that many tie; or any, from far below what exp could tell apart. To four decimals: below a score of 0
# there is no largest number of six digits, and T is -1e-5.
number = st.floats(-1e6, 1e6).map(lambda value: round(value, 4))
score = st.one_of(st.integers(-3, 3).map(float), number, number.map(lambda value: float(np.float32(value))))
scores = st.lists(score, min_size=1, max_size=25).map(np.array)
rates = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.01, 0.05, 0.1, 0.29, 0.5, 1.0]))


@given(scores, scores)
def test_the_area_is_that_of_mann_and_whitney_and_of_scikit_learn(clean: np.ndarray, poison: np.ndarray) -> None:
    curve = roc(clean, poison)
    wins = mannwhitneyu(clean, poison).statistic / (len(clean) * len(poison))
    assert curve.auc == pytest.approx(wins, abs=1e-12)
    is_poison = np.r_[np.zeros(len(clean)), np.ones(len(poison))]
    assert curve.auc == pytest.approx(roc_auc_score(is_poison, -np.r_[clean, poison]), abs=1e-12)
    assert roc(poison, clean).auc == pytest.approx(1 - curve.auc, abs=1e-12)


@given(scores, scores)
def test_the_curve_has_a_point_for_every_score_and_does_what_it_says(clean: np.ndarray, poison: np.ndarray) -> None:
    curve = roc(clean, poison)
    assert curve.thresholds.tolist() == [-math.inf, *sorted({*clean.tolist(), *poison.tolist()})]
    for fpr, tpr, threshold in zip(curve.fpr, curve.tpr, curve.thresholds, strict=True):
        assert fpr == sum(value <= threshold for value in clean) / len(clean)
        assert tpr == sum(value <= threshold for value in poison) / len(poison)


@given(scores, scores, rates)
def test_no_threshold_that_keeps_the_rate_catches_more(clean: np.ndarray, poison: np.ndarray, fpr: float) -> None:
    threshold = empirical_threshold(clean, fpr)
    at = outcome(clean, poison, threshold)
    curve = roc(clean, poison)
    assert at.fpr <= fpr
    assert curve.threshold_at(fpr) == threshold
    assert curve.tpr_at(fpr) == at.tpr
    for other in (float(f"{value:.6g}") for value in np.r_[clean, poison]):  # T has six digits
        rival = outcome(clean, poison, other)
        assert rival.fpr > fpr or rival.tpr <= at.tpr


@given(scores, st.sampled_from([math.nan, math.inf, -math.inf]), st.integers(0, 24), st.booleans())
def test_what_is_no_finite_number_is_refused(good: np.ndarray, bad: float, at: int, is_clean: bool) -> None:
    values = good.copy()
    values[at % len(values)] = bad
    with pytest.raises(ValueError, match=f"{'clean' if is_clean else 'poison'}_score: expected finite scores"):
        roc(*((values, good) if is_clean else (good, values)))
    with pytest.raises(ValueError, match="calibration_scores: expected finite scores"):
        conformal_threshold(values, 0.1)


@given(st.lists(score, min_size=2, max_size=25), rates)
def test_of_exchangeable_scores_no_more_are_removed_than_promised(values: list[float], fpr: float) -> None:
    """Each of n + 1 in turn is the fresh one: whatever they are, the theorem's average is over just these."""
    removed = 0
    for i, fresh in enumerate(values):
        others = np.array(values[:i] + values[i + 1 :])
        removed += bool(is_removed(np.array([fresh]), conformal_threshold(others, fpr))[0])
    assert removed <= fpr * len(values) + 1e-9
    if len(set(values)) == len(values):
        k = math.floor(fpr * len(values) + 1e-9)
        assert removed == k, "the bound is met where scores do not tie"


@given(scores, rates)
def test_the_conformal_threshold_is_the_largest_of_its_rate(calibration: np.ndarray, fpr: float) -> None:
    threshold = conformal_threshold(calibration, fpr)
    n, ordered = len(calibration), sorted(calibration.tolist())
    k = math.floor(fpr * (n + 1) + 1e-9)
    assume(0 < k <= n)
    assert threshold < ordered[k - 1], "what is at T is removed, and a tie is kept"
    assert np.nextafter(threshold, math.inf) == ordered[k - 1]
    assert conformal_fpr(threshold, calibration) <= fpr + 1e-9
    assert conformal_fpr(ordered[k - 1], calibration) > fpr - 1e-9


@given(scores, rates, rates)
def test_a_higher_rate_never_lowers_a_threshold(clean: np.ndarray, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert empirical_threshold(clean, low) <= empirical_threshold(clean, high)
    assert conformal_threshold(clean, low) <= conformal_threshold(clean, high)
