"""Warm start: weights of the previous phase are copied, and the projection to D features is initialised."""

import torch
from torch import Tensor, nn

from lgm.config import ModelConfig, Phase
from lgm.data.base import Split, class_subset
from lgm.models.classifier import Classifier, device_of
from lgm.models.heads import build_mixture

_RIDGE = 1e-3  # of the features' mean variance: some are almost always 0
_BATCH = 500


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


def last_layer(model: Classifier) -> nn.Linear:
    """The layer that makes the features, out of what the others see.

    Raises:
        ValueError: it is not linear, so that no plane can be laid.
    """
    layer = model.backbone[-1] if isinstance(model.backbone, nn.Sequential) else model.backbone
    if not isinstance(layer, nn.Linear):
        raise ValueError(f"warm_start: expected a network whose last layer is linear, got {type(layer).__name__}")
    return layer


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
    weight, bias = _ridge(_inputs(model.eval(), chosen), means[chosen.targets()])
    plane.weight.copy_(weight)
    plane.bias.copy_(bias)
    model.head.start_at(means)


def _inputs(model: Classifier, split: Split) -> Tensor:
    """What the last layer sees, (N, H) float64 on the CPU."""
    assert isinstance(model.backbone, nn.Sequential)  # `last_layer` has looked
    trunk, device = model.backbone[:-1], device_of(model)
    parts = [
        trunk(model.normalise(part.to(device, memory_format=torch.channels_last))).cpu()
        for part in split.pixels().split(_BATCH)
    ]
    return torch.cat(parts).double()


def _ridge(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (D, H) and bias (D,) of the regularised least squares from (N, H) to (N, D)."""
    mean_x, mean_y = x.mean(0), y.mean(0)
    centred = x - mean_x
    gram = centred.T @ centred
    gram.diagonal().add_(_RIDGE * gram.diagonal().mean())
    weight = torch.linalg.solve(gram, centred.T @ (y - mean_y)).T
    return weight, mean_y - weight @ mean_x
