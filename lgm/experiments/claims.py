"""The paper's claims: for each the measurement, the verdict, and the rule that gives it.

A claim rests on readings: an estimate, its 95 % interval, and the side of a bound on which the claim has it. A reading
supports the claim if its whole interval lies on that side, contradicts it if on the other, and else says neither. No
number of supporting readings outvotes one that contradicts. An attack can refute a defence; none confirms one, so the
best verdict on what the filter withstands is "not refuted" by the attacks that are named.
Intervals are over images, pairs and attacks, for the networks at hand: another training may come out otherwise.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from lgm.attacks.result import Poisons
from lgm.config import PoisonConfig
from lgm.detection.compare import does_as_well, rule_in_words
from lgm.detection.metrics import detection_report
from lgm.experiments.beta_sweep import FPR, Tradeoff
from lgm.experiments.matched_comparison import Matched, matched
from lgm.models.features import Features
from lgm.stats.intervals import mean_interval, outward, percent_text, percentile_interval
from lgm.stats.separability import separability, separability_bootstrap

Verdict = Literal["holds", "holds under conditions", "not refuted", "does not hold", "open"]
CAUGHT = 0.9  # share of the poisons that a filter must catch at the price that one would pay
SUCCESS = 0.05  # an attack that succeeds less often counts as prevented
COST = 0.005  # accuracy that the defence may cost
# What has been tried by hand and succeeded several times as often as untouched bases, but is not measured here yet.
NOT_TRIED = (
    "Not among them: an attacker who takes the target nearest to the base and puts poisons at the edge of what T lets "
    "pass, on the side of the target. Such poisons need not collide, and all of them pass."
)


@dataclass(frozen=True)
class Effect:
    """An estimate and its 95 % interval; the claim has it above the bound, or below."""

    value: float
    low: float
    high: float
    bound: float = 0.0
    side: Literal["above", "below"] = "above"

    @property
    def sign(self) -> int:
        """1 supports the claim, -1 contradicts it, 0 neither; as 0 counts an interval of no width, which is none."""
        if self.low == self.high and math.isfinite(self.low):
            return 0
        above = int(self.low > self.bound) - int(self.high < self.bound)
        return above if self.side == "above" else -above


@dataclass(frozen=True)
class Claim:
    """One of the paper's claims.

    Attributes:
        section: Of the paper.
        text: The claim.
        measured: What was measured, in a sentence with its numbers and intervals of 95 %.
        verdict: What follows by the rule.
        rule: From what to what, in a sentence.
    """

    section: str
    text: str
    measured: str
    verdict: Verdict
    rule: str

    def to_dict(self) -> dict[str, str]:
        """Plain values for JSON; `Claim(**values)` is the way back."""
        return asdict(self)


def by_readings(readings: Sequence[Effect]) -> Verdict:
    """Does not hold if one contradicts; holds if all support, under conditions if only some do; else open."""
    signs = [reading.sign for reading in readings]
    if -1 in signs:
        return "does not hold"
    if 1 in signs:
        return "holds" if min(signs) > 0 else "holds under conditions"
    return "open"


def unless_refuted(readings: Sequence[Effect]) -> Verdict:
    """For "nothing does" and "no attack can": one that contradicts refutes it, and any number cannot confirm it."""
    signs = [reading.sign for reading in readings]
    if -1 in signs:
        return "does not hold"
    return "not refuted" if signs and min(signs) > 0 else "open"


@dataclass(frozen=True)
class PoisonStatistics:
    """How visible the poisons of some pairs are, on one network.

    Attributes:
        beta: Of all of them.
        bases: (P,) positions of the bases in their split.
        targets: (P,) positions of the targets.
        collided: (P,) bool.
        l2: (P,) L2 distance to the base, pixels in [0, 1].
        ssim: (P,) structural similarity to the base; None if not measured.
    """

    beta: float
    bases: np.ndarray
    targets: np.ndarray
    collided: np.ndarray
    l2: np.ndarray
    ssim: np.ndarray | None = None

    @staticmethod
    def of_poisons(poisons: Poisons) -> "PoisonStatistics":
        """A set of one beta; NaN, which equals nothing, if it has several."""
        beta = float(poisons.beta[0]) if len(np.unique(poisons.beta)) == 1 else float("nan")
        return PoisonStatistics(beta, poisons.base_index, poisons.target_index, poisons.collided, poisons.l2)

    @staticmethod
    def of_tradeoff(tradeoff: Tradeoff, beta: float) -> "PoisonStatistics":
        """The pairs of a sweep at one beta of its grid. Raises ValueError for any other."""
        i = tradeoff.index(beta)
        rows = tradeoff.collided[i], tradeoff.l2[i], tradeoff.ssim[i]
        return PoisonStatistics(beta, tradeoff.bases, tradeoff.targets, *rows)


@dataclass(frozen=True)
class Findings:
    """What is known of one network.

    Attributes:
        held_out: Clean images that it was not trained on.
        poisons: Crafted on it; None if there are none.
        clean: The images that its poisons are told from; None without them, or without a density.
    """

    held_out: Features
    poisons: Poisons | None = None
    clean: Features | None = None


def paper_claims(lgm: Findings, softmax: Findings, study: dict[str, Any] | None = None) -> list[Claim]:
    """All claims, in the order of the paper.

    Args:
        lgm: The network trained with LGM.
        softmax: The one trained without.
        study: What takes longer to measure; each key may be missing, and its claim is then open. ``tradeoff`` and
            ``defense``: by loss ("lgm", "softmax"), `Tradeoff.to_dict` and `DefenseReport.to_dict`. ``baselines``: list
            of `lgm.detection.compare.Comparison.to_dict`.
            ``frontier``: list of dicts with gamma, attack_success and its interval, of attackers who know the filter.

    Raises:
        ValueError: a study whose two sweeps do not fit together.
    """
    study = study or {}
    sweeps = {loss: Tradeoff.from_dict(values) for loss, values in study.get("tradeoff", {}).items()}
    both = len(sweeps) == len(("lgm", "softmax"))
    reports = study.get("defense", {})
    return [
        farther_apart(lgm.held_out, softmax.held_out),
        more_visible(*_equal_beta(sweeps if both else None, lgm, softmax)),
        more_visible_when_matched(matched(sweeps["lgm"], sweeps["softmax"]) if both else None),
        likelihood_separates(_detection(lgm)),
        filter_needs_lgm(study.get("baselines")),
        filtering_prevents(reports.get("lgm"), reports.get("softmax")),
        filtering_withstands(study.get("frontier")),
    ]


def farther_apart(lgm: Features, softmax: Features, *, seed: int = 1) -> Claim:
    """Section 4.2, on held-out features of both networks: see `separability`. Bootstrap over images within classes."""
    values = [separability(features.z, features.labels) for features in (lgm, softmax)]
    drawn = [separability_bootstrap(features.z, features.labels, seed=seed) for features in (lgm, softmax)]
    spans = [(value, *percentile_interval(those)) for value, those in zip(values, drawn, strict=True)]
    difference = Effect(values[0] - values[1], *percentile_interval(drawn[0] - drawn[1]))
    return Claim(
        section="4.2",
        text="Classes lie farther apart under LGM than under softmax",
        measured=f"closest class means, in spreads within a class: {_number(*spans[0])} LGM, {_number(*spans[1])} "
        f"softmax; difference {_number(difference.value, difference.low, difference.high)}",
        verdict=by_readings([difference]),
        rule="Holds if the interval of the difference lies above 0, does not hold if below.",
    )


_EQUAL_BETA = ("4.3", "Poisons are more visible under LGM than under softmax at equal β")
_EQUAL_BETA_RULE = (
    "Over the same pairs: holds if the interval of the mean difference says more visible, by L2 and, where measured, "
    "by structural similarity (SSIM); under conditions if by one of them and the other says neither; does not hold if "
    "one says less."
)


def more_visible(lgm: PoisonStatistics | None, softmax: PoisonStatistics | None) -> Claim:
    """Section 4.3, as the paper compares: at one beta. Open unless both are of the same pairs and the same beta."""
    if lgm is None or softmax is None:
        return _open(*_EQUAL_BETA, _EQUAL_BETA_RULE)
    same = all(np.array_equal(getattr(lgm, name), getattr(softmax, name)) for name in ("beta", "bases", "targets"))
    if not same:
        why = "the networks' poisons are of other pairs or another β: craft both with the same seed and β"
        return _open(*_EQUAL_BETA, _EQUAL_BETA_RULE, why)
    readings = [Effect(*mean_interval((lgm.l2 - softmax.l2).astype(np.float64)))]
    measured = (
        f"mean L2 at β = {lgm.beta:g}, {len(lgm.l2)} pairs: {lgm.l2.mean():.2f} LGM, {softmax.l2.mean():.2f} softmax; "
        f"difference {_of(readings[0])}"
    )
    if lgm.ssim is not None and softmax.ssim is not None:
        readings.append(Effect(*mean_interval(softmax.ssim - lgm.ssim)))
        measured += f"; SSIM {lgm.ssim.mean():.2f} and {softmax.ssim.mean():.2f}, softmax less LGM {_of(readings[1])}"
    measured += f"; but they collide in {lgm.collided.mean():.0%} and {softmax.collided.mean():.0%} of the cases"
    return Claim(*_EQUAL_BETA, measured=measured, verdict=by_readings(readings), rule=_EQUAL_BETA_RULE)


_MATCHED = ("4.3", "Poisons that collide are more visible under LGM than under softmax")
_MATCHED_RULE = (
    "Each pair at the least change with which it collides: holds if the interval of the median difference says more "
    "visible by L2 and by SSIM; under conditions if by one of them and the other says neither; does not hold if one "
    "says less."
)


def more_visible_when_matched(comparison: Matched | None) -> Claim:
    """Section 4.3 at matched collision. Open without a comparison, or if no pair collides."""
    if comparison is None or not comparison.n:
        return _open(*_MATCHED, _MATCHED_RULE)
    readings = [Effect(*comparison.l2), Effect(*comparison.ssim)]
    half = next(row for row in comparison.rows() if row["share"] == 0.5)
    share, low, high = comparison.share_more
    measured = (
        f"L2 with which half of the pairs collide: {_number(*half['lgm'])} LGM, {_number(*half['softmax'])} softmax; "
        f"median difference {_of(readings[0])}, in SSIM, softmax less LGM, {_of(readings[1])}; LGM needs more in "
        f"{_percent(share, low, high)} of {comparison.n} pairs"
        + (f", {comparison.neither} more collide on neither" if comparison.neither else "")
    )
    return Claim(*_MATCHED, measured=measured, verdict=by_readings(readings), rule=_MATCHED_RULE)


_SEPARATES = ("4.4", "Likelihood tells poisons from clean images")
_RATES = ("0.01", "0.05")  # what one would pay; the AUC, most of it at rates that nobody would, decides nothing
_SEPARATES_RULE = (
    f"Holds if at 1 % and at 5 % false positives more than {CAUGHT:.0%} are caught, of all poisons and of those that "
    "collide; under conditions if in some of the four cases and the others are not shown to be less; does not hold if "
    "one is shown to be less: by whole intervals, in which clean images and poisons are drawn anew."
)


def likelihood_separates(report: dict[str, Any] | None) -> Claim:
    """Section 4.4, from `lgm.detection.metrics.DetectionReport.to_dict`. Open without one."""
    if report is None:
        return _open(*_SEPARATES, _SEPARATES_RULE)
    readings, parts = [], []
    for of, name, n in (("", "all", report["poisons"]), ("_collided", "the colliding", report["collided"])):
        if not n:
            continue
        caught = [
            Effect(report[f"tpr_at_fpr{of}"][rate], *report[f"tpr_at_fpr{of}_interval"][rate], bound=CAUGHT)
            for rate in _RATES
        ]
        readings += caught
        auc = _of(Effect(report[f"auc{of}"], *report[f"auc{of}_interval"]), 4)
        parts.append(
            f"of {name} {n} poisons {_share(caught[0])} are caught at 1 % false positives, {_share(caught[1])} at 5 % "
            f"(AUC {auc})"
        )
    return Claim(*_SEPARATES, measured="; ".join(parts), verdict=by_readings(readings), rule=_SEPARATES_RULE)


_NEEDS = ("4.4", "Nothing simpler filters as well as likelihood under LGM")
_NEEDS_RULE = (
    "Does not hold if one other filter is better or as good, not refuted by these if all are worse; else open: "
    + rule_in_words()
)


def filter_needs_lgm(baselines: Sequence[dict[str, Any]] | None) -> Claim:
    """What the paper implies by training a network for it. Open without other filters to compare with.

    Args:
        baselines: `lgm.detection.compare.Comparison.to_dict` of the others, against the likelihood.
    """
    if not baselines:
        return _open(*_NEEDS, _NEEDS_RULE)
    as_well = {other["title"]: does_as_well(other["verdict"]) for other in baselines}
    good, worse = ([title for title, known in as_well.items() if known is which] for which in (True, False))
    undecided = [title for title, known in as_well.items() if known is None]
    named = {"better or as good": good, "worse": worse, "not decided": undecided}
    measured = f"of {len(baselines)} others " + "; ".join(
        f"{word}: {', '.join(titles)}" for word, titles in named.items() if titles
    )
    verdict: Verdict = "does not hold" if good else "open" if undecided else "not refuted"
    return Claim(*_NEEDS, measured, verdict, _NEEDS_RULE)


_PREVENTS = ("5", "Filtering by likelihood under LGM prevents the attack")
_PREVENTS_RULE = (
    f"Open unless the attack succeeds in more than {SUCCESS:.0%} unfiltered. Then success decides: does not hold if "
    f"the filter leaves more than {SUCCESS:.0%}, holds if less, both by whole intervals, else open. A cost that is not "
    f"shown to stay below {100 * COST:g} points of accuracy lowers it to under conditions. All of it is for this "
    "attack: random targets, a new head on frozen features, an attacker who does not know of the filter."
)


def filtering_prevents(lgm: dict[str, Any] | None, softmax: dict[str, Any] | None) -> Claim:
    """The conclusion, by attackers who do not know of the filter, from `DefenseReport.to_dict` of both networks.

    The verdict is on LGM; what a density fitted afterwards does for softmax stands beside it. Open without either.
    """
    if not (lgm and softmax and lgm["n"] and softmax["n"]):
        return _open(*_PREVENTS, _PREVENTS_RULE)
    before, after = (_success(lgm, arm) for arm in ("unfiltered", "filtered"))
    cost = _cost(lgm)
    poisoned = lgm["poisons_total"] / (lgm["poisons_total"] + lgm["clean_total"])
    measured = (
        f"attack success unfiltered {_share(before)}, filtered {_share(after)} of {lgm['n']} attacks in which "
        f"{poisoned:.0%} of the data are poisons, {_points(cost)} points of accuracy lost; softmax "
        f"{_share(_success(softmax, 'unfiltered'))}, filtered by a Gaussian fitted afterwards "
        f"{_share(_success(softmax, 'filtered'))}"
    )
    return Claim(*_PREVENTS, measured, _prevented(before, after, cost), _PREVENTS_RULE)


def _prevented(before: Effect, after: Effect, cost: Effect) -> Verdict:
    """Success decides; cost can only lower."""
    if before.sign >= 0 or not after.sign:  # the bound is the claim's: an attack above it is not prevented
        return "open"
    if after.sign < 0:
        return "does not hold"
    cheap = cost.sign > 0 or (math.isnan(cost.low) and cost.value < COST)  # no interval where all trials cost the same
    return "holds" if cheap else "holds under conditions"


_WITHSTANDS = ("5", "The filter withstands an attacker who knows of it")
_WITHSTANDS_RULE = (
    f"Does not hold if filtered attack success is above {SUCCESS:.0%} for one weight γ that the attacker gives to "
    f"passing the filter; not refuted by these attackers if below for all; else open: by whole intervals. {NOT_TRIED}"
)


def filtering_withstands(frontier: Sequence[dict[str, Any]] | None) -> Claim:
    """What the paper's conclusion needs and does not test. Open without a frontier.

    Args:
        frontier: Dicts with ``gamma``, ``attack_success`` after filtering and its ``interval``, an attacker each.
    """
    if not frontier:
        return _open(*_WITHSTANDS, _WITHSTANDS_RULE)
    readings = [Effect(a["attack_success"], *a["interval"], bound=SUCCESS, side="below") for a in frontier]
    worst = max(range(len(readings)), key=lambda i: readings[i].value)
    gammas = ", ".join(f"{attacker['gamma']:g}" for attacker in frontier)
    measured = (
        f"attackers with γ = {gammas} and random targets; the worst, γ = {frontier[worst]['gamma']:g}: filtered attack "
        f"success {_share(readings[worst])}"
    )
    return Claim(*_WITHSTANDS, measured, unless_refuted(readings), _WITHSTANDS_RULE)


def _equal_beta(
    sweeps: dict[str, Tradeoff] | None, lgm: Findings, softmax: Findings
) -> tuple[PoisonStatistics | None, PoisonStatistics | None]:
    """From the sweeps at the paper's beta, where structural similarity is measured too; else from the poisons."""
    if sweeps:
        beta = PoisonConfig().beta
        return PoisonStatistics.of_tradeoff(sweeps["lgm"], beta), PoisonStatistics.of_tradeoff(sweeps["softmax"], beta)
    if lgm.poisons is None or softmax.poisons is None:
        return None, None
    return PoisonStatistics.of_poisons(lgm.poisons), PoisonStatistics.of_poisons(softmax.poisons)


