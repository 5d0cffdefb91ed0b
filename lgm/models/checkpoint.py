"""Weights on disk: safetensors with a card beside them, checked on the way in. Never a pickle."""

import hashlib
import os
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from lgm.config import ModelConfig, Phase, TrainConfig
from lgm.data.base import Split
from lgm.data.registry import held_out_of, load_split
from lgm.models.card import Card, CheckpointError, card_path, write_card
from lgm.models.classifier import Classifier, build_model, device_of, to_device
from lgm.models.features import FeatureMap, Features, write_features
from lgm.models.registry import check_name, locate, read_card
from lgm.models.scoring import embed
from lgm.models.state_dict import described, read_tensors
from lgm.utils.io import write_atomically
from lgm.utils.outputs import together

_PART = 500  # images that are pixels at a time
_GRID = 240  # points a side of the stored decision regions
_HALF = ("vgg19",)  # networks whose matrices are stored in half precision: 40 MB instead of 80


def weights_sha256(state: dict[str, Tensor]) -> str:
    """Hash over names, shapes and bytes of all weights, in name order."""
    digest = hashlib.sha256()
    for name in sorted(state):
        array = state[name].detach().cpu().contiguous()
        digest.update(f"{name}{tuple(array.shape)}{array.dtype}".encode())
        digest.update(array.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def network_sha256(model: Classifier) -> str:
    """Hash of all that features, and what is crafted by them, depend on: the weights and ``feature_scale``."""
    return weights_sha256({**model.state_dict(), "feature_scale": model.feature_scale})


def _is_half(name: str, value: Tensor, config: ModelConfig) -> bool:
    """Only what is large: biases, the head, and the statistics of batch norm, which may be tiny, stay float32."""
    return config.network in _HALF and name.startswith("backbone.") and value.ndim > 1


def save_checkpoint(model: Classifier, card: Card, folder: Path) -> Path:
    """Write `<name>.safetensors` and `<name>.json`, each whole or not at all; returns the weights' path."""
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    state = {name: value.half() if _is_half(name, value, card.config.model) else value for name, value in state.items()}
    card.weights_sha256 = weights_sha256(state)
    path = folder / f"{check_name(card.name)}.safetensors"
    write_atomically(path, lambda part: part.write_bytes(save(state)))
    write_card(card, folder)
    return path


def load_checkpoint(source: str | Path, device: str = "cpu") -> tuple[Classifier, Card]:
    """A trained network, in eval mode and frozen, with its card.

    Args:
        source: A name (`lgm.list_checkpoints`), or a path to a file of safetensors or of `torch.save`: a state_dict, or
            one inside a dictionary, with or without the names that DataParallel and torch.compile add. A file in the
            layout of the paper's own code (``base.N.weight``, ``lgm.centers``, ``classifier.weight``) needs no card.
        device: Where the weights go.

    Raises:
        CheckpointError: missing, damaged, of another shape, or holding anything but tensors; nothing is executed.
    """
    path = locate(source)
    state = read_tensors(path)
    if any(name.startswith("base.") for name in state):
        model, card = _from_paper(path, state)
    else:
        card = _card_of(path, state)
        model = _fitting(card.config.model, state, path)
        _fill(model, state, path)
        found = weights_sha256(state)
        if found != card.weights_sha256:
            raise CheckpointError(
                f"{path}: expected weights with SHA-256 {card.weights_sha256:.12} (its card), found {found:.12}; "
                "restore the file or retrain"
            )
    model.feature_scale = torch.from_numpy(card.feature_scale)
    model = to_device(model, device)
    return model.eval().requires_grad_(False), card


def _card_of(path: Path, state: dict[str, Tensor]) -> Card:
    """The card beside the weights; without one, weights of some other network are named for what they are."""
    if not os.path.lexists(card_path(path)) and not any(name.startswith(("backbone.", "head.")) for name in state):
        raise CheckpointError(
            f"{path}: expected weights of a network of this program with their card ({card_path(path).name}), or in "
            f"the layout of the paper's own code (base.0.weight, ..., with lgm.centers or classifier.weight), found "
            f"another architecture: {described(state)}"
        )
    return read_card(path)


def _fitting(config: ModelConfig, state: dict[str, Tensor], path: Path) -> Classifier:
    """A fresh network into which these tensors fit, by name, shape and kind, or an error that names the first misfit.

    Nothing is built before the head is known to be as large as the config says, which may come from anywhere.
    """
    name = "head.mixture.means" if config.loss == "lgm" else "head.classifier.weight"
    shape = config.n_classes, config.n_dim
    if name in state and tuple(state[name].shape) != shape:
        raise CheckpointError(f"{path}: tensor {name}: expected shape {shape}, found {tuple(state[name].shape)}")
    if name not in state and not any(other.startswith("backbone.") for other in state):
        raise CheckpointError(
            f"{path}: expected the tensors of a {config.network} ({config.loss}), found another architecture: "
            f"{described(state)}"
        )
    if name not in state:
        raise CheckpointError(f"{path}: tensor {name}: expected shape {shape}, found none: it is missing")
    model = build_model(config)
    ours = model.state_dict()
    for name in sorted(ours.keys() | state.keys()):
        expected, found = (tuple(each[name].shape) if name in each else None for each in (ours, state))
        if expected != found:
            raise CheckpointError(
                f"{path}: tensor {name}: expected shape {'none: no such tensor' if expected is None else expected}, "
                f"found {'none: it is missing' if found is None else found}"
            )
        if ours[name].is_floating_point() != state[name].is_floating_point():
            raise CheckpointError(f"{path}: tensor {name}: expected {ours[name].dtype}, found {state[name].dtype}")
    return model


def _fill(model: Classifier, state: dict[str, Tensor], path: Path) -> None:
    """Load weights that fit, unless a number is none."""
    values = {name: state[name].to(own.dtype) for name, own in model.state_dict().items()}
    for name, value in values.items():  # what overflows in single precision is no number either
        if not value.isfinite().all():
            raise CheckpointError(f"{path}: tensor {name}: expected finite numbers, found NaN or infinity")
        if name.endswith("running_var") and (value < 0).any():
            raise CheckpointError(f"{path}: tensor {name}: expected variances, found numbers below 0")
    model.load_state_dict(values)


def _from_paper(path: Path, state: dict[str, Tensor]) -> tuple[Classifier, Card]:
    """A state dict of the paper's code: the same layers under other names, and no card."""
    is_lgm = "lgm.centers" in state
    renamed = {"lgm.centers": "head.mixture.means"}
    for kind in ("weight", "bias"):
        renamed[f"classifier.{kind}"] = f"head.classifier.{kind}"
    ours = {renamed.get(name, name.replace("base.", "backbone.", 1)): value for name, value in state.items()}
    config = ModelConfig(loss="lgm" if is_lgm else "softmax")
    if is_lgm:  # the paper's mixture has neither: unit variance and equal priors
        own = build_model(config).state_dict()
        ours |= {name: own[name] for name in ("head.mixture.log_variance", "head.mixture.prior_logits")}
    model = _fitting(config, ours, path).eval()
    _fill(model, ours, path)
    card = Card(
        name=card_path(path).stem,
        config=TrainConfig(phases=(Phase(model=config),)),
        weights_sha256=weights_sha256(model.state_dict()),
        note="Weights in the layout of the paper's own code; training data and recipe are unknown.",
    )
    measure(model, card, [load_split("bundled")])
    return model, card


def embed_split(model: Classifier, split: Split) -> Features:
    """What the network makes of a split: features, predictions and, for LGM, log-likelihoods."""
    return features_of(model, embed_images(model, split), split)


def embed_images(model: Classifier, split: Split) -> Tensor:
    """Features (N, D) of a split, float32 on the CPU; no more of it than a part is floating point at a time."""
    return torch.cat([embed(model, split.pixels(slice(at, at + _PART))) for at in range(0, len(split), _PART)])


@torch.inference_mode()
def features_of(model: Classifier, z: Tensor, split: Split) -> Features:
    """The same, from the features (N, D) of its images."""
    on_device = z.to(device_of(model))
    predicted = model.head.logits(on_device).argmax(-1).cpu()
    score = model.head.log_likelihood(on_device, split.targets().to(on_device.device)).cpu()
    labels = split.labels.astype(np.uint8)
    return Features(z.numpy(), labels, predicted.numpy().astype(np.uint8), score.numpy())


def measure(model: Classifier, card: Card, splits: list[Split]) -> FeatureMap:
    """Embed the splits, and write accuracy, feature range and centre distance into the card.

    ``splits`` must contain the held-out one of the card's dataset: the feature range is its, so that it is the same
    everywhere.
    """
    embedded = {split.name: embed_split(model, split) for split in splits}
    for name, features in embedded.items():
        if not np.isfinite(features.z).all():
            raise CheckpointError(f"{card.name}: expected finite features, found NaN or infinity on {name}; retrain it")
    card.accuracy |= {name: float((f.predicted == f.labels).mean()) for name, f in embedded.items()}
    card.data_sha256 |= {split.name: split.sha256 for split in splits}
    reference = embedded[held_out_of(card.config.dataset)]
    card.feature_min = [float(v) for v in reference.z.min(0)]
    card.feature_max = [float(v) for v in reference.z.max(0)]
    card.check_span()
    card.versions = {name: version(name) for name in ("torch", "torchvision", "numpy")}
    if (mixture := model.head.mixture) is not None:
        means = mixture.means.detach().cpu().numpy()
        peak = mixture.peak().detach().cpu().numpy()
        card.closest_centers = mixture.closest_centers()
    else:
        classes = range(card.config.model.n_classes)
        means = np.stack([reference.z[reference.labels == k].mean(0) for k in classes])
        peak = np.full(len(means), np.nan, np.float32)
    return FeatureMap(embedded, means, peak, *_decision_regions(model, [f.z for f in embedded.values()]))


def is_guessing(accuracy: float, config: ModelConfig) -> bool:
    """Whether a network is so close to chance that it is neither saved after training nor added from a file.

    That is a tenth of the way from chance to all right, at most: 19 % of ten classes, 55 % of two.
    """
    chance = 1 / config.n_classes
    return accuracy < chance + 0.1 * (1 - chance)


@torch.inference_mode()
def _decision_regions(model: Classifier, features: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    z = np.concatenate(features)
    if z.shape[1] != 2:
        return np.empty((0, 0), np.uint8), np.zeros(4, np.float32)
    low, high = z.min(0), z.max(0)
    low, high = low - 0.15 * (high - low), high + 0.15 * (high - low)
    across, up = (torch.linspace(float(low[i]), float(high[i]), _GRID) for i in (0, 1))
    grid = torch.cartesian_prod(up, across).flip(1).to(device_of(model))
    regions = model.head.logits(grid).argmax(-1).reshape(_GRID, _GRID)
    extent = np.array([low[0], high[0], low[1], high[1]], np.float32)
    return regions.cpu().numpy().astype(np.uint8), extent


def save_measured(model: Classifier, card: Card, splits: list[Split], folder: Path) -> Path:
    """Measure the model on the splits, then write weights, card and embedded features.

    Weights that are stored in half precision are rounded in the model first: what is measured is what loads again.
    """
    for name, value in model.state_dict().items():  # they share their memory with the model
        if _is_half(name, value, card.config.model):
            value.copy_(value.half())
    features = measure(model, card, splits)
    weights = folder / f"{check_name(card.name)}.safetensors"
    with together(weights) as place:
        write_features(card.name, features, place)
        save_checkpoint(model, card, place)
    return weights
