"""Verdicts follow from intervals; what is measured is what the arrays say."""

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_rel

import lgm.experiments.records
from lgm.attacks.result import read_shipped_poisons
from lgm.config import ATTACK_REVISION, DefenseConfig
from lgm.defense.report import DefenseReport
from lgm.detection.metrics import detection_report
from lgm.experiments.beta_sweep import Tradeoff
from lgm.experiments.board.record import Board, BoardAttack, read_board, stored_network
from lgm.experiments.claims import (
    farther_apart,
    filter_needs_lgm,
    filtering_prevents,
    filtering_withstands,
    likelihood_separates,
    more_visible,
    more_visible_when_matched,
    paper_claims,
)
from lgm.experiments.effects import Effect, by_readings, unless_refuted
from lgm.experiments.findings import Findings, PoisonStatistics
from lgm.experiments.matched_comparison import matched
from lgm.experiments.records import Baselines, ByLoss, read_study
from lgm.models.features import Features, read_features
from lgm.models.registry import read_card
from lgm.stats.intervals import outward, percent_text
from tests.records import Three, adaptive_row, comparison, defense_report
from tests.sweeps import sweep_of

FOR, AGAINST, NEITHER = Effect(2, 1, 3), Effect(-2, -3, -1), Effect(0, -1, 1)


@pytest.mark.parametrize(
    ("reading", "sign"),
    [
        (Effect(0.5, 0.4, 0.6, bound=0.3), 1),
        (Effect(0.5, 0.4, 0.6, bound=0.5), 0),
        (Effect(0.5, 0.4, 0.6, bound=0.4), 0),  # the bound itself is on neither side
        (Effect(0.5, 0.4, 0.6, bound=0.7), -1),
        (Effect(0.5, 0.4, 0.6, bound=0.3, side="below"), -1),
        (Effect(0.5, 0.4, 0.6, bound=0.5, side="below"), 0),
        (Effect(0.5, 0.4, 0.6, bound=0.7, side="below"), 1),
        (Effect(np.inf, np.inf, np.inf), 1),
        (Effect(0.5, 0.5, 0.5, bound=0.3), 0),  # equal values, an interval of no width: none at all
        (Effect(np.nan, np.nan, np.nan), 0),
    ],
)
def test_a_reading_supports_only_with_its_whole_interval(reading: Effect, sign: int):
    assert reading.sign == sign


@pytest.mark.parametrize(
    ("readings", "by_each", "of_nothing_does"),
    [
        ([FOR, FOR], "holds", "not refuted"),
        ([FOR, NEITHER], "holds under conditions", "open"),
        ([FOR, AGAINST], "does not hold", "does not hold"),
        ([FOR, FOR, FOR, AGAINST, NEITHER], "does not hold", "does not hold"),
        ([NEITHER, AGAINST], "does not hold", "does not hold"),
        ([AGAINST], "does not hold", "does not hold"),
        ([NEITHER, NEITHER], "open", "open"),
        ([], "open", "open"),
    ],
)
def test_verdicts(readings: list[Effect], by_each: str, of_nothing_does: str):
    for order in (readings, readings[::-1]):
        assert (by_readings(order), unless_refuted(order)) == (by_each, of_nothing_does)


def crafted(l2: np.ndarray, ssim: np.ndarray | None = None, beta: float = 8e-3) -> PoisonStatistics:
    at = np.arange(len(l2))
    return PoisonStatistics(beta, at, at + 100, at % 4 > 0, l2, ssim)


@pytest.mark.parametrize(
    ("more_l2", "less_ssim", "verdict"),
    [
        (0.5, 0.1, "holds"),
        (0.5, 0.0, "holds under conditions"),
        (0.5, -0.1, "does not hold"),
        (-0.5, 0.0, "does not hold"),
        (0.0, 0.0, "open"),
    ],
)
def test_visibility_at_equal_beta(more_l2: float, less_ssim: float, verdict: str, rng: np.random.Generator):
    theirs = crafted(rng.normal(3, 1, 40), rng.normal(0.7, 0.1, 40))
    noise = rng.permutation(np.tile([-1, 1], 20)) * 0.01  # of mean 0, so that a difference of 0 is none
    assert theirs.ssim is not None
    ours = crafted(theirs.l2 + more_l2 + noise, theirs.ssim - less_ssim + noise)
    claim = more_visible(ours, theirs)
    assert claim.verdict == verdict
    interval = ttest_rel(ours.l2, theirs.l2).confidence_interval()
    assert f"{ours.l2.mean():.2f} LGM, {theirs.l2.mean():.2f} softmax; difference " in claim.measured
    low, high = map(float, re.findall(r"difference \S+ \((\S+) to (\S+)\)", claim.measured)[0])
    assert low <= interval.low <= low + 0.001, "rounded so that it only grows"
    assert high - 0.001 <= interval.high <= high
    assert "collide in 75% and 75%" in claim.measured


