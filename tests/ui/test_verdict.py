"""The words on the Defend page follow from the numbers, and claim no more than these."""

import math
from dataclasses import replace
from typing import Any

import pytest

from lgm.defense.report import DefenseReport, UntouchedBases
from lgm.experiments.board.config import BoardConfig
from lgm.experiments.board.record import BoardAttack, Cell, Control
from lgm.stats.intervals import Estimate
from tests.records import NONE, Three, defense_report
from ui import verdict

SURE = {"past": (0.7, 0.5, 0.9), "few": (0.0, 0.0, 0.04), "open": (0.1, 0.01, 0.6)}


def report(before: Three = (0.8, 0.6, 0.9), **after: Three) -> DefenseReport:
    """One whose filtered success is (share, low, high) at each rate, given as ``at_1=...`` in percent."""
    return defense_report(before, {int(name[3:]) / 100: at for name, at in (after or {"at_1": SURE["few"]}).items()})


def test_the_headline_says_both_shares_with_their_intervals() -> None:
    text = verdict.headline(report())
    assert text == "Of 20 attacks 80% (60% to 90%) succeed unfiltered, and 0% (0% to 4%) with T for 1 % FPR."


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ({}, "At 1 % FPR fewer succeed than unfiltered."),
        ({"at_1": SURE["past"]}, "At 1 % FPR attacks get past the filter."),
        ({"at_1": SURE["open"]}, "At 1 % FPR these are too few to tell."),
        (
            {"at_1": SURE["past"], "at_2": SURE["past"], "at_5": SURE["open"], "at_10": SURE["few"]},
            "At 1 % and 2 % FPR attacks get past the filter; at 10 % FPR fewer succeed than unfiltered; "
            "at 5 % FPR these are too few to tell.",
        ),
        # An attack that fails by itself says nothing of a filter, even if none gets past it.
        (
            {"before": (0.05, 0.0, 0.2), "at_1": SURE["few"]},
            "Unfiltered, too few attacks succeed to judge a filter by.",
        ),
        ({"before": NONE, "at_1": NONE}, "Unfiltered, too few attacks"),
    ],
)
def test_the_finding_follows_from_whole_intervals(numbers: dict[str, Any], expected: str) -> None:
    if numbers.get("before") is NONE:
        assert "No attack counts" in verdict.headline(replace(report(**numbers), n=0))
    assert verdict.finding(report(**numbers)).startswith(expected)


def test_what_untouched_bases_do_too_is_not_the_attacks_doing() -> None:
    bases = UntouchedBases(Estimate(0.4, 0.3, 0.55))
    alike = replace(report(at_1=SURE["past"]), untouched_bases=bases)
    assert verdict.finding(alike) == "At 1 % FPR it is open whether more succeed than with untouched bases."
    weak = replace(report(before=(0.5, 0.4, 0.6), at_1=SURE["few"]), untouched_bases=bases)
    assert verdict.finding(weak).startswith("Unfiltered, it is open whether more succeed than with untouched bases")


def test_shares_are_percentages_with_an_interval_where_there_is_one() -> None:
    assert verdict.percentages(Estimate(0.9, 0.8, 1.0)) == "90% (80% to 100%)"
    assert verdict.percentages(Estimate(0.001, math.nan, math.nan), 1) == "0.1%"  # equal values have no interval
    assert verdict.percentages(NONE) == "–"


@pytest.mark.parametrize(
    ("labels", "happened"),
    [
        ((9, 4, 4), "past"),
        ((9, 4, 9), "stopped"),
        ((9, 4, None), "stopped"),  # the filter has left nothing to train on
        ((9, 9, 9), "weak"),
        ((4, 4, 4), "weak"),  # the target was lost before any poison came
        ((9, 9, 4), "weak"),
    ],
)
def test_an_attack_ends_in_one_of_three_ways(labels: tuple[int, int, int | None], happened: str) -> None:
    assert verdict.outcome(4, 9, *labels) == happened


