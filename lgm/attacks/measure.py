"""From a solver's result to the record of poisons, all of it evaluated in float32."""

import numpy as np
import torch
from torch import Tensor

from lgm.attacks.objective import Problem
from lgm.attacks.result import Poisons, largest_change
from lgm.attacks.trajectory import Solution
from lgm.data.base import Split
from lgm.models.classifier import Classifier, device_of
from lgm.models.scoring import embed


@torch.inference_mode()
def measure(problem: Problem, solution: Solution, bases: Split, targets: Split) -> Poisons:
    """The record of N poisons, without a manifest, and with positions among ``bases`` and ``targets``."""
    model, trajectory = problem.model, solution.trajectory
    images = solution.x.cpu().contiguous()
    z = embed(model, images).to(device_of(model))
    labels = torch.from_numpy(bases.labels).to(z.device)
    score, predicted = _judge(model, z, labels)
    collision = (problem.scale * (z - problem.target)).square().sum(-1)
    perturbation = (images - bases.pixels()).square().flatten(1).sum(-1)
    path = trajectory.features()
    judged = [_judge(model, frame, labels) for frame in path.unbind(1)]
    position = np.arange(len(bases), dtype=np.int64)
    return Poisons(
        images=images.numpy(),
        base_images=bases.images,
        target_images=targets.images,
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
        linf=largest_change(images.numpy(), bases.images),
        beta=problem.beta.cpu().numpy(),
        iterations=solution.iterations.numpy(),
        path_iteration=trajectory.iterations,
        path=path.cpu().numpy(),
        path_objective=trajectory.terms().cpu().numpy(),
        path_score=np.stack([score for score, _ in judged], axis=1),
        path_predicted=np.stack([predicted for _, predicted in judged], axis=1),
        path_images=trajectory.images(images.shape[1:]).numpy(),
        manifest={},
    )


def _judge(model: Classifier, z: Tensor, labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Log p(z | label) in nats (N,), NaN without a density, and the classes seen (N,) uint8, from features (N, D)."""
    predicted = model.head.logits(z).argmax(-1).cpu().numpy().astype(np.uint8)
    return model.head.log_likelihood(z, labels).cpu().numpy(), predicted
