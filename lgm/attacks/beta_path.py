"""Levenberg-Marquardt for one (base, target) pair over a grid of betas, which share what they find."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from lgm.attacks.batches import BatchProgress
from lgm.attacks.jacobian.autograd import Linearise
from lgm.attacks.levenberg_marquardt import Candidates, LMOptions, advance, initial_candidates, settle
from lgm.attacks.objective import Problem
from lgm.attacks.trajectory import Solution, Trajectory, max_iterations
from lgm.config import PoisonConfig


@dataclass(frozen=True, kw_only=True)
class BetaPathOptions:
    """See docs/performance.md for what other choices cost and find."""

    betas_per_start: int = 3  # every so many betas share an initial point ...
    min_starts: int = 3  # ... but there are at least these: the base, the target, and half-way
    window: int = 3  # iterations over which convergence is judged
    # Iteration -> candidates worse than this ratio to the best, for every beta, are dropped.
    prune_at: dict[int, float] = field(default_factory=lambda: {4: 1.5, 6: 1.25})
    share_at: tuple[int, ...] = (12, 16)  # iterations after which each beta continues from the best candidate for it
    step: LMOptions = field(default_factory=LMOptions)


_DEFAULTS = BetaPathOptions()


def beta_path(
    problem: Problem,
    target: Tensor,
    linearise: Linearise,
    config: PoisonConfig,
    *,
    progress: BatchProgress,
    options: BetaPathOptions = BetaPathOptions(),
) -> Solution:
    """Minimise the objective of one pair for each beta; a point found for one beta may serve another.

    Args:
        problem: N poisons of the same base and target.
        target: (1, C, H, W) image, which initial points are blended with.
        linearise: Features and their Jacobian.
        config: Iterations and tolerance.
        progress: Told after each iteration; may stop the work.
        options: Initial points, sharing and step.

    Returns:
        For each beta the best of all candidates for it; its trajectory, with images, is that of the candidate.
    """
    n, limit = len(problem), max_iterations(config)
    x, owner = _starts(problem, target, options)
    found = initial_candidates(problem, linearise, x, owner, options.step)
    trajectory = Trajectory(limit, images=True)
    trajectory.record(0, found.z, found.terms, found.x)
    iterations = torch.zeros(n, dtype=torch.int64)
    iteration, judged, before = 0, 0, found.value(problem)
    while iteration < limit and found.active.any() and not progress.stopped:
        found = advance(problem, linearise, found, options.step)
        iteration += 1
        iterations[found.owner[found.active].cpu()] = iteration
        trajectory.record(iteration, found.z, found.terms, found.x)
        if iteration in options.prune_at:
            found = prune(problem, found, options.prune_at[iteration])
        if iteration in options.share_at:
            found = _share(problem, found, trajectory)
            judged, before = iteration, found.value(problem)
        elif iteration == judged + options.window:
            now = found.value(problem)
            found, _ = settle(found, before, now, share=options.window * config.tolerance)
            judged, before = iteration, now
        # Until each beta has a candidate of its own, all of them wait for those of others.
        working = len(found.owner[found.active].unique()) if len(found) >= n else n
        progress.report((n - working) * limit + working * iteration)
    found = _share(problem, found, trajectory)
    trajectory.finish(found.z, found.terms, found.x)
    return Solution(found.x, iterations, trajectory)


def _starts(problem: Problem, target: Tensor, options: BetaPathOptions) -> tuple[Tensor, Tensor]:
    """Initial points (M, C, H, W), the base, half-way and the target in turn, and the poison each is for (M,)."""
    n, device = len(problem), problem.b.device
    starts = max(options.min_starts, -(-n // options.betas_per_start))
    owner = torch.arange(starts, device=device) * n // starts
    share = torch.linspace(0, 1, 3, device=device)[torch.arange(starts) % 3, None, None, None]
    return (1 - share) * problem.b[owner] + share * target, owner


def values(problem: Problem, found: Candidates) -> Tensor:
    """Objective of each beta at each candidate, (N, M)."""
    hinge = problem.hinge(found.z, found.owner)  # the same for all poisons of one pair
    return found.terms[:, 0] + hinge + problem.beta[:, None] * found.terms[:, 1]


def prune(problem: Problem, found: Candidates, ratio: float) -> Candidates:
    """Deactivate candidates whose objective is over ``ratio`` times that of the best one, for every beta."""
    value = values(problem, found)
    near = (value <= ratio * value.amin(1, keepdim=True)).any(0)
    return replace(found, active=found.active & near)


def _share(problem: Problem, found: Candidates, trajectory: Trajectory) -> Candidates:
    """Each beta continues from the candidate that is best for it, whichever beta that was for (warm start)."""
    best = values(problem, found).argmin(1)
    trajectory.take(best)
    found, owner = found[best], problem.everyone()
    return replace(found, active=found.active | (found.owner != owner), owner=owner)
