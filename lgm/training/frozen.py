"""Features of the layers that do not learn: computed once for all epochs."""

import torch
from torch import Tensor, nn

from lgm.config import Trained
from lgm.data.base import Split
from lgm.models.checkpoint import embed_images
from lgm.models.classifier import Classifier, device_of
from lgm.models.scoring import batch_of


def last_layer(model: Classifier) -> nn.Linear:
    """The layer that makes the features, out of what the others see.

    Raises:
        ValueError: it is not linear, so that no plane can be laid.
    """
    layer = model.backbone[-1] if isinstance(model.backbone, nn.Sequential) else model.backbone
    if not isinstance(layer, nn.Linear):
        raise ValueError(f"warm_start: expected a network whose last layer is linear, got {type(layer).__name__}")
    return layer


@torch.inference_mode()
def trunk_features(model: Classifier, split: Split) -> Tensor:
    """What the last layer sees of images, (N, H) float32 on the CPU; the model must be in eval mode."""
    assert isinstance(model.backbone, nn.Sequential)  # `last_layer` has looked
    trunk, device = model.backbone[:-1], device_of(model)
    parts, size = [], batch_of(model.image_shape)
    for start in range(0, len(split), size):
        pixels = split.pixels(slice(start, start + size)).to(device, memory_format=torch.channels_last)
        parts.append(trunk(model.normalise(pixels)).cpu())
    return torch.cat(parts)


class FrozenFeatures:
    """What those layers make of the images of each split."""

    def __init__(self, model: Classifier, layers: Trained) -> None:
        """``layers``: what learns; if all do, nothing is frozen."""
        self.model = model
        self.layers = layers
        self._known: dict[tuple[str, str], Tensor] = {}

    def of(self, split: Split) -> Tensor:
        """(N, D) what the head sees if it learns alone, (N, H) what the last layer sees if that learns with it."""
        key = split.dataset, split.name
        if key not in self._known:
            self.model.eval()
            seen = embed_images if self.layers == "head" else trunk_features
            self._known[key] = seen(self.model, split)
        return self._known[key]

    def z(self, split: Split) -> Tensor:
        """(N, D) features of a split, by the last layer as it is now."""
        frozen = self.of(split)
        if self.layers == "head":
            return frozen
        with torch.inference_mode():
            return last_layer(self.model)(frozen.to(device_of(self.model))).cpu()
