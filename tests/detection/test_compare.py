"""Each detector against its definition, and the comparison against the definition of its numbers."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm
from sklearn.metrics import roc_auc_score

import lgm
from lgm.attacks.result import read_shipped_poisons
from lgm.detection.compare import (
    AS_GOOD,
    BETTER,
    MIXED,
    REFERENCE,
    UNDECIDED,
    WORSE,
    Comparison,
    compare,
    does_as_well,
    in_words,
    rule_in_words,
    verdict_of,
)
from lgm.detection.filters import DETECTORS, FilterInputs, gather_evidence
from lgm.detection.metrics import Rates, rates
from lgm.models.checkpoint import load_checkpoint
from lgm.models.features import read_features
from lgm.models.scoring import embed, log_likelihood, posterior_and_log_likelihood
from lgm.stats.intervals import Estimate, paired_interval
from lgm.utils.codec import decode, encode
from lgm.utils.json import to_json

CENTERS = np.array([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]])
N_CLEAN, N_POISON = 90, 18


@pytest.fixture(scope="module")
def evidence() -> FilterInputs:
    """Three Gaussians, and poisons that claim one and lie half-way to the next."""
    rng = np.random.default_rng(8)
    labels = np.r_[rng.permutation(np.repeat(np.arange(3), N_CLEAN // 3)), np.repeat(np.arange(3), N_POISON // 3)]
    poisoned = np.arange(len(labels)) >= N_CLEAN
    lies = (CENTERS[labels] + CENTERS[(labels + poisoned) % 3]) / 2
    z = lies + rng.normal(size=(len(labels), 2))
    trusted_labels = np.repeat(np.arange(3), 200)
    return FilterInputs(
        z=z,
        labels=labels,
        log_odds=rng.normal(size=len(labels)) - 2 * poisoned,
        log_likelihood=multivariate_normal.logpdf(z - CENTERS[labels], np.zeros(2)),
        poisoned=poisoned,
        collided=poisoned & (rng.random(len(labels)) < 0.5),
        trusted_z=CENTERS[trusted_labels] + rng.normal(size=(600, 2)),
        trusted_labels=trusted_labels,
    )


def score(key: str, evidence: FilterInputs) -> np.ndarray:
    return DETECTORS[key].score(evidence)


FOREST = DETECTORS["forest"].score
_grown: dict[tuple[bytes, bytes], np.ndarray] = {}


@pytest.fixture
def forest_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same images grow the isolation forest once: nine tenths of the time of a comparison."""

    def grow(evidence: FilterInputs) -> np.ndarray:
        key = evidence.z.tobytes(), evidence.labels.tobytes()
        if key not in _grown:
            _grown[key] = FOREST(evidence)
        return _grown[key]

    monkeypatch.setitem(DETECTORS, "forest", replace(DETECTORS["forest"], score=grow))


# Detectors.


def test_the_fitted_gaussian_has_the_moments_of_the_trusted_images(evidence: FilterInputs) -> None:
    expected = np.empty(len(evidence.z))
    for k in range(3):
        trusted = evidence.trusted_z[evidence.trusted_labels == k]
        covariance = np.cov(trusted.T, bias=True) + 1e-6 * np.eye(2)
        mine = evidence.labels == k
        expected[mine] = multivariate_normal.logpdf(evidence.z[mine], trusted.mean(0), covariance.tolist())
    np.testing.assert_allclose(score("gaussian", evidence), expected, rtol=1e-6)


def test_the_vote_counts_the_nearest_others(evidence: FilterInputs) -> None:
    k = (N_CLEAN + N_POISON) // 6  # half of the average class
    for i, found in enumerate(score("knn", evidence)):
        others = np.delete(np.arange(len(evidence.z)), i)
        nearest = others[np.argsort(np.linalg.norm(evidence.z[others] - evidence.z[i], axis=1))[:k]]
        assert found == pytest.approx(np.mean(evidence.labels[nearest] == evidence.labels[i]))


