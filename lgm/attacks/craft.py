"""Crafting clean-label poisons: eq. (1), a batch at once."""

from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import date
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lgm.attacks.adaptive import Evasion
from lgm.attacks.batches import BatchProgress, Progress, batch_length, side_by_side
from lgm.attacks.beta_path import beta_path
from lgm.attacks.forward_backward import forward_backward
from lgm.attacks.jacobian import jacobian_of
from lgm.attacks.measure import measure
from lgm.attacks.multi_start import multi_start
from lgm.attacks.objective import Problem
from lgm.attacks.result import Poisons, pick_pairs
from lgm.attacks.trajectory import Solution, max_iterations
from lgm.config import ATTACK_REVISION, BETA_GRID, PoisonConfig
from lgm.data.base import Split
from lgm.data.pixels import check_shape, to_labels
from lgm.models.card import Card
from lgm.models.classifier import Classifier, device_of
from lgm.models.scoring import embed, require_mixture
from lgm.utils.progress import OnStep


def craft_poisons(
    model: Classifier,
    bases: Split,
    targets: Split,
    config: PoisonConfig | None = None,
    *,
    beta: np.ndarray | None = None,
    threshold: np.ndarray | None = None,
    goal: np.ndarray | None = None,
    batch: int | None = None,
    on_step: OnStep | None = None,
) -> Poisons:
    """Images that look like the bases and have the features of the targets, each pair by itself.

    Minimises ``|s (f(x) - f(t))|^2 + beta |x - b|^2`` over x in [0, 1] by the method in ``config``. Both methods take
    only steps that do not raise the objective, so the last point is the best. With ``config.gamma`` the attacker knows
    of the filter, and ``gamma max(0, T - log p(f(x) | y))`` joins in (`lgm.attacks.adaptive`).

    Args:
        model: Frozen network with its ``feature_scale`` s set, as `load_checkpoint` returns it.
        bases: N images; their labels are what the poisons claim.
        targets: N images, of other classes.
        config: Objective and iterations.
        beta: (N,) trade-offs, one a poison, instead of the single one in ``config``.
        threshold: (N,) T in nats, one a poison, instead of the single one in ``config``; counts with gamma only.
        goal: (N, D) features to aim at in place of f(t), as in `lgm.attacks.edge`; `Poisons.collision` is the distance
            to them.
        batch: How many together, at least 1; None: `batch_length`. Up to rounding it makes no difference.
        on_step: Called as (poison-iterations done, in all); returning False stops early with the points so far.

    Returns:
        The poisons; objective terms, features and predictions are evaluated in float32.

    Raises:
        ValueError: lengths or shapes that do not fit; a batch of none; gamma for a softmax network, which has no
            density.

    Source: paper, eq. (1). Deviation: features are rescaled by s (as in the paper's own code) so that one beta means
    the same for every network. The methods: `lgm.attacks.multi_start` and `lgm.attacks.forward_backward`.
    """
    config = config or PoisonConfig()
    n, device = len(bases), device_of(model)
    betas = _one_a_poison("beta", config.beta if beta is None else beta, n, least=0.0)
    thresholds = _one_a_poison("threshold", (config.threshold or 0.0) if threshold is None else threshold, n)
    check_pairs(model, bases, targets)
    goals = None if goal is None else _as_goals(goal, n, len(model.feature_scale))
    batch = batch_length(n, config) if batch is None else batch
    if batch < 1:
        raise ValueError(f"batch: expected at least 1, got {batch}")
    batches = np.split(np.arange(n), range(batch, n, batch))
    solve = _solver(model, config)
    progress = Progress(n * max_iterations(config), on_step)

    def craft(number: int) -> Poisons:
        i, told = batches[number], BatchProgress(progress, number)
        t = targets.pixels(i).to(device)
        aim = None if goals is None else goals[i]
        problem = _problem(model, bases[i], t, betas[i], gamma=config.gamma, threshold=thresholds[i], goal=aim)
        solution = solve(problem, t, told)
        told.report(len(i) * max_iterations(config))
        return measure(problem, solution, bases[i], targets[i])

    parts = side_by_side(craft, len(batches), device, progress)
    position = np.arange(n)
    return replace(Poisons.concatenate(parts), base_index=position, target_index=position)


def craft_random(
    model: Classifier,
    card: Card,
    split: Split,
    count: int,
    config: PoisonConfig,
    *,
    seed: int,
    only: np.ndarray | None = None,
    on_step: OnStep | None = None,
) -> Poisons:
    """``count`` poisons from random pairs of a split, with a manifest that lets anyone repeat them.

    ``only``: which of the ``count`` to craft, for a process that does a share of them.

    Raises:
        ValueError: see `pick_pairs` and `craft_poisons`.
    """
    base_index, target_index = pick_pairs(split.labels, count, seed)
    if only is not None:
        base_index, target_index = base_index[only], target_index[only]
    batch = batch_length(count, config)
    poisons = craft_poisons(model, split[base_index], split[target_index], config, batch=batch, on_step=on_step)
    return replace(
        poisons, base_index=base_index, target_index=target_index, manifest=_manifest(card, split, config, seed=seed)
    )


