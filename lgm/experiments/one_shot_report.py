"""The record of the one-shot experiment, and its table."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lgm.detection.metrics import roc
from lgm.detection.score import Score
from lgm.detection.thresholds import is_removed
from lgm.detection.trusted_scores import TITLES
from lgm.stats.intervals import Estimate, auc_interval, wilson_interval
from lgm.utils.codec import WithInterval

FPRS = (0.01, 0.05, 0.1)
_BEST = 3
BEST_BY = "the three that catch most poisons at the three rates together, ties by AUC; chosen on these very attacks"


@dataclass(frozen=True)
class Attack:
    """One pair.

    Attributes:
        base, target: Files.
        base_class, target_class: Their classes; the poison claims the base's.
        before, after: Probability of the target's class for the target, by the head without and with the poison.
        success: The head with the poison takes the target for the base's class; without it does not.
        collided: A head on the trusted photos takes the poison for the target's class.
        l2, linf: Of the change to the base, pixels in [0, 1], after rounding to 8 bits.
    """

    base: str
    target: str
    base_class: str
    target_class: str
    before: float
    after: float
    success: bool
    collided: bool
    l2: float
    linf: float


@dataclass(frozen=True)
class FilterRow:
    """One filter on all poisons.

    Attributes:
        key: In `lgm.detection.trusted_scores`.
        calibrated_on: Trusted photos that vouch for T.
        caught: By the rate that T is calibrated for, the share of the poisons at or below T, with Wilson's interval;
            None where too few calibrate to promise that rate.
        caught_of_successful: The same of those whose attack succeeds.
        removed_clean: By that rate, the share of the clean photos in the pool that it removes.
        auc: Of poisons against these clean photos.
        best: See `BEST_BY`.
    """

    key: str
    calibrated_on: int
    caught: WithInterval[dict[float, Estimate | None]]
    caught_of_successful: WithInterval[dict[float, Estimate | None]]
    removed_clean: dict[float, float | None]
    auc: WithInterval[Estimate]
    best: bool = False


@dataclass(frozen=True)
class OneShotReport:
    """What the experiment measured.

    Attributes:
        data, network, attacks, beta, iterations, strength, seed: What was asked for.
        photos: All.
        fine_tuned_on: Clean photos beside the poison.
        trusted: Photos that the filters trust.
        misclassified_before: Pairs that were passed over, as the head is wrong about the target without any poison.
        success: Share of the attacks, with Wilson's interval.
        accuracy_before, accuracy_after: On the trusted photos, mean over the attacks, without and with the poison.
        made, machine, versions: When, where, and with what.
        filters: Each filter.
        each: Each attack.
    """

    data: str
    network: str
    attacks: int
    beta: float
    iterations: int
    strength: float
    seed: int
    photos: int
    fine_tuned_on: int
    trusted: int
    misclassified_before: int
    success: WithInterval[Estimate]
    accuracy_before: float
    accuracy_after: float
    made: str
    machine: str
    versions: dict[str, str]
    filters: tuple[FilterRow, ...]
    each: tuple[Attack, ...]


def filter_row(key: str, score: Score, clean: np.ndarray, poisons: np.ndarray, succeeded: np.ndarray) -> FilterRow:
    """What a fitted score does to clean photos (N,) and poisons (M,), of which some ``succeeded`` (M,)."""
    caught: dict[float, Estimate | None] = {}
    of_successful: dict[float, Estimate | None] = {}
    removed: dict[float, float | None] = {}
    for fpr in FPRS:
        threshold = score.threshold(fpr)
        known = threshold > -np.inf
        gone = is_removed(poisons, threshold)
        caught[fpr] = _share(gone) if known else None
        of_successful[fpr] = _share(gone[succeeded]) if known and succeeded.any() else None
        removed[fpr] = float(is_removed(clean, threshold).mean()) if known else None
    area = roc(clean, poisons).auc
    auc = Estimate(area, *auc_interval(area, len(clean), len(poisons)))
    return FilterRow(key, len(score.calibration_scores_), caught, of_successful, removed, auc)


def mark_best(rows: Sequence[FilterRow]) -> tuple[FilterRow, ...]:
    """The same with `BEST_BY` applied."""

    def rank(row: FilterRow) -> tuple[float, float]:
        return sum(each.value for each in row.caught.values() if each), row.auc.value

    best = {row.key for row in sorted(rows, key=rank, reverse=True)[:_BEST]}
    return tuple(replace(row, best=row.key in best) for row in rows)


def _share(hits: np.ndarray) -> Estimate:
    count, n = int(hits.sum()), len(hits)
    return Estimate(count / n, *wilson_interval(count, n))


def one_shot_table(report: OneShotReport) -> str:
    """The report for people."""
    values = {name: np.array([getattr(attack, name) for attack in report.each]) for name in ("l2", "linf")}
    before, after = (np.median([getattr(attack, name) for attack in report.each]) for name in ("before", "after"))
    lines = [
        f"{report.attacks} attacks on {report.network} with {report.data}",
        f"fine-tuned on           {report.fine_tuned_on} clean photos and one poison",
        f"success                 {report.success.percent()}",
        f"misclassified before    {report.misclassified_before} pairs, passed over",
        f"P(target's class)       {before:.3f} before, {after:.3f} after (medians)",
        f"accuracy elsewhere      {report.accuracy_before:.3f} before, {report.accuracy_after:.3f} after (means)",
        f"L2                      {_spread(values['l2'], 2)}",
        f"Linf                    {_spread(255 * values['linf'], 0)} of 255",
        "",
        f"{'filter':<32}{'T by':>5}  {'AUC':<26}"
        + "".join(f"{f'caught at {100 * fpr:g} %':<24}" for fpr in FPRS).rstrip(),
    ]
    for row in report.filters:
        cells = "".join(f"{_cell(row.caught[fpr], row.removed_clean[fpr]):<24}" for fpr in FPRS)
        title = ("* " if row.best else "  ") + TITLES[row.key]
        lines.append(f"{title:<32}{row.calibrated_on:>5}  {row.auc.in_full(3):<26}{cells}".rstrip())
    lines.append(f"*: {BEST_BY}. In []: clean photos removed.")
    return "\n".join(lines)


def _spread(values: np.ndarray, digits: int) -> str:
    return f"median {np.median(values):.{digits}f}, {values.min():.{digits}f} to {values.max():.{digits}f}"


def _cell(caught: Estimate | None, removed: float | None) -> str:
    if caught is None or removed is None:
        return "too few calibrate"
    low, high = 100 * caught.low, 100 * caught.high
    return f"{100 * caught.value:.0f} % ({low:.0f} to {high:.0f}) [{100 * removed:.0f} %]"