def test_an_image_has_no_vote_on_itself(evidence: FilterInputs) -> None:
    labels = evidence.labels.copy()
    labels[:2] = 7  # the only two of their class, far apart
    z = evidence.z.copy()
    z[0], z[1] = [500.0, 0.0], [-500.0, 0.0]
    trusted = {"trusted_z": np.r_[evidence.trusted_z, z[:2]], "trusted_labels": np.r_[evidence.trusted_labels, 7, 7]}
    np.testing.assert_array_equal(score("knn", replace(evidence, z=z, labels=labels, **trusted))[:2], 0)


def test_the_centroid_is_that_of_the_claimed_class(evidence: FilterInputs) -> None:
    for i, found in enumerate(score("centroid", evidence)):
        center = evidence.trusted_z[evidence.trusted_labels == evidence.labels[i]].mean(0)
        assert found == pytest.approx(-math.dist(evidence.z[i], center))


def test_the_local_outlier_factor_is_that_of_its_definition(evidence: FilterInputs) -> None:
    found = score("lof", evidence)
    for label in range(3):
        mine = evidence.labels == label
        np.testing.assert_allclose(found[mine], -outlier_factor(evidence.z[mine], 20), rtol=1e-6)


def outlier_factor(z: np.ndarray, k: int) -> np.ndarray:
    """Breunig et al. 2000, definitions 3 to 7."""
    distance = np.linalg.norm(z[:, None] - z, axis=-1)
    nearest = [np.argsort(row)[1 : k + 1] for row in distance]
    k_distance = np.array([distance[i, near[-1]] for i, near in enumerate(nearest)])
    density = np.array([1 / np.maximum(k_distance[near], distance[i, near]).mean() for i, near in enumerate(nearest)])
    return np.array([density[near].mean() / density[i] for i, near in enumerate(nearest)])


