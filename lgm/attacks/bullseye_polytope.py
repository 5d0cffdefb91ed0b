"""Bullseye polytope: the mean of K poisons' features is brought to the target's.

Source: Aghakhani, Meng, Wang, Kruegel, Vigna 2021, *Bullseye Polytope: A Scalable Clean-Label Poisoning Attack with
Improved Transferability*. Deviation: visibility has the price of eq. (1) in the place of a bound on each pixel.
"""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from lgm.attacks.batches import BatchProgress
from lgm.attacks.jacobian.autograd import Linearise
from lgm.attacks.multi_start import MultiStartOptions, multi_start
from lgm.attacks.polytope import Polytope, craft_polytope, part_of, polytope_objective
from lgm.attacks.result import Poisons
from lgm.attacks.trajectory import Solution, max_iterations
from lgm.config import PoisonConfig
from lgm.data.base import Split
from lgm.models.classifier import Classifier
from lgm.utils.fields import require
from lgm.utils.progress import OnStep

_SHARES, _NOISE = (0.35, 0.7), 0.15  # of the way to the target, and standard deviation of pixels: of further starts
_FROM_THERE = MultiStartOptions(start=1.0, restart_above=1.0)  # from the point itself, and once


def equal_coefficients(apart: Tensor) -> Tensor:
    """1/K for each of K poisons, (n, K), for ``apart`` (n, K, D)."""
    return torch.full_like(apart[..., 0], 1 / apart.shape[1])


def craft_bullseye(
    model: Classifier,
    bases: Split,
    targets: Split,
    config: PoisonConfig,
    *,
    group: int,
    starts: int = 1,
    on_step: OnStep | None = None,
) -> Poisons:
    """K poisons an attack whose mean features are the target's, the target in the middle of their polytope.

    Minimises ``|s (1/K sum_k f(x_k) - f(t))|^2 + beta/K sum_k |x_k - b_k|^2`` over x_k in [0, 1]; eq. (1) for K = 1.

    Args, returns and raises: see `lgm.attacks.polytope.craft_polytope`. ``starts``: descents, at least 1, of which the
    lowest counts for each attack; the time grows with them.
    """
    require(starts >= 1, "starts", "at least 1", starts)
    how = {"group": group, "coefficients": equal_coefficients, "solve": partial(from_several, starts=starts)}
    return craft_polytope(model, bases, targets, config, on_step=on_step, **how)


def from_several(
    problem: Polytope,
    targets: Tensor,
    linearise: Linearise,
    config: PoisonConfig,
    progress: BatchProgress,
    *,
    starts: int,
) -> Solution:
    """The lowest of several descents by Levenberg-Marquardt for each attack.

    The first is `lgm.attacks.multi_start`: all poisons half-way to the target, and once more nearer to it where that
    ends far from it. Others begin with each poison at another share of the way, under noise; which ones does not depend
    on the batch.
    """
    whole = len(problem) * max_iterations(config)
    best: Solution | None = None
    for start in range(starts):
        told = part_of(progress, before=start / starts, share=1 / starts, steps=whole, whole=whole)
        if best is None:
            best = multi_start(problem, targets, linearise, config, progress=told)
            continue
        aim = _scattered(problem, targets, start)
        found = multi_start(problem, aim, linearise, config, progress=told, options=_FROM_THERE)
        best = found.where(_value(problem, found) < _value(problem, best), best)
    assert best is not None, "there is at least one start"
    return best


def _scattered(problem: Polytope, targets: Tensor, seed: int) -> Tensor:
    """(N, K C, H, W) blends of bases and targets, with noise that is the same for all attacks."""
    generator = torch.Generator().manual_seed(seed)
    low, high = _SHARES
    share = low + (high - low) * torch.rand(problem.group, generator=generator)
    each = share.repeat_interleave(problem.b.shape[1] // problem.group)[:, None, None].to(problem.b)
    noise = _NOISE * torch.randn(problem.b.shape[1:], generator=generator).to(problem.b)
    return (problem.b + each * (targets - problem.b) + noise).clamp(0, 1)


def _value(problem: Polytope, found: Solution) -> Tensor:
    """(N,) objective at the end."""
    terms = found.trajectory.terms()[:, -1]
    return terms[:, 0] + problem.beta * terms[:, 1]


def bullseye_objective(
    model: Classifier, bases: Split, targets: Split, images: Tensor | np.ndarray, *, beta: float, group: int
) -> np.ndarray:
    """What `craft_bullseye` minimises, for any images (N K, C, H, W) in [0, 1]: (N,), one an attack.

    Raises:
        ValueError: lengths or shapes that do not fit; targets that differ within an attack.
    """
    return polytope_objective(model, bases, targets, images, beta=beta, group=group, coefficients=equal_coefficients)
