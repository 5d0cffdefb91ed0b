"""Crafting clean-label poisons: eq. (1), a batch at once."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import date
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lgm.attacks.adaptive import Evasion
from lgm.attacks.forward_backward import ForwardBackward
from lgm.attacks.jacobian import jacobian_of
from lgm.attacks.levenberg_marquardt import LevenbergMarquardt
from lgm.attacks.result import Poisons, pick_pairs
from lgm.attacks.solver import Problem, longest
from lgm.config import ATTACK_REVISION, BETA_GRID, PoisonConfig
from lgm.data.base import Split
from lgm.data.pixels import check_shape, to_labels
from lgm.models.card import Card
from lgm.models.classifier import Classifier, device_of
from lgm.models.scoring import embed, require_mixture
from lgm.utils.progress import OnStep
from lgm.utils.threads import usual_threads

_Solver = ForwardBackward | LevenbergMarquardt
_HALF_WAY, _NEAR = 1 / 2, 7 / 8  # starts: how far from the base towards the target


def craft_poisons(
    model: Classifier,
    bases: Split,
    targets: Split,
    config: PoisonConfig | None = None,
    *,
    beta: np.ndarray | None = None,
    threshold: np.ndarray | None = None,
    one_pair: bool = False,
    batch: int | None = None,
    on_step: OnStep | None = None,
) -> Poisons:
    """Images that look like the bases and have the features of the targets.

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
        one_pair: All bases and all targets are the same: by Levenberg-Marquardt the poisons for different betas are
            crafted as one batch and may take over each other's points; their images on the way are kept. Otherwise a
            poison's way depends on no other poison.
        batch: How many together, at least 1; None: `batch_length`. Up to rounding it makes no difference.
        on_step: Called as (poison-iterations done, in all); returning False stops early with the points so far.

    Returns:
        The poisons; objective terms, features and predictions are evaluated in float32.

    Raises:
        ValueError: lengths or shapes that do not fit; a batch of none; gamma for a softmax network, which has no
            density.

    Source: paper, eq. (1). Deviation: features are rescaled by s (as in the paper's own code) so that one beta means
    the same for every network. The methods: `lgm.attacks.levenberg_marquardt`.
    """
    config = config or PoisonConfig()
    n = len(bases)
    if len(targets) != n:
        raise ValueError(f"targets: expected one per base ({n}), got {len(targets)}")
    with np.errstate(over="ignore"):  # to infinity, which is refused
        betas = np.asarray(np.full(n, config.beta) if beta is None else beta, np.float32)
    if betas.shape != (n,) or not ((betas >= 0) & (betas < np.inf)).all():  # NaN is neither
        found = f"{betas.min()} to {betas.max()}" if betas.shape == (n,) else f"shape {betas.shape}"
        raise ValueError(f"beta: expected {n} finite numbers >= 0, got {found}")
    thresholds = np.asarray(np.full(n, config.threshold or 0.0) if threshold is None else threshold, np.float32)
    if thresholds.shape != (n,) or not np.isfinite(thresholds).all():
        raise ValueError(f"threshold: expected {n} finite numbers, got shape {thresholds.shape}")
    for images in (bases, targets):
        check_shape(images.images.shape, model.image_shape)
        to_labels(images.labels, model.head.n_classes, n)
    device = device_of(model)
    if batch is None:
        batch = batch_length(n, config)
    if batch < 1:
        raise ValueError(f"batch: expected at least 1, got {batch}")
    together = one_pair and config.method == "lm"  # forward-backward splitting takes over no points
    batches = torch.arange(n).split(n if together else batch)
    linearise = jacobian_of(model) if config.method == "lm" else None
    progress = _Progress([len(index) for index in batches], longest(config), on_step)

    def craft(number: int) -> Poisons:
        i = batches[number].numpy()
        b, t = bases.pixels(i).to(device), targets.pixels(i).to(device)
        start, owner = _starts(b, t, config, one_pair=one_pair)
        problem = Problem(
            model=model,
            b=b,
            start=start,
            owner=owner,
            target=_features(model, t, one_pair=one_pair).to(device),
            beta=torch.from_numpy(betas[i]).to(device),
            evasion=_evasion(model, bases.labels[i], thresholds[i], config.gamma),
            reserve=None if one_pair or config.gamma else _blend(b, t, _NEAR),
            shared=one_pair,
            linearise=linearise,
        )
        solver = (ForwardBackward if config.method == "fbs" else LevenbergMarquardt)(problem, config)
        solver.stop = progress.stop  # batches that start after a stop request return their initial point
        for done in solver.run():
            solver.stop = progress.report(number, done)
        progress.report(number, len(i) * longest(config))
        return _collect(solver, bases[i], targets[i])

    with one_thread_each() if device.type == "cpu" else contextlib.nullcontext(map) as each:
        try:
            parts = list(each(craft, range(len(batches))))
        except BaseException:  # an interruption too: those still at work end with their next iteration
            progress.stop = True
            raise
    position = np.arange(n)
    return replace(Poisons.concatenate(parts), base_index=position, target_index=position)


def batch_length(count: int, config: PoisonConfig) -> int:
    """How many of so many poisons are crafted together.

    Few of them in two halves, a core each: two cores at one batch mostly wait for each other.
    """
    return max(1, min(config.batch_size, -(-count // 2)))


def _features(model: Classifier, targets: Tensor, *, one_pair: bool) -> Tensor:
    return embed(model, targets[:1]).expand(len(targets), -1) if one_pair else embed(model, targets)


def _evasion(model: Classifier, labels: np.ndarray, threshold: np.ndarray, gamma: float) -> Evasion | None:
    if not gamma:
        return None
    mixture, device = require_mixture(model), device_of(model)
    return Evasion(gamma, mixture, torch.from_numpy(labels).to(device), torch.from_numpy(threshold).to(device))


class _Progress:
    """Adds up what the batches report, from whatever thread, and tells all of them to stop."""

    def __init__(self, sizes: list[int], limit: int, on_step: OnStep | None) -> None:
        self.done = [0] * len(sizes)
        self.total = sum(sizes) * limit
        self.on_step = on_step
        self.stop = False
        self._lock = threading.Lock()

    def report(self, number: int, done: int) -> bool:
        """Batch ``number`` has done this many poison-iterations; returns whether to stop."""
        with self._lock:
            self.done[number] = done
            if not self.stop and self.on_step and self.on_step(sum(self.done), self.total) is False:
                self.stop = True
        return self.stop


@contextlib.contextmanager
def one_thread_each() -> Iterator[Callable[..., Iterator[Any]]]:
    """A ``map`` that does as many batches at a time as there are cores, each on one; a single batch too.

    Threads within a batch would wait for each other at every layer (`lgm.utils.threads`), and their number would change
    the order of sums: this way the poisons are the same, bit for bit, on any number of cores or processes.
    """
    with usual_threads() as cores:
        pool = ThreadPoolExecutor(cores, "lgm-craft", torch.set_num_threads, (1,))
        try:
            yield pool.map
        except BaseException:  # an interruption is answered now, and not when every batch has ended its iteration
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        pool.shutdown()


def _starts(b: Tensor, t: Tensor, config: PoisonConfig, *, one_pair: bool) -> tuple[Tensor, Tensor]:
    """Points (M, C, H, W), the base or blends of base and target, and for which poison each is (M,).

    Of the poisons of one pair every third begins, spread over the way between base and target; the others go on from
    the points that these have found. Fewer than nine have three starts all the same: base, target, and half-way.
    """
    everyone = torch.arange(len(b), device=b.device)
    if config.method == "fbs":
        return b, everyone
    starts = max(3, -(-len(b) // 3))
    owner = torch.arange(starts, device=b.device) * len(b) // starts if one_pair else everyone
    along = torch.linspace(0, 1, 3, device=b.device)[torch.arange(len(owner)) % 3, None, None, None]
    return _blend(b[owner], t[owner], along if one_pair else _HALF_WAY), owner


def _blend(b: Tensor, t: Tensor, share: Tensor | float) -> Tensor:
    return (1 - share) * b + share * t


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


def craft_path(
    model: Classifier,
    card: Card,
    split: Split,
    pair: tuple[int, int],
    config: PoisonConfig,
    *,
    betas: tuple[float, ...] = BETA_GRID,
    on_step: OnStep | None = None,
) -> Poisons:
    """The poisons of one (base, target) pair for a whole grid of betas, in one batch.

    Raises:
        ValueError: a position outside the split, or two images of the same class.
    """
    base, target = pair
    if not (0 <= base < len(split) and 0 <= target < len(split)):
        raise ValueError(f"pair: expected positions in 0..{len(split) - 1}, got {base} and {target}")
    if split.labels[base] == split.labels[target]:
        raise ValueError(f"pair: expected two classes, got two images of class {split.labels[base]}")
    base_index, target_index = (np.full(len(betas), position) for position in pair)
    poisons = craft_poisons(
        model,
        split[base_index],
        split[target_index],
        config,
        beta=np.asarray(betas, np.float32),
        one_pair=True,
        on_step=on_step,
    )
    return replace(
        poisons, base_index=base_index, target_index=target_index, manifest=_manifest(card, split, config, pair=pair)
    )


def _manifest(card: Card, split: Split, config: PoisonConfig, **origin: Any) -> dict[str, Any]:
    return {
        "model": card.name,
        "weights_sha256": card.weights_sha256,
        "split": split.name,
        "split_sha256": split.sha256,
        "config": asdict(config),
        "attack_revision": ATTACK_REVISION,
        "made": date.today().isoformat(),
        "versions": {name: version(name) for name in ("torch", "numpy")},
        **origin,
    }


@torch.inference_mode()
def _collect(solver: _Solver, bases: Split, targets: Split) -> Poisons:
    """What a solver found for one batch."""
    problem, model = solver.problem, solver.problem.model
    images = solver.x.cpu().contiguous()
    z = embed(model, images).to(device_of(model))
    labels = torch.from_numpy(bases.labels).to(z.device)
    score, predicted = _judge(model, z, labels)
    collision = (problem.scale * (z - problem.target)).square().sum(-1)
    perturbation = (images - bases.pixels()).square().flatten(1).sum(-1)
    path = torch.stack(solver.path, dim=1)
    judged = [_judge(model, frame[:, :-2], labels) for frame in path.unbind(1)]
    path = path.cpu()
    position = np.arange(len(bases), dtype=np.int64)
    return Poisons(
        images=images.numpy(),
        bases=bases.images,
        targets=targets.images,
        base_index=position,
        target_index=position,
        labels=bases.labels.astype(np.uint8),
        target_labels=targets.labels.astype(np.uint8),
        predicted=predicted,
        z=z.cpu().numpy(),
        target_z=problem.target.cpu().numpy(),
        score=score,
        collision=collision.cpu().numpy(),
        perturbation=perturbation.numpy(),
        beta=problem.beta.cpu().numpy(),
        iterations=solver.used.numpy(),
        path_iteration=solver.frames,
        path=path[..., :-2].numpy(),
        path_objective=path[..., -2:].numpy(),
        path_score=np.stack([score for score, _ in judged], axis=1),
        path_predicted=np.stack([predicted for _, predicted in judged], axis=1),
        path_images=_frames(solver).numpy(),
        manifest={},
    )


def _judge(model: Classifier, z: Tensor, labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Log p(z | label) in nats (N,), NaN without a density, and the classes seen (N,) uint8, from features (N, D)."""
    predicted = model.head.logits(z).argmax(-1).cpu().numpy().astype(np.uint8)
    return model.head.log_likelihood(z, labels).cpu().numpy(), predicted


def _frames(solver: _Solver) -> Tensor:
    """(N, F, C, H, W) uint8 images on the way; F = 0 where they were not kept."""
    if not solver.images:
        return torch.empty(len(solver.x), 0, *solver.x.shape[1:], dtype=torch.uint8)
    return torch.stack(solver.images, dim=1).contiguous()
