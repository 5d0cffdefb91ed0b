"""Networks for datasets of the user's own: recipes, and projections on the features of a frozen network."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lgm.config import ModelConfig, Phase, TrainConfig
from lgm.data.base import Dataset
from lgm.data.registry import DATASETS, find_dataset, load_split
from lgm.data.store import register
from lgm.models.checkpoint import embed_split, load_checkpoint
from lgm.models.classifier import build_model
from lgm.models.scoring import embed
from lgm.training.frozen import FrozenFeatures
from lgm.training.own_recipe import Choice, recipe_for
from lgm.training.train import train_checkpoint

NET = "shufflenet_v2_x0_5"  # torchvision's quickest


def dataset(side: int = 28, classes: int = 3, train_size: int = 600, channels: int = 1) -> Dataset:
    names = tuple(f"class {k}" for k in range(classes))
    return replace(DATASETS["mnist"], name="mine", shape=(channels, side, side), classes=names, train_size=train_size)


@pytest.mark.parametrize(
    ("data", "choice", "network", "dims", "phases"),
    [
        (dataset(), Choice(), "small", 2, ["fresh"]),
        (dataset(classes=2), Choice(), "small", 1, ["fresh"]),
        (dataset(classes=7), Choice(dims="K-1"), "small", 6, ["fresh"]),
        (dataset(classes=7), Choice(dims=4, loss="softmax"), "small", 4, ["fresh"]),
        (dataset(side=64, channels=3), Choice(backbone="vgg19"), "vgg19", 2, ["fresh", "project"]),
        (dataset(side=224, channels=3), Choice(), "efficientnet-lite0", 2, ["pretrained"]),
        (dataset(side=65), Choice(backbone="resnet18"), "resnet18", 2, ["fresh", "project"]),
    ],
)
def test_a_recipe_fits_the_dataset(data: Dataset, choice: Choice, network: str, dims: int, phases: list[str]):
    config = recipe_for(data, choice)
    model = config.model
    assert (model.network, model.n_dim, model.loss) == (network, dims, choice.loss)
    assert model.n_classes == len(data.classes)
    assert [phase.init for phase in config.phases] == phases
    if phases[0] == "fresh":
        assert build_model(model).image_shape == data.shape


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (Choice(backbone="small", frozen=True), r"^backbone: small is trained from scratch, without --frozen and"),
        (Choice(backbone="resnet18", frozen=True), r"^weights: expected a file with torchvision's weights of resnet18"),
        (Choice(backbone="resnet50"), r"^weights: expected a file with torchvision's weights of resnet50"),
        (Choice(backbone="magic"), r"^backbone: expected small, .*torchvision's, such as resnet50, got 'magic'"),
        (
            Choice(backbone="resnet50", weights=Path("gone")),
            r"^weights: expected a file with a state dict, and gone is",
        ),
        (Choice(dims=0), r"^n_dim: expected at least 1, got 0"),
        (Choice(dims=5, backbone="efficientnet-lite0", frozen=True), r"^n_dim: expected at most 2 after a warm start"),
    ],
)
def test_what_cannot_be_is_refused(choice: Choice, message: str):
    with pytest.raises(ValueError, match=message):
        recipe_for(dataset(side=224, channels=3), choice)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (dataset(), "28 x 28 in grey: register them with --size 224 --colour"),
        (dataset(side=32, channels=3), "32 x 32 in colour: register them with --size 224"),
    ],
)
def test_a_pretrained_network_names_the_images_that_it_takes(images: Dataset, said: str):
    with pytest.raises(ValueError, match=f"^backbone: efficientnet-lite0 takes images of 224 x 224 .* are {said}"):
        recipe_for(images, Choice(backbone="efficientnet-lite0"))


@pytest.mark.parametrize("network", ["small", "resnet18", "vgg19"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 20, 33)])
def test_backbones_take_images_of_any_shape(network: str, shape: tuple[int, int, int]):
    model = build_model(ModelConfig(network=network, image_shape=shape, n_dim=3)).eval()
    assert model.embed(torch.rand(2, *shape)).shape == (2, 3)


def test_the_papers_networks_take_no_other_shape():
    with pytest.raises(
        ValueError, match=r"^image_shape: mnist-cnn takes images of shape \(1, 28, 28\), got \(1, 8, 8\)"
    ):
        build_model(ModelConfig(image_shape=(1, 8, 8)))


def test_normalisation_is_that_of_the_network():
    """Pixels of each channel less the mean of ImageNet's, in its standard deviations."""
    model = build_model(ModelConfig(network=f"torchvision/{NET}", n_classes=2, n_dim=1))
    x = torch.rand(1, 3, 224, 224)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = torch.stack([(x[0, c] - mean[c]) / std[c] for c in range(3)])
    torch.testing.assert_close(model.normalise(x)[0], expected)
    assert not any("normalise" in name for name in model.state_dict())


