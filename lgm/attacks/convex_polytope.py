"""Convex polytope: K poisons' features are laid around the target's, so that these are a convex combination of them.

Source: Zhu, Huang, Li, Taylor, Studer, Goldstein 2019, *Transferable Clean-Label Poisoning Attacks on Deep Neural
Nets*. Deviations: visibility has the price of eq. (1) in the place of a bound on each pixel; of several combinations
that are as good, the one nearest to equal coefficients counts, where the source takes what its descent ends at.
"""

from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor
from torch.nn import functional

from lgm.attacks.batches import BatchProgress
from lgm.attacks.jacobian.autograd import Linearise
from lgm.attacks.multi_start import MultiStartOptions, multi_start
from lgm.attacks.objective import per_image
from lgm.attacks.polytope import Polytope, craft_polytope, part_of, polytope_objective
from lgm.attacks.result import Poisons
from lgm.attacks.trajectory import Solution, max_iterations
from lgm.config import PoisonConfig
from lgm.data.base import Split
from lgm.models.classifier import Classifier
from lgm.utils.progress import OnStep

_RIDGE = (
    1e-6  # price of unequal coefficients: at most so much, in squared rescaled features, is the first term too high
)


def craft_convex(
    model: Classifier,
    bases: Split,
    targets: Split,
    config: PoisonConfig,
    *,
    group: int,
    on_step: OnStep | None = None,
) -> Poisons:
    """K poisons an attack of whose features some convex combination is the target's.

    Minimises ``min_c |s (sum_k c_k f(x_k) - f(t))|^2 + beta/K sum_k |x_k - b_k|^2`` over x_k in [0, 1], c_k >= 0 and
    sum_k c_k = 1; eq. (1) for K = 1.

    Because the sum of the changes is priced and not the largest, one poison does most of the work and the others stay
    near their bases, c_k near 0: the descent begins there (`best_alone`).

    Args, returns and raises: see `lgm.attacks.polytope.craft_polytope`. ``path`` begins with the best poison alone,
    and ``iterations`` include those to there.
    """
    how = {"group": group, "coefficients": simplex_coefficients, "solve": best_alone}
    return craft_polytope(model, bases, targets, config, on_step=on_step, **how)


def best_alone(
    problem: Polytope, targets: Tensor, linearise: Linearise, config: PoisonConfig, progress: BatchProgress
) -> Solution:
    """Levenberg-Marquardt from the one poison that collides at the lowest price, beside the bases of the others.

    So no attack ends higher than the best of its poisons alone, which has c_k = 1. See docs/performance.md for what
    other starts find.
    """
    n, k, limit = len(problem), problem.group, max_iterations(config)

    steps, share = n * limit, k / (k + 1)
    first = part_of(progress, before=0, share=share, steps=k * steps, whole=steps)
    last = part_of(progress, before=share, share=1 - share, steps=steps, whole=steps)
    each = problem.alone(config.beta / k)
    to = targets.unflatten(1, (k, -1)).flatten(0, 1)
    alone = multi_start(each, to, linearise, config, progress=first)
    terms = alone.trajectory.terms()[:, -1]
    best = (terms[:, 0] + each.beta * terms[:, 1]).view(n, k).argmin(1)
    chosen = functional.one_hot(best, k).bool().flatten()
    start = torch.where(per_image(chosen), alone.x, each.b).view_as(problem.b)
    there = MultiStartOptions(start=1.0, restart_above=1.0)  # from `start` itself, and once
    found = multi_start(problem, start, linearise, config, progress=last, options=there)
    return replace(found, iterations=found.iterations + alone.iterations.view(n, k).amax(1))


def convex_objective(
    model: Classifier, bases: Split, targets: Split, images: Tensor | np.ndarray, *, beta: float, group: int
) -> np.ndarray:
    """What `craft_convex` minimises, for any images (N K, C, H, W) in [0, 1]: (N,), one an attack.

    Raises:
        ValueError: lengths or shapes that do not fit; targets that differ within an attack.
    """
    return polytope_objective(model, bases, targets, images, beta=beta, group=group, coefficients=simplex_coefficients)


def simplex_coefficients(apart: Tensor) -> Tensor:
    """The point of a polytope that is nearest to the origin, as coefficients of its corners.

    Minimises ``|sum_k c_k a_k|^2 + ridge |c|^2`` over c >= 0 with sum 1. That is a non-negative least-squares problem:
    with c = u / sum u, u minimises ``|sum_k u_k a_k|^2 + ridge |u|^2 + (sum_k u_k - 1)^2`` over u >= 0, since for
    given c the best length of u leaves q / (1 + q), which grows with the q of c.

    Args:
        apart: (n, K, D) corners a_k.

    Returns:
        (n, K).

    Source: Lawson and Hanson 1974, chapter 23, by `scipy.optimize.nnls`; Zhu et al. descend by forward-backward
    splitting.
    """
    n, k, d = apart.shape
    a = np.concatenate(
        [
            apart.detach().cpu().numpy().astype(np.float64).transpose(0, 2, 1),
            np.broadcast_to(np.sqrt(_RIDGE) * np.eye(k), (n, k, k)),
            np.ones((n, 1, k)),
        ],
        axis=1,
    )
    aim = np.append(np.zeros(d + k), 1.0)
    u = np.stack([nnls(rows, aim)[0] for rows in a])
    return torch.from_numpy(u / u.sum(1, keepdims=True)).to(apart)
