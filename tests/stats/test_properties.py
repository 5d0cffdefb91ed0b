"""What holds of intervals and rates whatever the numbers: properties, and formulas of other libraries."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, ttest_1samp
from sklearn.metrics import roc_auc_score, roc_curve

from lgm.stats.bootstrap import may_go, tpr_interval, weighted_rates
from lgm.stats.intervals import (
    Estimate,
    auc_interval,
    mean_interval,
    outward,
    paired_interval,
    percent_text,
    quantile,
    share_over_trials,
    share_text,
    wilson_interval,
)

shares = st.floats(0, 1)
sizes = st.integers(1, 5000)
scores = st.lists(st.one_of(st.integers(-3, 3), st.floats(-1e6, 1e6)), min_size=1, max_size=30).map(
    lambda values: np.array(values, float)
)


@st.composite
def counts(draw: st.DrawFn, most: int = 5000) -> tuple[int, int]:
    """Hits, and of how many."""
    n = draw(st.integers(1, most))
    return draw(st.integers(0, n)), n


def within(low: float, value: float, high: float, least: float = 0, greatest: float = 1) -> bool:
    return least <= low <= value + 1e-12 and value <= high + 1e-12 and high <= greatest


@given(counts())
def test_wilson_is_the_closed_form_around_the_share(count: tuple[int, int]) -> None:
    (hits, n), z = count, norm.ppf(0.975)
    low, high = wilson_interval(hits, n)
    share = hits / n
    center, half = share + z**2 / (2 * n), z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    expected = np.clip([(center - half) / (1 + z**2 / n), (center + half) / (1 + z**2 / n)], 0, 1)
    assert (low, high) == pytest.approx(tuple(expected), abs=1e-12)
    assert within(low, share, high)
    mirrored = wilson_interval(n - hits, n)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-12)


@given(counts(), st.integers(2, 20))
def test_wilson_rises_with_the_hits_and_narrows_with_the_things(count: tuple[int, int], times: int) -> None:
    hits, n = count
    low, high = wilson_interval(hits, n)
    if hits < n:
        more = wilson_interval(hits + 1, n)
        assert more[0] > low
        assert more[1] >= high
    narrow = wilson_interval(times * hits, times * n)
    assert narrow[0] >= low - 1e-12
    assert narrow[1] <= high + 1e-12
    wide = wilson_interval(hits, n, confidence=0.99)
    assert wide[0] <= low <= high <= wide[1]


@given(counts(), st.data())
def test_the_paired_interval_is_the_adjusted_wald_of_either_order(count: tuple[int, int], data: st.DataObject) -> None:
    first, n = count
    second = data.draw(st.integers(0, n - first))
    low, high = paired_interval(first, second, n)
    p, q, z = (first + 1) / (n + 2), (second + 1) / (n + 2), norm.ppf(0.975)
    half = z * math.sqrt((p + q - (p - q) ** 2) / (n + 2))
    assert (low, high) == pytest.approx((max(p - q - half, -1), min(p - q + half, 1)), abs=1e-12)
    assert within(low, (first - second) / n, high, least=-1)
    assert paired_interval(second, first, n) == pytest.approx((-high, -low), abs=1e-12)


@given(shares, sizes, sizes, st.integers(2, 20))
def test_the_interval_of_an_auc(auc: float, clean: int, poisons: int, times: int) -> None:
    low, high = auc_interval(auc, clean, poisons)
    assert within(low, auc, high)
    mirrored = auc_interval(1 - auc, clean, poisons)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-6)
    narrow = auc_interval(auc, times * clean, times * poisons)
    assert narrow[0] >= low - 1e-9
    assert narrow[1] <= high + 1e-9


@given(shares, shares, sizes, sizes)
def test_the_interval_of_an_auc_rises_with_it(one: float, other: float, clean: int, poisons: int) -> None:
    lower, higher = (auc_interval(auc, clean, poisons) for auc in sorted((one, other)))
    assert lower[0] <= higher[0] + 1e-9
    assert lower[1] <= higher[1] + 1e-9


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30).map(np.array))
def test_the_mean_has_students_interval(values: np.ndarray) -> None:
    mean, low, high = mean_interval(values)
    if np.ptp(values) == 0:
        assert mean == values[0]
        assert math.isnan(low) and math.isnan(high)
    elif np.ptp(values) > 1e-6:
        expected = ttest_1samp(values, 0).confidence_interval(0.95)
        assert (mean, low, high) == pytest.approx((values.mean(), expected.low, expected.high), rel=1e-9, abs=1e-9)


@given(st.lists(counts(most=50), min_size=1, max_size=8))
def test_a_share_over_trials_is_that_of_all_things(trials: list[tuple[int, int]]) -> None:
    hits, things = np.array(trials).T
    share, low, high = share_over_trials(hits, things)
    assert share == hits.sum() / things.sum()
    assert 0 <= low <= high <= 1
    if np.ptp(hits / things) == 0:
        assert (low, high) == wilson_interval(round(share * len(things)), len(things))
    else:
        assert (hits / things).min() <= low < high <= (hits / things).max()


@given(st.lists(st.one_of(st.floats(-9, 9), st.just(math.inf)), min_size=1, max_size=40), st.floats(0.01, 1))
def test_a_quantile_is_the_first_that_enough_do_not_exceed(values: list[float], share: float) -> None:
    found = quantile(np.array(values), share)
    assert found == min(v for v in values if sum(other <= v for other in values) >= share * len(values) - 1e-9)


@given(st.floats(-2, 2), st.floats(-2, 2), st.integers(0, 6))
def test_a_printed_interval_holds_the_interval(one: float, other: float, digits: int) -> None:
    low, high = sorted((one, other))
    down, up = (float(text) for text in outward(low, high, digits))
    assert down - 1e-8 <= low <= high <= up + 1e-8
    assert max(low - down, up - high) <= 10**-digits


@given(shares)
def test_only_what_is_perfect_reads_so(share: float) -> None:
    for text, one in ((share_text(share), "1.0000"), (percent_text(share), "100.0 %")):
        assert (text == one) == (share == 1)
        assert (float(text.strip("<> %")) == 0) == (share == 0)
    assert Estimate(share, 0, 1).in_full().startswith(share_text(share))


@given(st.integers(1, 300), shares)
def test_so_many_may_go(n: int, fpr: float) -> None:
    assert may_go(n, fpr) == max(k for k in range(n + 1) if k / n <= fpr)


@given(scores, scores, shares)
def test_the_interval_of_a_rate_holds_the_rate(clean: np.ndarray, poison: np.ndarray, fpr: float) -> None:
    low, high = tpr_interval(clean, poison, fpr)
    is_poison = np.r_[np.zeros(len(clean)), np.ones(len(poison))]
    rates = roc_curve(is_poison, -np.r_[clean, poison], drop_intermediate=False)
    assert within(low, rates[1][rates[0] <= fpr].max(), high)


@given(scores, scores, shares, st.data())
def test_weighted_rates_are_scikit_learns_with_weights(
    clean: np.ndarray, poison: np.ndarray, fpr: float, data: st.DataObject
) -> None:
    def times(scores: np.ndarray) -> np.ndarray:
        drawn: list[Any] = data.draw(st.lists(st.integers(0, 3), min_size=len(scores), max_size=len(scores)))
        return np.maximum(drawn, np.arange(len(scores)) == 0)  # a sample is not empty

    weights = times(clean), times(poison)
    auc, tpr = weighted_rates(clean, poison, weights[0][None], weights[1][None], [fpr])
    is_poison, weight = np.r_[np.zeros(len(clean)), np.ones(len(poison))], np.concatenate(weights)
    suspicion = -np.r_[clean, poison]
    assert auc[0] == pytest.approx(roc_auc_score(is_poison, suspicion, sample_weight=weight), abs=1e-9)
    rates = roc_curve(is_poison, suspicion, sample_weight=weight, drop_intermediate=False)
    assert tpr[0] == pytest.approx(rates[1][rates[0] <= fpr].max(), abs=1e-12)
