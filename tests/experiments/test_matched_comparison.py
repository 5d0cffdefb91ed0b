"""The change it takes until a poison collides, on sweeps made by hand."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from lgm.experiments.matched_comparison import matched, needed
from lgm.utils.codec import encode
from tests.sweeps import sweep_of

OURS = sweep_of(
    collided=[[1, 1, 1, 0, 1], [1, 0, 1, 0, 0]],
    l2=[[3.0, 5.0, 2.0, 9.0, 4.0], [1.0, 3.0, 2.5, 8.0, 1.0]],
)
THEIRS = sweep_of(
    collided=[[1, 1, 0, 0, 1], [0, 1, 0, 0, 1]],
    l2=[[2.0, 4.0, 6.0, 9.0, 7.0], [1.0, 3.5, 5.0, 8.0, 6.0]],
)


def test_a_pair_needs_the_least_change_with_which_it_collides():
    np.testing.assert_array_equal(needed(OURS).l2, [1, 5, 2, np.inf, 4])
    np.testing.assert_allclose(needed(OURS).ssim, [0.9, 0.5, 0.8, -np.inf, 0.6])
    np.testing.assert_array_equal(needed(THEIRS).l2, [2, 3.5, np.inf, np.inf, 6])


def test_pairs_are_compared_one_by_one():
    both = matched(OURS, THEIRS)
    assert (both.neither, both.n, both.more) == (1, 4, 1)  # only the second pair needs more: 5 to 3.5
    assert both.l2[0] == -2  # of -1, 1.5, -inf, -2: the lower of the two in the middle
    assert both.ssim[0] == pytest.approx(-0.2)
    assert both.l2[1] <= both.l2[0] <= both.l2[2]
    expected = binomtest(1, 4).proportion_ci(method="wilson")
    assert both.share_more == pytest.approx((0.25, expected.low, expected.high))


def test_a_share_of_the_pairs_collides_with_so_much():
    rows = matched(OURS, THEIRS).rows(shares=(0.2, 0.5, 0.8, 1.0))
    assert [row.lgm.value for row in rows] == [1, 4, 5, np.inf]  # 3 of 5 are needed for a half
    assert [row.softmax.value for row in rows] == [2, 6, np.inf, np.inf]
    for row in rows:
        assert row.lgm.low <= row.lgm.value <= row.lgm.high


def exact(values: np.ndarray, level: float) -> float:
    """Quantile of the bootstrap's distribution of the (lower) median, without drawing: it is at most the j-th smallest
    value if at least half of n draws are among the first j."""
    n, ordered = len(values), np.sort(values)
    chance = binom.sf((n + 1) // 2 - 1, n, np.arange(1, n + 1) / n)
    return float(ordered[np.searchsorted(chance, level)])


def test_intervals_are_those_of_the_exact_bootstrap(rng: np.random.Generator):
    n = 60
    l2 = rng.lognormal(size=(2, 1, n))
    collided = rng.random((2, 1, n)) < 0.8
    both = matched(sweep_of(collided[0], l2[0]), sweep_of(collided[1], l2[1]))
    need = np.where(collided, l2, np.inf)[:, 0]
    counts = np.isfinite(need).any(axis=0)
    assert both.neither == n - counts.sum()
    half = both.rows(shares=(0.5,))[0]
    found = [both.l2, half.lgm, half.softmax]
    for (_, low, high), values in zip(found, [need[0][counts] - need[1][counts], *need], strict=True):
        assert exact(values, 0.017) <= low <= exact(values, 0.033)  # 2,000 samples meet 0.025 so far
        assert exact(values, 0.967) <= high <= exact(values, 0.983)
        assert low < high


def test_both_networks_the_other_way_round_turn_the_sign(rng: np.random.Generator):
    one, other = (sweep_of(np.ones((1, 31)), rng.lognormal(size=(1, 31))) for _ in range(2))
    forth, back = matched(one, other), matched(other, one)  # an odd number has one median
    assert forth.l2[0] == pytest.approx(-back.l2[0])
    assert forth.more + back.more == 31


def test_where_nothing_collides_there_is_nothing_to_compare():
    none = sweep_of(np.zeros((2, 3)), np.ones((2, 3)))
    both = matched(none, none)
    assert (both.n, both.neither) == (0, 3)
    assert all(map(math.isnan, (*both.l2, *both.ssim, *both.share_more)))
    assert encode(both.rows()[0]) == {"share": 0.25, "lgm": [None] * 3, "softmax": [None] * 3}
    assert encode(both.l2) == [None] * 3


@pytest.mark.parametrize("name", ["data_sha256", "bases", "targets", "betas"])
def test_other_pairs_are_refused(name: str):
    other: Any = "1" if name == "data_sha256" else getattr(THEIRS, name) * 2 + 1
    with pytest.raises(ValueError, match=f"expected the pairs and betas of the other network, got other {name}"):
        matched(OURS, replace(THEIRS, **{name: other}))
