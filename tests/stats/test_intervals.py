import math

import numpy as np
import pytest
from scipy.stats import norm, ttest_1samp
from sklearn.metrics import roc_auc_score

from lgm.stats.intervals import (
    Estimate,
    auc_interval,
    hull,
    mean_interval,
    paired_interval,
    percent_text,
    percentile_interval,
    quantile,
    resamples,
    share_text,
)


def test_the_mean_has_students_interval(rng: np.random.Generator):
    values = rng.exponential(size=9)
    expected = ttest_1samp(values, 0).confidence_interval(0.95)
    assert mean_interval(values) == pytest.approx((values.mean(), expected.low, expected.high))


@pytest.mark.parametrize("auc", [0.03, 0.5, 0.8, 0.999])
def test_both_ends_are_as_far_as_their_own_standard_errors_say(auc: float):
    n = 30  # of each kind: then the formula is Hanley and McNeil's own
    for end in auc_interval(auc, n, n):
        q1, q2 = end / (2 - end), 2 * end**2 / (1 + end)
        variance = (end * (1 - end) + (n - 1) * (q1 - end**2) + (n - 1) * (q2 - end**2)) / n**2
        assert abs(end - auc) == pytest.approx(1.959964 * math.sqrt(variance), rel=1e-5)


def test_the_interval_covers_the_true_auc_as_often_as_it_says():
    rng, covered, runs = np.random.default_rng(4), 0, 400
    kind = np.r_[np.zeros(60), np.ones(25)]
    true = float(norm.cdf(2 / math.sqrt(2)))  # of two normal distributions two standard deviations apart
    for _ in range(runs):
        low, high = auc_interval(float(roc_auc_score(kind, rng.standard_normal(85) + 2 * kind)), 60, 25)
        covered += low <= true <= high
    assert 0.92 <= covered / runs <= 0.99


def test_a_perfect_auc_is_not_certain():
    lows = [auc_interval(1.0, 5000, n)[0] for n in (1, 10, 100, 1000)]
    assert lows == sorted(lows)
    assert 0 < lows[0] < lows[-1] < 1
    assert auc_interval(1.0, 5000, 10)[1] == 1
    low, high = auc_interval(0.0, 5000, 10)
    assert (low, high) == pytest.approx((0, 1 - lows[1]))  # the same, seen from the other side


@pytest.mark.parametrize("arguments", [(-0.1, 5, 5), (math.nan, 5, 5), (0.5, 0, 5), (0.5, 5, 0)])
def test_an_auc_of_nothing_is_refused(arguments: tuple[float, int, int]):
    with pytest.raises(ValueError, match=r"auc: expected a share in \[0, 1\]"):
        auc_interval(*arguments)


@pytest.mark.parametrize("share", [0.025, 0.07, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("n", [1, 10, 100])
def test_the_quantile_is_the_first_value_that_enough_do_not_exceed(share: float, n: int, rng: np.random.Generator):
    values = rng.standard_normal((3, n))
    values[:, :: max(n // 3, 1)] = np.inf
    for row, found in zip(values, quantile(values, share), strict=True):
        assert found == min(v for v in row if sum(row <= v) >= share * n - 1e-9)


def test_the_percentile_interval_leaves_out_a_fortieth_on_each_side(rng: np.random.Generator):
    assert percentile_interval(rng.permutation(2000) + 1.0) == (50, 1950)
    assert percentile_interval(np.r_[np.zeros(90), np.full(10, np.inf)]) == (0, np.inf)


def test_resampling_gives_the_means_standard_error(rng: np.random.Generator):
    values = rng.exponential(size=200)
    drawn = values[resamples(200, seed=3, count=4000)].mean(axis=1)
    assert drawn.std() == pytest.approx(values.std() / math.sqrt(200), rel=0.05)
    np.testing.assert_array_equal(resamples(7, seed=3, count=2), resamples(7, seed=3, count=2))


@pytest.mark.parametrize(
    ("share", "text", "percent"),
    [
        (1.0, "1.0000", "100.0 %"),
        (0.99996, "> 0.9999", "> 99.9 %"),
        (1 - 1e-16, "> 0.9999", "> 99.9 %"),
        (0.99951, "0.9995", "> 99.9 %"),
        (0.99958, "0.9996", "> 99.9 %"),
        (0.9725, "0.9725", "97.3 %"),  # 97.25 is a tie: half up, as in the browser
        (0.57, "0.5700", "57.0 %"),
        (0.00004, "< 0.0001", "< 0.1 %"),
        (0.0, "0.0000", "0.0 %"),
        (None, "–", "–"),
        (math.nan, "–", "–"),
    ],
)
def test_only_what_is_perfect_reads_so(share: float | None, text: str, percent: str):
    assert (share_text(share), percent_text(share)) == (text, percent)
    if share is not None:
        assert Estimate(share, 0, 1).text() == text


def test_an_interval_only_grows_when_it_is_rounded():
    assert Estimate(0.97244, 0.96109, 0.98501).in_full() == "0.9724 (0.9610 to 0.9851)"
    assert Estimate(0.9999, 0.99991, 0.99999).in_full(3) == "> 0.999 (0.999 to 1.000)"
    assert Estimate(0.5, 0.25, 0.75).percent() == "50.0 % (25.0 to 75.0)"
    assert Estimate(0.5, 0.2549, 0.7541).percent(0) == "50 % (25 to 76)"
    assert Estimate(-0.0104, -0.0315, 0.0).points() == "-1.0 (-3.2 to +0.0)"
    assert Estimate(0.0, math.nan, math.nan).in_full() == "0.0000 (– to –)"


def test_the_hull_holds_both():
    assert hull((0.2, 0.5), (0.3, 0.9)) == (0.2, 0.9)


@pytest.mark.parametrize(
    ("first", "second", "both", "n"), [(0.1, 0.1, 0.8, 50), (0.3, 0.02, 0.5, 100), (0, 0.03, 0.9, 60)]
)
def test_the_paired_interval_covers_the_true_difference(first: float, second: float, both: float, n: int):
    rng, runs = np.random.default_rng(5), 2000
    counts = rng.multinomial(n, [first, second, both, 1 - first - second - both], size=runs)
    spans = [paired_interval(int(row[0]), int(row[1]), n) for row in counts]
    covered = np.mean([low <= first - second <= high for low, high in spans])
    assert covered >= 0.935


def test_pairs_that_agree_are_not_certain():
    low, high = paired_interval(0, 0, 200)
    assert low == -high
    assert 0.01 < high < 0.02
    assert paired_interval(1, 1, 1)[0] >= -1
