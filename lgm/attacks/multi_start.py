"""Levenberg-Marquardt for independent poisons, restarted where it converges far from the target."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from lgm.attacks.batches import BatchProgress
from lgm.attacks.jacobian.autograd import Linearise
from lgm.attacks.levenberg_marquardt import Candidates, LMOptions, advance, initial_candidates, settle
from lgm.attacks.objective import Problem
from lgm.attacks.trajectory import Solution, Trajectory, max_iterations
from lgm.config import PoisonConfig


@dataclass(frozen=True, kw_only=True)
class MultiStartOptions:
    """The objective is not convex: see docs/performance.md for what other choices find."""

    start: float = 1 / 2  # first initial point: this share of the way from the base to the target
    restart: float = 7 / 8  # the second
    restart_above: float = 1 / 4  # share of the first term in the objective above which a converged poison is restarted
    window: int = 4  # iterations over which convergence is judged
    step: LMOptions = field(default_factory=LMOptions)


_DEFAULTS = MultiStartOptions()


def multi_start(
    problem: Problem,
    targets: Tensor,
    linearise: Linearise,
    config: PoisonConfig,
    *,
    progress: BatchProgress,
    options: MultiStartOptions = MultiStartOptions(),
) -> Solution:
    """Minimise the objective for each poison by itself: no poison depends on another.

    Args:
        problem: N poisons.
        targets: (N, C, H, W) images, which initial points are blended with.
        linearise: Features and their Jacobian.
        config: Iterations and tolerance.
        progress: Told after each iteration; may stop the work, then poisons end where they are.
        options: Initial points and step.

    Returns:
        The better of the local minima found for each poison. An adaptive attack is not restarted.
    """
    n, limit = len(problem), max_iterations(config)
    x = _blend(problem.b, targets, options.start)
    found = initial_candidates(problem, linearise, x, problem.everyone(), options.step)
    trajectory = Trajectory(limit, images=False)
    trajectory.record(0, found.z, found.terms, found.x)
    iterations = torch.zeros(n, dtype=torch.int64)
    iteration, before = 0, found.value(problem)
    while iteration < limit and found.active.any() and not progress.stopped:
        found = advance(problem, linearise, found, options.step)
        iteration += 1
        iterations[found.owner[found.active].cpu()] = iteration
        trajectory.record(iteration, found.z, found.terms, found.x)
        if iteration % options.window == 0:
            now = found.value(problem)
            found, converged = settle(found, before, now, share=options.window * config.tolerance)
            far = (converged & (found.terms[:, 0] > options.restart_above * now))[:n].nonzero().squeeze(1)
            if len(far) and not problem.evasion:
                x = _blend(problem.b[far], targets[far], options.restart)
                restarted = initial_candidates(problem, linearise, x, far, options.step)
                found = Candidates.cat([found, restarted])
                trajectory.add_candidates(restarted.z, restarted.terms)
            before = found.value(problem)
        working = len(found.owner[found.active].unique())
        progress.report((n - working) * limit + working * iteration)
    best = _better(problem, found)
    found = found[best]
    trajectory.take(best)
    trajectory.finish(found.z, found.terms, found.x)
    return Solution(found.x, iterations, trajectory)


def _blend(b: Tensor, t: Tensor, share: float) -> Tensor:
    return (1 - share) * b + share * t


def _better(problem: Problem, found: Candidates) -> Tensor:
    """(N,) candidate with the lower objective of each poison: the first N are theirs, others those restarted."""
    n, value = len(problem), found.value(problem)
    better = n + (value[n:] < value[found.owner[n:]]).nonzero().squeeze(1)
    return problem.everyone().index_copy(0, found.owner[better], better)