@pytest.mark.parametrize(
    ("happened", "before", "after", "how"),
    [
        ("stopped", 0.8, 0.0, "as in most"),
        ("past", 0.8, 0.0, "an exception"),
        ("weak", 0.9, 0.0, "an exception"),
        ("stopped", 0.8, 0.7, "an exception"),
        ("past", 0.8, 0.7, "as in most"),
        ("weak", 0.3, 0.0, "as in most"),
        ("stopped", 0.4, 0.1, "as in some"),
    ],
)
def test_the_example_is_never_left_to_contradict_the_attacks(
    happened: Any, before: float, after: float, how: str
) -> None:
    attacks = report((before, 0.1, 0.95), at_1=(after, 0.0, 0.9))
    said = f"{verdict.HERE[happened]}, {how} (of 20 attacks, {before:.0%} succeed unfiltered and {after:.0%} filtered)."
    assert verdict.beside_the_trials(happened, attacks) == said


@pytest.mark.parametrize(
    ("seen", "filtered", "said", "role"),
    [
        ((9, 4, 4), True, "Here the attack gets past the filter", "poison"),
        ((9, 9, 4), True, "Here the target turns once filtered, and not before", "poison"),  # the cell counts it
        ((9, 4, 9), True, "Here the filter stops the attack", "clean"),
        ((9, 4, None), True, "Here the filter stops the attack", "clean"),
        ((9, 9, 9), True, "Here the attack fails even without the filter", "base"),
        ((9, 4, 4), False, "Here the attack succeeds", "poison"),
        ((9, 9, 9), False, "Here the attack fails", "base"),
        ((4, 4, 4), True, "Does not count: the clean head errs already", "base"),
    ],
)
def test_an_attack_of_a_cell_ends_as_the_cell_counts_it(
    seen: tuple[int | None, ...], filtered: bool, said: str, role: str
) -> None:
    assert verdict.of_replay(4, 9, seen, filtered=filtered) == (said, role)


def cell(**changes: Any) -> Cell:
    known: dict[str, Any] = {
        "poisons": 10,
        "clean": 10,
        "filter": "knn",
        "fpr": 0.01,
        "head": "logistic",
        "n": 100,
        "hits": 0,
    }
    shares: dict[str, Any] = {
        "untouched": 0,
        "both": 0,
        "poisons_removed": 0.9,
        "clean_removed": 0.01,
        "accuracy": 0.99,
    }
    return Cell(**{**known, **shares, **changes})


def attack_with(*cells: Cell, aims_at: str = "") -> BoardAttack:
    measured: dict[str, Any] = {"targets": 90, "collided": 1.0, "passing": 0.0, "l2": 2.0, "linf": 0.5, "ssim": 0.8}
    controls = (Control(10, "logistic", 0.995),)
    return BoardAttack("edge", "nearest", aims_at=aims_at, controls=controls, cells=cells, **measured)


@pytest.mark.parametrize(
    ("defence", "unfiltered", "aims_at", "expected"),
    [
        ({}, 90, "", "**This defence is not refuted by this attacker.**"),
        ({"hits": 40}, 90, "knn", "**This defence does not stop this attacker.**"),
        (
            {"hits": 40, "accuracy": 0.9},
            90,
            "",
            "**This defence does not stop this attacker.** Accuracy is 9.5 points below the clean "
            "control's (0.5 points below without a filter).",
        ),
        (
            {},
            0,
            "likelihood",
            "**This defence is not refuted by this attacker.** Unfiltered, too few of these attacks succeed to judge a "
            "filter by. The attacker aims at another T: LGM likelihood, 1 % FPR.",
        ),
        ({"hits": 40}, 2, "knn", "**This defence does not stop this attacker.**"),
        ({"n": 0}, 90, "", "No attack counts here: the clean head gets none of these targets right."),
    ],
)
def test_a_cell_says_what_follows_what_accuracy_is_left_and_which_t_was_known(
    defence: dict[str, Any], unfiltered: int, aims_at: str, expected: str
) -> None:
    own, bare = cell(**defence), cell(filter="none", fpr=0.0, hits=unfiltered, poisons_removed=0.0)
    assert verdict.of_cell(BoardConfig(), attack_with(bare, own, aims_at=aims_at), own) == expected
