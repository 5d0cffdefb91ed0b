"""What both solvers of eq. (1) share: the problem, its objective, and the record of iterates."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lgm.attacks.adaptive import Evasion
from lgm.attacks.jacobian.autograd import Linearise
from lgm.config import PoisonConfig
from lgm.models.classifier import Classifier

_FRAMES = 48  # points recorded on each poison's way, dense at the start where it moves
_LONGEST = 100  # iterations of Levenberg-Marquardt: its steps need a fiftieth of the paper's number


@dataclass(frozen=True)
class Problem:
    """N poisons to craft on one network; tensors on its device.

    Attributes:
        b: (N, C, H, W) bases in [0, 1].
        start: (M, C, H, W) points to start from.
        owner: (M,) which poison each of them is for, ascending: one for each, unless ``shared``.
        target: (N, D) features of the targets.
        beta: (N,) weights of looking like the base.
        reserve: (N, C, H, W) where Levenberg-Marquardt starts once more if features stay far from the target's.
        evasion: The hinge of an attacker who knows of the filter; for Levenberg-Marquardt only.
        shared: Poisons of one and the same pair, for many betas: a point found for one may serve another, and some may
            have no start of their own. For Levenberg-Marquardt only.
        linearise: Of the model, where several problems share one (`lgm.attacks.jacobian.cnn`).
    """

    model: Classifier
    b: Tensor
    start: Tensor
    owner: Tensor
    target: Tensor
    beta: Tensor
    evasion: Evasion | None = None
    reserve: Tensor | None = None
    shared: bool = False
    linearise: Linearise | None = None

    @property
    def scale(self) -> Tensor:
        """(D,) factors that bring the features to [-1, 1]."""
        return self.model.feature_scale.to(self.b.device)

    def hinge(self, z: Tensor, owner: Tensor) -> Tensor:
        """What features (n, D) of the poisons ``owner`` pay for being unlikely, (n,); 0 without `evasion`."""
        return self.evasion.cost(z, owner) if self.evasion else torch.zeros(len(z), device=z.device)


def longest(config: PoisonConfig) -> int:
    """Iterations that a poison takes at most."""
    return config.iterations if config.method == "fbs" else min(config.iterations, _LONGEST)


def frame_iterations(config: PoisonConfig) -> np.ndarray:
    """Iterations at which a poison's way is recorded, 0 and the last included."""
    return np.unique(np.r_[0, np.geomspace(1, longest(config), _FRAMES).round()]).astype(np.int64)


class Solver:
    """What both have in common: the record of the way, and the right to stop."""

    def __init__(self, problem: Problem, config: PoisonConfig) -> None:
        self.problem = problem
        self.config = config
        self.limit = longest(config)
        self.frames = frame_iterations(config)
        self.iteration = 0
        self.stop = False
        self.path: list[Tensor] = []  # a (candidates, D + 2) tensor a frame: features, both terms
        self.images: list[Tensor] = []  # a (candidates, C, H, W) uint8 tensor a frame, on the CPU; if shared
        self.x = self.z = self.terms = torch.empty(0)  # the current points

    def _record(self) -> None:
        if len(self.path) < len(self.frames) and self.iteration == self.frames[len(self.path)]:
            self._keep(1)

    def _keep(self, frames: int) -> None:
        """The current points, for so many frames."""
        self.path += [torch.cat([self.z, self.terms], dim=1)] * frames
        if self.problem.shared:  # a few: those of many pairs would fill the memory
            self.images += [(255 * self.x).round().to(torch.uint8).cpu()] * frames

    def _terms(self, z: Tensor, x: Tensor, owner: Tensor) -> Tensor:
        """Both terms of the objective (n, 2) for features z (n, D) of points x, each for the poison ``owner``."""
        collision = (self.problem.scale * (z - self.problem.target[owner])).square().sum(-1)
        perturbation = (x - self.problem.b[owner]).square().flatten(1).sum(-1)
        return torch.stack([collision, perturbation], dim=-1)

    def _value(self, z: Tensor, terms: Tensor, owner: Tensor) -> Tensor:
        """What is minimised (n,), at features z (n, D) with both terms (n, 2)."""
        return terms[:, 0] + self.problem.beta[owner] * terms[:, 1] + self.problem.hinge(z, owner)

    def _fill_path(self) -> None:
        """Pad the paths of converged poisons with their last iterate."""
        self._keep(len(self.frames) - len(self.path))


def per_image(values: Tensor) -> Tensor:
    """(N,) as (N, 1, 1, 1), to go with images."""
    return values[:, None, None, None]
