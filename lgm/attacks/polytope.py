"""Attacks by K poisons together: a combination of their features is brought to the target's.

What `lgm.attacks.bullseye_polytope` and `lgm.attacks.convex_polytope` share. They differ in the coefficients only.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lgm.attacks.batches import BatchProgress, Progress, batch_length, side_by_side
from lgm.attacks.craft import check_pairs
from lgm.attacks.jacobian import jacobian_of
from lgm.attacks.jacobian.autograd import Linearise, Rows
from lgm.attacks.measure import measure
from lgm.attacks.objective import Problem
from lgm.attacks.result import Poisons
from lgm.attacks.trajectory import Solution, max_iterations
from lgm.config import PoisonConfig
from lgm.data.base import Split
from lgm.models.classifier import Classifier, device_of
from lgm.models.scoring import check_images, embed
from lgm.utils.fields import require
from lgm.utils.progress import OnStep

Coefficients = Callable[[Tensor], Tensor]  # s (f(x_k) - f(t)), (n, K, D) -> c, (n, K), >= 0, of sum 1
# Attacks, their target a poison (N, K C, H, W), features and Jacobian of an image, iterations, where to report.
Solve = Callable[["Polytope", Tensor, Linearise, PoisonConfig, BatchProgress], Solution]


@dataclass(frozen=True, kw_only=True)
class Polytope(Problem):
    """``|s (sum_k c_k f(x_k) - f(t))|^2 + beta/K sum_k |x_k - b_k|^2`` over K images in [0, 1], for N attacks.

    To a solver the K images of an attack are one of K C channels, and their features one row of K D: nothing but the
    residual, which has D entries, and its Jacobian ``[c_1 J_1 ... c_K J_K]`` is new. Where the coefficients c minimise
    the first term, its gradient is that with c held fixed (envelope theorem), so c belongs to the objective and no
    solver sees it: variable projection.

    Attributes:
        b: (N, K C, H, W).
        target: (N, D) features f(t).
        beta: (N,) weights of the summed squared distances: beta/K.
        group: K.
        coefficients: Rule for c.

    Source: Golub and Pereyra 1973 for variable projection; Kaufman 1975 for a step that holds c fixed.
    """

    group: int
    coefficients: Coefficients

    def members(self, z: Tensor, owner: Tensor) -> Tensor:
        """``s (f(x_k) - f(t))``, (n, K, D), for features z (n, K D)."""
        return self.scale * (z.unflatten(1, (self.group, -1)) - self.target[owner, None])

    def residual(self, z: Tensor, owner: Tensor) -> Tensor:
        """``s (sum_k c_k f(x_k) - f(t))``, (n, D), for features z (n, K D)."""
        apart = self.members(z, owner)
        return torch.einsum("nk,nkd->nd", self.coefficients(apart), apart)

    def linearise(self, linearise: Linearise, x: Tensor, owner: Tensor) -> tuple[Tensor, Rows]:
        """See `Problem.linearise`: features (n, K D), rows (n, D, K pixels)."""
        k = self.group
        each, rows_of_each = linearise(x.unflatten(1, (k, -1)).flatten(0, 1))
        z = each.view(len(x), -1)
        weight = self.coefficients(self.members(z, owner))

        def rows(kept: Tensor) -> Tensor:
            images = (kept[:, None] * k + torch.arange(k, device=kept.device)).flatten()
            jacobians = rows_of_each(images).unflatten(0, (-1, k))  # (m, K, D, pixels)
            scaled = jacobians * weight[kept, :, None, None] * self.scale[:, None]
            return scaled.transpose(1, 2).flatten(2)

        return z, rows

    def alone(self, beta: float) -> Problem:
        """Eq. (1) with this beta for each of the N K poisons by itself."""
        b = self.b.unflatten(1, (self.group, -1)).flatten(0, 1)
        target = self.target.repeat_interleave(self.group, 0)
        return Problem(model=self.model, b=b, target=target, beta=torch.full((len(b),), beta, device=b.device))


def craft_polytope(
    model: Classifier,
    bases: Split,
    targets: Split,
    config: PoisonConfig,
    *,
    group: int,
    coefficients: Coefficients,
    solve: Solve,
    on_step: OnStep | None = None,
) -> Poisons:
    """Poisons of the attacks of `Polytope` by Levenberg-Marquardt.

    Args:
        model: Frozen network with its ``feature_scale`` s set.
        bases: N K images, those of an attack one after another; their labels are what the poisons claim.
        targets: N K images, of other classes; those of an attack are the same.
        config: Objective and iterations. ``method`` is lm, gamma is 0; ``batch_size`` counts poisons.
        group: K, at least 1.
        coefficients: Rule for c.
        solve: Where the descent begins.
        on_step: Called as (attack-iterations done, in all); returning False stops early with the points so far.

    Returns:
        The poisons. ``collision`` and ``objective`` are each poison's own, as of eq. (1); ``path`` has each poison's
        features on the way, ``path_objective`` the terms of its attack: the first one, and the mean of |x_k - b_k|^2.

    Raises:
        ValueError: lengths or shapes that do not fit; targets that differ within an attack; a method that is not lm;
            gamma, since an attack's residual has no hinge.

    Deviation from the sources: the price beta/K of visibility, in the place of a bound on each pixel. The mean over K
    makes one beta mean the same for every K, and for K = 1 this is eq. (1).
    """
    check_groups(model, bases, targets, group)
    require(config.method == "lm", "method", "lm for an attack by several poisons", config.method)
    require(not config.gamma, "gamma", "0 for an attack by several poisons", config.gamma)
    attacks, device = len(bases) // group, device_of(model)
    each = max(1, batch_length(len(bases), config) // group)
    batches = np.split(np.arange(attacks), range(each, attacks, each))
    progress = Progress(attacks * max_iterations(config), on_step)
    linearise = jacobian_of(model)

    def craft(number: int) -> Poisons:
        i, told = batches[number], BatchProgress(progress, number)
        of = (i[:, None] * group + np.arange(group)).ravel()
        b, t = bases[of], targets[of]
        problem = polytope(model, b, t, beta=config.beta, group=group, coefficients=coefficients)
        aim = t.pixels().to(device).unflatten(0, (-1, group)).flatten(1, 2)
        solution = solve(problem, aim, linearise, config, told)
        told.report(len(i) * max_iterations(config))
        return measure(problem.alone(config.beta), _of_each(solution, group), b, t)

    parts = side_by_side(craft, len(batches), device, progress)
    position = np.arange(len(bases))
    return replace(Poisons.concatenate(parts), base_index=position, target_index=position)


def polytope(
    model: Classifier, bases: Split, targets: Split, *, beta: float, group: int, coefficients: Coefficients
) -> Polytope:
    """The problem of attacks whose bases and targets stand one after another, K each."""
    device = device_of(model)
    first = np.arange(0, len(targets), group)
    return Polytope(
        model=model,
        b=bases.pixels().to(device).unflatten(0, (-1, group)).flatten(1, 2),
        target=embed(model, targets.pixels(first)).to(device),
        beta=torch.full((len(first),), beta / group, device=device),
        group=group,
        coefficients=coefficients,
    )


@torch.inference_mode()
def polytope_objective(
    model: Classifier,
    bases: Split,
    targets: Split,
    images: Tensor | np.ndarray,
    *,
    beta: float,
    group: int,
    coefficients: Coefficients,
) -> np.ndarray:
    """The objective of each attack, (N,), for any poisons of it (N K, C, H, W), in float32.

    Raises:
        ValueError: lengths or shapes that do not fit; targets that differ within an attack.
    """
    check_groups(model, bases, targets, group)
    problem = polytope(model, bases, targets, beta=beta, group=group, coefficients=coefficients)
    pixels = check_images(images, problem.model.image_shape).to(problem.b.device)
    require(len(pixels) == len(problem) * problem.group, "images", f"{problem.group} for each attack", len(pixels))
    z = embed(problem.model, pixels).to(pixels.device).view(len(problem), -1)
    owner = problem.everyone()
    terms = problem.terms(z, pixels.unflatten(0, (-1, problem.group)).flatten(1, 2), owner)
    return problem.value(z, terms, owner).cpu().numpy()


def part_of(progress: BatchProgress, *, before: float, share: float, steps: int, whole: int) -> BatchProgress:
    """Where one of several descents reports: ``steps`` steps, a share of the ``whole`` that ``progress`` is told of."""

    def on_step(done: int, _: int) -> bool:
        return progress.on_step(int(whole * (before + share * done / steps)), whole)

    return BatchProgress(Progress(steps, on_step), 0)


def check_groups(model: Classifier, bases: Split, targets: Split, group: int) -> None:
    """Raise ValueError unless these are attacks by K poisons each on one target."""
    check_pairs(model, bases, targets)
    require(group >= 1, "group", "at least 1 poison an attack", group)
    require(len(bases) > 0 and len(bases) % group == 0, "bases", f"{group} for each attack", len(bases))
    first = np.arange(len(bases)) // group * group
    one = (targets.images == targets.images[first]).all() and (targets.labels == targets.labels[first]).all()
    if not one:
        raise ValueError(f"targets: expected the same one for the {group} poisons of an attack, got several")


def _of_each(solution: Solution, group: int) -> Solution:
    """The solution of attacks as one of their poisons."""
    return Solution(
        x=solution.x.unflatten(1, (group, -1)).flatten(0, 1),
        iterations=solution.iterations.repeat_interleave(group),
        trajectory=solution.trajectory.of_each(group),
    )
