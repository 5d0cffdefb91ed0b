"""Warm start: weights of the previous phase are copied, and the projection to D features is initialised."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lgm.config import ModelConfig, Phase
from lgm.data.base import Split, class_subset
from lgm.models.architectures import TORCHVISION
from lgm.models.classifier import Classifier
from lgm.models.heads import build_mixture
from lgm.models.pretrained import load_extractor
from lgm.training.frozen import FrozenFeatures, last_layer, trunk_features
from lgm.utils.files import file_sha256

_RIDGE = 1e-3  # of the features' mean variance: some are almost always 0


def start_from(model: Classifier, source: Classifier, phase: Phase, train: Split) -> None:
    """Begin a phase with what the one before has made of ``source``, as its ``init`` says.

    Raises:
        ValueError: see `copy_layers` and `last_layer`.
    """
    if phase.init == "continue":
        model.load_state_dict(source.state_dict())
    else:
        copy_layers(model, source)
        init_projection(model, train, phase.model)


def copy_layers(model: Classifier, source: Classifier) -> None:
    """Overwrite every tensor of the backbone that has the same name and shape in ``source``.

    Raises:
        ValueError: there is none.
    """
    own = model.backbone.state_dict()
    same = {name: v for name, v in source.backbone.state_dict().items() if name in own and v.shape == own[name].shape}
    if not same:
        raise ValueError("warm_start: expected layers of the same names and shapes, found none; use the same network")
    model.backbone.load_state_dict(own | same)


def start_pretrained(
    model: Classifier, phase: Phase, train: Split, frozen: FrozenFeatures, weights: Path | None = None
) -> None:
    """Begin with a network that was trained on ImageNet, and lay the projection through what it sees.

    The penalty of the ridge regression is the best of seven by leave-one-out, for images may be fewer than features.

    Raises:
        ValueError: ``weights`` do not fit, or are not those of the recipe.
        ImportError: the package that brings them is not installed.
    """
    from sklearn.linear_model import RidgeCV

    if phase.weights_sha256 != (file_sha256(weights) if weights else ""):
        raise ValueError(f"weights: expected the file that the recipe names by its SHA-256, got {weights or 'none'}")
    extractor = load_extractor(phase.model.network.removeprefix(TORCHVISION), weights)
    assert isinstance(model.backbone, nn.Sequential)  # `last_layer` has looked
    model.backbone[0].load_state_dict(extractor.state_dict())
    model.eval()
    seen = (frozen.of(train) if phase.layers == "projection" else trunk_features(model, train)).double().numpy()
    means, plane = build_mixture(phase.model).means.detach().double(), last_layer(model)
    scale = seen.var(0).mean() * len(seen)
    ridge = RidgeCV(alphas=scale * np.logspace(-4, 2, 7)).fit(seen, means[train.targets()].numpy())
    with torch.no_grad():
        plane.weight.copy_(torch.from_numpy(np.atleast_2d(ridge.coef_)))
        plane.bias.copy_(torch.from_numpy(np.atleast_1d(ridge.intercept_)))
        model.head.start_at(means)


@torch.no_grad()
def init_projection(model: Classifier, train: Split, config: ModelConfig, per_class: int = 500) -> None:
    """Initialise the projection to D features: ridge regression of the wide features onto the class means.

    On the first ``per_class`` images of each class (500: ten for each of VGG19's features); the other layers stay. Both
    heads start from the same plane and with the same posterior: for softmax, the weights are those by which a mixture
    with these means, unit variances and equal priors decides. Leaves the model in eval mode.

    Raises:
        ValueError: see `last_layer`.
    """
    plane = last_layer(model)
    chosen = class_subset(train, train.name, 0, per_class)
    means = build_mixture(config).means.double()
    weight, bias = _ridge(trunk_features(model.eval(), chosen).double(), means[chosen.targets()])
    plane.weight.copy_(weight)
    plane.bias.copy_(bias)
    model.head.start_at(means)


def _ridge(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (D, H) and bias (D,) of the regularised least squares from (N, H) to (N, D)."""
    mean_x, mean_y = x.mean(0), y.mean(0)
    centred = x - mean_x
    gram = centred.T @ centred
    gram.diagonal().add_(_RIDGE * gram.diagonal().mean())
    weight = torch.linalg.solve(gram, centred.T @ (y - mean_y)).T
    return weight, mean_y - weight @ mean_x
