"""Answers of commands: values for --json, and text for people."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lgm.utils.codec import encode

if TYPE_CHECKING:
    from lgm.defense.report import DefenseReport
    from lgm.detection.compare import Comparison, Result
    from lgm.experiments.adaptive_rows import AdaptiveRow
    from lgm.stats.intervals import Estimate


@dataclass(frozen=True)
class Answer:
    """What a command answers.

    Attributes:
        values: What --json prints: a record, several, or an object.
        table: What people read; None: a line a value.
        code: Exit code: 1 where what was asked after is not as it should be.
    """

    values: Any
    table: Callable[[], str] | None = None
    code: int = 0

    def text(self) -> str:
        """The answer for people."""
        return self.table() if self.table else key_values(encode(self.values))


def key_values(values: dict[str, Any], indent: str = "") -> str:
    """A line a value; objects in objects are indented."""
    lines = []
    for key, value in values.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}", key_values(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key:<24}{_short(value)}")
    return "\n".join(lines)


def _short(value: Any) -> str:
    """Six digits of a number, also in a list; but what is not quite 1 does not read as 1."""
    if isinstance(value, list):
        return " to ".join(map(_short, value))
    if isinstance(value, float):
        return "0.999999" if 0.999999 < value < 1 else f"{value:.6g}"
    return str(value)


def detector_table(comparisons: Sequence["Comparison"]) -> str:
    """A line a detector, over all poisons and over those that collide."""
    from lgm.detection.compare import DECIDING, rule_in_words

    heads = [f"TPR at {100 * fpr:g} % FPR" for fpr in DECIDING]
    versus = [f"at {100 * fpr:g} %, points" for fpr in DECIDING]
    lines = [f"{'detector':<32}{'poisons':>7}  {'AUC':<28}{heads[0]:<26}{heads[1]:<26}{versus[0]:<24}{versus[1]:<24}"]
    for row in comparisons:
        lines.append(_detector_line(row.title, row.overall))
        if row.collided is not None:
            lines.append(_detector_line("  those that collide", row.collided))
    lines.append(f"Points: of TPR, against {comparisons[0].title}. {rule_in_words().replace('*', '')}")
    return "\n".join(line.rstrip() for line in lines)


def _detector_line(title: str, result: "Result") -> str:
    from lgm.detection.compare import DECIDING

    line = f"{title:<32}{result.n:>7}  {result.auc.in_full():<28}"
    line += "".join(f"{result.tpr_at_fpr[fpr].percent():<26}" for fpr in DECIDING)
    differences = [result.tpr_difference.get(fpr) for fpr in DECIDING]  # the first one differs from itself by nothing
    return line + "".join(f"{each.points() if each else '–':<24}" for each in differences) + result.verdict


def success_table(reports: Sequence["DefenseReport"]) -> str:
    """A sweep: attack success and its interval, a line a setting."""
    lines = [reports[0].definition, f"{'clean':>5} {'poisons':>7} {'n':>4}   {'unfiltered':<22} {'filtered':<22}"]
    for report in reports:
        arms = report.attack_success.unfiltered, report.attack_success.filtered
        shares = [_share(arm) if report.n else "none" for arm in arms]
        line = f"{report.config.clean:>5} {report.config.poisons:>7} {report.n:>4}   {shares[0]:<22} {shares[1]:<22}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def _share(estimate: "Estimate") -> str:
    return "{:.3f} ({:.3f} to {:.3f})".format(*estimate)


def frontier_table(rows: Sequence["AdaptiveRow"]) -> str:
    """A line an attacker, and what it means."""
    from lgm.experiments.adaptive_rows import frontier_meaning

    lines = [f"{'gamma':>6} {'n':>4}   {'unfiltered':>10} {'filtered':>8} {'caught':>7} {'collide':>8}"]
    for row in rows:
        shares = row.unfiltered.value, row.attack_success.value, row.detected.value, row.collided
        known = ["none" if math.isnan(share) else f"{share:.3f}" for share in shares]
        lines.append(f"{row.gamma:>6g} {row.n:>4}   " + "{:>10} {:>8} {:>7} {:>8}".format(*known))
    return "\n".join([*lines, frontier_meaning(rows)])
