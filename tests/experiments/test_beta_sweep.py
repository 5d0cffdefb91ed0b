"""The same pairs at every beta, on tiny networks, against one call of `craft_poisons` a beta."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, ttest_1samp
from sklearn.metrics import roc_auc_score

import lgm
from lgm.attacks.craft import craft_poisons
from lgm.attacks.result import Poisons, read_shipped_poisons
from lgm.config import DefenseConfig, PoisonConfig
from lgm.data.base import Split, per_class
from lgm.defense.experiment import defend
from lgm.defense.trials import hold_out
from lgm.detection.gaussian import fit_density
from lgm.experiments.beta_sweep import Tradeoff, beta_sweep
from lgm.stats.ssim import ssim
from lgm.utils.codec import decode, encode
from lgm.utils.json import to_json
from tests.records import NONE, defense_report, detection_report
from tests.sweeps import sweep_of

GRID = (1e-4, 8e-3, 1.0)
PAIRS = 8


@pytest.fixture(scope="module")
def digits(bundled: Split) -> Split:
    return bundled[per_class(bundled.labels, 0, 40)]


@pytest.fixture(scope="module", params=["lgm", "softmax"])
def swept(request: pytest.FixtureRequest, digits: Split) -> tuple[Path, Tradeoff]:
    path = request.getfixturevalue(f"tiny_{request.param}")
    model, card = lgm.load_checkpoint(path)
    return path, beta_sweep(model, card, digits, betas=GRID, pairs=PAIRS, seed=3)


def test_a_sweep_is_one_craft_a_beta(swept: tuple[Path, Tradeoff], digits: Split):
    path, sweep = swept
    model, _ = lgm.load_checkpoint(path)
    scale = model.feature_scale.numpy()
    fit_on, pool = hold_out(len(digits), 0.5, np.random.default_rng(3))
    z = lgm.embed(model, digits.pixels()).numpy() * scale
    fitted = fit_density(z[fit_on], digits.labels[fit_on])
    bases, targets = digits[sweep.bases], digits[sweep.targets]
    for i, beta in enumerate(GRID):
        poisons = craft_poisons(model, bases, targets, PoisonConfig(beta=beta))
        np.testing.assert_array_equal(sweep.collided[i], poisons.collided)
        np.testing.assert_allclose(sweep.l2[i], poisons.l2, atol=0.01)  # batches of other sizes round otherwise
        np.testing.assert_allclose(sweep.ssim[i], ssim(poisons.bases, poisons.images), atol=0.01)
        if sweep.loss == "lgm":
            clean = lgm.log_likelihood(model, digits[pool].pixels(), digits[pool].targets()).numpy()
            expected = lgm.log_likelihood(model, torch.from_numpy(poisons.images), bases.targets()).numpy()
        else:
            clean, expected = fitted(z[pool], digits.labels[pool]), fitted(poisons.z * scale, bases.labels)
        np.testing.assert_allclose(sweep.score[i], expected, atol=0.1)
        report = sweep.detection[i]
        is_poison = np.r_[np.zeros(len(pool)), np.ones(PAIRS)]
        assert report.auc.value == pytest.approx(roc_auc_score(is_poison, -np.r_[clean, sweep.score[i]]), abs=1e-3)
        assert (report.clean, report.collided) == (200, poisons.collided.sum())
    assert sweep.density == ("own" if sweep.loss == "lgm" else "fitted")
    assert (sweep.l2[0] > sweep.l2[2]).all(), "a larger beta leaves less of a change"


def test_pairs_are_the_same_for_both_networks_and_fit_nothing(swept: tuple[Path, Tradeoff], digits: Split):
    _, sweep = swept
    fit_on, pool = hold_out(len(digits), 0.5, np.random.default_rng(3))
    bases, targets = lgm.pick_pairs(digits.labels[pool], PAIRS, 3)
    np.testing.assert_array_equal(sweep.bases, pool[bases])
    np.testing.assert_array_equal(sweep.targets, pool[targets])
    assert not set(fit_on) & {*sweep.bases, *sweep.targets}


def test_json_gives_back_the_same_sweep(swept: tuple[Path, Tradeoff]):
    _, sweep = swept
    back = decode(Tradeoff, json.loads(to_json(sweep)))
    for name, value in vars(sweep).items():
        np.testing.assert_array_equal(getattr(back, name), value)
    assert back.collided.dtype == bool
    assert to_json(back.rows()) == to_json(sweep.rows())


@pytest.mark.slow
def test_attack_success_is_that_of_defend(tiny_lgm: Path, bundled: Split):
    model, card = lgm.load_checkpoint(tiny_lgm)
    digits = bundled[per_class(bundled.labels, 0, 100)]  # enough of each class to attack
    steps: list[tuple[int, int]] = []
    sweep = beta_sweep(
        model, card, digits, betas=GRID[:2], pairs=2, trials=2, on_step=lambda *at: steps.append((at[0], at[1]))
    )
    shares = [done / total for done, total in steps]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    for i, (beta, row) in enumerate(zip(GRID, sweep.rows(), strict=False)):
        alone = defend(model, card, digits, DefenseConfig(beta=beta, trials=2))
        assert encode(sweep.attack[i]) == encode(alone)
        assert (row.unfiltered, row.filtered) == (alone.attack_success.unfiltered, alone.attack_success.filtered)
        assert row.attacks == alone.n


def test_it_can_be_stopped(tiny_lgm: Path, digits: Split):
    model, card = lgm.load_checkpoint(tiny_lgm)
    sweep = beta_sweep(model, card, digits, betas=[1e-3], pairs=2, on_step=lambda done, total: False)
    bases = digits[sweep.bases]
    whole = craft_poisons(model, bases, digits[sweep.targets], PoisonConfig(beta=1e-3))
    assert not np.allclose(sweep.l2[0], whole.l2, atol=0.01)


def test_a_row_says_what_the_tables_say(rng: np.random.Generator):
    l2 = rng.lognormal(size=(2, 12))
    sweep = sweep_of(rng.random((2, 12)) < 0.5, l2)
    report = detection_report(tpr=(0.75, 0.5, 0.9), auc_collided=(0.8, 0.6, 0.9), tpr_collided=(1.0, 0.8, 1.0))
    row, collided = replace(sweep, detection=[report] * 2).rows()[1], int(sweep.collided[1].sum())
    share = binomtest(collided, 12).proportion_ci(method="wilson")
    student = ttest_1samp(l2[1], 0).confidence_interval()
    assert (row.beta, row.pairs) == (sweep.betas[1], 12)
    assert row.collided == pytest.approx((collided / 12, share.low, share.high))
    assert row.l2 == pytest.approx((l2[1].mean(), student.low, student.high))
    assert row.ssim == pytest.approx((1 - l2[1].mean() / 10, 1 - student.high / 10, 1 - student.low / 10))
    assert row.log_likelihood == pytest.approx(-l2[1].mean())
    assert (row.auc, row.auc_collided) == (report.auc, report.auc_collided)
    assert (row.tpr, row.tpr_collided) == ((0.75, 0.5, 0.9), (1.0, 0.8, 1.0))
    assert row.unfiltered is None


def test_where_nothing_collides_a_row_says_so():
    row = sweep_of(np.zeros((1, 3)), np.ones((1, 3)) + np.eye(3)[0]).rows()[0]
    missing = {name for name, value in vars(row).items() if value is None}
    assert missing == {"auc_collided", "tpr_collided", "unfiltered", "filtered", "attacks"}
    assert row.collided.value == 0


def test_attacks_of_which_none_counts_have_no_success():
    sweep = sweep_of(np.ones((1, 3)), np.ones((1, 3)))
    row = replace(sweep, attack=[defense_report(before=NONE, after={0.01: NONE}, n=0)]).rows()[0]
    assert (row.unfiltered, row.filtered, row.attacks) == (None, None, 0)


def slow_ssim(one: np.ndarray, other: np.ndarray) -> float:
    """Of one channel, window by window: an 11 x 11 Gaussian of 1.5 pixels, where it fits."""
    offset = np.arange(-5, 6)
    window = np.exp(-(offset[:, None] ** 2 + offset**2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for row in range(5, one.shape[0] - 5):
        for column in range(5, one.shape[1] - 5):
            a, b = (image[row - 5 : row + 6, column - 5 : column + 6] for image in (one, other))
            mean_a, mean_b = (window * a).sum(), (window * b).sum()
            var_a, var_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
            covariance = (window * (a - mean_a) * (b - mean_b)).sum()
            luminance = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
            values.append(luminance * (2 * covariance + 0.03**2) / (var_a + var_b + 0.03**2))
    return float(np.mean(values))


def test_similarity_is_the_papers_formula(rng: np.random.Generator):
    example = read_shipped_poisons("mnist-lgm", "example")[np.arange(3)]
    bases = rng.integers(0, 256, (3, 2, 16, 18)).astype(np.uint8)  # two channels, not square
    images = np.clip(bases / 255 + rng.normal(0, 0.2, bases.shape) * np.array([0, 0.5, 1])[:, None, None, None], 0, 1)
    poisons: Poisons = replace(example, base_images=bases, images=images.astype(np.float32))
    found = ssim(poisons.bases, poisons.images)
    for i in range(3):
        expected = np.mean([slow_ssim(bases[i, c] / 255, images[i, c].astype(np.float32)) for c in range(2)])
        assert found[i] == pytest.approx(expected, abs=1e-6)
    assert found[0] == pytest.approx(1, abs=1e-6)
    assert found[0] > found[1] > found[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"betas": ()}, "betas: expected at least one number > 0, each once"),
        ({"betas": (1e-3, 0)}, "betas: expected at least one number > 0, each once"),
        ({"betas": (1e-3, 1e-3)}, "betas: expected at least one number > 0, each once"),
        ({"betas": (float("nan"),)}, "betas: expected at least one number > 0, each once"),
        ({"pairs": 1}, "pairs: expected at least 2, for an interval, got 1"),
        ({"pairs": 201}, r"pairs: expected 1..200 \(one base image each\), got 201"),
        ({"trials": 1}, "trials: expected 2 to 10,000, for an interval, got 1"),
    ],
)
def test_nonsense_is_refused(change: dict[str, Any], message: str, tiny_lgm: Path, digits: Split):
    model, card = lgm.load_checkpoint(tiny_lgm)
    with pytest.raises(ValueError, match=message):
        beta_sweep(model, card, digits, **change)


def test_a_beta_is_found_in_the_grid_or_refused():
    sweep = sweep_of(np.ones((2, 3)), np.ones((2, 3)), betas=[1e-3, 8e-3])
    assert sweep.index(8e-3) == 1
    assert sweep.index(float(np.float32(1e-3))) == 0
    with pytest.raises(ValueError, match=r"beta: expected one of \[0.001, 0.008\], got 0.01"):
        sweep.index(0.01)
