"""Iterates of a solver at chosen iterations, and what it ends with."""

from copy import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lgm.config import PoisonConfig

_FRAMES = 48  # iterates recorded, dense at the start, where poisons move
_MAX_ITERATIONS_LM = 100  # its steps need a fiftieth of the paper's number


def max_iterations(config: PoisonConfig) -> int:
    """Iterations that a poison takes at most."""
    return config.iterations if config.method == "fbs" else min(config.iterations, _MAX_ITERATIONS_LM)


def frame_iterations(last: int) -> np.ndarray:
    """(F,) int64 iterations at which iterates are recorded, 0 and the last included."""
    return np.unique(np.r_[0, np.geomspace(1, last, _FRAMES).round()]).astype(np.int64)


class Trajectory:
    """Records candidates at `frame_iterations`; knows nothing of the solver.

    ``last``: iteration at most. ``images``: keep the images too, as uint8 on the CPU. Those of many pairs would fill
    the memory.
    """

    def __init__(self, last: int, *, images: bool) -> None:
        self.iterations = frame_iterations(last)
        self._keep_images = images
        self._points: list[Tensor] = []  # a frame: (M, D + 2) features and both terms
        self._images: list[Tensor] = []  # a frame: (M, C, H, W)

    def record(self, iteration: int, z: Tensor, terms: Tensor, x: Tensor) -> None:
        """Record all candidates, if this iteration is one to record."""
        if len(self._points) < len(self.iterations) and iteration == self.iterations[len(self._points)]:
            self._append(1, z, terms, x)

    def add_candidates(self, z: Tensor, terms: Tensor) -> None:
        """New candidates (m): until now they were where they start. Not for trajectories with images."""
        added = torch.cat([z, terms], dim=1)
        self._points = [torch.cat([frame, added]) for frame in self._points]

    def take(self, candidates: Tensor) -> None:
        """Continue with these candidates (M',), and their past."""
        self._points = [frame[candidates] for frame in self._points]
        self._images = [frame[candidates.cpu()] for frame in self._images]

    def finish(self, z: Tensor, terms: Tensor, x: Tensor) -> None:
        """Pad with the last iterate: of converged poisons there are no later ones."""
        self._append(len(self.iterations) - len(self._points), z, terms, x)

    def _append(self, frames: int, z: Tensor, terms: Tensor, x: Tensor) -> None:
        self._points += [torch.cat([z, terms], dim=1)] * frames
        if self._keep_images:
            self._images += [(255 * x).round().to(torch.uint8).cpu()] * frames

    def of_each(self, group: int) -> "Trajectory":
        """That of K poisons for each candidate, which stands for an attack by them all.

        Features are each poison's own; the terms are the attack's, the second one per poison.
        """
        parted = copy(self)
        per_poison = torch.tensor([1, 1 / group])
        parted._points = [
            torch.cat(
                [
                    frame[:, :-2].unflatten(1, (group, -1)).flatten(0, 1),
                    (frame[:, -2:] * per_poison.to(frame)).repeat_interleave(group, 0),
                ],
                dim=1,
            )
            for frame in self._points
        ]
        return parted

    def where(self, condition: Tensor, other: "Trajectory") -> "Trajectory":
        """This one for the candidates (M,) for which the condition holds, the other for the rest. Without images."""
        joined = copy(self)
        pairs = zip(self._points, other._points, strict=True)
        joined._points = [torch.where(condition[:, None], mine, theirs) for mine, theirs in pairs]
        return joined

    def features(self) -> Tensor:
        """(M, F, D)."""
        return torch.stack(self._points, dim=1)[..., :-2]

    def terms(self) -> Tensor:
        """(M, F, 2) of the objective."""
        return torch.stack(self._points, dim=1)[..., -2:]

    def images(self, shape: tuple[int, ...]) -> Tensor:
        """(M, F, *shape) uint8; F = 0 where they were not kept."""
        if not self._images:
            return torch.empty(len(self._points[0]), 0, *shape, dtype=torch.uint8)
        return torch.stack(self._images, dim=1).contiguous()


@dataclass(frozen=True)
class Solution:
    """What a solver ends with.

    Attributes:
        x: (N, C, H, W) poisons.
        iterations: (N,) int64 iterations used, on the CPU.
        trajectory: Of the N poisons.
    """

    x: Tensor
    iterations: Tensor
    trajectory: Trajectory

    def where(self, condition: Tensor, other: "Solution") -> "Solution":
        """This one for the poisons (N,) for which the condition holds, the other for the rest."""
        return Solution(
            x=torch.where(condition[:, None, None, None], self.x, other.x),
            iterations=torch.where(condition.cpu(), self.iterations, other.iterations),
            trajectory=self.trajectory.where(condition, other.trajectory),
        )
