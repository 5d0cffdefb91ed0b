"""The words on the Defend page follow from the numbers, and claim no more than these."""

from typing import Any

import pytest

from ui import verdict

SURE = {"past": (0.7, 0.5, 0.9), "few": (0.0, 0.0, 0.04), "open": (0.1, 0.01, 0.6)}


def report(before: Any = (0.8, 0.6, 0.9), **after: Any) -> verdict.Report:
    """One whose filtered success is (share, low, high) at each rate, given as ``at_1=...`` in percent."""
    rates = {f"{int(name[3:]) / 100:g}": value for name, value in (after or {"at_1": SURE["few"]}).items()}
    by_fpr = {
        rate: {
            "attack_success": share,
            "interval": [low, high],
            "poisons_share": 0.9,
            "poisons_share_interval": [0.8, 1.0],
            "clean_share": 0.01,
            "clean_share_interval": [0.0, 0.02],
            "accuracy_lost": 0.001,
            "accuracy_lost_interval": [None, None],
        }
        for rate, (share, low, high) in rates.items()
    }
    first = by_fpr["0.01"]
    return {
        "n": 20,
        "fpr": 0.01,
        "attack_success": {"unfiltered": before[0], "filtered": first["attack_success"]},
        "interval": {"unfiltered": list(before[1:]), "filtered": first["interval"]},
        "accuracy_lost": {"unfiltered": 0.1, "filtered": 0.001},
        "accuracy_lost_interval": {"unfiltered": [0.05, 0.15], "filtered": [None, None]},
        "by_fpr": by_fpr,
    }


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
        ({"before": (None, None, None), "at_1": (None, None, None)}, "Unfiltered, too few attacks"),
    ],
)
def test_the_finding_follows_from_whole_intervals(numbers: dict[str, Any], expected: str) -> None:
    if numbers.get("before") == (None, None, None):
        assert "No attack counts" in verdict.headline(report(**numbers) | {"n": 0})
    assert verdict.finding(report(**numbers)).startswith(expected)


def test_rates_come_in_order_and_older_reports_have_one() -> None:
    rates = verdict.by_rate(report(at_10=SURE["few"], at_1=SURE["past"], at_5=SURE["open"]))
    assert [at.fpr for at in rates] == [0.01, 0.05, 0.1]
    assert rates[0].success == verdict.Share(0.7, 0.5, 0.9)
    assert rates[0].poisons_removed.text() == "90% (80% to 100%)"
    assert rates[0].accuracy_lost.text(1) == "0.1%"  # equal values have no interval
    counts = {"poisons_removed": 3, "poisons_total": 4, "clean_removed": 0, "clean_total": 0}
    old = {name: value for name, value in report().items() if name != "by_fpr"} | counts
    (only,) = verdict.by_rate(old)
    assert (only.fpr, only.success.value, only.poisons_removed.text(), only.clean_removed.text()) == (
        0.01,
        0.0,
        "75%",
        "–",
    )


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