def stripes(root: Path, count: int) -> Path:
    """Photos of two kinds that differ by the direction of their stripes."""
    rng = np.random.default_rng(1)
    for label in ("across", "down"):
        (root / label).mkdir(parents=True)
        for number in range(count):
            wave = 127 + 100 * np.sin(np.arange(224) / rng.uniform(2, 6) + rng.uniform(0, 6))
            image = np.broadcast_to(wave[:, None] if label == "across" else wave, (224, 224))
            noisy = (image[..., None] + rng.normal(0, 20, (224, 224, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(root / label / f"{number:03}.png")
    return root


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """torchvision's layout, with random numbers in it."""
    from torchvision.models import get_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(get_model(NET, weights=None).state_dict(), tmp_path / "published.pth")
    return tmp_path / "published.pth"


@pytest.mark.slow
def test_a_projection_learns_on_a_frozen_network(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LGM_HOME", str(tmp_path / "home"))
    register("photos", stripes(tmp_path / "photos", 15))
    config = recipe_for(find_dataset("photos"), Choice(backbone=NET, frozen=True, weights=weights)).with_last(epochs=3)
    card = train_checkpoint(config, "photos-lgm", tmp_path / "out", weights=weights)
    assert card is not None and card.classes == ("across", "down")
    model, loaded = load_checkpoint(tmp_path / "out" / "photos-lgm.safetensors")
    assert loaded == card
    published = torch.load(weights, weights_only=True)
    assert isinstance(model.backbone, nn.Sequential)
    extractor = model.backbone[0].state_dict()
    assert all(torch.equal(extractor[name], published[name]) for name in extractor)
    split = load_split("held-out", "photos")
    accuracy = (embed_split(model, split).predicted == split.labels).mean()
    assert accuracy == card.accuracy["held-out"] == card.history[-1]["validation_accuracy"]
    assert accuracy > 0.8
    frozen = FrozenFeatures(model, "projection")
    torch.testing.assert_close(frozen.z(split), embed(model, split.pixels()), rtol=1e-4, atol=1e-4)
    other = tmp_path / "other.pth"
    torch.save(published | {"conv1.0.weight": published["conv1.0.weight"] + 1}, other)
    with pytest.raises(ValueError, match=r"^weights: expected the file that the recipe names by its SHA-256"):
        train_checkpoint(config, "again", tmp_path / "out", weights=other)


def test_what_begins_with_a_trained_network_is_a_first_phase():
    model = ModelConfig(network="efficientnet-lite0", n_classes=2, n_dim=1)
    phase = Phase(init="pretrained", model=model, layers="projection", shift=0)
    with pytest.raises(ValueError, match=r"^init: expected continue or project after another phase, got 'pretrained'"):
        TrainConfig(phases=(phase, phase))
    with pytest.raises(ValueError, match=r"^layers: expected all where images are moved, mirrored or made smaller"):
        replace(phase, flip=True)
