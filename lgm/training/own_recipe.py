"""Recipes for any dataset and backbone; those of `lgm.training.presets` were tuned for theirs."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from lgm.config import NETWORKS, Loss, ModelConfig, Phase, TrainConfig
from lgm.data.base import Dataset
from lgm.models.architectures import LITE0, PRETRAINED, TORCHVISION
from lgm.utils.files import file_sha256

# As the command line names them; any other architecture of torchvision's, with a file of its weights, is one too.
BACKBONES = ("small", "resnet18", "vgg19", LITE0)
SMALL = 64  # pixels a side: images up to here are learnt from scratch where nobody chose
_DEEP = ("resnet18", "vgg19")  # through a plane these learn next to nothing: first through all their features
_WIDE = 512
_IMAGES = 60_000  # that a recipe sees in all, at least, so that small datasets have more epochs
_EPOCHS = (10, 60)
_RADIUS = 5.0


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What people choose of a network for data of their own.

    Attributes:
        backbone: One of `BACKBONES`, or an architecture of torchvision's; None: by the size of the images.
        frozen: Whether a pre-trained network stays as it is, under a projection and a head that learn.
        weights: File of a pre-trained network that comes with no package.
        loss: Of the head.
        dims: Features; "K-1": as many as the class means span; None: 2, or as many as they span if that is fewer.
    """

    backbone: str | None = None
    frozen: bool = False
    weights: Path | None = None
    loss: Loss = "lgm"
    dims: int | Literal["K-1"] | None = None


def recipe_for(dataset: Dataset, choice: Choice) -> TrainConfig:
    """How a network is trained on a dataset.

    Raises:
        ValueError: a combination that cannot be, or no such backbone.
        OSError: the file of the weights cannot be read.
    """
    backbone = choice.backbone or ("small" if max(dataset.shape[1:]) <= SMALL else LITE0)
    frozen = choice.frozen or (choice.backbone is None and backbone == LITE0)
    pretrained = frozen or choice.weights is not None or backbone not in NETWORKS
    if pretrained:
        _require_pretrained(backbone, choice)
        _require_images(backbone, dataset)
    span = len(dataset.classes) - 1
    model = ModelConfig(
        network=_network(backbone) if pretrained else backbone,
        image_shape=() if pretrained else dataset.shape,
        loss=choice.loss,
        n_classes=span + 1,
        n_dim=_dims(choice, span),
        center_radius=_RADIUS,
    )
    phases = _pretrained(model, choice, frozen=frozen) if pretrained else _from_scratch(model, dataset)
    return TrainConfig(phases=phases, dataset=dataset.name)


def _require_pretrained(backbone: str, choice: Choice) -> None:
    if backbone not in PRETRAINED and backbone not in NETWORKS:
        raise ValueError(
            f"backbone: expected {', '.join(BACKBONES)}, or an architecture of torchvision's, such as resnet50, got "
            f"{backbone!r}"
        )
    if backbone not in PRETRAINED:
        raise ValueError(
            f"backbone: {backbone} is trained from scratch, without --frozen and --weights; pre-trained are {LITE0} "
            "and, with a file of their weights, torchvision's architectures, such as resnet18"
        )
    if backbone != LITE0 and choice.weights is None:
        raise ValueError(
            f"weights: expected a file with torchvision's weights of {backbone}, which come with no package"
        )
    if choice.weights is not None and not choice.weights.is_file():
        raise ValueError(f"weights: expected a file with a state dict, and {choice.weights} is none")


def _require_images(backbone: str, dataset: Dataset) -> None:
    side = PRETRAINED[backbone].side
    if dataset.shape != (3, side, side):
        channels, height, width = dataset.shape
        grey = channels == 1
        raise ValueError(
            f"backbone: {backbone} takes images of {side} x {side} pixels in colour, and those of {dataset.name} are "
            f"{width} x {height} in {'grey' if grey else 'colour'}: register them with --size {side}"
            f"{' --colour' if grey else ''}"
        )


def _dims(choice: Choice, span: int) -> int:
    """How many features; what is too few, the configuration refuses."""
    if choice.dims is None:
        return min(2, span)
    return span if choice.dims == "K-1" else choice.dims


def _network(backbone: str) -> str:
    return TORCHVISION + backbone if backbone in NETWORKS else backbone


def _pretrained(model: ModelConfig, choice: Choice, *, frozen: bool) -> tuple[Phase, ...]:
    digest = file_sha256(choice.weights) if choice.weights else ""
    phase = Phase(init="pretrained", model=model, weights_sha256=digest, shift=0)
    if frozen:
        return (replace(phase, layers="projection", epochs=10, batch_size=64, lr=1e-3),)
    return (replace(phase, epochs=5, batch_size=16, lr=1e-4, flip=True),)


def _from_scratch(model: ModelConfig, dataset: Dataset) -> tuple[Phase, ...]:
    low, high = _EPOCHS
    epochs = min(high, max(low, math.ceil(_IMAGES / max(1, dataset.train_size))))
    batch = 256 if dataset.train_size > 20_000 else 64
    shift = 2 if min(dataset.shape[1:]) >= 16 else 0
    if model.network not in _DEEP:
        return (Phase(model=model, epochs=epochs, batch_size=batch, shift=shift),)
    wide = Phase(
        model=replace(model, loss="softmax", n_dim=_WIDE, label_smoothing=0.1),
        epochs=epochs,
        batch_size=min(batch, 128),
        optimizer="sgd",
        lr=0.05,
        weight_decay=5e-4,
        warmup=0.2,
        shift=shift,
    )
    return wide, replace(wide, init="project", model=model, epochs=5, lr=5e-3, center_lr=1e-3, warmup=0.1)
