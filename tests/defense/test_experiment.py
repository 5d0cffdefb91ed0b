"""Algorithm 1 to its end, on a network whose features are known."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import binomtest, multivariate_normal
from sklearn.linear_model import LogisticRegression

import lgm
import lgm.defense.experiment
from lgm.attacks.craft import craft_poisons
from lgm.attacks.result import Poisons
from lgm.cli.main import main
from lgm.config import DefenseConfig, PoisonConfig
from lgm.data.base import Split
from lgm.defense.experiment import defend, keep_likely, sweep, watermark
from lgm.defense.finetune import Examples, fine_tune, mix
from lgm.defense.report import ARMS, FILTERS, ByArm, DefenseReport, attack_success
from lgm.defense.summary import successes
from lgm.defense.trials import Trial, draw_trials
from lgm.detection.gaussian import fit_density
from lgm.detection.thresholds import conformal_threshold, is_removed
from lgm.models.card import Card
from lgm.models.classifier import Classifier
from lgm.models.features import read_features
from lgm.models.scoring import embed, log_likelihood, own_density
from lgm.stats.intervals import Estimate
from lgm.utils.codec import encode

pytestmark = pytest.mark.slow

N_CLASSES = 4
UNTOUCHED = "untouched"
QUICK = DefenseConfig(trials=8, clean=3, poisons=12, beta=1e-5, fpr=0.05, seed=2)
Capture = pytest.CaptureFixture[str]


def success(report: DefenseReport) -> dict[str, Estimate]:
    """Attack success by arm, and with the bases in place of the poisons."""
    return {**vars(report.attack_success), UNTOUCHED: report.untouched_bases.attack_success}


def hits(report: DefenseReport) -> dict[str, int]:
    return {arm: round(share.value * report.n) for arm, share in success(report).items()}


def test_collisions_succeed_until_the_filter_removes_them(gaussian: Classifier, blank_card: Card, blobs: Split):
    report = defend(gaussian, blank_card, blobs, replace(QUICK, poisons=40))
    assert report.n == QUICK.trials  # ten sigmas apart: the control is always right
    assert hits(report) == {"clean": 0, "unfiltered": 8, "filtered": 0, UNTOUCHED: 0}
    assert (report.filtered.poisons_removed, report.poisons_total, report.collided) == (320, 320, 1)
    share = report.filtered.poisons_share
    expected = binomtest(QUICK.trials, QUICK.trials).proportion_ci(method="wilson")  # eight trials, not 320 poisons
    assert share == pytest.approx((1, expected.low, expected.high))
    assert report.accuracy.filtered == report.accuracy.clean == 1
    assert report.accuracy.unfiltered < 0.9
    assert report.clean_total == QUICK.trials * QUICK.clean * 2


def test_a_filter_fitted_afterwards_serves_a_network_without_a_density(
    linear: Classifier, blank_card: Card, blobs: Split
):
    report = defend(linear, blank_card, blobs, replace(QUICK, poisons=40))
    assert (report.attack_success.unfiltered.value, report.attack_success.filtered.value) == (1, 0)
    assert report.filter == FILTERS["fitted"]
    with pytest.raises(ValueError, match="likelihood: expected a network trained with the LGM loss"):
        defend(linear, blank_card, blobs, replace(QUICK, density="own"))


@pytest.mark.parametrize("task", ["two", "all"])
def test_the_report_is_that_of_a_slow_loop(task: Any, gaussian: Classifier, blank_card: Card, blobs: Split):
    config = replace(QUICK, task=task, poisons=3, watermark=0.2)
    report = defend(gaussian, blank_card, blobs, config)
    assert list(report.by_fpr) == [0.01, 0.02, 0.05, 0.1]
    crafted: list[tuple[Trial, Poisons]] = []
    fitted: dict[tuple[bytes, bytes], LogisticRegression] = {}
    for trial in draw_trials(blobs.labels, config):
        targets = blobs[np.full(3, trial.target)]
        marked = watermark(blobs[trial.bases], targets, 0.2)
        crafted.append((trial, craft_poisons(gaussian, marked, targets, PoisonConfig(beta=config.beta))))

    def fit(z: np.ndarray, labels: np.ndarray) -> LogisticRegression:
        """All but the filtered heads are the same at every rate."""
        key = z.tobytes(), labels.tobytes()
        if key not in fitted:
            fitted[key] = LogisticRegression(C=100, max_iter=9999).fit(z, labels)
        return fitted[key]

    for fpr in report.by_fpr:
        assert_slow_loop(replace(config, fpr=fpr), report, gaussian, blobs, crafted, fit=fit)


def assert_slow_loop(
    config: DefenseConfig,
    report: DefenseReport,
    gaussian: Classifier,
    blobs: Split,
    crafted: list[tuple[Trial, Poisons]],
    *,
    fit: Callable[[np.ndarray, np.ndarray], LogisticRegression],
) -> None:
    z = embed(gaussian, blobs.pixels()).numpy() * gaussian.feature_scale.numpy()
    score = log_likelihood(gaussian, blobs.pixels(), blobs.targets()).numpy()
    counted: dict[str, int] = dict.fromkeys((*ARMS, UNTOUCHED), 0)
    n = 0
    accuracy: dict[str, list[float]] = {arm: [] for arm in ARMS}
    thresholds, fresh = [], []
    poisons_removed = clean_removed = 0
    for trial, poisons in crafted:
        threshold = conformal_threshold(score[trial.calibration], config.fpr)
        thresholds.append(threshold)
        fresh += list(score[trial.fresh] <= threshold)
        poison_z = poisons.z * gaussian.feature_scale.numpy()
        poison_kept, clean_kept = poisons.score > threshold, score[trial.clean] > threshold
        poisons_removed += int((~poison_kept).sum())
        clean_removed += int((~clean_kept).sum())
        D_f, claimed = (z[trial.clean], blobs.labels[trial.clean]), np.full(3, trial.base_class)
        sets = {
            "clean": D_f,
            "unfiltered": (np.r_[D_f[0], poison_z], np.r_[D_f[1], claimed]),
            "filtered": (
                np.r_[D_f[0][clean_kept], poison_z[poison_kept]],
                np.r_[D_f[1][clean_kept], claimed[poison_kept]],
            ),
            UNTOUCHED: (np.r_[D_f[0], z[trial.bases]], np.r_[D_f[1], claimed]),
        }
        heads = {arm: fit(*those) for arm, those in sets.items()}
        for arm in ARMS:
            accuracy[arm].append(float(heads[arm].score(z[trial.evaluation], blobs.labels[trial.evaluation])))
        if heads["clean"].predict(z[[trial.target]])[0] != trial.target_class:
            continue
        n += 1
        for arm, head in heads.items():
            counted[arm] += int(head.predict(z[[trial.target]])[0] == trial.base_class)
    at = report.by_fpr[config.fpr]
    assert at.threshold == pytest.approx(np.median(thresholds), abs=1e-4)
    assert (report.n, {**hits(report), "filtered": at.hits}) == (n, counted)
    assert at.attack_success.value == at.hits / n
    assert (at.poisons_removed, at.clean_removed) == (poisons_removed, clean_removed)
    means = {**vars(report.accuracy), "filtered": at.accuracy}
    assert means == pytest.approx({arm: np.mean(shares) for arm, shares in accuracy.items()})
    for arm, (mean, low, high) in (("unfiltered", report.accuracy_lost.unfiltered), ("filtered", at.accuracy_lost)):
        lost = np.array(accuracy["clean"]) - np.array(accuracy[arm])
        half = 2.364624 * lost.std(ddof=1) / math.sqrt(8) if np.ptp(lost) else math.nan  # Student's t, 7 of freedom
        expected = (lost.mean(), lost.mean() - half, lost.mean() + half)
        assert (mean, low, high) == pytest.approx(expected, abs=1e-6, nan_ok=True)
    assert at.measured_fpr == pytest.approx(np.mean(fresh), abs=2e-3)


def test_who_is_fine_tuned_on_what(
    gaussian: Classifier, blank_card: Card, blobs: Split, monkeypatch: pytest.MonkeyPatch
):
    seen: list[Examples] = []

    def watch(examples: Examples, strength: float) -> Any:
        seen.append(examples)
        return fine_tune(examples, strength)

    monkeypatch.setattr(lgm.defense.experiment, "fine_tune", watch)
    report = defend(gaussian, blank_card, blobs, QUICK)
    score = log_likelihood(gaussian, blobs.pixels(), blobs.targets()).numpy()
    trials, arms = draw_trials(blobs.labels, QUICK), 3 + len(report.by_fpr)
    at = 3 + list(report.by_fpr).index(QUICK.fpr)
    for trial, clean, mixed, untouched, kept in zip(trials, *(seen[arm::arms] for arm in (0, 1, 2, at)), strict=True):
        threshold = conformal_threshold(score[trial.calibration], QUICK.fpr)
        assert not clean.poisoned.any()
        assert not untouched.poisoned.any()
        assert len(clean.labels) == 2 * QUICK.clean
        assert mixed.poisoned.sum() == QUICK.poisons
        np.testing.assert_array_equal(mixed.z[~mixed.poisoned], clean.z)
        np.testing.assert_array_equal(kept.z, mixed.z[~is_removed(mixed.score, threshold)])
        np.testing.assert_array_equal(untouched.labels, mixed.labels)


def test_without_poisons_every_model_is_the_control(gaussian: Classifier, blank_card: Card, blobs: Split):
    report = defend(gaussian, blank_card, blobs, replace(QUICK, poisons=0))
    assert set(hits(report).values()) == {0}
    assert report.accuracy_lost.unfiltered == pytest.approx((0, math.nan, math.nan), nan_ok=True)
    values = encode(report)
    assert (values["poisons_total"], values["collided"]) == (0, None)
    assert values["accuracy_lost_interval"]["unfiltered"] == [None, None], "equal values are no interval of width 0"
    json.dumps(values, allow_nan=False)


def test_the_same_seed_gives_the_same_report(gaussian: Classifier, blank_card: Card, blobs: Split):
    report = defend(gaussian, blank_card, blobs, QUICK)
    assert encode(defend(gaussian, blank_card, blobs, QUICK)) == encode(report)
    other = defend(gaussian, blank_card, blobs, replace(QUICK, seed=3))
    assert other.filtered.threshold != report.filtered.threshold


def test_a_sweep_is_the_single_runs(gaussian: Classifier, blank_card: Card, blobs: Split):
    settings = [(0, 2), (4, 6), (12, 3)]
    for report, (poisons, clean) in zip(sweep(gaussian, blank_card, blobs, QUICK, settings), settings, strict=True):
        alone = encode(defend(gaussian, blank_card, blobs, replace(QUICK, poisons=poisons, clean=clean)))
        found = encode(report)
        rates = alone["by_fpr"] if (poisons, clean) == (QUICK.poisons, QUICK.clean) else {"0.05"}
        assert found["by_fpr"] == {rate: alone["by_fpr"][rate] for rate in rates}
        assert {**found, "by_fpr": None} == {**alone, "by_fpr": None}
    with pytest.raises(ValueError, match="settings: expected at least one"):
        sweep(gaussian, blank_card, blobs, QUICK, [])


def test_intervals_are_wilsons(gaussian: Classifier, blank_card: Card, blobs: Split):
    report = defend(gaussian, blank_card, blobs, replace(QUICK, poisons=5))
    for arm, (_, low, high) in success(report).items():
        expected = binomtest(hits(report)[arm], report.n).proportion_ci(method="wilson")
        assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert all(math.isnan(part) for part in attack_success(0, 0))
    nobody = replace(report, attack_success=ByArm(*[attack_success(0, 0)] * 3))
    assert encode(nobody)["attack_success"]["filtered"] is None
    assert encode(nobody)["interval"]["filtered"] == [None, None]


def test_all_classes_are_calibrated_and_drawn_where_the_head_tells_all_apart(
    linear: Classifier, blank_card: Card, blobs: Split
):
    config = replace(QUICK, task="all", classes=(3, 0))
    report = defend(linear, blank_card, blobs, config)
    assert report.filtered.clean_removed < 0.2 * report.clean_total  # a density of two classes would remove half


def test_all_layers_learn_what_a_head_cannot(gaussian: Classifier, blank_card: Card, blobs: Split):
    config = replace(QUICK, trials=3, poisons=4)
    before = {name: value.clone() for name, value in gaussian.state_dict().items()}
    report = defend(gaussian, blank_card, blobs, replace(config, layers="all"))
    assert encode(defend(gaussian, blank_card, blobs, replace(config, layers="all"))) == encode(report)
    assert all(torch.equal(value, before[name]) for name, value in gaussian.state_dict().items())
    assert not any(parameter.requires_grad for parameter in gaussian.parameters())
    head = defend(gaussian, blank_card, blobs, config)
    assert list(report.by_fpr) == [config.fpr], "a network for each rate takes long"
    assert report.filtered.threshold == head.filtered.threshold
    assert report.filtered.poisons_removed == head.filtered.poisons_removed
    assert encode(report)["layers"] == "all"


def examples(n: int, rng: np.random.Generator, *, poisoned: bool = False) -> Examples:
    pixels = rng.random((n, 1, 28, 28), np.float32)
    return Examples(rng.normal(size=(n, 2)), rng.integers(0, 2, n), rng.normal(-3, 1, n), np.full(n, poisoned), pixels)


def test_mixing_keeps_all_and_filtering_keeps_what_is_above(rng: np.random.Generator):
    clean, poisons = examples(20, rng), examples(6, rng, poisoned=True)
    mixed = mix(clean, poisons)
    assert (len(mixed.labels), int(mixed.poisoned.sum())) == (26, 6)
    threshold = float(mixed.score[7])  # exactly at T is removed
    kept = keep_likely(mixed, threshold)
    by_hand = [i for i in range(26) if mixed.score[i] > threshold]
    for name in ("z", "labels", "score", "poisoned", "pixels"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(mixed, name)[by_hand])
    assert len(keep_likely(mixed, -math.inf).labels) == 26


def test_the_new_head_minimises_the_logistic_loss(rng: np.random.Generator):
    those, strength = examples(40, rng), 3.0
    sign = 2 * those.labels - 1

    def loss(w: np.ndarray) -> float:
        return 0.5 * w[:2] @ w[:2] + strength * np.logaddexp(0, -sign * (those.z @ w[:2] + w[2])).sum()

    best = minimize(loss, np.zeros(3)).x
    points = rng.normal(size=(300, 2))
    margin = points @ best[:2] + best[2]
    clear = np.abs(margin) > 1e-2
    np.testing.assert_array_equal(fine_tune(those, strength)(points)[clear], (margin > 0)[clear])


def test_one_class_left_is_all_there_is(rng: np.random.Generator):
    those = examples(5, rng)
    head = fine_tune(replace(those, labels=np.full(5, 7)))
    assert (head(rng.normal(size=(4, 2))) == 7).all()
    with pytest.raises(ValueError, match="examples: expected at least one to fine-tune on"):
        fine_tune(those[:0])


def test_success_against_a_slow_loop(rng: np.random.Generator):
    predicted, control, base, target = rng.integers(0, 3, (4, 500))
    hits = n = 0
    for i in range(500):
        if control[i] != target[i]:
            continue
        n += 1
        if predicted[i] == base[i]:
            hits += 1
    assert successes(predicted, control, base, target) == (hits, n)


def test_own_density_is_the_networks(gaussian: Classifier, blobs: Split):
    z = embed(gaussian, blobs.pixels()).numpy() * gaussian.feature_scale.numpy()
    claimed = (blobs.labels + 1) % N_CLASSES
    expected = log_likelihood(gaussian, blobs.pixels(), torch.from_numpy(claimed))
    np.testing.assert_allclose(own_density(gaussian)(z, claimed), expected, atol=1e-4)


def test_fitted_density_is_that_of_the_likeliest_gaussian(rng: np.random.Generator):
    labels = rng.integers(0, 3, 400)
    z = rng.normal(size=(400, 2)) @ np.array([[1.0, 0.8], [0.0, 0.3]]) + labels[:, None]
    score = fit_density(z, labels)(z, np.full(400, 2))
    mine = z[labels == 2]
    covariance: Any = np.cov(mine.T, bias=True) + 1e-6 * np.eye(2)  # Any: scipy's stubs expect a number
    expected = multivariate_normal.logpdf(z, mine.mean(0), covariance)
    np.testing.assert_allclose(score, expected, rtol=1e-6)
    assert fit_density(z, labels)(z[:1], np.array([9]))[0] == -math.inf


def test_watermark_is_a_blend(blobs: Split):
    bases, targets = blobs[:5], blobs[5:10]
    np.testing.assert_array_equal(watermark(bases, targets, 0.0).images, bases.images)
    marked = watermark(bases, targets, 0.3)
    np.testing.assert_allclose(marked.images, 0.7 * bases.images + 0.3 * targets.images, atol=0.5001)
    np.testing.assert_array_equal(marked.labels, bases.labels)


KEYS = {"attack_success", "interval", "n", "definition", "filter", "threshold", "accuracy", "accuracy_lost"}


def test_the_command_says_what_defend_says(tiny_lgm: Path, bundled: Split, capsys: Capture):
    arguments = ["defend", str(tiny_lgm), "--trials", "3", "--poisons", "2", "--clean", "4", "--seed", "5"]
    assert main([*arguments, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    model, card = lgm.load_checkpoint(tiny_lgm)
    config = DefenseConfig(trials=3, poisons=2, clean=4, seed=5)
    assert result == encode(lgm.defend(model, card, bundled, config))
    assert set(result) >= KEYS
    assert set(result["attack_success"]) == set(result["interval"]) == set(ARMS)
    assert result["attack_success"]["clean"] == 0
    assert (result["model"], result["data"], result["poisons"]) == ("tiny-lgm", "bundled", 2)
    assert main(arguments) == 0
    assert "to which the fine-tuned model gives the label of the base" in capsys.readouterr().out


def test_the_command_sweeps(tiny_softmax: Path, capsys: Capture):
    arguments = ["defend", str(tiny_softmax), "--trials", "2", "--poisons", "3", "--classes", "4", "9", "--sweep"]
    assert main([*arguments, "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert [(r["clean"], r["poisons"]) for r in results] == [(n, k) for n in (2, 5, 10, 20, 50) for k in (1, 2, 3)]
    assert {tuple(r["classes"]) for r in results} == {(4, 9)}
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(results)
    assert lines[1].split() == ["clean", "poisons", "n", "unfiltered", "filtered"]
    assert lines[2].split()[:3] == ["2", "1", str(results[0]["n"])]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trials", "1"], "--trials: expected 2 to 10,000"),
        (["--poisons", "-1"], "poisons: expected a number >= 0"),
        (["--classes", "4", "4"], "classes: expected two different classes"),
        (["--classes", "4", "10"], "classes: expected two of"),
        (["--watermark", "1"], "watermark: expected an opacity in [0, 1)"),
        (["--clean", "5000"], "--clean, --poisons: expected at most"),
        (["--classes", "4", "9", "--layers", "all", "--trials", "1"], "--trials: expected 2 to 10,000"),
        (["--density", "own"], "likelihood: expected a network trained with the LGM loss"),
    ],
)
def test_the_command_refuses_nonsense(arguments: list[str], message: str, tiny_softmax: Path, capsys: Capture):
    assert main(["defend", str(tiny_softmax), *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err


@pytest.mark.parametrize("name", ["mnist-lgm", "mnist-softmax"])
def test_shipped_networks_are_poisoned_and_saved(name: str, bundled: Split):
    model, card = lgm.load_checkpoint(name)
    stored = read_features(name).splits["bundled"].z
    report = defend(model, card, bundled, DefenseConfig(trials=5, poisons=6, clean=3), z=stored)
    assert report.n >= 4
    assert report.attack_success.unfiltered.value >= 0.5
    assert report.attack_success.filtered.value <= 0.2
    assert report.filtered.poisons_removed >= 27
