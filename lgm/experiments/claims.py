"""The paper's claims: for each the measurement, the verdict, and the rule that gives it.

Verdicts follow from whole intervals: `lgm.experiments.effects`.
Intervals are over images, pairs and attacks, for the networks at hand: another training may come out otherwise.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lgm.config import PoisonConfig
from lgm.defense.report import DefenseReport
from lgm.detection.compare import DECIDING, MARGIN, Comparison, does_as_well, rule_in_words
from lgm.detection.compare import verdict_of as compared
from lgm.detection.metrics import DetectionReport
from lgm.experiments.adaptive_rows import AdaptiveRow
from lgm.experiments.board.config import ATTACKERS, HEAD_TITLES
from lgm.experiments.board.findings import stopped
from lgm.experiments.board.record import BoardNetwork, Cell
from lgm.experiments.effects import SUCCESS, Effect, Reading, Verdict, by_readings, unless_refuted
from lgm.experiments.findings import Findings, PoisonStatistics
from lgm.experiments.matched_comparison import Matched, matched
from lgm.experiments.records import Study
from lgm.models.features import Features
from lgm.stats.intervals import Estimate, mean_interval, percentile_interval
from lgm.stats.separability import separability, separability_bootstrap

CAUGHT = 0.9  # share of the poisons that a filter must catch at the price that one would pay
COST = 0.005  # accuracy that the defence may cost
_PRICE = 0.01  # of the board's cells: as in the usual defence, and `BoardConfig.aim` of the boards that are shipped


@dataclass(frozen=True)
class Claim:
    """One of the paper's claims.

    Attributes:
        section: Of the paper.
        text: The claim.
        measured: What was measured, in a sentence with its numbers and intervals of 95 %.
        verdict: What follows by the rule.
        rule: From what to what, in a sentence.
        readings: What the verdict follows from: see `verdict_of`. () if the claim is open for want of measurements.
    """

    section: str
    text: str
    measured: str
    verdict: Verdict
    rule: str
    readings: tuple[Reading, ...] = ()


def paper_claims(
    lgm: Findings, softmax: Findings, study: Study | None = None, board: BoardNetwork | None = None
) -> list[Claim]:
    """All claims, in the order of the paper.

    Args:
        lgm: The network trained with LGM.
        softmax: The one trained without.
        study: What takes longer to measure. Without it, or where it has nothing of what a claim needs, that is open.
        board: Attackers against defences, on the network trained with LGM.

    Raises:
        ValueError: a study whose two sweeps do not fit together.
    """
    defense = study.usual_defense if study else None
    return [
        farther_apart(lgm.held_out, softmax.held_out),
        more_visible(*_equal_beta(study, lgm, softmax)),
        more_visible_when_matched(matched(study.tradeoff.lgm, study.tradeoff.softmax) if study else None),
        likelihood_separates(lgm.detection),
        filter_needs_lgm(study.other_detectors if study else []),
        filtering_prevents(defense.lgm if defense else None, defense.softmax if defense else None),
        filtering_withstands(study.frontier if study else [], board),
    ]


_FARTHER = ("4.2", "Classes lie farther apart under LGM than under softmax")


def farther_apart(lgm: Features, softmax: Features, *, seed: int = 1) -> Claim:
    """Section 4.2, on held-out features of both networks: see `separability`. Bootstrap over images within classes."""
    values = [separability(features.z, features.labels) for features in (lgm, softmax)]
    drawn = [separability_bootstrap(features.z, features.labels, seed=seed) for features in (lgm, softmax)]
    ours, theirs = (Effect(v, *percentile_interval(those)) for v, those in zip(values, drawn, strict=True))
    difference = Effect(values[0] - values[1], *percentile_interval(drawn[0] - drawn[1]))
    return _claim(
        *_FARTHER,
        measured=f"closest class means, in spreads within a class: {ours.text()} LGM, {theirs.text()} softmax; "
        f"difference {difference.text()}",
        rule="Holds if the interval of the difference lies above 0, does not hold if below.",
        readings=[Reading("closest class means in spreads, LGM less softmax", difference)],
    )


_EQUAL_BETA = ("4.3", "Poisons are more visible under LGM than under softmax at equal β")
_EQUAL_BETA_RULE = (
    "Over the same pairs: holds if the interval of the mean difference says more visible, by L2 and, where measured, "
    "by structural similarity (SSIM); under conditions if by one of them and the other says neither; does not hold if "
    "one says less."
)


def more_visible(lgm: PoisonStatistics | None, softmax: PoisonStatistics | None) -> Claim:
    """Section 4.3, as the paper compares: at one beta. Open unless both are of the same pairs and the same beta."""
    if lgm is None or softmax is None:
        return _open(*_EQUAL_BETA, _EQUAL_BETA_RULE)
    same = all(np.array_equal(getattr(lgm, name), getattr(softmax, name)) for name in ("beta", "bases", "targets"))
    if not same:
        why = "the networks' poisons are of other pairs or another β: craft both with the same seed and β"
        return _open(*_EQUAL_BETA, _EQUAL_BETA_RULE, why)
    difference = Effect(*mean_interval((lgm.l2 - softmax.l2).astype(np.float64)))
    readings = [Reading(f"L2 at β = {lgm.beta:g}, LGM less softmax", difference)]
    measured = (
        f"mean L2 at β = {lgm.beta:g}, {len(lgm.l2)} pairs: {lgm.l2.mean():.2f} LGM, {softmax.l2.mean():.2f} softmax; "
        f"difference {difference.text()}"
    )
    if lgm.ssim is not None and softmax.ssim is not None:
        readings.append(Reading("SSIM, softmax less LGM", Effect(*mean_interval(softmax.ssim - lgm.ssim))))
        measured += f"; SSIM {lgm.ssim.mean():.2f} and {softmax.ssim.mean():.2f}, softmax less LGM {readings[1].text()}"
    measured += f"; but they collide in {lgm.collided.mean():.0%} and {softmax.collided.mean():.0%} of the cases"
    return _claim(*_EQUAL_BETA, measured, _EQUAL_BETA_RULE, readings)


_MATCHED = ("4.3", "Poisons that collide are more visible under LGM than under softmax")
_MATCHED_RULE = (
    "Each pair at the least change with which it collides: holds if the interval of the median difference says more "
    "visible by L2 and by SSIM; under conditions if by one of them and the other says neither; does not hold if one "
    "says less."
)


def more_visible_when_matched(comparison: Matched | None) -> Claim:
    """Section 4.3 at matched collision. Open without a comparison, or if no pair collides."""
    if comparison is None or not comparison.n:
        return _open(*_MATCHED, _MATCHED_RULE)
    readings = [
        Reading("median L2, LGM less softmax", Effect(*comparison.l2)),
        Reading("median SSIM, softmax less LGM", Effect(*comparison.ssim)),
    ]
    half = next(row for row in comparison.rows() if row.share == 0.5)
    measured = (
        f"L2 with which half of the pairs collide: {Effect(*half.lgm).text()} LGM, {Effect(*half.softmax).text()} "
        f"softmax; median difference {readings[0].text()}, in SSIM, softmax less LGM, {readings[1].text()}; LGM needs "
        f"more in {Effect(*comparison.share_more).percent()} of {comparison.n} pairs"
        + (f", {comparison.neither} more collide on neither" if comparison.neither else "")
    )
    return _claim(*_MATCHED, measured, _MATCHED_RULE, readings)


_SEPARATES = ("4.4", "Likelihood tells poisons from clean images")
_SEPARATES_RULE = (
    f"Holds if at 1 % and at 5 % false positives more than {CAUGHT:.0%} are caught, of all poisons and of those that "
    "collide; under conditions if in some of the four cases and the others are not shown to be less; does not hold if "
    "one is shown to be less: by whole intervals, in which clean images and poisons are drawn anew."
)


def likelihood_separates(report: DetectionReport | None) -> Claim:
    """Section 4.4, at the rates of `DECIDING`. Open without a report."""
    if report is None:
        return _open(*_SEPARATES, _SEPARATES_RULE)
    readings, parts = [], []
    groups = (
        ("all", report.poisons, report.auc, report.tpr_at_fpr),
        ("the colliding", report.collided, report.auc_collided, report.tpr_at_fpr_collided),
    )
    for name, n, auc, tpr in groups:
        caught = [Effect(*at, bound=CAUGHT) for at in (tpr[fpr] for fpr in DECIDING) if at is not None]
        if not caught or auc is None:
            continue
        readings += [
            Reading(f"of {name} caught at {100 * fpr:g} % FPR", effect, "percent")
            for fpr, effect in zip(DECIDING, caught, strict=True)
        ]
        parts.append(
            f"of {name} {n} poisons {caught[0].percent()} are caught at 1 % false positives, {caught[1].percent()} at "
            f"5 % (AUC {Effect(*auc).text(4)})"
        )
    return _claim(*_SEPARATES, "; ".join(parts), _SEPARATES_RULE, readings)


_NEEDS = ("4.4", "Nothing simpler filters as well as likelihood under LGM")
_NEEDS_RULE = (
    "Does not hold if one other filter is better or as good, not refuted by these if all are worse; else open: "
    + rule_in_words()
)


def filter_needs_lgm(others: Sequence[Comparison]) -> Claim:
    """What the paper implies by training a network for it. Open without ``others`` than the likelihood."""
    if not others:
        return _open(*_NEEDS, _NEEDS_RULE)
    as_well = {other.title: does_as_well(other.overall.verdict) for other in others}
    good, worse = ([title for title, known in as_well.items() if known is which] for which in (True, False))
    undecided = [title for title, known in as_well.items() if known is None]
    named = {"better or as good": good, "worse": worse, "not decided": undecided}
    measured = f"of {len(others)} others " + "; ".join(
        f"{word}: {', '.join(titles)}" for word, titles in named.items() if titles
    )
    readings = [
        Reading(
            f"{other.title} catches more, in points, at {100 * fpr:g} % FPR",
            Effect(*other.overall.tpr_difference[fpr], bound=-MARGIN, side="below"),
            "points",
        )
        for other in others
        for fpr in DECIDING
    ]
    return _claim(*_NEEDS, measured, _NEEDS_RULE, readings)


def _nothing_filters_as_well(differences: Sequence[Effect]) -> Verdict:
    """From what each other filter catches more than the likelihood, at each of the deciding rates in turn."""
    each = [differences[i : i + len(DECIDING)] for i in range(0, len(differences), len(DECIDING))]
    as_well = [
        does_as_well(compared({fpr: Estimate(d.value, d.low, d.high) for fpr, d in zip(DECIDING, of, strict=True)}))
        for of in each
    ]
    return "does not hold" if True in as_well else "open" if None in as_well or not as_well else "not refuted"


_PREVENTS = ("5", "Filtering by likelihood under LGM prevents the attack")
_PREVENTS_RULE = (
    f"Open unless the attack succeeds in more than {SUCCESS:.0%} unfiltered. Then success decides: does not hold if "
    f"the filter leaves more than {SUCCESS:.0%}, holds if less, both by whole intervals, else open. A cost that is not "
    f"shown to stay below {100 * COST:g} points of accuracy lowers it to under conditions. All of it is for this "
    "attack: random targets, a new head on frozen features, a non-adaptive attacker."
)


def filtering_prevents(lgm: DefenseReport | None, softmax: DefenseReport | None) -> Claim:
    """The conclusion, by non-adaptive attackers.

    The verdict is on LGM; what a density fitted afterwards does for softmax stands beside it. Open without either.
    """
    if not (lgm and softmax and lgm.n and softmax.n):
        return _open(*_PREVENTS, _PREVENTS_RULE)
    before, after = _success(lgm.attack_success.unfiltered), _success(lgm.attack_success.filtered)
    cost = Effect(*lgm.accuracy_lost.filtered, bound=COST, side="below")
    poisoned = lgm.poisons_total / (lgm.poisons_total + lgm.clean_total)
    measured = (
        f"attack success unfiltered {before.percent()}, filtered {after.percent()} of {lgm.n} attacks in which "
        f"{poisoned:.0%} of the data are poisons, {cost.points()} points of accuracy lost; softmax "
        f"{_success(softmax.attack_success.unfiltered).percent()}, filtered by a Gaussian fitted afterwards "
        f"{_success(softmax.attack_success.filtered).percent()}"
    )
    readings = [
        Reading("attack success, unfiltered", before, "percent"),
        Reading("filtered", after, "percent"),
        Reading("accuracy lost, in points", cost, "points"),
    ]
    return _claim(*_PREVENTS, measured, _PREVENTS_RULE, readings)


def _prevented(readings: Sequence[Effect]) -> Verdict:
    """By attack success before and after the filter, and its cost. Success decides; cost can only lower."""
    if not readings:
        return "open"
    before, after, cost = readings
    if before.sign >= 0 or not after.sign:  # the bound is the claim's: an attack above it is not prevented
        return "open"
    if after.sign < 0:
        return "does not hold"
    cheap = cost.sign > 0 or (math.isnan(cost.low) and cost.value < COST)  # no interval where all trials cost the same
    return "holds" if cheap else "holds under conditions"


_WITHSTANDS = ("5", "The filter withstands an attacker who knows of it")
_WITHSTANDS_RULE = (
    f"Does not hold if filtered attack success is above {SUCCESS:.0%} for one of the attackers: weights γ that passing "
    "the filter has, with random targets; and, where the board (docs/board.md) was measured, all who know T there, "
    "on each head, for two classes and for all, in the budget with most poisons for a clean image, T for 1 %, if the "
    "poisons do it more often than untouched bases too. Not refuted by these attackers if below for all; else open: by "
    "whole intervals. Where the board was not measured, an attacker who takes the target nearest to the mean of the "
    "base's class and puts poisons at the edge of what T lets pass is not among them."
)


def filtering_withstands(frontier: Sequence[AdaptiveRow], board: BoardNetwork | None = None) -> Claim:
    """What the paper's conclusion needs and does not test. Open without a frontier, which has an attacker a row."""
    if not frontier:
        return _open(*_WITHSTANDS, _WITHSTANDS_RULE)
    readings = [
        Reading(f"filtered attack success at γ = {row.gamma:g}", _success(row.attack_success), "percent")
        for row in frontier
    ]
    worst = max(range(len(readings)), key=lambda i: readings[i].effect.value)
    gammas = ", ".join(f"{row.gamma:g}" for row in frontier)
    measured = (
        f"attackers with γ = {gammas} and random targets; the worst, γ = {frontier[worst].gamma:g}: filtered attack "
        f"success {readings[worst].text()}"
    )
    if knowing := _past_the_filter(board):
        readings += [Reading(name, stopped(cell), "percent") for name, cell in knowing]
        name, cell = min(knowing, key=lambda row: (stopped(row[1]).sign, -row[1].attack_success.value))
        measured += (
            f"; of {len(knowing)} cells of the board, the worst, {name}: {_success(cell.attack_success).percent()}, "
            f"with untouched bases {_success(cell.untouched_bases).percent()}"
        )
    return _claim(*_WITHSTANDS, measured, _WITHSTANDS_RULE, readings)