def test_other_pairs_or_betas_are_not_compared(rng: np.random.Generator):
    one, other = crafted(rng.normal(9, 1, 20)), crafted(rng.normal(2, 1, 20))
    assert more_visible(one, other).verdict == "holds"
    changes: list[dict[str, Any]] = [{"beta": 1e-3}, {"bases": one.bases[::-1]}, {"targets": one.targets + 1}]
    for change in changes:
        claim = more_visible(one, replace(other, **change))
        assert claim.verdict == "open"
        assert "other pairs or another β" in claim.measured
    assert more_visible(None, other).measured == "not measured yet"


@pytest.mark.parametrize(("factor", "verdict"), [(2.0, "holds"), (0.5, "does not hold"), (1.0, "open")])
def test_visibility_when_matched(factor: float, verdict: str, rng: np.random.Generator):
    l2 = rng.uniform(2, 3, (1, 60))
    even = rng.permutation(np.tile([1.1, 1 / 1.1], 30))  # without a factor, as many pairs need more as less
    comparison = matched(sweep_of(np.ones((1, 60)), factor * l2 * even), sweep_of(np.ones((1, 60)), l2))
    claim = more_visible_when_matched(comparison)
    assert claim.verdict == verdict
    assert f"of {comparison.n} pairs" in claim.measured
    assert f"median difference {comparison.l2[0]:.2f} (" in claim.measured
    assert more_visible_when_matched(None).verdict == "open"


def features(means: float, rng: np.random.Generator) -> Features:
    labels = np.repeat([0, 1, 2], 40).astype(np.uint8)
    z = rng.standard_normal((120, 2)) + means * np.array([[0, 0], [1, 0], [0, 1]])[labels]
    return Features(z.astype(np.float32), labels, labels, np.zeros(120, np.float32))


@pytest.mark.parametrize(("ours", "verdict"), [(9.0, "holds"), (2.0, "does not hold"), (5.0, "open")])
def test_distance_of_classes(ours: float, verdict: str, rng: np.random.Generator):
    theirs = features(5, rng)
    claim = farther_apart(theirs if ours == 5 else features(ours, rng), theirs)
    assert claim.verdict == verdict


@pytest.mark.parametrize(
    ("apart", "collided", "verdict"),
    [(6.0, 100, "holds"), (0.0, 100, "does not hold"), (6.0, 0, "holds"), (3.7, 100, "open")],
)
def test_likelihood(apart: float, collided: int, verdict: str, rng: np.random.Generator):
    clean, poisons = rng.standard_normal(500), rng.standard_normal(200) - apart
    report = detection_report(clean, poisons, np.arange(200) < collided, 0.01)
    claim = likelihood_separates(report)
    assert claim.verdict in {"open": ("open", "holds under conditions")}.get(verdict, (verdict,))
    tpr, low, high = report.tpr_at_fpr[0.01]
    ends = "{} to {}".format(*outward(100 * low, 100 * high, 1))
    assert f"of all 200 poisons {percent_text(tpr)} ({ends}) are caught at 1 % false positives" in claim.measured
    assert f"(AUC {report.auc.value:.4f} (" in claim.measured
    assert ("the colliding" in claim.measured) == (collided > 0)


def test_a_high_auc_does_not_outvote_a_low_rate(rng: np.random.Generator):
    """AUC of .96, of which 1 % false positives catch a third: what counts is what one would pay."""
    clean, poisons = rng.standard_normal(5000), rng.standard_normal(500) - 2.5
    report = detection_report(clean, poisons, np.full(500, True), 0.01)
    assert report.auc.low > 0.9
    assert likelihood_separates(report).verdict == "does not hold"


