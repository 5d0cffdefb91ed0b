"""What an experiment on fine-tuning found, by filter rate."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from lgm.config import ATTACK_REVISION, DefenseConfig
from lgm.stats.intervals import Estimate, wilson_interval
from lgm.utils.json import plain

ATTACK_SUCCESS = (
    "share of the targets, among those that the clean control classifies correctly, "
    "to which the fine-tuned model gives the label of the base"
)
UNTOUCHED = "untouched"  # fine-tuned on D_f and the bases as they were
ARMS = ("clean", "unfiltered", "filtered")  # fine-tuned on D_f, on D_t, on D_w
FILTERS = {
    "own": "log-likelihood under the Gaussian of the claimed label that the network was trained with",
    "fitted": "log-density of a full Gaussian that was fitted afterwards to clean features of the claimed label",
}


@dataclass(frozen=True)
class Filtered:
    """What the filter does to the attack at one wanted false-positive rate. Shares in [0, 1], intervals of 95 %.

    Attributes:
        threshold: T in nats, the median over trials; removed is score <= T.
        hits: Targets that get the base's label although D_t was filtered.
        accuracy: Mean over trials, on clean images that nothing was fine-tuned on.
        accuracy_lost: Accuracy of the clean control minus that; its interval is over trials.
        poisons_removed, clean_removed: Images of D_p and of D_f, over all trials.
        poisons_share, clean_share: The same as shares; their intervals are over trials. NaN if there are none.
        measured_fpr: Share that T removes of all clean images that had no part in calibrating it.
    """

    threshold: float
    hits: int
    accuracy: float
    accuracy_lost: Estimate
    poisons_removed: int
    poisons_share: Estimate
    clean_removed: int
    clean_share: Estimate
    measured_fpr: float


@dataclass(frozen=True)
class DefenseReport:
    """What the attack does without the filter and with it. Shares in [0, 1], intervals of 95 %, over trials.

    Attributes:
        config: The setting.
        model, data: Names of network and split.
        weights_sha256, data_sha256: Their hashes.
        filter: Key of `FILTERS`.
        calibration: Clean images that T is calibrated on in a trial; the mean.
        n: Targets that count: the clean control classifies them correctly.
        control_hits: Of these, how many get the base's label by the clean control itself, without the filter
            ("unfiltered"), and with the bases in place of the poisons made of them (`UNTOUCHED`), for more images of
            one class may by themselves move a border.
        control_accuracy: As `Filtered.accuracy`, of the clean control and without the filter.
        unfiltered_lost: As `Filtered.accuracy_lost`, without the filter.
        collided: Share of the poisons that the network takes for the target's class; NaN without poisons.
        poisons_total, clean_total: Images of D_p and of D_f, over all trials.
        by_fpr: By the false-positive rate that T was calibrated for; the setting's is among them. It is the only one
            for an attacker who knows of the filter, and so aims at one T, and where all layers are fine-tuned.
    """

    config: DefenseConfig
    model: str
    data: str
    weights_sha256: str
    data_sha256: str
    filter: str
    calibration: float
    n: int
    control_hits: dict[str, int]
    control_accuracy: dict[str, float]
    unfiltered_lost: Estimate
    collided: float
    poisons_total: int
    clean_total: int
    by_fpr: dict[float, Filtered]

    @property
    def filtered(self) -> Filtered:
        """At the setting's own rate."""
        return self.by_fpr[self.config.fpr]

    @property
    def hits(self) -> dict[str, int]:
        """Successful attacks by arm, and for the untouched bases."""
        return {**self.control_hits, "filtered": self.filtered.hits}

    @property
    def attack_success(self) -> dict[str, float]:
        """See `ATTACK_SUCCESS`; by arm, and for the untouched bases. NaN if no target counts."""
        return {arm: self._success(hits).value for arm, hits in self.hits.items()}

    @property
    def interval(self) -> dict[str, tuple[float, float]]:
        """95 % Wilson intervals of the attack success; NaN if no target counts."""
        return {arm: self._success(hits)[1:] for arm, hits in self.hits.items()}

    @property
    def accuracy(self) -> dict[str, float]:
        """Mean over trials, by arm."""
        return {**self.control_accuracy, "filtered": self.filtered.accuracy}

    @property
    def accuracy_lost(self) -> dict[str, Estimate]:
        """Accuracy of the clean control minus that of the other arms."""
        return {"unfiltered": self.unfiltered_lost, "filtered": self.filtered.accuracy_lost}

    def _success(self, hits: int) -> Estimate:
        if not self.n:
            return Estimate(math.nan, math.nan, math.nan)
        return Estimate(hits / self.n, *wilson_interval(hits, self.n))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; None stands for what is not a number."""
        success, interval, lost = self.attack_success, self.interval, self.accuracy_lost
        values = {
            "model": self.model,
            "weights_sha256": self.weights_sha256,
            "data": self.data,
            "data_sha256": self.data_sha256,
            "attack_revision": ATTACK_REVISION,
            **asdict(self.config),
            "filter": FILTERS[self.filter],
            "threshold": self.filtered.threshold,
            "calibration_images": self.calibration,
            "definition": ATTACK_SUCCESS,
            "attack_success": {arm: success[arm] for arm in ARMS},
            "interval": {arm: interval[arm] for arm in ARMS},
            "n": self.n,
            "untouched_bases": {"attack_success": success[UNTOUCHED], "interval": interval[UNTOUCHED]},
            "accuracy": self.accuracy,
            "accuracy_lost": {arm: each.value for arm, each in lost.items()},
            "accuracy_lost_interval": {arm: each[1:] for arm, each in lost.items()},
            "collided": self.collided,
            "poisons_removed": self.filtered.poisons_removed,
            "poisons_total": self.poisons_total,
            "clean_removed": self.filtered.clean_removed,
            "clean_total": self.clean_total,
            "measured_fpr": self.filtered.measured_fpr,
            "by_fpr": {f"{fpr:g}": self._at(each) for fpr, each in self.by_fpr.items()},
        }
        del values["density"]  # `filter` says which it was
        return plain(values)

    def _at(self, filtered: Filtered) -> dict[str, Any]:
        values: dict[str, Any] = {"attack_success": filtered.hits / self.n if self.n else math.nan}
        values["interval"] = self._success(filtered.hits)[1:]
        for name, value in vars(filtered).items():
            if isinstance(value, Estimate):
                values |= {name: value.value, f"{name}_interval": value[1:]}
            else:
                values[name] = value
        return values
