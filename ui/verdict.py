"""What many attacks allow one to say of a filter, in words that follow from their numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lgm.experiments.claims import SUCCESS

Report = dict[str, Any]  # `lgm.defense.report.DefenseReport.to_dict`
Outcome = Literal["past", "stopped", "weak"]  # of one attack: succeeds filtered; unfiltered only; not even then
HERE: dict[Outcome, str] = {
    "past": "Here the attack gets past the filter",
    "stopped": "Here the filter stops the attack",
    "weak": "Here the attack fails even without the filter",
}


@dataclass(frozen=True)
class Share:
    """An estimate with its 95 % interval; NaN where that is not known."""

    value: float
    low: float = math.nan
    high: float = math.nan

    @staticmethod
    def of(value: float | None, interval: Sequence[float | None] | None = None) -> "Share":
        """From JSON, where None stands for what is not a number."""
        value, low, high = (math.nan if part is None else part for part in (value, *(interval or (None, None))))
        return Share(value, low, high)

    def text(self, digits: int = 0) -> str:
        """As percentages: ``80% (58% to 92%)``."""
        if math.isnan(self.value):
            return "–"
        ends = "" if math.isnan(self.low) else f" ({self.low:z.{digits}%} to {self.high:z.{digits}%})"
        return f"{self.value:z.{digits}%}{ends}"


@dataclass(frozen=True)
class AtRate:
    """What the filter did with T calibrated for the false-positive rate ``fpr``."""

    fpr: float
    success: Share
    poisons_removed: Share
    clean_removed: Share
    accuracy_lost: Share


def unfiltered(report: Report) -> Share:
    """Attack success without the filter."""
    return Share.of(report["attack_success"]["unfiltered"], report["interval"]["unfiltered"])


def filtered(report: Report) -> Share:
    """Attack success past the filter, at the setting's own false-positive rate."""
    return Share.of(report["attack_success"]["filtered"], report["interval"]["filtered"])


def by_rate(report: Report) -> list[AtRate]:
    """At every false-positive rate that was measured, ascending."""
    measured = report.get("by_fpr")
    if not measured:  # as reports were before there were several rates
        return [
            AtRate(
                report["fpr"], filtered(report), _removed(report, "poisons"), _removed(report, "clean"), _lost(report)
            )
        ]
    return [
        AtRate(
            float(fpr),
            Share.of(at["attack_success"], at["interval"]),
            Share.of(at["poisons_share"], at["poisons_share_interval"]),
            Share.of(at["clean_share"], at["clean_share_interval"]),
            Share.of(at["accuracy_lost"], at["accuracy_lost_interval"]),
        )
        for fpr, at in sorted(measured.items(), key=lambda item: float(item[0]))
    ]


def _removed(report: Report, of: str) -> Share:
    """Without an interval: whole trials would have to be resampled."""
    total = report[f"{of}_total"]
    return Share(report[f"{of}_removed"] / total if total else math.nan)


def _lost(report: Report) -> Share:
    return Share.of(report["accuracy_lost"]["filtered"], report["accuracy_lost_interval"]["filtered"])


def accuracy_lost_unfiltered(report: Report) -> Share:
    """To the attack itself."""
    return Share.of(report["accuracy_lost"]["unfiltered"], report["accuracy_lost_interval"]["unfiltered"])


def headline(report: Report) -> str:
    """How many attacks succeed, without the filter and with it."""
    if not report["n"]:
        return "No attack counts: the clean control misclassifies every target."
    return (
        f"Of {report['n']} attacks {unfiltered(report).text()} succeed unfiltered, and {filtered(report).text()} with "
        f"T for {_percent(report['fpr'])} FPR."
    )


def finding(report: Report) -> str:
    """What these attacks show of the filter. Whole intervals decide, and no attack confirms a defence."""
    before = unfiltered(report)
    if not before.low > SUCCESS:
        return "Unfiltered, too few attacks succeed to judge a filter by."
    groups: dict[str, list[float]] = {"past": [], "fewer": [], "open": []}
    for at in by_rate(report):
        past, fewer = at.success.low > SUCCESS, at.success.high < before.low
        groups["past" if past else "fewer" if fewer else "open"].append(at.fpr)
    said = {
        "past": "attacks get past the filter",
        "fewer": "fewer succeed than unfiltered",
        "open": "these are too few to tell",
    }
    parts = [f"at {_listed(groups[name])} FPR {text}" for name, text in said.items() if groups[name]]
    sentence = "; ".join(parts)
    return f"{sentence[0].upper()}{sentence[1:]}."


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


def _listed(rates: list[float]) -> str:
    texts = [_percent(rate) for rate in rates]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def outcome(base: int, target: int, clean: int, poisoned: int, survived: int | None) -> Outcome:
    """Of one attack, from the labels that its three models give the target; None: the filter left no model."""
    if clean != target or poisoned != base:
        return "weak"
    return "past" if survived == base else "stopped"


def beside_the_trials(happened: Outcome, report: Report) -> str:
    """One attack, and whether most attacks of the same setting end as it does."""
    said = HERE[happened]
    if not report["n"]:
        return f"{said}."
    before, after = unfiltered(report).value, filtered(report).value
    share = {"past": after, "stopped": max(0.0, before - after), "weak": 1 - before}[happened]
    how = "as in most" if share >= 0.5 else "as in some" if share >= 0.2 else "an exception"
    return f"{said}, {how} (of {report['n']} attacks, {before:.0%} succeed unfiltered and {after:.0%} filtered)."
