"""Which beta, on sweeps made by hand."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from lgm.experiments.beta_selection import choose_beta
from tests.sweeps import sweep_of

BETAS = [1e-3, 1e-2, 1e-1]


def test_the_largest_beta_at_which_enough_collide_is_chosen():
    collided = np.ones((3, 20))
    collided[1, :2] = 0  # 90 % at 1e-2
    collided[2, :3] = 0  # 85 % at 1e-1
    sweep = sweep_of(collided, np.ones((3, 20)), betas=BETAS)
    assert choose_beta(sweep, share=0.9).beta == 1e-2
    assert choose_beta(sweep, share=0.91).beta == 1e-3
    assert choose_beta(sweep, share=0.8).beta == 1e-1


@pytest.mark.parametrize("folds", [2, 5, 7, 23])
def test_each_fold_is_judged_by_the_choice_of_the_others(folds: int, rng: np.random.Generator):
    collided = rng.random((3, 23)) < np.array([[0.95], [0.8], [0.6]])
    choice = choose_beta(sweep_of(collided, np.ones((3, 23)), betas=BETAS), share=0.75, folds=folds, seed=4)
    assert sum(fold.n for fold in choice.folds) == 23
    order, hits, n, start = np.random.default_rng(4).permutation(23).tolist(), 0, 0, 0
    for fold in choice.folds:
        mine, start = order[start : start + fold.n], start + fold.n
        others = [i for i in range(23) if i not in mine]
        possible = [b for b in range(3) if sum(collided[b][i] for i in others) >= 0.75 * len(others)]
        at = possible[-1]
        assert fold.beta == BETAS[at]
        assert fold.training == pytest.approx(np.mean([collided[at][i] for i in others]))
        assert fold.hits == sum(collided[at][i] for i in mine)
        hits, n = hits + fold.hits, n + fold.n
    expected = binomtest(hits, n).proportion_ci(method="wilson")
    assert choice.held_out == pytest.approx((hits / n, expected.low, expected.high))
    assert f"{hits / n:.0%} ({expected.low:.0%} to {expected.high:.0%}) of the held-out pairs" in choice.reason


def test_where_too_few_collide_nothing_is_chosen():
    choice = choose_beta(sweep_of(np.zeros((3, 10)), np.ones((3, 10))))
    assert choice.beta is None
    assert all(math.isnan(value) for value in choice.held_out)
    assert choice.reason == "No β of the grid lets 90% of the poisons collide: try smaller ones."
    assert choice.folds[0].beta is None
    assert math.isnan(choice.folds[0].training)


def test_folds_without_a_choice_are_counted_and_not_judged():
    collided = np.ones((1, 4))
    collided[0, 0] = 0  # 3 of 4 in all; of the three that train, 3 if the failure is held out, else 2
    choice = choose_beta(sweep_of(collided, np.ones((1, 4)), betas=[1e-3]), share=0.75, folds=4)
    assert choice.beta == 1e-3
    assert sorted(fold.beta is None for fold in choice.folds) == [False, True, True, True]
    assert choice.held_out[0] == 0
    assert choice.reason.endswith("; 3 folds leave no choice.")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"share": 0}, r"share: expected one in \(0, 1\], got 0"),
        ({"share": 1.1}, r"share: expected one in \(0, 1\], got 1.1"),
        ({"folds": 1}, r"folds: expected 2..4 \(one pair each\), got 1"),
        ({"folds": 5}, r"folds: expected 2..4 \(one pair each\), got 5"),
    ],
)
def test_nonsense_is_refused(change: dict[str, float], message: str):
    with pytest.raises(ValueError, match=message):
        choose_beta(sweep_of(np.ones((1, 4)), np.ones((1, 4))), **change)  # type: ignore[bad-argument-type]