def _detection(side: Findings) -> dict[str, Any] | None:
    if side.poisons is None or side.clean is None:
        return None
    return detection_report(side.clean.score, side.poisons.score, side.poisons.collided, FPR).to_dict()


def _success(report: dict[str, Any], arm: str) -> Effect:
    return Effect(report["attack_success"][arm], *report["interval"][arm], bound=SUCCESS, side="below")


def _cost(report: dict[str, Any]) -> Effect:
    low, high = (math.nan if end is None else end for end in report["accuracy_lost_interval"]["filtered"])
    return Effect(report["accuracy_lost"]["filtered"], low, high, bound=COST, side="below")


def _open(section: str, text: str, rule: str, why: str = "not measured yet") -> Claim:
    return Claim(section, text, why, "open", rule)


def _number(value: float, low: float, high: float, digits: int = 2) -> str:
    """With more digits, to four, where the ends of the interval would be the same, or look like 0."""
    least = min((size for size in (high - low, abs(low), abs(high)) if 0 < size < math.inf), default=1.0)
    digits = max(digits, min(4, -math.floor(math.log10(least))))
    return "{:z.{}f} ({} to {})".format(value, digits, *outward(low, high, digits))


def _percent(value: float, low: float, high: float) -> str:
    return "{} ({} to {})".format(percent_text(value), *outward(100 * low, 100 * high, 1))


def _of(reading: Effect, digits: int = 2) -> str:
    return _number(reading.value, reading.low, reading.high, digits)


def _share(reading: Effect) -> str:
    return _percent(reading.value, reading.low, reading.high)


def _points(reading: Effect) -> str:
    if math.isnan(reading.low):
        return f"{100 * reading.value:.2f} (in every trial)"
    return _number(100 * reading.value, 100 * reading.low, 100 * reading.high)
