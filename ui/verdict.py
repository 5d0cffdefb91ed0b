"""What many attacks allow one to say of a filter, in words that follow from their numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lgm.claims import SUCCESS

Report = dict[str, Any]  # `lgm.defense.DefenseReport.to_dict`
Outcome = Literal["past", "stopped", "weak"]  # of one attack: succeeds filtered; unfiltered only; not even then
_NONE = (math.nan, math.nan)


@dataclass(frozen=True)
class Share:
    """An estimate with its 95 % interval; NaN where that is not known."""

    value: float
    low: float = math.nan
    high: float = math.nan

    @staticmethod
    def of(value: float | None, interval: Sequence[float | None] | None = None) -> "Share":
        """From JSON, where None stands for what is not a number."""
        ends = [math.nan if end is None else end for end in interval or _NONE]
        return Share(math.nan if value is None else value, *ends)

    def text(self, digits: int = 0) -> str:
        """As percentages: ``80% (58% to 92%)``."""
        if math.isnan(self.value):
            return "–"
        ends = "" if math.isnan(self.low) else f" ({self.low:.{digits}%} to {self.high:.{digits}%})"
        return f"{self.value:.{digits}%}{ends}"


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
    if not measured:
        removed = (
            Share(report[f"{of}_removed"] / report[f"{of}_total"] if report[f"{of}_total"] else math.nan)
            for of in ("poisons", "clean")
        )
        return [AtRate(report["fpr"], filtered(report), *removed, _lost(report))]
    return [
        AtRate(
            float(fpr),
            Share.of(at["attack_success"], at["interval"]),
            *(Share.of(at[f"{of}_share"], at.get(f"{of}_share_interval")) for of in ("poisons", "clean")),
            Share.of(at["accuracy_lost"], at.get("accuracy_lost_interval")),
        )
        for fpr, at in sorted(measured.items(), key=lambda item: float(item[0]))
    ]


def _lost(report: Report) -> Share:
    return Share.of(report["accuracy_lost"]["filtered"], report["accuracy_lost_interval"]["filtered"])


def accuracy_lost_unfiltered(report: Report) -> Share:
    """To the attack itself."""
    return Share.of(report["accuracy_lost"]["unfiltered"], report["accuracy_lost_interval"]["unfiltered"])


def finding(report: Report) -> str:
    """What these attacks show of the filter. Whole intervals decide, and no attack confirms a defence."""
    if not report["n"]:
        return "No attack counts: the clean control misclassifies every target."
    before, rates = unfiltered(report), by_rate(report)
    if not before.low > SUCCESS:
        return (
            f"Too weak an attack to judge a filter by: unfiltered, {before.text()} of {report['n']} attacks succeed."
        )
    groups: dict[str, list[float]] = {"past": [], "fewer": [], "open": []}
    for at in rates:
        groups["past" if at.success.low > SUCCESS else "fewer" if at.success.high < before.low else "open"].append(
            at.fpr
        )
    said = {
        "past": "the attack gets past the filter",
        "fewer": "the filter stops some of these attacks or all",
        "open": "too few attacks tell whether the filter helps",
    }
    parts = [f"{_listed(groups[name])} FPR {text}" for name, text in said.items() if groups[name]]
    sentence = f"At {'; at '.join(parts)}"
    shares = "; ".join(f"{at.success.text()} at {at.fpr:.0%}" for at in (rates[0], rates[-1])[: len(rates)])
    return f"{sentence}. Succeeding attacks: {before.text()} unfiltered, {shares}."


def _listed(rates: list[float]) -> str:
    texts = [f"{rate:.0%}".replace("%", " %") for rate in rates]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def outcome(base: int, target: int, clean: int, poisoned: int, survived: int | None) -> Outcome:
    """Of one attack, from the labels that its three models give the target; None: the filter left no model."""
    if clean != target or poisoned != base:
        return "weak"
    return "past" if survived == base else "stopped"


def beside_the_trials(happened: Outcome, report: Report) -> str:
    """One attack, and whether most attacks of the same setting end as it does."""
    said = {
        "past": "Here the attack gets past the filter",
        "stopped": "Here the filter stops the attack",
        "weak": "Here the attack fails even without the filter",
    }[happened]
    if not report["n"]:
        return f"{said}."
    before, after = unfiltered(report).value, filtered(report).value
    share = {"past": after, "stopped": max(0.0, before - after), "weak": 1 - before}[happened]
    how = "an exception: most attacks do not end like this" if share < 0.5 else "as most attacks do"
    return f"{said}, {how} (of {report['n']}, {before:.0%} succeed unfiltered and {after:.0%} filtered)."