def test_poisons_that_do_not_collide_count_too(rng: np.random.Generator):
    poisons = np.r_[rng.standard_normal(60) - 9, rng.standard_normal(60)]
    report = detection_report(rng.standard_normal(500), poisons, np.arange(120) < 60, 0.01)
    assert likelihood_separates(report).verdict == "does not hold"


def defended(
    before: Three = (0.7, 0.6, 0.8), after: Three = (0.0, 0.0, 0.04), lost: Three = (0.0, -0.001, 0.001), n: int = 100
) -> DefenseReport:
    return defense_report(before, {0.01: after}, lost=lost, n=n, totals=(1000, 2000))


@pytest.mark.parametrize(
    ("report", "verdict"),
    [
        (defended(), "holds"),
        (defended(before=(0.05, 0.02, 0.1)), "open"),  # nothing to prevent
        (defended(lost=(0.02, 0.01, 0.03)), "holds under conditions"),
        (defended(lost=(0.005, 0.0, 0.01)), "holds under conditions"),  # a cost that is not shown to be small
        (defended(lost=(0.0, math.nan, math.nan)), "holds"),  # the same in every trial, and nothing
        (defended(lost=(0.02, math.nan, math.nan)), "holds under conditions"),
        (defended(after=(0.3, 0.2, 0.4)), "does not hold"),  # costs nothing, and does not prevent
        (defended(before=(1, 0.96, 1), after=(1, 0.96, 1), lost=(0.0, math.nan, math.nan)), "does not hold"),
        (defended(after=(0.3, 0.2, 0.4), lost=(0.005, 0.0, 0.01)), "does not hold"),
        (defended(after=(0.04, 0.02, 0.1)), "open"),
        (defended(after=(0.04, 0.02, 0.1), lost=(0.005, 0.0, 0.01)), "open"),
        (defended(n=0), "open"),
    ],
)
def test_prevention(report: DefenseReport, verdict: str):
    assert filtering_prevents(report, defended()).verdict == verdict
    assert filtering_prevents(report, None).verdict == "open"


def test_prevention_says_what_both_reports_say():
    measured = filtering_prevents(defended(), defended(after=(0.02, 0.006, 0.07))).measured
    assert "unfiltered 70.0 % (60.0 to 80.0), filtered 0.0 % (0.0 to 4.0) of 100 attacks in which 33% of" in measured
    assert "fitted afterwards 2.0 % (0.6 to 7.0)" in measured


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (("worse", "worse"), "not refuted"),
        (("worse", "as good"), "does not hold"),
        (("not decided", "better"), "does not hold"),
        (("worse", "not decided"), "open"),
        ((), "open"),
    ],
)
def test_whether_something_simpler_does(verdicts: tuple[str, ...], expected: str):
    claim = filter_needs_lgm([comparison(name, verdict) for name, verdict in zip("ab", verdicts, strict=False)])
    assert claim.verdict == expected
    if verdicts:
        assert claim.measured.startswith("of 2 others ")
        assert len(claim.readings) == 4, "each of the others at both rates"
        named = {"worse": "worse", "as good": "better or as good", "better": "better or as good"}
        assert f"{named.get(verdicts[1], verdicts[1])}: " in claim.measured
    assert filter_needs_lgm([]).verdict == "open"


@pytest.mark.parametrize(
    ("worst", "verdict"),
    [((0.01, 0, 0.04), "not refuted"), ((0.4, 0.3, 0.5), "does not hold"), ((0.06, 0.03, 0.1), "open")],
)
def test_an_attacker_who_knows_chooses_gamma(worst: Three, verdict: str):
    held = (0.0, 0.0, 0.03)
    claim = filtering_withstands([adaptive_row(0, held), adaptive_row(0.1, worst), adaptive_row(1, held)])
    assert claim.verdict == verdict
    assert "attackers with γ = 0, 0.1, 1 and random targets; the worst, γ = 0.1:" in claim.measured
    assert "an attacker who takes the target nearest to the mean of the base" in claim.rule, (
        "what was not tried is said"
    )
    assert filtering_withstands([]).verdict == "open"


