"""Gradient matching: K poisons whose gradient of the training loss points where the target's does, for all layers.

Who fine-tunes all layers on the poisons takes the steps that would teach the network the target's wrong label.

Source: Geiping, Fowl, Huang, Czaja, Taylor, Moeller, Goldstein 2021, *Witches' Brew: Industrial Scale Data Poisoning
via Gradient Matching*. Deviations: the gradient is that of the network as `lgm.defense.finetune.fine_tune_layers`
begins to fine-tune it; images are not augmented, as they are not there; the first steps are as wide as the bound, and
fall more slowly (docs/performance.md); the first start is at the bases, so that one start needs no luck; of all points
on the way the best is taken.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lgm.attacks.batches import BatchProgress, Progress, side_by_side
from lgm.attacks.measure import measure
from lgm.attacks.objective import Problem
from lgm.attacks.polytope import check_groups
from lgm.attacks.result import Poisons
from lgm.attacks.trajectory import Solution, Trajectory
from lgm.config import MatchingConfig
from lgm.data.base import Split
from lgm.models.classifier import Classifier, device_of
from lgm.models.linear_head import LinearHead
from lgm.models.scoring import check_images, embed
from lgm.utils.fields import require
from lgm.utils.progress import OnStep

_MILESTONES = (3 / 8, 5 / 8, 7 / 8)  # shares of the steps after which the learning rate falls ...
_FALL = 0.3  # ... to this share; the source's is 0.1


def craft_gradient_matching(
    model: Classifier,
    bases: Split,
    targets: Split,
    config: MatchingConfig,
    *,
    group: int,
    heads: Sequence[LinearHead],
    on_step: OnStep | None = None,
) -> Poisons:
    """K poisons an attack that minimise ``1 - cos(grad L(t, y), 1/K sum_k grad L(x_k, y_k))`` near their bases.

    L is the cross-entropy, t the target, y the label that the poisons claim, and gradients are those with respect to
    all parameters of the backbone and of a linear head on rescaled features. By signed Adam over |x_k - b_k| <= eps in
    every pixel and x_k in [0, 1]; an attack after the other on each core, since they share nothing.

    Args:
        model: Frozen network with its ``feature_scale`` set.
        bases: N K images, those of an attack one after another and of one class: their label is what they claim.
        targets: N K images, of other classes; those of an attack are the same.
        config: Bound and steps.
        group: K, at least 1.
        heads: N heads, as `lgm.defense.finetune.fine_tune` makes them of clean images that the attacker has; one an
            attack.
        on_step: Called as (attack-steps done, in all); returning False stops early with the best points so far.

    Returns:
        The poisons. ``beta`` is 0: nothing is priced. ``collision`` is each poison's own, as of eq. (1), and nothing
        that is minimised here; ``path_objective`` has what is, the same for all poisons of an attack, and
        |x_k - b_k|^2. Its last frame is that of the poisons.

    Raises:
        ValueError: lengths or shapes that do not fit; targets or claimed labels that differ within an attack; a head
            that does not know the claimed label, or has another number of features.
    """
    matchings = matchings_of(model, bases, targets, group=group, heads=heads)
    device, each = device_of(model), config.steps * config.restarts
    progress = Progress(len(matchings) * each, on_step)

    def craft(number: int) -> Poisons:
        of, told = np.arange(number * group, (number + 1) * group), BatchProgress(progress, number)
        b, t, matching = bases[of], targets[of], matchings[number]
        pixels = b.pixels().to(device)
        solution = _best_start(matching, pixels, config, number, told)
        told.report(each)
        target = embed(model, t.pixels()).to(device)
        problem = Problem(model=model, b=pixels, target=target, beta=torch.zeros(group, device=device))
        return measure(problem, solution, b, t)

    parts = side_by_side(craft, len(matchings), device, progress)
    position = np.arange(len(bases))
    return replace(Poisons.concatenate(parts), base_index=position, target_index=position)


def matching_objective(
    model: Classifier,
    bases: Split,
    targets: Split,
    images: Tensor | np.ndarray,
    *,
    group: int,
    heads: Sequence[LinearHead],
) -> np.ndarray:
    """What `craft_gradient_matching` minimises, for any images (N K, C, H, W) in [0, 1]: (N,), from 0 to 2.

    Raises:
        ValueError: see `craft_gradient_matching`; another number of images than bases.
    """
    pixels = check_images(images, model.image_shape)
    require(len(pixels) == len(bases), "images", f"{len(bases)}, one a base", len(pixels))
    matchings = matchings_of(model, bases, targets, group=group, heads=heads)
    parts = pixels.to(device_of(model)).split(group)
    return np.array([float(of.mismatch(x)[0].detach()) for of, x in zip(matchings, parts, strict=True)])


def matchings_of(
    model: Classifier, bases: Split, targets: Split, *, group: int, heads: Sequence[LinearHead]
) -> "list[Matching]":
    """What each attack is to match.

    Raises:
        ValueError: see `craft_gradient_matching`.
    """
    check_groups(model, bases, targets, group)
    first = np.arange(0, len(bases), group)
    require(len(heads) == len(first), "heads", f"{len(first)}, one an attack", len(heads))
    claimed = bases.labels[first]
    if (bases.labels != claimed.repeat(group)).any():
        raise ValueError(f"bases: expected one class for the {group} poisons of an attack, got several")
    network = deepcopy(model).eval().requires_grad_(True)
    pixels = targets.pixels(first).to(device_of(model))
    known = zip(heads, claimed.tolist(), pixels.split(1), strict=True)
    return [Matching.towards(network, head, label, target) for head, label, target in known]


@dataclass(frozen=True)
class Matching:
    """The direction of one attack's target, and how far poisons' gradients are from it.

    Attributes:
        network: f, whose backbone's parameters require gradients.
        weight, bias: (K, D) and (K,) of the head on rescaled features; they require gradients too.
        row: Of the claimed label in the head.
        direction: One tensor a parameter: the gradient at the target, in all of length 1.
    """

    network: Classifier
    weight: Tensor
    bias: Tensor
    row: int
    direction: tuple[Tensor, ...] = ()

    @staticmethod
    def towards(network: Classifier, head: LinearHead, label: int, target: Tensor) -> "Matching":
        """That of a target (1, C, H, W) which is to get this label."""
        n_dim = len(network.feature_scale)
        fits = head.weight.shape == (len(head.classes), n_dim) and head.bias.shape == (len(head.classes),)
        require(fits, "heads", f"weights ({len(head.classes)}, {n_dim}) and as many biases", head.weight.shape)
        require(label in head.classes, "heads", f"one that knows the claimed label {label}", head.classes.tolist())
        device = device_of(network)
        weight, bias = (
            torch.tensor(part, dtype=torch.float32, device=device, requires_grad=True)
            for part in (head.weight, head.bias)
        )
        blank = Matching(network, weight, bias, int(np.searchsorted(head.classes, label)))
        gradient, _ = blank.gradient(target)
        length = _length(gradient).clamp(min=torch.finfo(torch.float32).tiny)
        return replace(blank, direction=tuple(part / length for part in gradient))

    def gradient(self, x: Tensor, *, twice: bool = False) -> tuple[tuple[Tensor, ...], Tensor]:
        """Of the mean cross-entropy of images x (n, C, H, W) under the claimed label, and their features (n, D).

        ``twice``: it can be differentiated once more.
        """
        parameters = [*self.network.backbone.parameters(), self.weight, self.bias]
        with torch.enable_grad():
            z = self.network.embed(x)
            logits = functional.linear(z * self.network.feature_scale, self.weight, self.bias)
            labels = torch.full((len(x),), self.row, device=x.device)
            loss = functional.cross_entropy(logits, labels)
            return torch.autograd.grad(loss, parameters, create_graph=twice), z.detach()

    def mismatch(self, x: Tensor, *, twice: bool = False) -> tuple[Tensor, Tensor]:
        """``1 - cos`` of the gradient at images x and the target's, and the images' features (n, D)."""
        gradient, z = self.gradient(x, twice=twice)
        with torch.enable_grad():
            along = torch.stack([(mine * its).sum() for mine, its in zip(gradient, self.direction, strict=True)]).sum()
            return 1 - along / _length(gradient).clamp(min=torch.finfo(torch.float32).tiny), z


def _length(parts: Sequence[Tensor]) -> Tensor:
    return torch.stack([part.square().sum() for part in parts]).sum().sqrt()


def _best_start(
    matching: Matching, b: Tensor, config: MatchingConfig, attack: int, progress: BatchProgress
) -> Solution:
    """The start that ends lowest: at the bases; others at random within the bound."""
    best: tuple[float, Solution] | None = None
    for restart in range(config.restarts):
        start = b
        if restart:
            rng = np.random.default_rng([config.seed, attack, restart])
            noise = rng.uniform(-config.eps, config.eps, b.shape).astype(np.float32)
            start = (b + torch.from_numpy(noise).to(b.device)).clamp(0, 1)
        found = _descend(matching, b, start, config, (restart * config.steps, progress))
        if best is None or found[0] < best[0]:
            best = found
        if progress.stopped:
            break
    assert best is not None, "there is at least one start"
    return best[1]


def _descend(
    matching: Matching, b: Tensor, start: Tensor, config: MatchingConfig, progress: tuple[int, BatchProgress]
) -> tuple[float, Solution]:
    """Signed Adam from one start: the lowest mismatch on the way, and where that was."""
    before, told = progress
    low, high = (b - config.eps).clamp(min=0), (b + config.eps).clamp(max=1)
    x = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([x], config.lr * config.eps)
    falls = [round(share * config.steps) for share in _MILESTONES]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, falls, gamma=_FALL)
    trajectory = Trajectory(config.steps, images=False)
    lowest, best, at = float("inf"), (x.detach(), x.new_zeros(0), x.new_zeros(0)), 0

    def see(iteration: int, mismatch: Tensor, z: Tensor) -> None:
        nonlocal lowest, best, at
        point, value = x.detach().clone(), mismatch.detach()
        changed = (point - b).square().flatten(1).sum(1)
        terms = torch.stack([value.expand(len(b)), changed], dim=1)
        if iteration < config.steps:  # the last frame is the best point's
            trajectory.record(iteration, z, terms, point)
        if float(value) < lowest or not iteration:
            lowest, best, at = float(value), (point, z, terms), iteration

    done = 0
    while done < config.steps and not told.stopped:
        mismatch, z = matching.mismatch(x, twice=True)
        see(done, mismatch, z)
        (gradient,) = torch.autograd.grad(mismatch, x)
        x.grad = gradient.sign()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            x.copy_(torch.minimum(torch.maximum(x, low), high))
        done += 1
        told.report(before + done)
    see(done, *matching.mismatch(x.detach()))
    point, z, terms = best
    trajectory.finish(z, terms, point)
    return lowest, Solution(point, torch.full((len(b),), at, dtype=torch.int64), trajectory)
