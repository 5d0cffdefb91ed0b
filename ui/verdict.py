"""What many attacks allow one to say of a filter, in words that follow from their numbers."""

import math
from collections.abc import Sequence
from typing import Literal

from lgm.defense.report import DefenseReport
from lgm.experiments.board import findings
from lgm.experiments.board.config import FILTERS, BoardConfig
from lgm.experiments.board.record import BoardAttack, Cell
from lgm.experiments.effects import SUCCESS
from lgm.stats.intervals import Estimate

Outcome = Literal["past", "stopped", "weak"]  # of one attack: succeeds filtered; unfiltered only; not even then
HERE: dict[Outcome, str] = {
    "past": "Here the attack gets past the filter",
    "stopped": "Here the filter stops the attack",
    "weak": "Here the attack fails even without the filter",
}


def percentages(share: Estimate, digits: int = 0) -> str:
    """An estimate and its interval as percentages: ``80% (58% to 92%)``; a dash for NaN."""
    if math.isnan(share.value):
        return "–"
    ends = "" if math.isnan(share.low) else f" ({share.low:z.{digits}%} to {share.high:z.{digits}%})"
    return f"{share.value:z.{digits}%}{ends}"


def headline(report: DefenseReport) -> str:
    """How many attacks succeed, without the filter and with it."""
    if not report.n:
        return "No attack counts: the clean control misclassifies every target."
    success = report.attack_success
    return (
        f"Of {report.n} attacks {percentages(success.unfiltered)} succeed unfiltered, and "
        f"{percentages(success.filtered)} with T for {_percent(report.config.fpr)} FPR."
    )


def finding(report: DefenseReport) -> str:
    """What these attacks show of the filter. Whole intervals decide, and no attack confirms a defence.

    They succeed if more do than `SUCCESS`, and than with untouched bases in the poisons' place, not filtered.
    """
    before, bases = report.attack_success.unfiltered, report.untouched_bases.attack_success
    bound = max(SUCCESS, bases.high)
    if not before.low > bound:
        if before.low > SUCCESS:
            return "Unfiltered, it is open whether more succeed than with untouched bases in the poisons' place."
        return "Unfiltered, too few attacks succeed to judge a filter by."
    groups: dict[str, list[float]] = {"past": [], "fewer": [], "alike": [], "open": []}
    for fpr, at in sorted(report.by_fpr.items()):
        past, fewer = at.attack_success.low > bound, at.attack_success.high < before.low
        alike = SUCCESS < at.attack_success.low <= bound
        groups["past" if past else "fewer" if fewer else "alike" if alike else "open"].append(fpr)
    said = {
        "past": "attacks get past the filter",
        "fewer": "fewer succeed than unfiltered",
        "alike": "it is open whether more succeed than with untouched bases",
        "open": "these are too few to tell",
    }
    findings = [f"at {_listed(groups[name])} FPR {text}" for name, text in said.items() if groups[name]]
    sentence = "; ".join(findings)
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


def beside_the_trials(happened: Outcome, report: DefenseReport) -> str:
    """One attack, and whether most attacks of the same setting end as it does."""
    said = HERE[happened]
    if not report.n:
        return f"{said}."
    before, after = report.attack_success.unfiltered.value, report.attack_success.filtered.value
    share = {"past": after, "stopped": max(0.0, before - after), "weak": 1 - before}[happened]
    how = "as in most" if share >= 0.5 else "as in some" if share >= 0.2 else "an exception"
    return f"{said}, {how} (of {report.n} attacks, {before:.0%} succeed unfiltered and {after:.0%} filtered)."


def of_cell(config: BoardConfig, attack: BoardAttack, cell: Cell) -> str:
    """What a cell of the board shows, by `lgm.experiments.board.findings`; which T was known, where accuracy drops."""
    if not cell.n:
        return "No attack counts here: the clean head gets none of these targets right."
    said = [f"**{findings.verdict(cell)}**"]
    bare, aim = attack.cell((cell.poisons, cell.clean), "none", cell.fpr, cell.head), config.aim_of(attack.attacker)
    if cell.filter != "none":
        if bare is not None and not bare.attack_success.low > SUCCESS and findings.stopped(cell).sign >= 0:
            said.append("Unfiltered, too few of these attacks succeed to judge a filter by.")
        if attack.aims_at and (cell.filter, cell.fpr) != (attack.aims_at, aim):
            said.append(f"The attacker aims at another T: {FILTERS[attack.aims_at]}, {_percent(aim)} FPR.")
    if attack.drops(cell):
        left = findings.accuracy_left(attack, cell, bare)
        said.append(f"{left[0].upper()}{left[1:]}.")
    return " ".join(said)


def of_replay(base: int, target: int, seen: Sequence[int | None], *, filtered: bool) -> tuple[str, str]:
    """How one attack of a cell ends, as the cell counts it, and the role whose colour says so.

    Args:
        base, target: Classes.
        seen: What the heads see in the target: before the attack, poisoned, and filtered; None without a head.
        filtered: Whether the cell has a filter.
    """
    before, poisoned, left = seen
    if before != target:
        return "Does not count: the clean head errs already", "base"
    if not filtered:
        return ("Here the attack succeeds", "poison") if poisoned == base else ("Here the attack fails", "base")
    if left == base:
        return HERE["past"] if poisoned == base else "Here the target turns once filtered, and not before", "poison"
    return (HERE["stopped"], "clean") if poisoned == base else (HERE["weak"], "base")
