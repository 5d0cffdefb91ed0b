"""Records made by hand, for tests of what follows from their numbers."""

import math
from collections.abc import Mapping
from typing import Any

from lgm.config import ATTACK_REVISION, DefenseConfig
from lgm.defense.report import (
    ATTACK_SUCCESS,
    FILTERS,
    AccuracyLost,
    ByArm,
    DefenseReport,
    Filtered,
    UntouchedBases,
)
from lgm.detection.compare import Comparison, Result
from lgm.detection.metrics import DetectionReport, Outcome
from lgm.experiments.adaptive_rows import AdaptiveRow
from lgm.experiments.beta_sweep import BetaRow
from lgm.stats.intervals import Estimate

NONE = Estimate(math.nan, math.nan, math.nan)
Three = tuple[float, float, float]


def defense_report(
    before: Three = (0.8, 0.6, 0.9),
    after: Mapping[float, Three] | None = None,
    *,
    lost: Three = (0.001, math.nan, math.nan),
    n: int = 20,
    model: str = "mnist-lgm",
    data: str = "bundled",
    weights_sha256: str = "0",
    attack_revision: int | None = ATTACK_REVISION,
    totals: tuple[int, int] = (200, 400),
    **setting: Any,
) -> DefenseReport:
    """One whose attack success is (share, low, high) unfiltered, and filtered at each rate; 0 at 1 % unless given."""
    setting.setdefault("trials", 20)
    config = DefenseConfig(**setting)
    filtered = {
        fpr: Filtered(
            attack_success=Estimate(*success),
            threshold=-3.0,
            hits=0 if math.isnan(success[0]) else round(success[0] * n),
            accuracy=0.99,
            accuracy_lost=Estimate(*lost),
            poisons_removed=round(0.9 * totals[0]),
            poisons_share=Estimate(0.9, 0.8, 1.0),
            clean_removed=round(0.01 * totals[1]),
            clean_share=Estimate(0.01, 0.0, 0.02),
            measured_fpr=0.01,
        )
        for fpr, success in (after or {config.fpr: (0.0, 0.0, 0.04)}).items()
    }
    own = filtered[config.fpr]
    return DefenseReport(
        model=model,
        weights_sha256=weights_sha256,
        data=data,
        data_sha256="0",
        attack_revision=attack_revision,
        config=config,
        filter=FILTERS["own"],
        threshold=own.threshold,
        calibration_images=100.0,
        definition=ATTACK_SUCCESS,
        attack_success=ByArm(Estimate(0.0, 0.0, 0.1), Estimate(*before), own.attack_success),
        n=n,
        untouched_bases=UntouchedBases(Estimate(0.0, 0.0, 0.1)),
        accuracy=ByArm(0.99, 0.89, 0.99),
        accuracy_lost=AccuracyLost(Estimate(0.1, 0.05, 0.15), own.accuracy_lost),
        collided=0.9,
        poisons_removed=own.poisons_removed,
        poisons_total=totals[0],
        clean_removed=own.clean_removed,
        clean_total=totals[1],
        measured_fpr=own.measured_fpr,
        by_fpr=filtered,
    )


def adaptive_row(gamma: float, success: Three, **changes: Any) -> AdaptiveRow:
    """An attacker, of a hundred attacks with ten poisons each."""
    values: dict[str, Any] = {"n": 100, "poisons": 1000, "collided": 0.5, "detected": Estimate(0.5, 0.4, 0.6)}
    unfiltered, success = Estimate(0.8, 0.7, 0.9), Estimate(*success)
    return AdaptiveRow(
        **{**values, **changes}, gamma=gamma, threshold=-3.0, attack_success=success, unfiltered=unfiltered
    )


def comparison(title: str, verdict: str, against: str = "LGM likelihood") -> Comparison:
    """A detector with a verdict, over all poisons."""
    some = Estimate(0.9, 0.8, 1.0)
    rates = {0.01: some, 0.05: some}
    difference = {rate: _DIFFERENCES[verdict] for rate in rates if verdict in _DIFFERENCES}
    overall = Result(9, some, 0.01, some, rates, NONE, difference, verdict)
    return Comparison(title.lower(), title, "nowhere", "nothing", against, overall, None)


_DIFFERENCES = {  # by what they are judged to be
    "better": Estimate(0.5, 0.4, 0.6),
    "as good": Estimate(0.0, -0.01, 0.01),
    "not decided": Estimate(0.0, -0.5, 0.5),
    "worse": Estimate(-0.5, -0.6, -0.4),
}


def detection_report(
    tpr: Three = (0.0, 0.0, 0.1), auc_collided: Three | None = None, tpr_collided: Three | None = None
) -> DetectionReport:
    """A hundred clean images, and an AUC of 0.9; rates at 1 %."""
    at = Outcome(-3.0, 0, 9, 1, 99)
    return DetectionReport(
        clean=100,
        poisons=9,
        collided=0,
        auc=Estimate(0.9, 0.8, 1.0),
        tpr_at_fpr={0.01: Estimate(*tpr)},
        auc_collided=auc_collided and Estimate(*auc_collided),
        tpr_at_fpr_collided={0.01: tpr_collided and Estimate(*tpr_collided)},
        threshold_at_fpr={0.01: at.threshold},
        fpr=at.fpr,
        tpr=at.tpr,
        precision=at.precision,
        **vars(at),
    )


def beta_row(beta: float, attacks: int | None, level: float = 0.0) -> BetaRow:
    """Estimates that all differ, and rise with ``level``; without attacks their success is not known."""
    shares = [0.1 * k + level for k in range(1, 10)]
    estimates = [Estimate(share, share - 0.05, share + 0.05) for share in shares]
    collided, l2, ssim, auc, tpr, auc_collided, tpr_collided, unfiltered, filtered = estimates
    return BetaRow(
        beta=beta,
        pairs=20,
        collided=collided,
        l2=l2,
        ssim=ssim,
        log_likelihood=-3.0,
        auc=auc,
        tpr=tpr,
        auc_collided=auc_collided,
        tpr_collided=tpr_collided,
        unfiltered=unfiltered if attacks else None,
        filtered=filtered if attacks else None,
        attacks=attacks,
    )
