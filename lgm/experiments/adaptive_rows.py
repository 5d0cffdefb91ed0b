"""Adaptive attacks of rising weight: a row each, and what they mean together."""

from collections.abc import Sequence
from dataclasses import dataclass

from lgm.defense.report import DefenseReport, Success
from lgm.experiments.effects import SUCCESS
from lgm.stats.intervals import Estimate
from lgm.utils.codec import WithInterval


@dataclass(frozen=True)
class AdaptiveRow:
    """What an attacker of one gamma achieves. Shares in [0, 1], intervals of 95 %, over trials.

    Attributes:
        gamma: Weight that the attacker gives to passing the filter.
        threshold: T in nats, the median over trials.
        n: Targets that count; see `lgm.defense.report.ATTACK_SUCCESS`.
        attack_success: With the filter; NaN if no target counts.
        unfiltered: Attack success without it.
        poisons: How many, over all trials.
        collided: Share of them that the network takes for the target's class; NaN without poisons.
        detected: Share of them that the filter removes.
    """

    gamma: float
    threshold: float
    n: int
    attack_success: Success[Estimate]
    unfiltered: WithInterval[Estimate]
    poisons: int
    collided: float
    detected: WithInterval[Estimate]


def adaptive_row(report: DefenseReport) -> AdaptiveRow:
    """The row of an experiment with one gamma."""
    return AdaptiveRow(
        gamma=report.config.gamma,
        threshold=report.threshold,
        n=report.n,
        attack_success=report.attack_success.filtered,
        unfiltered=report.attack_success.unfiltered,
        poisons=report.poisons_total,
        collided=report.collided,
        detected=report.filtered.poisons_share,
    )


def frontier_meaning(rows: Sequence[AdaptiveRow]) -> str:
    """What a frontier says, in a sentence that follows from its numbers."""
    if not all(row.n and row.poisons for row in rows):
        return "Nothing can be said: without poisons, or with targets that the clean control already misclassifies."
    unaware, worst = rows[0], max(rows, key=lambda row: (row.attack_success.value, row.attack_success.high))
    past, passed = min(rows, key=lambda row: row.detected.value), worst.attack_success
    got = f"in the worst case {passed.value:.0%} ({passed.low:.0%} to {passed.high:.0%}) of the attacks pass the filter"
    at = f"at γ = {worst.gamma:g}, against {unaware.unfiltered.value:.0%} without any filter"
    if any(row.attack_success.low > SUCCESS for row in rows):
        verdict = "The filter fails against at least one of these attackers"
    elif all(row.attack_success.high < SUCCESS for row in rows):
        verdict = f"Not refuted by these {len(rows)} attackers, which is no proof"
    else:
        verdict = "Not enough attacks to tell whether the filter fails"
    caught = f"the most evasive ones (γ = {past.gamma:g}) are caught in {past.detected.value:.0%} of the cases"
    return f"{verdict}; {got}, {at}; {caught} and {past.collided:.0%} of their poisons still collide."
