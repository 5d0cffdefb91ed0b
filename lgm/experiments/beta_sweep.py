"""Sweep over beta: collision rate, visibility, detection and attack success."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lgm.attacks.result import Poisons, check_count, pick_pairs
from lgm.config import PAPER_BETA, DefenseConfig, PoisonConfig
from lgm.data.base import Split
from lgm.detection.metrics import detection_report
from lgm.models.card import Card
from lgm.stats.intervals import auc_interval, mean_interval, wilson_interval
from lgm.stats.ssim import ssim
from lgm.utils.progress import OnStep, part

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
        attack: `lgm.defense.report.DefenseReport.to_dict` at each beta; none if not measured.
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
    detection: list[dict[str, Any]]
    attack: list[dict[str, Any]]

    def __len__(self) -> int:
        """Number of pairs, P."""
        return len(self.bases)

    def index(self, beta: float) -> int:
        """Position of a beta of the grid. Raises ValueError if it is not there."""
        found = np.flatnonzero(np.isclose(self.betas, beta, rtol=1e-6, atol=0))
        if not len(found):
            raise ValueError(f"beta: expected one of {[float(b) for b in self.betas]}, got {beta}")
        return int(found[0])

    def rows(self) -> list[dict[str, Any]]:
        """A line a beta, for tables and curves: shares and means with their 95 % intervals, (low, high).

        Shares have Wilson's interval, means Student's, rates at an FPR that of the report. None where no poison
        collides, or nothing was measured.
        """
        return [self._row(i) for i in range(len(self.betas))]

    def _row(self, i: int) -> dict[str, Any]:
        n, collided = len(self), int(self.collided[i].sum())
        l2, ssim = mean_interval(self.l2[i]), mean_interval(self.ssim[i])
        return {
            "beta": float(self.betas[i]),
            "pairs": n,
            "collided": collided / n,
            "collided_interval": wilson_interval(collided, n),
            "l2": l2[0],
            "l2_interval": l2[1:],
            "ssim": ssim[0],
            "ssim_interval": ssim[1:],
            "log_likelihood": float(self.score[i].mean()),
            **_detected(self.detection[i], "", n),
            **_detected(self.detection[i], "_collided", collided),
            **_succeeded(self.attack[i] if self.attack else None),
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` is the way back."""
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(self).items()}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "Tradeoff":
        """What `to_dict` wrote. Raises TypeError for unknown or missing fields."""
        arrays = {field.name for field in fields(Tradeoff) if field.type is np.ndarray}
        read: dict[str, Any] = {name: np.asarray(v) if name in arrays else v for name, v in values.items()}
        return Tradeoff(**read)


def _detected(report: dict[str, Any], of: str, n: int) -> dict[str, Any]:
    """AUC and TPR of one group of n poisons, with their intervals; ``of`` ends their names in the report."""
    auc, tpr = report[f"auc{of}"], report[f"tpr_at_fpr{of}"][f"{FPR:g}"]
    return {
        f"auc{of}": auc,
        f"auc{of}_interval": auc_interval(auc, report["clean"], n) if n else None,
        f"tpr{of}": tpr,
        f"tpr{of}_interval": report[f"tpr_at_fpr{of}_interval"][f"{FPR:g}"] if n else None,
    }


def _succeeded(attack: dict[str, Any] | None) -> dict[str, Any]:
    """Attack success without a filter and with it, their intervals, and of how many targets."""
    row: dict[str, Any] = {}
    for arm in ("unfiltered", "filtered"):
        row[arm] = attack and attack["attack_success"][arm]
        row[f"{arm}_interval"] = attack and attack["interval"][arm]
    return {**row, "attacks": attack and attack["n"]}


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
    """Craft the same random pairs at each beta, and measure what comes of it.

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

    Source: paper, section 4.3.
    """
    from lgm.attacks.cache import craft_cached
    from lgm.defense.experiment import defend
    from lgm.defense.trials import hold_out

    grid = _checked(betas, pairs)
    configs = [DefenseConfig(beta=float(beta), trials=trials, seed=seed) for beta in (grid if trials else ())]
    fit_on, pool = hold_out(len(split), 0.5, np.random.default_rng(seed))
    check_count(pairs, len(pool), "pairs")
    bases, targets = (pool[index] for index in pick_pairs(split.labels[pool], pairs, seed))
    each = np.tile(np.arange(pairs), len(grid))
    steps = [part(on_step, i, 1 + len(configs)) for i in range(1 + len(configs))]
    poisons = craft_cached(
        model,
        split[bases[each]],
        split[targets[each]],
        PoisonConfig(),
        beta=grid.repeat(pairs),
        folder=cache,
        on_step=steps[0],
    )
    clean_score, poison_score, density = _scored(model, split, fit_on, pool, poisons)
    shape = len(grid), pairs
    score, collided = poison_score.astype(np.float64).reshape(shape), poisons.collided.reshape(shape)
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
        detection=[detection_report(clean_score, *of, FPR).to_dict() for of in zip(score, collided, strict=True)],
        attack=[
            defend(model, card, split, *each, cache=cache).to_dict() for each in zip(configs, steps[1:], strict=True)
        ],
    )


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
    from lgm.defense.experiment import own_density
    from lgm.detection.gaussian import fit_density
    from lgm.models.scoring import embed

    scale = model.feature_scale.cpu().numpy()
    z, labels = embed(model, split.pixels()).numpy() * scale, split.labels
    own = model.head.mixture is not None
    score = own_density(model) if own else fit_density(z[fit_on], labels[fit_on])
    claimed = poisons.labels.astype(labels.dtype)
    return score(z[pool], labels[pool]), score(poisons.z * scale, claimed), "own" if own else "fitted"