def craft_beta_path(
    model: Classifier,
    card: Card,
    split: Split,
    pair: tuple[int, int],
    config: PoisonConfig,
    *,
    betas: tuple[float, ...] = BETA_GRID,
    on_step: OnStep | None = None,
) -> Poisons:
    """The poisons of one (base, target) pair for a whole grid of betas, with their images on the way.

    By Levenberg-Marquardt the betas share candidates (`lgm.attacks.beta_path`); forward-backward splitting crafts
    each by itself.

    Args:
        model: See `craft_poisons`.
        card: The network's, for the manifest.
        split: Where both images come from.
        pair: Positions of base and target.
        config: Objective and iterations; its ``beta`` does not count.
        betas: N trade-offs, finite and at least 0.
        on_step: See `craft_poisons`.

    Raises:
        ValueError: a position outside the split, two images of the same class, a beta that is none; gamma for a softmax
            network.
    """
    base, target = pair
    if not (0 <= base < len(split) and 0 <= target < len(split)):
        raise ValueError(f"pair: expected positions in 0..{len(split) - 1}, got {base} and {target}")
    if split.labels[base] == split.labels[target]:
        raise ValueError(f"pair: expected two classes, got two images of class {split.labels[base]}")
    base_index, target_index = (np.full(len(betas), position) for position in pair)
    bases, targets = split[base_index], split[target_index]
    grid = _one_a_poison("beta", np.asarray(betas), len(betas), least=0.0)
    thresholds = _one_a_poison("threshold", config.threshold or 0.0, len(betas))
    check_pairs(model, bases, targets)
    device, limit = device_of(model), len(betas) * max_iterations(config)
    progress = Progress(limit, on_step)

    def craft(number: int) -> Poisons:
        told = BatchProgress(progress, number)
        t = targets.pixels(slice(0, 1)).to(device)
        problem = _problem(model, bases, t, grid, gamma=config.gamma, threshold=thresholds)
        if config.method == "fbs":
            solution = forward_backward(problem, config, told, record_images=True)
        else:
            solution = beta_path(problem, t, jacobian_of(model), config, progress=told)
        told.report(limit)
        return measure(problem, solution, bases, targets)

    (poisons,) = side_by_side(craft, 1, device, progress)
    return replace(
        poisons, base_index=base_index, target_index=target_index, manifest=_manifest(card, split, config, pair=pair)
    )


def _solver(model: Classifier, config: PoisonConfig) -> Callable[[Problem, Tensor, BatchProgress], Solution]:
    """The method for independent pairs: of a problem, its targets (n, C, H, W) and where to report."""
    if config.method == "fbs":
        return lambda problem, _, progress: forward_backward(problem, config, progress)
    linearise = jacobian_of(model)
    return lambda problem, targets, progress: multi_start(problem, targets, linearise, config, progress=progress)


def _problem(
    model: Classifier,
    bases: Split,
    targets: Tensor,
    beta: np.ndarray,
    *,
    gamma: float,
    threshold: np.ndarray,
    goal: Tensor | None = None,
) -> Problem:
    """Eq. (1) for n bases and their targets (n, C, H, W), or a single one for all of them (1, C, H, W).

    ``goal``: (n, D) features in place of the targets' own.
    """
    device, evasion = targets.device, None
    if gamma:
        labels = torch.from_numpy(bases.labels).to(device)
        evasion = Evasion(gamma, require_mixture(model), labels, torch.from_numpy(threshold).to(device))
    return Problem(
        model=model,
        b=bases.pixels().to(device),
        target=(embed(model, targets) if goal is None else goal).to(device).expand(len(bases), -1),
        beta=torch.from_numpy(beta).to(device),
        evasion=evasion,
    )


def _one_a_poison(name: str, value: float | np.ndarray, n: int, *, least: float = -np.inf) -> np.ndarray:
    """(n,) float32, from one number for all or one a poison."""
    with np.errstate(over="ignore"):  # to infinity, which is refused
        values = np.asarray(np.full(n, value) if np.ndim(value) == 0 else value, np.float32)
    if values.shape != (n,) or not (np.isfinite(values) & (values >= least)).all():
        found = f"{values.min()} to {values.max()}" if values.shape == (n,) else f"shape {values.shape}"
        bound = "" if least == -np.inf else f" >= {least:g}"
        raise ValueError(f"{name}: expected {n} finite numbers{bound}, got {found}")
    return values


def _as_goals(goal: np.ndarray, n: int, n_dim: int) -> Tensor:
    """(N, D) float32; ValueError unless these are N finite features."""
    goals = np.asarray(goal, np.float32)
    if goals.shape != (n, n_dim) or not np.isfinite(goals).all():
        raise ValueError(f"goal: expected {n} finite features of {n_dim} dimensions, got shape {goals.shape}")
    return torch.from_numpy(goals)


def check_pairs(model: Classifier, bases: Split, targets: Split) -> None:
    """Raise ValueError unless there is a target for each base, all of the network's shape and with its labels."""
    if len(targets) != len(bases):
        raise ValueError(f"targets: expected one per base ({len(bases)}), got {len(targets)}")
    for images in (bases, targets):
        check_shape(images.images.shape, model.image_shape)
        to_labels(images.labels, model.head.n_classes, len(images))


def _manifest(card: Card, split: Split, config: PoisonConfig, **origin: Any) -> dict[str, Any]:
    return {
        "model": card.name,
        "weights_sha256": card.weights_sha256,
        "dataset": split.dataset,
        "split": split.name,
        "split_sha256": split.sha256,
        "config": asdict(config),
        "attack_revision": ATTACK_REVISION,
        "made": date.today().isoformat(),
        "versions": {name: version(name) for name in ("torch", "numpy")},
        **origin,
    }
