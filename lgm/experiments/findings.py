"""What is known of a network, and of its poisons, when the paper's claims are judged."""

from dataclasses import dataclass

import numpy as np

from lgm.attacks.result import Poisons
from lgm.detection.metrics import DetectionReport, detection_report
from lgm.experiments.beta_sweep import FPR, Tradeoff
from lgm.models.features import Features


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

    @property
    def detection(self) -> DetectionReport | None:
        """What the likelihood filter does to the poisons; None without poisons, or without a density."""
        if self.poisons is None or self.clean is None:
            return None
        return detection_report(self.clean.score, self.poisons.score, self.poisons.collided, FPR)