def test_the_spectral_signature_is_along_the_largest_spread(evidence: FilterInputs) -> None:
    found = score("spectral", evidence)
    for label in range(3):
        mine = evidence.labels == label
        values, vectors = np.linalg.eigh(np.cov(evidence.z[mine].T))
        along = (evidence.z[mine] - evidence.z[mine].mean(0)) @ vectors[:, values.argmax()]
        np.testing.assert_allclose(found[mine], -np.square(along), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("key", DETECTORS)
def test_an_image_far_from_its_class_scores_lowest(key: str, evidence: FilterInputs) -> None:
    """One sign for all of them; far from everything, for the vote in another class."""
    z, odds, likelihood = evidence.z.copy(), evidence.log_odds.copy(), evidence.log_likelihood.copy()
    z[0] = CENTERS[(evidence.labels[0] + 1) % 3] if key == "knn" else [-40.0, -40.0]
    odds[0], likelihood[0] = -50, -900
    found = score(key, replace(evidence, z=z, log_odds=odds, log_likelihood=likelihood))
    rivals = found[1:N_CLEAN][evidence.labels[1:N_CLEAN] == evidence.labels[0]]
    assert found[0] < rivals.min()


@pytest.mark.parametrize("key", DETECTORS)
def test_no_detector_looks_at_what_it_must_not_know(key: str, evidence: FilterInputs) -> None:
    blind = replace(evidence, poisoned=~evidence.poisoned, collided=~evidence.collided)
    np.testing.assert_array_equal(score(key, evidence), score(key, blind))


@pytest.mark.parametrize("key", ["knn", "lof", "forest", "spectral"])
def test_who_trusts_nothing_needs_no_trusted_images(key: str, evidence: FilterInputs) -> None:
    other = replace(evidence, trusted_z=evidence.trusted_z[::-1] - 3)
    np.testing.assert_array_equal(score(key, evidence), score(key, other))
    assert DETECTORS[key].trusts.startswith("nothing")


def test_evidence_says_what_does_not_fit(evidence: FilterInputs) -> None:
    with pytest.raises(ValueError, match=r"expected one value for each image of D_t, got lengths .*'labels': 107"):
        replace(evidence, labels=evidence.labels[1:])
    with pytest.raises(ValueError, match="trusted_labels: expected one for each of 600, got 599"):
        replace(evidence, trusted_labels=evidence.trusted_labels[1:])
    with pytest.raises(ValueError, match=r"trusted_labels: expected at least two of each class .* got fewer of \[1\]"):
        replace(evidence, trusted_labels=np.where(evidence.trusted_labels == 1, 0, evidence.trusted_labels))
    lonely = np.where(np.arange(len(evidence.labels)) == 0, 9, evidence.labels)
    with pytest.raises(ValueError, match=r"^labels: expected at least two of each class .* got fewer of \[9\]"):
        replace(evidence, labels=lonely)


# Comparison.


def test_each_rate_is_that_of_the_scores(evidence: FilterInputs, forest_once: None) -> None:
    comparisons = compare(evidence, resamples=20, fpr=0.1)
    assert [each.key for each in comparisons] == list(DETECTORS)
    clean = ~evidence.poisoned
    own = score("likelihood", evidence)
    for each in comparisons:
        values = score(each.key, evidence)
        for result, poisons in ((each.overall, evidence.poisoned), (each.collided, evidence.collided)):
            assert result is not None
            among = clean | poisons
            expected, reference = (roc_auc_score(poisons[among], -s[among]) for s in (values, own))
            assert result.n == poisons.sum()
            assert result.auc.value == pytest.approx(expected, abs=1e-12)
            assert result.difference.value == pytest.approx(expected - reference, abs=1e-12)
            caught = [
                np.mean(values[poisons] <= t)
                for t in np.r_[-np.inf, values[among]]
                if np.mean(values[clean] <= t) <= 0.1
            ]
            assert result.tpr.value == max(caught)
            expected = rates(values[clean], values[poisons])  # the one routine for all pages
            assert Rates(result.n, result.auc, result.tpr_at_fpr) == expected
            assert result.tpr == expected.tpr[result.fpr]
            assert set(result.tpr_difference) == (set() if result.verdict == REFERENCE else {0.01, 0.05})
            theirs = rates(own[clean], own[poisons])
            for fpr, difference in result.tpr_difference.items():
                expected = result.tpr_at_fpr[fpr].value - theirs.tpr[fpr].value
                assert difference.value == pytest.approx(expected, abs=1e-12)
                assert difference.low <= difference.value <= difference.high
                assert difference.low < difference.high


def test_the_difference_is_paired(evidence: FilterInputs, forest_once: None) -> None:
    """A detector of the same order as the reference differs by nothing in each resample, however wide its rates'.

    Equal values are no interval: what is left open is what so few poisons leave open.
    """
    twin = replace(evidence, log_odds=5 * evidence.log_likelihood + 3)
    found = {each.key: each.overall for each in compare(twin, resamples=200)}["confidence"]
    assert found.difference.value == 0
    assert math.isnan(found.difference.low)
    assert math.isnan(found.difference.high)
    for fpr, difference in found.tpr_difference.items():
        assert difference == (0, *paired_interval(0, 0, N_POISON))
        assert found.tpr_at_fpr[fpr].high - found.tpr_at_fpr[fpr].low > difference.high - difference.low
    assert found.verdict == UNDECIDED, "eighteen poisons cannot show that two detectors are as good"


@pytest.mark.slow
def test_the_interval_of_a_difference_covers_it(two_detectors: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two detectors of correlated normal scores, whose rates at 1 and 5 % FPR are known."""
    monkeypatch.setattr("lgm.stats.bootstrap._DRAWS", 10)  # of each detector's own interval, which is not looked at
    n_clean, n_poison, runs = 400, 80, 150
    rng, covered = np.random.default_rng(2), {0.01: 0, 0.05: 0}
    labels = np.zeros(n_clean + n_poison, int)
    poisoned = np.arange(len(labels)) >= n_clean
    for _ in range(runs):
        shared, one, other = rng.standard_normal((3, len(labels)))
        own, odds = (0.8 * shared + 0.6 * noise - by * poisoned for noise, by in ((one, 2.5), (other, 2.0)))
        z = np.zeros((len(labels), 2))
        both = FilterInputs(z, labels, odds, own, poisoned, np.zeros(len(labels), bool), z, labels)
        for fpr, difference in compare(both, resamples=200)[1].overall.tpr_difference.items():
            true = norm.cdf(norm.ppf(fpr) + 2.0) - norm.cdf(norm.ppf(fpr) + 2.5)
            covered[fpr] += int(difference.low <= true <= difference.high)
    assert min(covered.values()) / runs >= 0.93


@pytest.fixture
def two_detectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """The likelihood, and the confidence, which a test can give any scores."""
    monkeypatch.setattr(
        "lgm.detection.compare.DETECTORS", {key: DETECTORS[key] for key in ("likelihood", "confidence")}
    )


@pytest.mark.parametrize(
    ("at_1", "at_5", "verdict", "as_well"),
    [
        ((0.10, 0.03, 0.20), (0.0, -0.01, 0.01), BETTER, True),
        ((0.10, 0.03, 0.20), (0.0, -0.30, 0.30), BETTER, True),
        ((-0.10, -0.20, -0.03), (0.0, -0.01, 0.01), WORSE, False),
        ((0.10, 0.03, 0.20), (-0.10, -0.20, -0.03), MIXED, True),
        ((0.0, -0.014, 0.014), (0.0, -0.01, 0.01), AS_GOOD, True),
        ((-0.01, -0.019, -0.001), (0.01, 0.001, 0.03), AS_GOOD, True),  # a difference, but none that matters
        ((0.0, -0.014, 0.014), (0.0, -0.03, 0.01), UNDECIDED, None),
        ((-0.10, -0.20, -0.01), (0.0, -0.01, 0.01), UNDECIDED, None),
    ],
)
def test_verdicts_follow_the_whole_intervals_at_both_rates(
    at_1: tuple[float, ...], at_5: tuple[float, ...], verdict: str, as_well: bool | None
) -> None:
    assert verdict_of({0.01: Estimate(*at_1), 0.05: Estimate(*at_5)}) == verdict
    assert does_as_well(verdict) is as_well
    assert does_as_well(REFERENCE) is None


def test_verdicts_are_those_of_the_rule(evidence: FilterInputs, forest_once: None) -> None:
    noise = np.random.default_rng(1).normal(size=len(evidence.labels))
    weak = replace(evidence, log_likelihood=noise, log_odds=np.where(evidence.poisoned, -9.0, noise))
    results = {each.key: each.overall for each in compare(weak, resamples=300)}
    assert (results["likelihood"].verdict, results["confidence"].verdict) == (REFERENCE, BETTER)
    strong = replace(evidence, log_likelihood=np.where(evidence.poisoned, -9.0, noise), log_odds=noise)
    results = {each.key: each.overall for each in compare(strong, resamples=300)}
    assert results["confidence"].verdict == WORSE
    for result in results.values():
        if result.verdict != REFERENCE:
            assert result.verdict == verdict_of(result.tpr_difference)


def test_the_auc_has_no_part_in_the_verdict(two_detectors: None) -> None:
    """A detector that orders most images better, and catches nothing where one would pay: its AUC is the better one."""
    rng = np.random.default_rng(3)
    n_clean, n_poison = 1000, 300
    labels = np.zeros(n_clean + n_poison, int)
    poisoned = np.arange(len(labels)) >= n_clean
    own = rng.standard_normal(len(labels)) - np.where(poisoned, np.where(rng.random(len(labels)) < 0.6, 9, 0), 0)
    odds = rng.standard_normal(len(labels)) - 2.5 * poisoned  # nearly all poisons lower than nearly all clean images
    odds[: n_clean // 10] -= 9  # but below them all a tenth of the clean images
    z = np.zeros((len(labels), 2))
    both = FilterInputs(z, labels, odds, own, poisoned, poisoned, z, labels)
    reference, other = (each.overall for each in compare(both, resamples=200))
    assert other.difference.low > 0
    assert other.verdict == WORSE
    assert reference.tpr_at_fpr[0.01].value > 0.5 > other.tpr_at_fpr[0.01].value


def test_a_network_without_a_density_is_compared_with_the_fitted_gaussian(
    evidence: FilterInputs, forest_once: None
) -> None:
    blank = replace(evidence, log_likelihood=np.full(len(evidence.labels), np.nan))
    comparisons = compare(blank, resamples=10)
    assert [each.key for each in comparisons] == list(DETECTORS)[1:]
    assert comparisons[0].overall.verdict == REFERENCE
    assert {each.against for each in comparisons} == {DETECTORS["gaussian"].title}


def test_without_collisions_there_is_one_group(evidence: FilterInputs, forest_once: None) -> None:
    comparisons = compare(replace(evidence, collided=np.zeros(len(evidence.labels), bool)), resamples=10)
    assert [each.collided for each in comparisons] == [None] * len(DETECTORS)
    assert "that collide" not in in_words(comparisons)


def test_a_comparison_is_json_and_repeats(evidence: FilterInputs, forest_once: None) -> None:
    def record(seed: int) -> list[dict[str, object]]:
        return json.loads(to_json(compare(evidence, seed, resamples=30)))

    first = record(3)
    back = [decode(Comparison, each) for each in first]
    assert encode(back) == first
    assert back[0].overall.curve is None, "curves are not stored"
    assert record(3) == first
    np.testing.assert_array_equal(FOREST(evidence), FOREST(evidence))
    assert record(4) != first
    rates_too = ("tpr", "tpr_interval", "tpr_at_fpr", "tpr_at_fpr_interval", "tpr_difference")
    for key in ("title", "auc", "auc_interval", *rates_too, "difference", "verdict", "trusts", "source"):
        assert all(key in each for each in first)


def test_nonsense_is_refused(evidence: FilterInputs, forest_once: None) -> None:
    with pytest.raises(ValueError, match="resamples: expected at least 1, got 0"):
        compare(evidence, resamples=0)
    with pytest.raises(ValueError, match=r"fpr: expected a rate in \[0, 1\], got 1.5"):
        compare(evidence, resamples=1, fpr=1.5)
    with pytest.raises(ValueError, match="poison_score: expected a non-empty"):
        compare(replace(evidence, poisoned=np.zeros(len(evidence.labels), bool)), resamples=1)


def test_words_name_all_others_by_their_verdict(evidence: FilterInputs, forest_once: None) -> None:
    found = compare(evidence, resamples=200)
    said = in_words(found).split(". Of ")[0]
    own = found[0].overall.tpr_at_fpr
    shares = [f"{100 * own[fpr].value:.1f} % at {100 * fpr:g} % FPR" for fpr in (0.01, 0.05)]
    assert said.startswith(f"Of all {N_POISON} poisons, LGM likelihood catches {shares[0]} and {shares[1]}")
    listed = {}
    for part in said.split("The others are ")[1].split("; "):
        verdict, titles = part.rstrip(".").split(": ")
        listed |= dict.fromkeys(titles.split(", "), verdict)
    assert listed == {each.title: each.overall.verdict for each in found[1:]}
    assert f"Of the {evidence.collided.sum()} that collide, " in in_words(found)


def test_the_rule_is_told_with_its_numbers() -> None:
    assert "at 1 and at 5 % FPR" in rule_in_words()
    assert "by more than 2 points" in rule_in_words()


# Evidence of a network.


def test_evidence_of_the_network_that_the_poisons_were_crafted_on() -> None:
    model, card = load_checkpoint("mnist-lgm")
    features, poisons = read_features("mnist-lgm"), read_shipped_poisons("mnist-lgm")[np.arange(30)]
    clean = features.splits["bundled"]
    found = gather_evidence(model, card, features, clean, poisons)
    scale = 2 / (np.array(card.feature_max) - card.feature_min)
    np.testing.assert_allclose(found.z, np.r_[clean.z, poisons.z] * scale, rtol=1e-5)
    np.testing.assert_allclose(found.log_likelihood, np.r_[clean.score, poisons.score], atol=1e-4)
    np.testing.assert_array_equal(found.labels, np.r_[clean.labels, poisons.labels])
    np.testing.assert_array_equal(found.poisoned, np.arange(5030) >= 5000)
    np.testing.assert_array_equal(found.collided[5000:], poisons.collided)
    assert not found.collided[:5000].any()
    np.testing.assert_array_equal(found.trusted_labels, features.splits["train"].labels)
    np.testing.assert_allclose(found.trusted_z, features.splits["train"].z * scale, rtol=1e-5)
    for i in (0, 777, 5003, 5029):
        posterior, _ = posterior_and_log_likelihood(
            model, (found.z[i] / scale).astype(np.float32), int(found.labels[i])
        )
        share = float(posterior[found.labels[i]])
        assert 1 / (1 + math.exp(-found.log_odds[i])) == pytest.approx(share, rel=1e-3, abs=1e-6)


def test_poisons_of_another_network_are_embedded_anew() -> None:
    model, card = load_checkpoint("mnist-lgm")
    features, poisons = read_features("mnist-lgm"), read_shipped_poisons("mnist-softmax")[np.arange(12)]
    found = gather_evidence(model, card, features, features.splits["bundled"], poisons)
    images, labels = torch.from_numpy(poisons.images), torch.from_numpy(poisons.labels)
    np.testing.assert_allclose(found.z[5000:], embed(model, images).numpy() * card.feature_scale, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.log_likelihood[5000:], log_likelihood(model, images, labels), atol=1e-3)
    np.testing.assert_array_equal(found.collided[5000:], poisons.collided)


def test_odds_go_on_where_the_posterior_is_rounded_to_one() -> None:
    model, card = load_checkpoint("mnist-softmax")
    features = read_features("mnist-softmax")
    poisons = read_shipped_poisons("mnist-softmax")[np.arange(12)]
    found = gather_evidence(model, card, features, features.splits["bundled"], poisons)
    assert not found.has_density
    logits = model.head.logits(torch.from_numpy(features.splits["bundled"].z)).double()
    claimed = logits[torch.arange(5000), torch.from_numpy(features.splits["bundled"].labels).long()]
    assert (claimed - logits.logsumexp(1) == 0).sum() > 100, "posteriors that tie at 1"
    assert len(np.unique(found.log_odds[:5000])) > 4900


def test_training_images_that_are_not_stored_are_embedded(tiny_lgm: object, bundled: object) -> None:
    model, card = load_checkpoint(str(tiny_lgm))
    features = read_features(str(tiny_lgm))
    assert card.config.split not in features.splits
    poisons = replace(read_shipped_poisons("mnist-lgm")[np.arange(12)], manifest={})
    found = gather_evidence(model, card, features, features.splits["bundled"], poisons)
    train = lgm.load_split(card.config.split)
    np.testing.assert_array_equal(found.trusted_labels, train.labels)
    expected = embed(model, train.pixels(slice(0, 50))).numpy() * card.feature_scale
    np.testing.assert_allclose(found.trusted_z[:50], expected, rtol=1e-4, atol=1e-5)