@pytest.fixture(scope="module")
def board() -> Board:
    """That of MNIST."""
    found = read_board("mnist")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("hits", "untouched", "verdict"),
    [(0, 0, "not refuted"), (5, 0, "open"), (24, 2, "does not hold"), (24, 20, "open")],
)
def test_an_attacker_on_the_board_who_knows_t_refutes_it_too(board: Board, hits: int, untouched: int, verdict: str):
    network = board.networks[0]

    def with_hits(attack: BoardAttack) -> BoardAttack:
        """Those who know T have these; the others succeed always, and say nothing of an attacker who knows."""
        counts = {
            "n": 100,
            "hits": hits if attack.aims_at == network.density else 100,
            "untouched": untouched,
            "both": 0,
        }
        cells = (replace(cell, **counts) for cell in attack.cells)
        return replace(attack, cells=tuple(cells))

    changed = replace(network, attacks=tuple(map(with_hits, network.attacks)))
    claim = filtering_withstands([adaptive_row(0, (0.0, 0.0, 0.03))], changed)
    assert claim.verdict == verdict
    worst = f"of 36 cells of the board, the worst, hinge with random targets on logistic regression: {hits}.0 %"
    assert worst in claim.measured


def test_the_board_of_other_weights_or_of_an_older_attack_says_nothing(monkeypatch: pytest.MonkeyPatch):
    weights = read_card("mnist-lgm").weights_sha256
    assert stored_network("mnist", weights) is not None
    assert stored_network("mnist", "0" * 64) is None
    monkeypatch.setattr(lgm.experiments.records, "ATTACK_REVISION", ATTACK_REVISION + 1)
    assert stored_network("mnist", weights) is None


def shipped(name: str) -> Findings:
    found, poisons = read_features(name), read_shipped_poisons(name)
    return Findings(found.splits["bundled"], poisons, found.splits[poisons.manifest["split"]])


@pytest.mark.parametrize("dataset", ["mnist", "cifar10"])
def test_who_knows_t_on_a_shipped_board_knows_that_of_the_usual_defence(dataset: str):
    board = read_board(dataset)
    assert board is not None
    assert board.config.aim == DefenseConfig().fpr


def test_what_is_shipped_judges_two_claims_and_a_study_the_others(rng: np.random.Generator):
    sides = shipped("mnist-lgm"), shipped("mnist-softmax")
    claims = paper_claims(*sides)
    assert [claim.verdict == "open" for claim in claims] == [False, True, True, False, True, True, True]
    assert "difference -0.04 (-0.16 to 0.07)" in claims[1].measured
    betas = [8e-3, 1e-1]
    sweeps = [sweep_of(np.ones((2, 9)), level * rng.uniform(1, 1.2, (2, 9)), betas=betas) for level in (4.0, 1.0)]
    stored = read_study("mnist")
    assert stored is not None
    models = stored.about.models
    study = replace(
        stored,
        tradeoff=ByLoss(*sweeps),
        defense=[replace(defended(), model=model) for model in (models.lgm, models.softmax)],
        baselines=[Baselines("lgm", "lgm", [comparison("a", "worse")])],
        frontier=[adaptive_row(1, (0.4, 0.3, 0.5))],
    )
    judged = paper_claims(*sides, study)
    assert [claim.verdict for claim in judged][1:3] == ["holds", "holds"]
    assert "SSIM" in judged[1].measured
    assert [claim.verdict for claim in judged][4:] == ["not refuted", "holds", "does not hold"]
    assert [claim.text for claim in judged] == [claim.text for claim in claims]
    nothing = replace(study, defense=[], baselines=[], frontier=[])
    assert [claim.verdict for claim in paper_claims(*sides, nothing)][4:] == ["open"] * 3


def test_networks_without_poisons_leave_claims_open():
    ours, theirs = (replace(shipped(name), poisons=None, clean=None) for name in ("mnist-lgm", "mnist-softmax"))
    assert [claim.verdict for claim in paper_claims(ours, theirs)][1:] == ["open"] * 6


def test_a_sweep_gives_the_pairs_of_one_beta():
    sweep: Tradeoff = sweep_of([[1, 0], [0, 0]], [[1.0, 2.0], [3.0, 4.0]], betas=[1e-3, 8e-3])
    one = PoisonStatistics.of_tradeoff(sweep, 8e-3)
    assert (one.beta, one.l2.tolist(), one.collided.tolist()) == (8e-3, [3, 4], [False, False])
