"""Crafting clean-label poisons: eq. (1) by forward-backward splitting, a batch at once."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lgm.cards import Card
from lgm.config import BETA_GRID, PoisonConfig
from lgm.data import Split
from lgm.heads import LGMHead
from lgm.networks import Classifier, autocast, check_images, device_of, embed, fast_precision
from lgm.poisons import Poisons, pick_pairs

OnStep = Callable[[int, int], bool | None]
_FRAMES = 48  # points recorded on each poison's way, dense at the start where it moves


def craft_poisons(
    model: Classifier,
    bases: Split,
    targets: Split,
    config: PoisonConfig | None = None,
    *,
    beta: np.ndarray | None = None,
    on_step: OnStep | None = None,
) -> Poisons:
    """Images that look like the bases and have the features of the targets.

    Minimises ``|s (f(x) - f(t))|^2 + beta |x - b|^2`` over x in [0, 1], starting at b. Each poison has a step size of
    its own that grows after a success and shrinks after a failure; only steps that do not raise the objective are
    taken, so the last point is the best. A poison's way depends on no other poison in the batch.

    Args:
        model: Frozen network with its ``feature_scale`` s set, as `load_checkpoint` returns it.
        bases: N images; their labels are what the poisons claim.
        targets: N images, of other classes.
        config: Objective and iterations.
        beta: (N,) trade-offs, one a poison, instead of the single one in ``config``.
        on_step: Called as (poison-iterations done, in all); returning False stops early with the points so far.

    Returns:
        The poisons; objective terms, features and predictions are evaluated in float32.

    Raises:
        ValueError: lengths or shapes that do not fit.

    Source: paper, eq. (1); Shafahi et al. 2018, algorithm 1. Deviations: features are rescaled by s (as in the
    paper's own code) so that one beta means the same for every network; a step size per poison; the backward step
    is the exact proximal map of the second term and the box.
    """
    config = config or PoisonConfig()
    n = len(bases)
    if len(targets) != n:
        raise ValueError(f"targets: expected one per base ({n}), got {len(targets)}")
    betas = np.full(n, config.beta, np.float32) if beta is None else np.asarray(beta, np.float32)
    if betas.shape != (n,) or not (betas >= 0).all():  # NaN included
        raise ValueError(f"beta: expected {n} numbers >= 0, got shape {betas.shape}, smallest {betas.min(initial=0)}")
    check_images(bases.pixels(slice(0, 1)))
    frames = _frame_iterations(config.iterations)
    target_z = embed(model, targets.pixels())
    parts: list[_Descent] = []
    total, done, stopped = n * config.iterations, 0, False
    for index in torch.arange(n).split(config.batch_size):
        i = index.numpy()
        descent = _Descent(
            model,
            bases=bases.pixels(i),
            target_z=target_z[index],
            beta=torch.from_numpy(betas[i]),
            config=config,
            frames=frames,
        )
        descent.stop = stopped  # a later batch then stays at its bases
        parts.append(descent)
        for progress in descent.run():
            if on_step and on_step(done + progress, total) is False:
                descent.stop = stopped = True
        done += len(index) * config.iterations
    return _collect(model, parts, bases=bases, targets=targets, target_z=target_z, betas=betas, frames=frames)


def craft_random(
    model: Classifier,
    card: Card,
    split: Split,
    count: int,
    config: PoisonConfig,
    *,
    seed: int,
    on_step: OnStep | None = None,
) -> Poisons:
    """``count`` poisons from random pairs of a split, with a manifest that lets anyone repeat them.

    Raises:
        ValueError: see `pick_pairs` and `craft_poisons`.
    """
    base_index, target_index = pick_pairs(split.labels, count, seed)
    poisons = craft_poisons(model, split[base_index], split[target_index], config, on_step=on_step)
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
        model, split[base_index], split[target_index], config, beta=np.asarray(betas, np.float32), on_step=on_step
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
        "versions": {name: version(name) for name in ("torch", "numpy")},
        **origin,
    }


def _frame_iterations(iterations: int) -> np.ndarray:
    return np.unique(np.r_[0, np.geomspace(1, iterations, _FRAMES).round()]).astype(np.int64)


class _Descent:
    """Forward-backward splitting of one batch. Finished poisons leave the batch, so it gets cheaper."""

    def __init__(
        self,
        model: Classifier,
        *,
        bases: Tensor,
        target_z: Tensor,
        beta: Tensor,
        config: PoisonConfig,
        frames: np.ndarray,
    ) -> None:
        device = device_of(model)
        self.model = model
        self.config = config
        self.scale = model.feature_scale.to(device)
        self.b = bases.to(device, memory_format=torch.channels_last)
        self.target = target_z.to(device)
        self.beta = beta.to(device)
        self.x = self.b.clone()
        self.used = torch.zeros(len(bases), dtype=torch.int64)
        self.frames = frames
        self.path: list[Tensor] = []
        self.path_objective: list[Tensor] = []
        self.stop = False

    def run(self) -> Iterator[int]:
        """Descend; yields poison-iterations done after each iteration."""
        limit = self.config.iterations
        fast = fast_precision(self.b.device)
        # The bulk in the fast precision, the last tenth and all that is reported in float32.
        switch = 0 if fast == torch.float32 else limit - max(1, limit // 10)
        self.iteration = 0
        progress = 0
        for dtype, until in ((fast, switch), (torch.float32, limit)):
            for done in self._phase(dtype, until):
                progress = max(progress, done)  # a poison that seemed finished may move again in float32
                yield progress
        while len(self.path) < len(self.frames):
            self._record()

    def _phase(self, dtype: torch.dtype, until: int) -> Iterator[int]:
        self.dtype = dtype
        everyone = torch.arange(len(self.x), device=self.x.device)
        self.z, self.terms, self.gradient = self._evaluate(self.x, everyone)
        self.step = 1 / self.gradient.flatten(1).norm(dim=1).clamp(min=1e-12)  # first move: L2 length 1
        active, before = everyone, self._objective()
        while self.iteration < until and len(active) and not self.stop:
            if self.iteration == self.frames[min(len(self.path), len(self.frames) - 1)]:
                self._record()
            self._advance(active)
            self.iteration += 1
            self.used[active.cpu()] = self.iteration
            if self.iteration % self.config.patience == 0:
                now = self._objective()
                active = active[((before - now) >= self.config.tolerance * before)[active]]
                before = now
            finished = len(self.x) - len(active)
            yield finished * until + len(active) * self.iteration

    def _advance(self, active: Tensor) -> None:
        """One forward-backward step of the active poisons, kept where the objective does not rise."""
        b, x, beta = self.b[active], self.x[active], self.beta[active]
        step = self.step[active]
        forward = x - _per_image(step) * self.gradient[active]
        pull = _per_image(2 * step * beta)
        proposal = ((forward + pull * b) / (1 + pull)).clamp(0, 1)
        z, terms, gradient = self._evaluate(proposal, active)
        better = _weigh(terms, beta) <= _weigh(self.terms[active], beta)
        kept = active[better]
        self.x[kept], self.z[kept] = proposal[better], z[better]
        self.terms[kept], self.gradient[kept] = terms[better], gradient[better]
        self.step[active] = step * torch.where(better, self.config.growth, self.config.shrink)

    def _evaluate(self, x: Tensor, active: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features (n, D), both terms (n, 2), gradient of the first term (n, C, H, W)."""
        x = x.detach().requires_grad_()
        with torch.enable_grad(), autocast(x.device, self.dtype):
            z = self.model.embed(x)
        with torch.enable_grad():
            z = z.float()
            collision = (self.scale * (z - self.target[active])).square().sum(-1)
            (gradient,) = torch.autograd.grad(collision.sum(), x)
        perturbation = (x.detach() - self.b[active]).square().flatten(1).sum(-1)
        return z.detach(), torch.stack([collision.detach(), perturbation], dim=-1), gradient

    def _objective(self) -> Tensor:
        return _weigh(self.terms, self.beta)

    def _record(self) -> None:
        self.path.append(self.z.cpu().clone())
        self.path_objective.append(self.terms.cpu().clone())


def _weigh(terms: Tensor, beta: Tensor) -> Tensor:
    return terms[:, 0] + beta * terms[:, 1]


def _per_image(values: Tensor) -> Tensor:
    return values[:, None, None, None]


@torch.inference_mode()
def _collect(
    model: Classifier,
    parts: list[_Descent],
    *,
    bases: Split,
    targets: Split,
    target_z: Tensor,
    betas: np.ndarray,
    frames: np.ndarray,
) -> Poisons:
    images = torch.cat([part.x.cpu() for part in parts]).contiguous()
    z = embed(model, images)
    on_device = z.to(device_of(model))
    labels = torch.from_numpy(bases.labels).to(on_device.device)
    score = torch.full((len(z),), float("nan"))
    if isinstance(model.head, LGMHead):
        score = model.head.mixture.log_likelihood(on_device, labels).cpu()
    collision = (model.feature_scale.cpu() * (z - target_z)).square().sum(-1)
    perturbation = (images - bases.pixels()).square().flatten(1).sum(-1)
    position = np.arange(len(bases), dtype=np.int64)
    return Poisons(
        images=images.numpy(),
        bases=bases.images,
        targets=targets.images,
        base_index=position,
        target_index=position,
        labels=bases.labels.astype(np.uint8),
        target_labels=targets.labels.astype(np.uint8),
        predicted=model.head.logits(on_device).argmax(-1).cpu().numpy().astype(np.uint8),
        z=z.numpy(),
        target_z=target_z.numpy(),
        score=score.numpy(),
        collision=collision.numpy(),
        perturbation=perturbation.numpy(),
        beta=betas,
        iterations=torch.cat([part.used for part in parts]).numpy(),
        path_iteration=frames,
        path=torch.cat([torch.stack(part.path, dim=1) for part in parts]).numpy(),
        path_objective=torch.cat([torch.stack(part.path_objective, dim=1) for part in parts]).numpy(),
        manifest={},
    )
