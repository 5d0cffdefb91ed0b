"""Recipes that the Train page offers: of a preset's family, or for a dataset of the user's own."""

from dataclasses import replace
from typing import Any

from lgm.config import Loss, TrainConfig
from lgm.data.base import Dataset
from lgm.data.registry import DATASETS
from lgm.models.architectures import LITE0
from lgm.training.own_recipe import SMALL, Choice, recipe_for
from lgm.training.presets import PRESETS

_QUICKEST_FIRST = ("tiny-cnn", "mnist-cnn", "vgg19")
_USUAL = {"tiny-cnn": 12, "mnist-cnn": 4, "vgg19": 3}  # epochs that are usually enough


def networks(dataset: Dataset) -> list[str]:
    """Those that there are recipes for, the quickest first."""
    if dataset.name not in DATASETS:
        return ["small", "resnet18"] if max(dataset.shape[1:]) <= SMALL else [LITE0]
    found = {config.model.network for config in PRESETS.values() if config.dataset == dataset.name}
    return [network for network in _QUICKEST_FIRST if network in found]


def usual_epochs(dataset: Dataset, network: str) -> int:
    """Of the last phase."""
    return _USUAL[network] if dataset.name in DATASETS else _own(dataset, network, "lgm").phases[-1].epochs


def recipe(
    dataset: Dataset, network: str, loss: Loss, *, split: str, epochs: int, seed: int, **gaussian: Any
) -> TrainConfig:
    """A recipe that trains well, with the user's choices; ``gaussian``: fields of `ModelConfig` that only LGM has."""
    if dataset.name not in DATASETS:
        own = _own(dataset, network, loss).seeded(seed)
        return own.with_last(model=replace(own.model, **gaussian), epochs=epochs)
    base = next(c for c in PRESETS.values() if (c.dataset, c.model.loss, c.split) == (dataset.name, loss, "train"))
    while base.phases[-1].init == "continue":  # up to the phase that lays the plane
        base = replace(base, phases=base.phases[:-1])
    radius = base.model.center_radius
    if network == "tiny-cnn":  # 95 % of the held-out digits after 12 epochs of the bundled ones
        base, radius = base.with_last(batch_size=50, lr=5e-3, shift=1, small_epochs=0), 5.0
    elif split == "bundled-train":  # few images, so smaller batches: 97 % after 4 epochs
        base, radius = base.with_last(batch_size=64, lr=2e-3, shift=1, small_epochs=0), 5.0
    model = replace(base.model, network=network, center_radius=radius, **gaussian)
    return replace(base, split=split).with_last(model=model, epochs=epochs, seed=seed)


def _own(dataset: Dataset, network: str, loss: Loss) -> TrainConfig:
    return recipe_for(dataset, Choice(backbone=network, loss=loss, frozen=network == LITE0))
