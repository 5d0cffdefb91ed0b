"""The one-shot experiment on a stand-in whose features are two numbers: everything checked against scikit-learn."""

import json

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from lgm.attacks.one_shot import craft_one_shot
from lgm.data.base import Split
from lgm.detection.trusted_scores import TITLES
from lgm.experiments.one_shot import choose_pairs, clean_photos, new_head, one_shot, prepare, probability
from lgm.experiments.one_shot_config import OneShotConfig
from lgm.experiments.one_shot_report import FPRS, FilterRow, OneShotReport, mark_best, one_shot_table
from lgm.models.classifier import Classifier
from lgm.models.heads import SoftmaxHead
from lgm.stats.intervals import Estimate, wilson_interval
from lgm.utils.codec import decode
from lgm.utils.json import to_json

CONFIG = OneShotConfig(attacks=6, beta=1e-4, iterations=60)
NAMES = ("north", "east", "south", "west")


@pytest.fixture
def network(linear: Classifier) -> Classifier:
    """The same features under a head of its own, which the experiment sets."""
    head = SoftmaxHead(2, 4).requires_grad_(False)
    return Classifier(linear.backbone, head).eval()


def files(split: Split) -> tuple[str, ...]:
    return tuple(f"{label}/{i}.png" for i, label in enumerate(split.labels))


@pytest.fixture
def report(network: Classifier, blobs: Split) -> OneShotReport:
    return one_shot(network, blobs, files(blobs), CONFIG, network="halves", classes=NAMES)


def test_each_attack_is_what_scikit_learn_says_of_it(report: OneShotReport, network: Classifier, blobs: Split):
    photos = prepare(network, blobs, files(blobs), CONFIG)
    where = {name: i for i, name in enumerate(photos.names)}
    bases, targets = (np.array([where[getattr(each, side)] for each in report.each]) for side in ("base", "target"))
    poisons = craft_one_shot(network, blobs[bases], blobs[targets], beta=CONFIG.beta, iterations=CONFIG.iterations)
    for i, (base, target, attack) in enumerate(zip(bases, targets, report.each, strict=True)):
        rest = [p for p in photos.pool if p not in (base, target)]
        assert len(rest) == report.fine_tuned_on
        z, y = photos.own[rest] * photos.scale, blobs.labels[rest]
        seen = photos.own[[target]] * photos.scale
        clean = LogisticRegression(C=CONFIG.strength, max_iter=5000).fit(z, y)
        z, y = np.r_[z, poisons.z[[i]] * photos.scale], np.r_[y, blobs.labels[base]]
        poisoned = LogisticRegression(C=CONFIG.strength, max_iter=5000).fit(z, y)
        assert clean.predict(seen) == blobs.labels[target] != blobs.labels[base]
        before, after = (head.predict_proba(seen)[0, blobs.labels[target]] for head in (clean, poisoned))
        assert (attack.before, attack.after) == pytest.approx((before, after), abs=1e-6)
        assert attack.success == (poisoned.predict(seen)[0] == blobs.labels[base])
        assert (attack.base_class, attack.target_class) == (NAMES[blobs.labels[base]], NAMES[blobs.labels[target]])
    hits = sum(each.success for each in report.each)
    assert report.success == Estimate(hits / 6, *wilson_interval(hits, 6))


def test_more_attacks_begin_with_the_same_pairs(network: Classifier, blobs: Split):
    photos = prepare(network, blobs, files(blobs), CONFIG)
    few, many = (choose_pairs(photos, OneShotConfig(attacks=n)) for n in (3, 9))
    assert np.array_equal(few[0], many[0][:3])
    assert np.array_equal(few[1], many[1][:3])
    assert not np.isin(np.concatenate(many[:2]), photos.trusted).any()


def test_targets_that_are_wrong_without_a_poison_are_passed_over_and_counted(network: Classifier, blobs: Split):
    lying = blobs.labels.copy()
    lying[::3] = (lying[::3] + 1) % 4
    split = Split("lying", blobs.images, lying)
    photos = prepare(network, split, files(split), CONFIG)
    bases, targets, passed = choose_pairs(photos, CONFIG)
    assert passed > 0
    for base, target in zip(bases, targets, strict=True):
        assert new_head(*clean_photos(photos, base, target), CONFIG)(photos.z[[target]])[0] == lying[target]
    with pytest.raises(ValueError, match=r"attacks: expected at most [0-9]+, as so many of [0-9]+ targets"):
        choose_pairs(photos, OneShotConfig(attacks=len(photos.pool)))


def test_nothing_that_calibrates_or_is_attacked_sets_what_the_filters_see(network: Classifier, blobs: Split):
    photos = prepare(network, blobs, files(blobs), CONFIG)
    with torch.inference_mode():
        expected = network.embed(blobs.pixels()).numpy()
    np.testing.assert_allclose(photos.own, expected, rtol=1e-4, atol=1e-4)
    assert np.ptp(photos.z[photos.trusted], axis=0) == pytest.approx([2, 2], rel=1e-5)
    assert len(np.intersect1d(photos.trusted, photos.pool)) == 0


def test_probabilities_are_those_of_scikit_learn(rng: np.random.Generator):
    z, labels = rng.normal(size=(40, 3)), np.arange(40) % 3
    head = new_head(z, labels, CONFIG)
    expected = LogisticRegression(C=CONFIG.strength, max_iter=5000).fit(z, labels).predict_proba(z[:1])[0]
    assert [probability(head, z[0], k) for k in range(3)] == pytest.approx(expected, abs=1e-6)
    assert probability(head, z[0], 9) == 0


def test_the_record_is_json_and_reads_as_a_table(report: OneShotReport):
    assert decode(OneShotReport, json.loads(to_json(report))) == report
    table = one_shot_table(report)
    assert all(title in table for title in TITLES.values())
    assert table.count("* ") == 3
    assert "too few calibrate" not in table
    assert report.trusted == 312
    assert {row.calibrated_on for row in report.filters} == {200}


def row(key: str, caught: float, auc: float) -> FilterRow:
    shares: dict[float, Estimate | None] = {fpr: Estimate(caught, 0, 1) for fpr in FPRS}
    return FilterRow(key, 99, {**shares, 0.01: None}, shares, dict.fromkeys(FPRS, 0.0), Estimate(auc, 0, 1))


def test_the_best_three_catch_most_and_ties_go_by_auc():
    rows = [row("gaussian", 0.5, 0.7), row("knn", 0.9, 0.2), row("vote", 0.5, 0.8), row("log-odds", 0.6, 0.1)]
    assert [each.key for each in mark_best(rows) if each.best] == ["knn", "vote", "log-odds"]


def test_too_few_photos_are_refused(network: Classifier, blobs: Split):
    few = blobs[np.concatenate([np.flatnonzero(blobs.labels == k)[:9] for k in range(4)])]
    with pytest.raises(ValueError, match=r"trusted: expected at least 4 photos of each class .* found 3 of one"):
        one_shot(network, few, files(few), CONFIG, network="halves", classes=NAMES)
