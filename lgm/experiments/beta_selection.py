"""Selection of beta by cross-validation over pairs.

The paper finds its beta by cross-validation (section 4.3) and does not say by which criterion. Here it is what the
attacker wishes: as little change to the image as possible, as long as the poisons still collide.
"""

import math
from dataclasses import dataclass

import numpy as np

from lgm.experiments.beta_sweep import Tradeoff
from lgm.stats.intervals import Estimate, wilson_interval


@dataclass(frozen=True)
class Fold:
    """What the pairs outside a fold choose, and what that does to the pairs in it.

    Attributes:
        beta: The choice; None if no beta of the grid lets enough poisons collide.
        training: Share of the other pairs that collides at it; NaN without a choice.
        hits, n: Pairs of this fold that collide at it, and all of them.
    """

    beta: float | None
    training: float
    hits: int
    n: int


@dataclass(frozen=True)
class Choice:
    """A beta chosen by cross-validation.

    Attributes:
        share: Of the poisons that must collide.
        beta: Chosen on all pairs; None if no beta of the grid lets enough of them collide.
        folds: What each fold of the pairs says of the choice of the others.
    """

    share: float
    beta: float | None
    folds: list[Fold]

    @property
    def held_out(self) -> Estimate:
        """Share of the held-out pairs that collide at the beta that the others chose, and its 95 % Wilson interval.

        Over the folds in which there was a choice; NaN if in none.
        """
        counted = [fold for fold in self.folds if fold.beta is not None]
        hits, n = sum(fold.hits for fold in counted), sum(fold.n for fold in counted)
        return Estimate(hits / n, *wilson_interval(hits, n)) if n else Estimate(math.nan, math.nan, math.nan)

    @property
    def reason(self) -> str:
        """The choice in words."""
        if self.beta is None:
            return f"No β of the grid lets {self.share:.0%} of the poisons collide: try smaller ones."
        chosen = sorted({fold.beta for fold in self.folds if fold.beta is not None})
        betas = " or ".join(f"{beta:g}" for beta in chosen) or "none"
        mean, low, high = self.held_out
        without = sum(fold.beta is None for fold in self.folds)
        return (
            f"β = {self.beta:g} is the largest of the grid at which at least {self.share:.0%} of the pairs collide. "
            f"{len(self.folds)}-fold cross-validation chooses {betas}, at which {mean:.0%} ({low:.0%} to {high:.0%}) "
            "of the held-out pairs collide" + (f"; {without} folds leave no choice." if without else ".")
        )


def choose_beta(tradeoff: Tradeoff, *, share: float = 0.9, folds: int = 5, seed: int = 1) -> Choice:
    """The largest beta, so the least visible change, at which at least a share of the poisons still collides.

    Args:
        tradeoff: Pairs crafted at each beta.
        share: In (0, 1]; how often the attack must work.
        folds: Groups of pairs, drawn at random; each is held out once, and the others choose for it.
        seed: Of the folds.

    Raises:
        ValueError: a share or a number of folds that does not fit.

    Source: paper, section 4.3, which cross-validates beta without saying by which criterion. This one is a choice: the
    attacker's, who needs a collision and fears to be seen.
    """
    n = len(tradeoff)
    if not 0 < share <= 1:
        raise ValueError(f"share: expected one in (0, 1], got {share}")
    if not 2 <= folds <= n:
        raise ValueError(f"folds: expected 2..{n} (one pair each), got {folds}")
    held_out = np.array_split(np.random.default_rng(seed).permutation(n), folds)
    everyone = np.arange(n)
    return Choice(
        share=share,
        beta=_beta_at(tradeoff, _largest(tradeoff, everyone, share)),
        folds=[_fold(tradeoff, np.setdiff1d(everyone, those), those, share) for those in held_out],
    )


def _largest(tradeoff: Tradeoff, pairs: np.ndarray, share: float) -> int | None:
    """Position of the largest beta at which enough of these pairs collide."""
    enough = np.flatnonzero(tradeoff.collided[:, pairs].mean(axis=1) >= share)
    return int(enough[-1]) if len(enough) else None


def _beta_at(tradeoff: Tradeoff, index: int | None) -> float | None:
    return None if index is None else float(tradeoff.betas[index])


def _fold(tradeoff: Tradeoff, training: np.ndarray, held_out: np.ndarray, share: float) -> Fold:
    index = _largest(tradeoff, training, share)
    if index is None:
        return Fold(beta=None, training=math.nan, hits=0, n=len(held_out))
    collided = tradeoff.collided[index]
    return Fold(
        _beta_at(tradeoff, index), float(collided[training].mean()), int(collided[held_out].sum()), len(held_out)
    )
