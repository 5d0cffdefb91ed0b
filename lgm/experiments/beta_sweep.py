"""Sweep over beta: collision rate, visibility, detection and attack success."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lgm.attacks.result import Poisons, check_count, pick_pairs
from lgm.config import PAPER_BETA, DefenseConfig, PoisonConfig
from lgm.data.base import Split
from lgm.defense.report import DefenseReport
from lgm.defense.trials import hold_out
from lgm.detection.metrics import DetectionReport, detection_report
from lgm.models.card import Card
from lgm.stats.intervals import Estimate, mean_interval, wilson_interval
from lgm.stats.ssim import ssim
from lgm.utils.progress import OnStep, subprogress

if TYPE_CHECKING:  # to read a study needs no torch
    from lgm.models.classifier import Classifier


BETAS = (1e-4, 4e-4, 1e-3, 2.5e-3, PAPER_BETA, 2.5e-2, 1e-1, 2.5e-1)  # of BETA_GRID: the paper's, and round it
FPR = 0.01  # where detection is judged


@dataclass(frozen=True)
class Tradeoff:
    """The same P pairs crafted at each of B betas on one network. All plain: reads from JSON without torch.

    Attributes:
        model, loss: Name of the network, and what it was trained with.
        data, data_sha256: The split, and its hash.
        seed: Of the pairs.
        density: Key of `lgm.defense.report.FILTERS`: what scores the images.
        betas: (B,) ascending.
        bases, targets: (P,) positions in the split.
        collided: (B, P) bool: the network takes the poison for the target's class.
        l2: (B, P) L2 distance to the base, pixels in [0, 1].
        ssim: (B, P) structural similarity to the base, at most 1, which is equal.
        score: (B, P) log-likelihoods under the claimed label, nats; higher is cleaner.
        detection: `lgm.detection.metrics.detection_report` at each beta.
        attack: `lgm.defend` at each beta; none if not measured.
    """

    model: str
    loss: str
    data: str
    data_sha256: str
    seed: int
    density: str
    betas: np.ndarray
    bases: np.ndarray
    targets: np.ndarray
    collided: np.ndarray
    l2: np.ndarray
    ssim: np.ndarray
    score: np.ndarray
    detection: list[DetectionReport]
    attack: list[DefenseReport]

    def __len__(self) -> int:
        """Number of pairs, P."""
        return len(self.bases)

    def index(self, beta: float) -> int:
        """Position of a beta of the grid. Raises ValueError if it is not there."""
        found = np.flatnonzero(np.isclose(self.betas, beta, rtol=1e-6, atol=0))
        if not len(found):
            raise ValueError(f"beta: expected one of {[float(b) for b in self.betas]}, got {beta}")
        return int(found[0])

    def rows(self) -> list["BetaRow"]:
        """A line a beta, for tables and curves."""
        return [self._row(i) for i in range(len(self.betas))]

    def _row(self, i: int) -> "BetaRow":
        n, collided, detection = len(self), int(self.collided[i].sum()), self.detection[i]
        attack = self.attack[i] if self.attack else None
        success = attack.attack_success if attack and attack.n else None
        return BetaRow(
            beta=float(self.betas[i]),
            pairs=n,
            collided=Estimate(collided / n, *wilson_interval(collided, n)),
            l2=Estimate(*mean_interval(self.l2[i])),
            ssim=Estimate(*mean_interval(self.ssim[i])),
            log_likelihood=float(self.score[i].mean()),
            auc=detection.auc,
            tpr=detection.tpr_at_fpr[FPR],
            auc_collided=detection.auc_collided,
            tpr_collided=detection.tpr_at_fpr_collided[FPR],
            unfiltered=success.unfiltered if success else None,
            filtered=success.filtered if success else None,
            attacks=attack.n if attack else None,
        )


@dataclass(frozen=True)
class BetaRow:
    """What one beta of a sweep trades: shares and means with their 95 % intervals.

    Shares have Wilson's interval, means Student's, rates at an FPR that of the report.

    Attributes:
        beta, pairs: The trade-off of eq. (1), and how many pairs were crafted at it.
        collided: Share of the poisons that the network takes for the target's class.
        l2, ssim: Means of the `Tradeoff`'s.
        log_likelihood: Mean, nats.
        auc, tpr: Over all poisons; the TPR is at `FPR`.
        auc_collided, tpr_collided: Over those that collide; None where none does.
        unfiltered, filtered: Attack success without a filter and with it; None if not measured, or if no target counts.
        attacks: Of how many targets; None if not measured.
    """

    beta: float
    pairs: int
    collided: Estimate
    l2: Estimate
    ssim: Estimate
    log_likelihood: float
    auc: Estimate
    tpr: Estimate
    auc_collided: Estimate | None
    tpr_collided: Estimate | None
    unfiltered: Estimate | None
    filtered: Estimate | None
    attacks: int | None


def beta_sweep(
    model: "Classifier",
    card: Card,
    split: Split,
    *,
    betas: Sequence[float] = BETAS,
    pairs: int = 100,
    seed: int = 1,
    trials: int = 0,
    on_step: OnStep | None = None,
    cache: Path | None = None,
) -> Tradeoff:
    """Craft the same random pairs at each beta, and measure what comes of it. Source: paper, section 4.3.

    Half of the split, drawn at random, fits the density of a network that has none. Pairs, and the clean images that
    poisons are to be told from, are of the other half, for either loss: so the same seed gives both networks the same.

    Args:
        model: Frozen, either loss.
        card: Its card.
        split: Clean images that it was not trained on.
        betas: Trade-offs of eq. (1), each > 0 and once.
        pairs: How many, at least 2.
        seed: Of the halves, the pairs and the trials.
        trials: Attacks on fine-tuning at each beta (`lgm.defend`, its other defaults); 0: none.
        on_step: Called as (poison-iterations done, in all); returning False ends crafting with the points so far.
        cache: Folder for crafted poisons: see `lgm.attacks.cache`.

    Raises:
        ValueError: betas or pairs that do not fit; see also `pick_pairs` and `craft_poisons`.
    """
    from lgm.defense.experiment import defend

    grid, shape = _checked(betas, pairs), (len(betas), pairs)
    configs = [DefenseConfig(beta=float(beta), trials=trials, seed=seed) for beta in (grid if trials else ())]
    fit_on, pool = hold_out(len(split), 0.5, np.random.default_rng(seed))
    check_count(pairs, len(pool), "pairs")
    bases, targets = (pool[index] for index in pick_pairs(split.labels[pool], pairs, seed))
    first, *others = (subprogress(on_step, i, 1 + len(configs)) for i in range(1 + len(configs)))
    poisons = _craft(model, (split[bases], split[targets]), grid, first, cache)
    clean_score, poison_score, density = _scored(model, split, fit_on, pool, poisons)
    collided, score = poisons.collided.reshape(shape), poison_score.reshape(shape)
    return Tradeoff(
        model=card.name,
        loss=card.config.model.loss,
        data=split.name,
        data_sha256=split.sha256,
        seed=seed,
        density=density,
        betas=grid,
        bases=bases,
        targets=targets,
        collided=collided,
        l2=poisons.l2.astype(np.float64).reshape(shape),
        ssim=ssim(poisons.bases, poisons.images).reshape(shape),
        score=score,
        detection=[detection_report(clean_score, *of, FPR) for of in zip(score, collided, strict=True)],
        attack=[defend(model, card, split, *each, cache=cache) for each in zip(configs, others, strict=True)],
    )


def _craft(
    model: "Classifier", pairs: tuple[Split, Split], grid: np.ndarray, on_step: OnStep | None, cache: Path | None
) -> Poisons:
    """The pairs, bases and targets, at each beta of the grid, one beta after the other."""
    from lgm.attacks.cache import craft_cached

    each, beta = np.tile(np.arange(len(pairs[0])), len(grid)), grid.repeat(len(pairs[0]))
    bases, targets = (images[each] for images in pairs)
    return craft_cached(model, bases, targets, PoisonConfig(), beta=beta, folder=cache, on_step=on_step)


def _checked(betas: Sequence[float], pairs: int) -> np.ndarray:
    grid = np.unique(np.asarray(betas, np.float64))
    if not len(grid) or len(grid) != len(betas) or not (grid > 0).all() or not np.isfinite(grid).all():
        raise ValueError(f"betas: expected at least one number > 0, each once, got {list(betas)}")
    if pairs < 2:
        raise ValueError(f"pairs: expected at least 2, for an interval, got {pairs}")
    return grid


def _scored(
    model: "Classifier", split: Split, fit_on: np.ndarray, pool: np.ndarray, poisons: Poisons
) -> tuple[np.ndarray, np.ndarray, str]:
    """Scores of clean images and of poisons, nats, and what made them."""
    from lgm.detection.gaussian import fit_density
    from lgm.models.scoring import embed, own_density

    scale = model.feature_scale.cpu().numpy()
    z, labels = embed(model, split.pixels()).numpy() * scale, split.labels
    own = model.head.mixture is not None
    score = own_density(model) if own else fit_density(z[fit_on], labels[fit_on])
    claimed = poisons.labels.astype(labels.dtype)
    return (
        score(z[pool], labels[pool]),
        score(poisons.z * scale, claimed).astype(np.float64),
        "own" if own else "fitted",
    )
