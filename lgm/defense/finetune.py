"""Fine-tuning on labelled examples: a new head on frozen features, or all layers of the network."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch.nn import functional

from lgm.models.classifier import Classifier, device_of
from lgm.models.linear_head import LinearHead
from lgm.utils.threads import one_blas_thread


@dataclass(frozen=True)
class Examples:
    """Labelled images to fine-tune on, and what the pre-trained network makes of them.

    Attributes:
        z: (N, D) features, rescaled so that clean ones span [-1, 1].
        labels: (N,) claimed labels.
        score: (N,) nats; higher is cleaner.
        poisoned: (N,) bool; for counting, the filter does not know.
        pixels: (N, C, H, W) float32 in [0, 1].
    """

    z: np.ndarray
    labels: np.ndarray
    score: np.ndarray
    poisoned: np.ndarray
    pixels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: np.ndarray | slice | list[int]) -> "Examples":
        return Examples(*(getattr(self, item.name)[index] for item in fields(self)))


def mix(clean: Examples, poisons: Examples) -> Examples:
    """D_t: the clean images with the poisons among them. Source: algorithm 1, step 3."""
    parts = ((getattr(clean, item.name), getattr(poisons, item.name)) for item in fields(Examples))
    return Examples(*(np.concatenate(part) for part in parts))


def fine_tune(examples: Examples, strength: float = 100.0) -> LinearHead:
    """A new head on frozen features: logistic regression.

    The same head for both losses, so that what differs is the features. Refitted Gaussians would be the other choice
    for an LGM network (`lgm.defense.heads`): against poisons that collide it would flatter the defence. Where the
    filter has left one class only, all is of that class.

    Args:
        examples: At least one.
        strength: C of `sklearn.linear_model.LogisticRegression`: how far it trusts the examples over small weights.

    Raises:
        ValueError: no examples.

    Source: algorithm 1, step 6; Poison Frogs, section 3, trains the last layer only.
    """
    from sklearn.linear_model import LogisticRegression  # over a second to import

    if not len(examples):
        raise ValueError("examples: expected at least one to fine-tune on, got none; lower T keeps more")
    classes = np.unique(examples.labels)
    if len(classes) == 1:
        return LinearHead(classes, np.zeros((1, examples.z.shape[1])), np.zeros(1))
    with one_blas_thread():  # of a few images in a few dimensions: with two it takes seven times as long
        fitted = LogisticRegression(C=strength, max_iter=5000).fit(examples.z, examples.labels)
    weight, bias = fitted.coef_, fitted.intercept_
    if len(classes) == 2:  # one row, for the second class: the first one's is 0
        weight, bias = np.concatenate([0 * weight, weight]), np.concatenate([0 * bias, bias])
    return LinearHead(classes, weight, bias)


def fine_tune_layers(
    model: Classifier, examples: Examples, head: LinearHead, *, lr: float = 1e-4, steps: int = 20, batch_size: int = 500
) -> Callable[[np.ndarray], np.ndarray]:
    """All layers of a copy of the network, and the head, by cross-entropy.

    Starts from the pre-trained weights and from ``head``, as `fine_tune` has made it for the same examples. Batch norm
    keeps the statistics of pre-training: a few images have none worth having. The same examples give the same result.

    Args:
        model: Stays as it is.
        examples: Those that ``head`` was made for.
        head: On the features of ``model``.
        lr: Learning rate of Adam: small, for features are adjusted, not learnt anew.
        steps: Of Adam, each on all examples, so that nothing is random.
        batch_size: Images at a time in prediction.

    Returns:
        A function of images, (N, C, H, W) float32 in [0, 1], that gives labels (N,).

    Source: algorithm 1, step 6, which leaves open what is trained; Poison Frogs, section 4, trains all layers too.
    """
    device = device_of(model)
    network = deepcopy(model).eval().requires_grad_(True)
    weight, bias = (torch.tensor(part, dtype=torch.float32, device=device) for part in (head.weight, head.bias))
    trained = [*network.backbone.parameters(), weight.requires_grad_(), bias.requires_grad_()]
    optimizer = torch.optim.Adam(trained, lr)

    def logits(x: torch.Tensor) -> torch.Tensor:
        return functional.linear(network.embed(x.to(device)) * network.feature_scale, weight, bias)

    x = torch.from_numpy(examples.pixels)
    y = torch.from_numpy(np.searchsorted(head.classes, examples.labels)).to(device)
    for _ in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(logits(x), y).backward()
        optimizer.step()

    @torch.inference_mode()
    def predict(pixels: np.ndarray) -> np.ndarray:
        parts = [logits(part).argmax(-1).cpu().numpy() for part in torch.from_numpy(pixels).split(batch_size)]
        return head.classes[np.concatenate(parts)]

    return predict
