"""Adaptive attacks of rising weight: a row each, and what they mean together."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lgm.experiments.claims import SUCCESS
from lgm.utils.json import plain

if TYPE_CHECKING:  # to read a study needs no torch
    from lgm.defense.report import DefenseReport


def frontier_row(report: "DefenseReport") -> dict[str, Any]:
    """What an attacker of one gamma achieves: attack success after filtering, before it, and the share caught."""
    success, interval, caught = report.attack_success, report.interval, report.filtered.poisons_share
    return plain(
        {
            "gamma": report.config.gamma,
            "threshold": report.filtered.threshold,
            "n": report.n,
            "attack_success": success["filtered"],
            "interval": interval["filtered"],
            "unfiltered": success["unfiltered"],
            "unfiltered_interval": interval["unfiltered"],
            "poisons": report.poisons_total,
            "collided": report.collided,
            "detected": caught.value,
            "detected_interval": caught[1:],
        }
    )


def frontier_meaning(rows: Sequence[dict[str, Any]]) -> str:
    """What a frontier says, in a sentence that follows from its numbers."""
    if not all(row["n"] and row["poisons"] for row in rows):
        return "Nothing can be said: without poisons, or with targets that the clean control already misclassifies."
    unaware, worst = rows[0], max(rows, key=lambda row: (row["attack_success"], row["interval"][1]))
    past = min(rows, key=lambda row: row["detected"])
    low, high = worst["interval"]
    got = f"in the worst case {worst['attack_success']:.0%} ({low:.0%} to {high:.0%}) of the attacks pass the filter"
    at = f"at γ = {worst['gamma']:g}, against {unaware['unfiltered']:.0%} without any filter"
    if any(row["interval"][0] > SUCCESS for row in rows):
        verdict = "The filter fails against at least one of these attackers"
    elif all(row["interval"][1] < SUCCESS for row in rows):
        verdict = f"Not refuted by these {len(rows)} attackers, which is no proof"
    else:
        verdict = "Not enough attacks to tell whether the filter fails"
    caught = f"the most evasive ones (γ = {past['gamma']:g}) are caught in {past['detected']:.0%} of the cases"
    return f"{verdict}; {got}, {at}; {caught} and {past['collided']:.0%} of their poisons still collide."
