"""How visible a poison must be: the least L2 of eq. (1) beside the least of any change, for the pairs of a study."""

from dataclasses import dataclass
from datetime import date
from importlib.metadata import version

import numpy as np

from lgm.attacks.minimum_norm import STEPS, least_change
from lgm.config import Loss
from lgm.data.base import Split
from lgm.experiments.effects import Effect
from lgm.experiments.matched_comparison import median_of, needed
from lgm.experiments.records import ByLoss, Study, machine, read_record
from lgm.models.classifier import Classifier
from lgm.models.registry import SHIPPED


@dataclass(frozen=True)
class Visibility:
    """L2 of the same P pairs on both networks, pixels in [0, 1].

    Attributes:
        dataset, split, split_sha256: Clean images.
        weights_sha256: Of both networks.
        colliding: (P,) least over the betas of the study of poisons that collide; inf if none does.
        least: (P,) of any change with which the network takes the base for the target's class, by DDN; inf if it finds
            none.
        steps: Of DDN.
        attack_revision: Of the study's poisons.
        made, machine, versions: When, where and with what.
    """

    dataset: str
    split: str
    split_sha256: str
    weights_sha256: ByLoss[str]
    colliding: ByLoss[list[float]]
    least: ByLoss[list[float]]
    steps: int
    attack_revision: int | None
    made: str
    machine: str
    versions: dict[str, str]

    def _least(self, loss: Loss) -> list[float]:
        """A poison that collides is a change of that kind too: DDN gives an upper bound, and eq. (1) another."""
        pairs = zip(self.least.of(loss), self.colliding.of(loss), strict=True)
        return [min(values, key=lambda l2: np.nan_to_num(l2, nan=np.inf)) for values in pairs]

    def beaten(self, loss: Loss) -> int:
        """Pairs for which eq. (1) finds less than DDN."""
        return sum(a != b and not np.isnan(b) for a, b in zip(self.least.of(loss), self._least(loss), strict=True))

    def rows(self) -> "list[VisibilityRow]":
        """Eq. (1), then the least that either attack finds."""
        return [
            _row("eq. (1), colliding", self.colliding),
            _row("least that was found (DDN, or eq. (1))", ByLoss(*(self._least(loss) for loss in ("lgm", "softmax")))),
        ]


@dataclass(frozen=True)
class VisibilityRow:
    """Medians over pairs, and that of LGM less softmax by pair; intervals of 95 % over pairs, by the bootstrap."""

    name: str
    lgm: Effect
    softmax: Effect
    difference: Effect


def measure_visibility(models: ByLoss[Classifier], split: Split, study: Study) -> Visibility:
    """DDN on the pairs of a study's sweep, on both of its networks.

    Args:
        models: The networks of the study, frozen.
        split: Its clean images.
        study: Whose poisons are compared with.

    Raises:
        ImportError: see `least_change`.
        ValueError: other images than the study's.
    """
    if split.sha256 != study.about.data_sha256:
        raise ValueError(f"data: expected the images of the study ({study.about.data}), got {split.name}")
    bases, targets = study.tradeoff.lgm.bases, study.tradeoff.lgm.targets
    least, colliding = (
        ByLoss(*(found(loss).tolist() for loss in ("lgm", "softmax")))
        for found in (
            lambda loss: least_change(models.of(loss), split[bases], split.labels[targets]).astype(float),
            lambda loss: needed(study.tradeoff.of(loss)).l2.astype(float),
        )
    )
    return Visibility(
        dataset=split.dataset,
        split=split.name,
        split_sha256=split.sha256,
        weights_sha256=study.about.weights_sha256,
        colliding=colliding,
        least=least,
        steps=STEPS,
        attack_revision=study.about.attack_revision,
        made=date.today().isoformat(),
        machine=machine(),
        versions={package: version(package) for package in ("torch", "numpy", "foolbox")},
    )


def read_visibility(dataset: str) -> Visibility | None:
    """The record that is shipped with a dataset's networks; None if there is none.

    Raises:
        CheckpointError: see `read_record`.
    """
    return read_record(SHIPPED / f"{dataset}.visibility.json", Visibility, "how visible poisons are")


def _row(name: str, l2: ByLoss[list[float]], seed: int = 1) -> VisibilityRow:
    ours, theirs = (np.nan_to_num(np.array(values, float), nan=np.inf) for values in (l2.lgm, l2.softmax))
    counts = np.isfinite(ours) | np.isfinite(theirs)
    medians = (Effect(*median_of(values, seed)) for values in (ours, theirs, ours[counts] - theirs[counts]))
    return VisibilityRow(name, *medians)