def _past_the_filter(board: BoardNetwork | None) -> list[tuple[str, Cell]]:
    """The cells of all on the board who know T at `_PRICE`, against that filter, and what they are called."""
    if board is None or not board.attacks:
        return []
    found = [
        (f"{row.attacker} with {row.choice} targets on {title}", row.cell(board.heaviest, row.aims_at, _PRICE, head))
        for row in board.attacks
        if row.aims_at == board.density and ATTACKERS[row.attacker].rate in (None, _PRICE)
        for head, title in HEAD_TITLES.items()
    ]
    return [(name, cell) for name, cell in found if cell is not None]


def _equal_beta(
    study: Study | None, lgm: Findings, softmax: Findings
) -> tuple[PoisonStatistics | None, PoisonStatistics | None]:
    """From the sweeps at the paper's beta, where structural similarity is measured too; else from the poisons."""
    if study is not None:
        beta, sweeps = PoisonConfig().beta, study.tradeoff
        return PoisonStatistics.of_tradeoff(sweeps.lgm, beta), PoisonStatistics.of_tradeoff(sweeps.softmax, beta)
    if lgm.poisons is None or softmax.poisons is None:
        return None, None
    return PoisonStatistics.of_poisons(lgm.poisons), PoisonStatistics.of_poisons(softmax.poisons)


def _success(share: Estimate) -> Effect:
    return Effect(*share, bound=SUCCESS, side="below")


def _claim(section: str, text: str, measured: str, rule: str, readings: Sequence[Reading]) -> Claim:
    verdict = verdict_of(text, [reading.effect for reading in readings])
    return Claim(section, text, measured, verdict, rule, tuple(readings))


def _open(section: str, text: str, rule: str, why: str = "not measured yet") -> Claim:
    return Claim(section, text, why, "open", rule)


_RULES: dict[str, Callable[[Sequence[Effect]], Verdict]] = {
    _FARTHER[1]: by_readings,
    _EQUAL_BETA[1]: by_readings,
    _MATCHED[1]: by_readings,
    _SEPARATES[1]: by_readings,
    _NEEDS[1]: _nothing_filters_as_well,
    _PREVENTS[1]: _prevented,
    _WITHSTANDS[1]: unless_refuted,
}


def verdict_of(text: str, readings: Sequence[Effect]) -> Verdict:
    """What follows for the claim of this text from its readings, in the order of `Claim.readings`.

    Raises:
        KeyError: there is no such claim.
    """
    return _RULES[text](readings)
