"""Comparison of filters on the same features and poisons: rates with intervals, and verdicts."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np

from lgm.config import FPR_GRID
from lgm.detection.filters import DETECTORS, Detector, FilterInputs
from lgm.detection.metrics import Roc, rates_of, roc
from lgm.detection.thresholds import is_removed
from lgm.stats.bootstrap import resample
from lgm.stats.intervals import Estimate, hull, paired_interval, percent_text, percentile_interval
from lgm.utils.codec import NOT_STORED, Inline, WithInterval

BETTER, AS_GOOD, WORSE = "better", "as good", "worse"
MIXED, UNDECIDED, REFERENCE = "better at one rate, worse at the other", "not decided", "reference"
MARGIN = 0.02  # of the poisons: what a detector catches more or less than this is a difference
DECIDING = (0.01, 0.05)  # FPRs at which detectors are compared: the paper's price, and a high one


def verdict_of(differences: Mapping[float, Estimate]) -> str:
    """How a detector compares with the reference: the one rule, for every page, table and claim.

    By the share of the poisons caught, at each FPR of `DECIDING`, and by whole 95 % intervals of the difference:

    - `BETTER`: it catches over `MARGIN` more at one of the rates; `WORSE`: over `MARGIN` less; `MIXED`: both.
    - `AS_GOOD`: else, if at no rate it catches over `MARGIN` less: non-inferiority.
    - `UNDECIDED`: else. There are too few poisons to tell.

    The AUC has no part in it: most of the area is at rates that nobody would pay.

    Args:
        differences: By FPR, the share that the detector catches minus the share that the reference catches.
    """
    those = [differences[fpr] for fpr in DECIDING]
    better, worse = any(d.low > MARGIN for d in those), any(d.high < -MARGIN for d in those)
    if better or worse:
        return MIXED if better and worse else BETTER if better else WORSE
    return AS_GOOD if all(d.low > -MARGIN for d in those) else UNDECIDED


def does_as_well(verdict: str) -> bool | None:
    """Whether a verdict refutes "nothing else filters as well as the reference"; None if it leaves that open.

    To be better at one of the rates is enough: a reading that contradicts is not outvoted by one that supports.
    """
    return {BETTER: True, AS_GOOD: True, MIXED: True, WORSE: False}.get(verdict)


@dataclass(frozen=True)
class Result:
    """What a detector does to a group of poisons.

    Attributes:
        n: How many poisons.
        auc: Area under the ROC curve over all clean images and these poisons.
        fpr: The rate that was asked for.
        tpr: Share of the poisons that is caught at ``fpr``.
        tpr_at_fpr: The same at each rate of `lgm.config.FPR_GRID` and at ``fpr``; `lgm.detection.metrics.rates`.
        difference: AUC minus that of the reference on the same images, with its paired interval; no interval (NaN)
            where all resamples are equal.
        tpr_difference: By FPR of `DECIDING`, TPR minus that of the reference; paired. Empty for the reference itself.
        verdict: `verdict_of` these; or `REFERENCE`.
        curve: The ROC curve; None if it was read from a file.
    """

    n: int
    auc: WithInterval[Estimate]
    fpr: float
    tpr: WithInterval[Estimate]
    tpr_at_fpr: WithInterval[dict[float, Estimate]]
    difference: Estimate
    tpr_difference: dict[float, Estimate]
    verdict: str
    curve: Roc | None = field(default=None, metadata=NOT_STORED)


@dataclass(frozen=True)
class Comparison:
    """How a detector fares.

    Attributes:
        key, title, source, trusts: Of the `Detector`.
        against: Title of the reference: the likelihood, or for a network without one the Gaussian fitted afterwards.
        overall: Over all poisons.
        collided: Over those that collide; None if none does.
    """

    key: str
    title: str
    source: str
    trusts: str
    against: str
    overall: Annotated[Result, Inline()]
    collided: Result | None


def compare(evidence: FilterInputs, seed: int = 1, *, resamples: int = 1000, fpr: float = 0.01) -> list[Comparison]:
    """All detectors on the same images, with 95 % intervals; the reference first.

    AUC and TPRs have the intervals of `rates`. For differences clean images and poisons are drawn anew, each group by
    itself, the same draws for all detectors; see `_tpr_difference`. The scores stay as they are: what it would mean to
    fit the detectors to other images is not in the intervals, and they are not widened for being many.

    Args:
        evidence: D_t and what is trusted.
        seed: Of the resamples.
        resamples: How many.
        fpr: A rate to report beside `lgm.config.FPR_GRID`, in [0, 1].

    Raises:
        ValueError: no clean images or no poisons, no resamples, a rate outside [0, 1].

    Source: Efron, Tibshirani 1993, *An Introduction to the Bootstrap*, chapter 13.
    """
    if resamples < 1:
        raise ValueError(f"resamples: expected at least 1, got {resamples}")
    usable = [key for key in DETECTORS if key != "likelihood" or evidence.has_density]
    scores = {key: np.asarray(DETECTORS[key].score(evidence), np.float64) for key in usable}

    def judged(poisons: np.ndarray) -> dict[str, Result]:
        clean = {key: score[~evidence.poisoned] for key, score in scores.items()}
        poison = {key: score[poisons] for key, score in scores.items()}
        curves = {key: roc(clean[key], poison[key]) for key in scores}
        resampled = resample(clean, poison, seed=seed, resamples=resamples, fprs=DECIDING)
        return _results(curves, clean, poison, resampled, fpr)

    overall = judged(evidence.poisoned)
    collided = judged(evidence.collided) if evidence.collided.any() else {}
    against = DETECTORS[usable[0]].title
    return [_comparison(DETECTORS[key], against, overall[key], collided.get(key)) for key in scores]


def _comparison(detector: Detector, against: str, overall: Result, collided: Result | None) -> Comparison:
    return Comparison(detector.key, detector.title, detector.source, detector.trusts, against, overall, collided)


def _results(
    curves: dict[str, Roc],
    clean: dict[str, np.ndarray],
    poison: dict[str, np.ndarray],
    resampled: dict[str, np.ndarray],
    fpr: float,
) -> dict[str, Result]:
    """What each detector does to these poisons; the first one is the reference."""
    caught = {
        key: [is_removed(poison[key], curve.threshold_at(rate)) for rate in DECIDING] for key, curve in curves.items()
    }
    first = next(iter(curves))
    results = {}
    for key, curve in curves.items():
        auc, *tprs = resampled[key] - resampled[first]
        tpr_difference = {
            rate: _tpr_difference(caught[key][i], caught[first][i], tprs[i]) for i, rate in enumerate(DECIDING)
        }
        auc_span = percentile_interval(auc) if np.ptp(auc) else (math.nan, math.nan)
        rates = rates_of(curve, clean[key], poison[key], {*FPR_GRID, fpr})
        results[key] = Result(
            n=rates.n,
            auc=rates.auc,
            fpr=fpr,
            tpr=rates.tpr[fpr],
            tpr_at_fpr=rates.tpr,
            difference=Estimate(curve.auc - curves[first].auc, *auc_span),
            tpr_difference={} if key == first else tpr_difference,
            verdict=REFERENCE if key == first else verdict_of(tpr_difference),
            curve=curve,
        )
    return results


def _tpr_difference(caught: np.ndarray, by_reference: np.ndarray, resampled: np.ndarray) -> Estimate:
    """What a detector catches more of the same M poisons; (M,) bool each.

    The interval holds two, as that of `tpr_interval` does and for its reason: the percentiles of the
    paired bootstrap, which draws the thresholds anew but has no width where no resample tells the two apart, and
    `lgm.stats.intervals.paired_interval`, which takes the thresholds as given.
    """
    n, more, less = len(caught), int((caught & ~by_reference).sum()), int((by_reference & ~caught).sum())
    return Estimate((more - less) / n, *hull(percentile_interval(resampled), paired_interval(more, less, n)))


def rule_in_words() -> str:
    """`verdict_of`, for people."""
    low, high = (f"{100 * fpr:g}" for fpr in DECIDING)
    return (
        f"Verdicts go by the share of the poisons caught at {low} and at {high} % FPR, and by whole intervals of the "
        f"difference: *{BETTER}* or *{WORSE}* is by more than {100 * MARGIN:g} points at one of the rates, *{AS_GOOD}* "
        f"is not worse by that at either; else it is *{UNDECIDED}*."
    )


def in_words(comparisons: list[Comparison]) -> str:
    """What follows for the reference, in sentences: over all poisons, and over those that collide."""
    sentences = [_verdict_on([(c, c.overall) for c in comparisons], "all {n} poisons")]
    collided = [(c, c.collided) for c in comparisons if c.collided]
    if collided:
        sentences.append(_verdict_on(collided, "the {n} that collide"))
    return " ".join(sentences)


def _verdict_on(results: Sequence[tuple[Comparison, Result]], group: str) -> str:
    (first, reference), *others = results

    def named() -> Iterator[str]:
        for verdict in (BETTER, AS_GOOD, MIXED, UNDECIDED, WORSE):
            titles = [c.title for c, r in others if r.verdict == verdict]
            if titles:
                yield f"{verdict}: {', '.join(titles)}"

    tpr = reference.tpr_at_fpr
    rates = " and ".join(f"{percent_text(tpr[fpr].value)} at {100 * fpr:g} % FPR" for fpr in DECIDING)
    group = group.format(n=reference.n)
    return f"Of {group}, {first.title} catches {rates}. The others are {'; '.join(named())}."
