"""Comparison of two networks at matched collision: the least change with which each pair collides.

At equal beta the networks differ in how often poisons collide as well as in how visible they are; a poison that does
not collide has not reached the target's class, however faint it is. So each pair is given the least change with which
it collides at all. What poisons do that never collide is not measured here.
"""

import math
from dataclasses import dataclass

import numpy as np

from lgm.experiments.beta_sweep import Tradeoff
from lgm.stats.intervals import Estimate, percentile_interval, quantile, resamples, wilson_interval

SHARES = (0.25, 0.5, 0.75, 0.9)
_NONE = Estimate(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class LeastChange:
    """The least visible poison of each of P pairs that collides.

    Attributes:
        l2: (P,) L2 distance to the base, pixels in [0, 1]; inf if it collides at no beta.
        ssim: (P,) structural similarity of the same poison to its base; -inf if there is none.
    """

    l2: np.ndarray
    ssim: np.ndarray


@dataclass(frozen=True)
class MatchedRow:
    """The L2 with which a share of all pairs collides, on each network; infinite if fewer do."""

    share: float
    lgm: Estimate
    softmax: Estimate


@dataclass(frozen=True)
class Matched:
    """Both networks on the same pairs. Intervals of 95 % are over pairs, by the bootstrap.

    Attributes:
        lgm, softmax: What each pair needs on each network.
        neither: Pairs that collide on neither; they say nothing and drop out of what follows.
        l2: Median over pairs of the L2 needed on LGM minus that on softmax; above 0: LGM's is more visible. Infinite
            where most pairs collide on one network only.
        ssim: Median of the structural similarity on softmax minus that on LGM; above 0: LGM's is more visible.
        more: Pairs that need more L2 on LGM, or collide on softmax only.
        n: Pairs that count.
    """

    lgm: LeastChange
    softmax: LeastChange
    neither: int
    l2: Estimate
    ssim: Estimate
    more: int
    n: int

    @property
    def share_more(self) -> Estimate:
        """Share of the pairs that need more on LGM, with its Wilson interval; NaN if no pair counts."""
        return Estimate(self.more / self.n, *wilson_interval(self.more, self.n)) if self.n else _NONE

    @property
    def pairs(self) -> int:
        """Number of pairs, those that collide on neither among them."""
        return len(self.lgm.l2)

    def rows(self, shares: tuple[float, ...] = SHARES, seed: int = 1) -> list[MatchedRow]:
        """What each of these shares of all pairs needs, on each network."""
        return [
            MatchedRow(share, _for_share(self.lgm.l2, share, seed), _for_share(self.softmax.l2, share, seed))
            for share in shares
        ]


def needed(tradeoff: Tradeoff) -> LeastChange:
    """For each pair, the collision with the smallest L2 over all betas."""
    l2 = np.where(tradeoff.collided, tradeoff.l2, np.inf)
    at, pair = l2.argmin(axis=0), np.arange(len(tradeoff))
    least = l2[at, pair]
    return LeastChange(least, np.where(np.isfinite(least), tradeoff.ssim[at, pair], -np.inf))


def matched(lgm: Tradeoff, softmax: Tradeoff, *, seed: int = 1) -> Matched:
    """Compare what the same pairs need on both networks.

    The grid of betas is the resolution, the same for both: between two of its values a pair may collide with less.

    Args:
        lgm: Pairs crafted on the network trained with LGM.
        softmax: The same pairs at the same betas, crafted on the other.
        seed: Of the bootstrap.

    Raises:
        ValueError: other pairs, or other betas.
    """
    _check_same(lgm, softmax)
    ours, theirs = needed(lgm), needed(softmax)
    counts = np.isfinite(ours.l2) | np.isfinite(theirs.l2)
    more = (ours.l2 > theirs.l2)[counts]
    return Matched(
        lgm=ours,
        softmax=theirs,
        neither=int((~counts).sum()),
        l2=median_of(ours.l2[counts] - theirs.l2[counts], seed),
        ssim=median_of(theirs.ssim[counts] - ours.ssim[counts], seed),
        more=int(more.sum()),
        n=len(more),
    )


def _check_same(lgm: Tradeoff, softmax: Tradeoff) -> None:
    for name in ("data_sha256", "bases", "targets", "betas"):
        ours, theirs = getattr(lgm, name), getattr(softmax, name)
        if not np.array_equal(ours, theirs):
            raise ValueError(
                f"softmax: expected the pairs and betas of the other network, got other {name}; sweep both on the same "
                "split with the same pairs, betas and seed"
            )


def _for_share(l2: np.ndarray, share: float, seed: int) -> Estimate:
    """Pairs are drawn alike for both networks, which have as many."""
    return Estimate(float(quantile(l2, share)), *percentile_interval(quantile(l2[resamples(len(l2), seed)], share)))


def median_of(differences: np.ndarray, seed: int) -> Estimate:
    """Median with its bootstrap interval; the lower one of two, since between infinite ones there is no mean."""
    if not len(differences):
        return _NONE
    drawn = differences[resamples(len(differences), seed)]
    return Estimate(float(quantile(differences, 0.5)), *percentile_interval(quantile(drawn, 0.5)))
