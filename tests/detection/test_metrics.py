import json
import math

import numpy as np
import pytest
from scipy.stats import betabinom, chi2
from sklearn.metrics import roc_auc_score, roc_curve

from lgm.detection.metrics import DetectionReport, detection_report, outcome, rates, roc
from lgm.detection.thresholds import conformal_threshold, cut_radius, empirical_threshold, is_removed, nominal_fpr
from lgm.stats.bootstrap import tpr_interval
from lgm.stats.intervals import auc_interval, wilson_interval
from lgm.utils.codec import decode, encode
from lgm.utils.json import to_json


def scores(kind: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    if kind == "apart":
        return rng.normal(0, 1, 50), rng.normal(-100, 1, 20)
    if kind == "ties":
        return rng.integers(-5, 1, 60).astype(float), rng.integers(-8, -1, 25).astype(float)
    if kind == "far":  # beyond anything a sigmoid or exp could tell apart
        return rng.normal(-1200, 300, 60), rng.normal(-2500, 900, 25)
    if kind == "float32":
        return rng.normal(-3, 2, 60).astype(np.float32), rng.normal(-6, 3, 25).astype(np.float32)
    if kind == "mixed":  # poisons crafted elsewhere, in another precision, around the same values
        clean = rng.normal(-3, 2, 40).astype(np.float32)
        return clean, np.r_[clean[:20].astype(np.float64) + 1e-9, clean[:20].astype(np.float64) - 1e-9]
    return np.array([-1.0]), np.array([-1.0])


KINDS = ["apart", "ties", "far", "float32", "mixed", "one each, equal"]


@pytest.mark.parametrize("kind", KINDS)
def test_roc_is_that_of_scikit_learn(kind: str):
    clean, poison = scores(kind)
    curve = roc(clean, poison)
    is_poison = np.r_[np.zeros(len(clean)), np.ones(len(poison))]
    suspicion = -np.r_[clean, poison].astype(np.float64)
    assert curve.auc == pytest.approx(roc_auc_score(is_poison, suspicion), abs=1e-12)
    fpr, tpr, _ = roc_curve(is_poison, suspicion)  # with the points that change nothing left out
    ours = set(zip(curve.fpr, curve.tpr, strict=True))
    assert set(zip(fpr, tpr, strict=True)) <= ours
    assert (curve.fpr[0], curve.tpr[0], curve.fpr[-1], curve.tpr[-1]) == (0, 0, 1, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_auc_is_the_chance_that_a_poison_scores_lower(kind: str):
    clean, poison = scores(kind)
    wins = sum((p < c) + 0.5 * (p == c) for c in clean.astype(float) for p in poison.astype(float))
    assert roc(clean, poison).auc == pytest.approx(wins / (len(clean) * len(poison)), abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_each_point_of_the_curve_is_what_its_threshold_does(kind: str):
    clean, poison = scores(kind)
    curve = roc(clean, poison)
    assert curve.thresholds[0] == -np.inf
    assert (np.diff(curve.thresholds) > 0).all()
    for fpr, tpr, threshold in zip(curve.fpr, curve.tpr, curve.thresholds, strict=True):
        at = outcome(clean, poison, threshold)
        assert (at.fpr, at.tpr) == (fpr, tpr)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wanted", [0.0, 0.01, 0.05, 0.1, 0.5, 1.0])
def test_threshold_keeps_the_rate_and_is_the_best_that_does(kind: str, wanted: float):
    clean, poison = scores(kind)
    curve = roc(clean, poison)
    threshold = curve.threshold_at(wanted)
    at = outcome(clean, poison, threshold)
    assert at.fpr <= wanted
    assert curve.tpr_at(wanted) == at.tpr
    assert threshold == empirical_threshold(clean, wanted)
    rivals = np.r_[-np.inf, clean.astype(float), poison.astype(float)]
    for other in [float(f"{score:.6g}") for score in rivals]:  # T has six digits
        rival = outcome(clean, poison, other)
        assert rival.fpr > wanted or rival.tpr <= at.tpr


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wanted", [0.0, 0.01, 0.05, 0.2])
def test_threshold_is_the_largest_of_six_digits_that_keeps_the_rate(kind: str, wanted: float):
    clean, poison = scores(kind)
    threshold = empirical_threshold(clean, wanted)
    assert float(f"{threshold:.6g}") == threshold, "a link carries six digits"
    next_one = float(f"{threshold + 10.0 ** (math.floor(math.log10(abs(threshold))) - 5):.6g}")
    assert outcome(clean, poison, threshold).fpr <= wanted < outcome(clean, poison, next_one).fpr


@pytest.mark.parametrize("score", [0.0, 1e-9, -1e-9, 5.0, -10.0, -9.999999, -123456.7, 2.5e10, -2.74661, 0.1])
def test_threshold_is_just_below_the_first_that_stays(score: float):
    threshold = empirical_threshold(np.array([score]), 0.0)
    assert threshold < score
    assert threshold == pytest.approx(score, rel=2e-5, abs=2e-5)
    assert float(f"{threshold:.6g}") == threshold
    assert empirical_threshold(np.array([score]), 1.0) == math.inf


def test_the_poisons_have_no_part_in_the_threshold(rng: np.random.Generator):
    clean = rng.normal(-3, 2, 500).astype(np.float32)
    others = [rng.normal(-6, 3, 80).astype(np.float32), clean[:30] + 1e-3, np.array([-1e6])]
    for fpr in (0.01, 0.02, 0.05):
        assert {roc(clean, poison).threshold_at(fpr) for poison in others} == {empirical_threshold(clean, fpr)}


def test_a_threshold_of_nothing_is_refused():
    with pytest.raises(ValueError, match="clean_score: expected a non-empty"):
        empirical_threshold(np.array([]), 0.1)
    with pytest.raises(ValueError, match=r"fpr: expected a rate in \[0, 1\]"):
        empirical_threshold(np.array([1.0]), 1.1)


def test_rate_outside_0_to_1_is_refused():
    curve = roc(*scores("ties"))
    for bad in (-0.01, 1.01, math.nan):
        with pytest.raises(ValueError, match=r"fpr: expected a rate in \[0, 1\]"):
            curve.threshold_at(bad)
        with pytest.raises(ValueError, match=r"fpr: expected a rate in \[0, 1\]"):
            curve.tpr_at(bad)


@pytest.mark.parametrize("threshold", [-8.0, -3.0, -2.5, 0.0, math.inf, -math.inf])
def test_outcome_against_a_slow_loop(threshold: float):
    clean, poison = scores("ties")
    caught = missed = wrongly = kept = 0
    for score in poison:
        if score <= threshold:
            caught += 1
        else:
            missed += 1
    for score in clean:
        if score <= threshold:
            wrongly += 1
        else:
            kept += 1
    at = outcome(clean, poison, threshold)
    assert (at.caught, at.missed, at.wrongly_removed, at.kept) == (caught, missed, wrongly, kept)
    assert at.tpr == caught / len(poison)
    assert at.fpr == wrongly / len(clean)
    if caught + wrongly:
        assert at.precision == caught / (caught + wrongly)
    else:
        assert math.isnan(at.precision)


def test_outcome_without_poisons_has_no_true_positive_rate():
    assert math.isnan(outcome(np.array([-1.0]), np.array([]), -2.0).tpr)


def test_float32_scores_do_not_round_the_threshold():
    clean = np.array([-3.1], np.float32)  # -3.0999999: above the threshold
    assert outcome(clean, clean, -3.1).wrongly_removed == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", ["clean_score", "poison_score"])
def test_scores_that_are_no_numbers_are_refused(bad: float, which: str):
    values = {"clean_score": np.array([-1.0, -2.0]), "poison_score": np.array([-3.0, -4.0])}
    values[which] = np.array([-1.0, bad])
    with pytest.raises(ValueError, match=f"{which}: expected finite scores.*softmax network has no density"):
        roc(**values)


def test_empty_or_nested_scores_are_refused():
    with pytest.raises(ValueError, match="poison_score: expected a non-empty 1-d array"):
        roc(np.array([-1.0]), np.array([]))
    with pytest.raises(ValueError, match="clean_score: expected a non-empty 1-d array"):
        roc(np.zeros((2, 2)), np.array([-1.0]))


@pytest.mark.parametrize("n_dim", [2, 5])
def test_nominal_rate_is_the_chi_square_tail(n_dim: int):
    peak = np.array([-1.8, -1.2, 0.4])  # classes of different variance
    for threshold in (-900.0, -12.0, -3.0, -1.5, 0.0, 1.0):
        tails = [chi2.sf(max(0.0, 2 * (p - threshold)), n_dim) for p in peak]
        assert nominal_fpr(threshold, peak, n_dim) == pytest.approx(np.mean(tails), rel=1e-9)
    assert nominal_fpr(-math.inf, peak, n_dim) == 0
    assert nominal_fpr(math.inf, peak, n_dim) == 1


def test_nominal_rate_in_the_plane_is_the_relative_likelihood():
    peak = np.full(10, -math.log(2 * math.pi))
    for distance in (0.5, 1.0, 3.0):
        threshold = peak[0] - distance**2 / 2
        assert nominal_fpr(threshold, peak, 2) == pytest.approx(math.exp(-(distance**2) / 2), rel=1e-12)


def test_nominal_rate_is_what_gaussian_features_give(rng: np.random.Generator):
    peak = np.full(4, -math.log(2 * math.pi))
    z = rng.standard_normal((200_000, 2))
    score = peak[0] - 0.5 * (z**2).sum(1)
    threshold = peak[0] - 3.0
    assert nominal_fpr(threshold, peak, 2) == pytest.approx((score <= threshold).mean(), abs=0.002)


def test_cut_radius_is_where_removal_begins():
    peak = -math.log(2 * math.pi)
    for threshold in (-9.0, -3.0, -2.0):
        radius = cut_radius(threshold, peak)
        for distance, removed in ((radius - 1e-6, False), (radius + 1e-6, True)):
            assert is_removed(np.array([peak - distance**2 / 2]), threshold)[0] == removed
    assert cut_radius(peak + 1, peak) == 0
    assert cut_radius(-math.inf, peak) == math.inf


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (10, 10), (992, 1000), (1, 1)])
def test_wilson_interval_is_the_closed_form(hits: int, n: int):
    z, share = 1.959963984540054, hits / n
    center = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    assert wilson_interval(hits, n) == pytest.approx((max(0, center - half), min(1, center + half)), abs=1e-12)


@pytest.mark.parametrize(("hits", "n"), [(3, 2), (-1, 5), (0, 0)])
def test_wilson_interval_of_nonsense(hits: int, n: int):
    with pytest.raises(ValueError, match=r"^[kn] "):
        wilson_interval(hits, n)


@pytest.mark.parametrize("kind", ["ties", "far", "float32"])
def test_rates_are_those_of_the_curve_with_the_intervals_of_their_kind(kind: str):
    clean, poison = scores(kind)
    found, curve = rates(clean, poison, [0.1, 0.05]), roc(clean, poison)
    assert found.n == len(poison)
    assert found.auc == (curve.auc, *auc_interval(curve.auc, len(clean), len(poison)))
    assert list(found.tpr) == [0.05, 0.1]
    for fpr, tpr in found.tpr.items():
        assert tpr == (curve.tpr_at(fpr), *tpr_interval(clean, poison, fpr))
        assert tpr.low <= tpr.value <= tpr.high


def test_report_judges_all_poisons_and_those_that_collide():
    clean, poison = scores("ties")
    collided = np.arange(len(poison)) % 3 == 0
    report = detection_report(clean, poison, collided, 0.2)
    told = json.loads(to_json(report))
    at = outcome(clean, poison, empirical_threshold(clean, 0.2))
    for key in ("threshold", "fpr", "tpr", "precision", "caught", "missed", "wrongly_removed", "kept"):
        assert told[key] == getattr(at, key), key
    assert (told["clean"], told["poisons"], told["collided"]) == (60, 25, 9)
    fprs = ["0.01", "0.02", "0.05", "0.1", "0.2"]
    for of, group in (("", poison), ("_collided", poison[collided])):
        curve = roc(clean, group)
        assert told[f"auc{of}"] == curve.auc
        assert told[f"auc{of}_interval"] == list(auc_interval(curve.auc, 60, len(group)))
        assert told[f"tpr_at_fpr{of}"] == {fpr: curve.tpr_at(float(fpr)) for fpr in fprs}
        spans = {fpr: list(tpr_interval(clean, group, float(fpr))) for fpr in fprs}
        assert told[f"tpr_at_fpr{of}_interval"] == spans
    for fpr, threshold in told["threshold_at_fpr"].items():
        assert outcome(clean, poison, threshold).tpr == told["tpr_at_fpr"][fpr], "the rate is what that T does"
    assert encode(decode(DetectionReport, told)) == told


def test_report_where_nothing_collides_and_nothing_can_be_removed():
    report = detection_report(np.array([-5.0, -1.0]), np.array([-2.0, -1.5]), np.zeros(2, bool), 0.01)
    assert report.auc_collided is None
    assert set(report.tpr_at_fpr_collided.values()) == {None}
    told = encode(report)
    assert told["auc_collided"] is told["auc_collided_interval"] is None
    assert set(told["tpr_at_fpr_collided"].values()) == set(told["tpr_at_fpr_collided_interval"].values()) == {None}
    assert (told["threshold"], told["precision"], told["caught"], told["fpr"]) == (-5.00001, None, 0, 0.0)


def test_report_where_nobody_knows_who_collides():
    report = detection_report(np.array([-5.0, -1.0]), np.array([-2.0, -9.0]), None, 1.0)
    assert (report.poisons, report.collided, report.auc_collided) == (2, None, None)
    assert (report.threshold, report.caught) == (math.inf, 2)
    assert encode(report)["threshold"] is None, "JSON has no such number"


@pytest.mark.parametrize(("n", "fpr", "k"), [(99, 0.01, 1), (99, 0.05, 5), (99, 0.29, 29), (19, 0.07, 1), (9, 0.95, 9)])
def test_conformal_threshold_is_just_below_the_kth_score(n: int, fpr: float, k: int, rng: np.random.Generator):
    values = rng.normal(-5, 2, n)
    threshold = conformal_threshold(values, fpr)
    assert is_removed(values, threshold).sum() == k - 1
    assert not is_removed(np.sort(values)[k - 1], threshold)
    assert is_removed(np.nextafter(np.sort(values)[k - 1], -np.inf), threshold)


def test_conformal_threshold_where_too_few_calibrate():
    values = np.arange(98.0)
    assert conformal_threshold(values, 0.01) == -math.inf  # 99 are needed for 1 in 100
    assert conformal_threshold(np.arange(99.0), 0.01) < 0
    assert conformal_threshold(values, 0.0) == -math.inf
    assert conformal_threshold(values, 1.0) == math.inf


@pytest.mark.parametrize("fpr", [0.01, 0.05, 0.1])
def test_conformal_rate_is_the_beta_binomial_of_the_theorem(fpr: float, rng: np.random.Generator):
    """Over random splits: calibrate on n, count what is removed of m others, from fresh scores each time."""
    n, m, splits = 400, 300, 2000
    k = math.floor(fpr * (n + 1))
    theory = betabinom(m, k, n + 1 - k)
    removed = np.empty(splits)
    for i in range(splits):
        values = -(rng.standard_exponential(n + m) ** 2)  # far from Gaussian: the theorem does not care
        removed[i] = is_removed(values[n:], conformal_threshold(values[:n], fpr)).sum()
    assert theory.mean() / m <= fpr
    assert removed.mean() == pytest.approx(theory.mean(), abs=4 * theory.std() / math.sqrt(splits))
    assert removed.std() == pytest.approx(theory.std(), rel=0.12)
    low, high = theory.ppf([0.005, 0.995])
    assert ((removed >= low) & (removed <= high)).mean() >= 0.98


def test_conformal_rate_holds_where_scores_tie(rng: np.random.Generator):
    rates = []
    for _ in range(2000):
        values = rng.integers(-3, 1, 60)
        rates.append(is_removed(values[40:], conformal_threshold(values[:40], 0.3)).mean())
    assert np.mean(rates) <= 0.3
    assert conformal_threshold(np.full(50, -2.0), 0.5) < -2.0


def test_conformal_threshold_refuses_nonsense():
    for bad in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"fpr: expected a rate in \[0, 1\]"):
            conformal_threshold(np.array([-1.0]), bad)
    with pytest.raises(ValueError, match="calibration_scores: expected a non-empty"):
        conformal_threshold(np.array([]), 0.1)
    with pytest.raises(ValueError, match="calibration_scores: expected finite"):
        conformal_threshold(np.array([-1.0, np.nan]), 0.1)
