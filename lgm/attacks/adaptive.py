"""Adaptive attack: a hinge penalty gamma max(0, T - log p(f(x) | y)) joins eq. (1)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lgm.models.mixture import GaussianMixture

MARGIN = 0.02  # nats above T that are aimed at: what lies at T is removed


@dataclass(frozen=True)
class Evasion:
    """The hinge gamma max(0, T - log p(z | y)) that joins eq. (1), for N poisons with a label y and a T in nats each.

    In squared sigmas it is gamma / 2 max(0, d^2 - R^2): d from the mean of the claimed class, R where T cuts.

    Attributes:
        gamma: Weight, at least 0.
        mixture: The network's own.
        labels: (N,) claimed ones.
        threshold: (N,) T in nats.

    Source: the objective of an attacker who differentiates through the detector (Tramer et al. 2020; Koh, Steinhardt,
    Liang 2018 for filters of training data). Not in the paper.
    """

    gamma: float
    mixture: GaussianMixture
    labels: Tensor
    threshold: Tensor

    def excess(self, z: Tensor, owner: Tensor) -> Tensor:
        """Squared sigmas that features (n, D), of the poisons ``owner``, lie beyond the cut; at most 0 inside."""
        score = self.mixture.log_likelihood(z, self.labels[owner])
        return 2 * (self.threshold[owner] + MARGIN - score)

    def cost(self, z: Tensor, owner: Tensor) -> Tensor:
        """The hinge, (n,)."""
        return self.gamma / 2 * self.excess(z, owner).clamp(min=0)

    def pulled(self, target: Tensor, scale: Tensor, owner: Tensor, multiplier: Tensor) -> tuple[Tensor, Tensor]:
        """Where features are drawn to if the hinge always counts, with a weight of its own for each poison.

        ``|s (z - t)|^2 + l / 2 d^2 = |s' (z - t')|^2 +`` a constant.

        Args:
            target: (n, D) features t.
            scale: (D,) factors s.
            owner: (n,) which poisons they belong to.
            multiplier: (n,) weights l.

        Returns:
            t' and s', both (n, D).
        """
        precision, mean = self.mixture.precision[self.labels[owner]], self.mixture.means[self.labels[owner]]
        towards_mean = multiplier[:, None] / 2 * precision
        total = scale.square() + towards_mean
        return (scale.square() * target + towards_mean * mean) / total, total.sqrt()


def multipliers(share: Tensor, gamma: float, scale: Tensor) -> Tensor:
    """Weights from 0 to gamma for shares from 0 to 1: even steps first, then even ratios.

    Nearly all that a weight can change happens where it is like s^2.
    """
    unit = scale.square().mean()
    return unit * torch.expm1(share * torch.log1p(gamma / unit))
