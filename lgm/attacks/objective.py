"""Eq. (1), the objective of clean-label poisons, for N of them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lgm.attacks.adaptive import Evasion
from lgm.attacks.jacobian.autograd import Linearise, Rows
from lgm.models.classifier import Classifier


@dataclass(frozen=True)
class Problem:
    """``|s (f(x) - f(t))|^2 + beta |x - b|^2`` over x in [0, 1], and the hinge of an adaptive attack.

    Points are passed with ``owner``, which of the N poisons each is a candidate for. All tensors are on one device.

    Attributes:
        model: Frozen network f with its ``feature_scale`` s set.
        b: (N, C, H, W) bases in [0, 1].
        target: (N, D) features f(t).
        beta: (N,) trade-offs.
        evasion: Hinge of an attacker who knows the filter's threshold.
    """

    model: Classifier
    b: Tensor
    target: Tensor
    beta: Tensor
    evasion: Evasion | None = None

    def __len__(self) -> int:
        return len(self.b)

    @property
    def scale(self) -> Tensor:
        """(D,) factors s that bring the features to [-1, 1]."""
        return self.model.feature_scale.to(self.b.device)

    def everyone(self) -> Tensor:
        """(N,) owners where there is one candidate a poison."""
        return torch.arange(len(self), device=self.b.device)

    def residual(self, z: Tensor, owner: Tensor) -> Tensor:
        """``s (f(x) - f(t))``, (n, D), for features z (n, D)."""
        return self.scale * (z - self.target[owner])

    def linearise(self, linearise: Linearise, x: Tensor, owner: Tensor) -> tuple[Tensor, Rows]:
        """Features (n, D) of points x (n, C, H, W), and the rows of the residual's Jacobian when they are asked for."""
        del owner
        z, rows = linearise(x)
        return z, lambda kept: rows(kept) * self.scale[:, None]

    def terms(self, z: Tensor, x: Tensor, owner: Tensor) -> Tensor:
        """Both terms, before beta, (n, 2), for points x (n, C, H, W) with features z (n, D)."""
        collision = self.residual(z, owner).square().sum(-1)
        perturbation = (x - self.b[owner]).square().flatten(1).sum(-1)
        return torch.stack([collision, perturbation], dim=-1)

    def hinge(self, z: Tensor, owner: Tensor) -> Tensor:
        """The hinge (n,) for features z (n, D); 0 without `evasion`."""
        return self.evasion.cost(z, owner) if self.evasion else torch.zeros(len(z), device=z.device)

    def value(self, z: Tensor, terms: Tensor, owner: Tensor) -> Tensor:
        """The objective (n,) for features z (n, D) and both terms (n, 2)."""
        return terms[:, 0] + self.beta[owner] * terms[:, 1] + self.hinge(z, owner)


def per_image(values: Tensor) -> Tensor:
    """(N,) as (N, 1, 1, 1), to go with images."""
    return values[:, None, None, None]
