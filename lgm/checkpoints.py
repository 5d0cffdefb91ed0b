"""Weights on disk: safetensors with a card beside them, checked on the way in. Never a pickle."""

import hashlib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from lgm.cards import (
    Card,
    CheckpointError,
    FeatureMap,
    Features,
    check_name,
    locate,
    read_card,
    write_card,
    write_features,
)
from lgm.config import ModelConfig, TrainConfig
from lgm.data import Split, write_atomically
from lgm.datasets import DATASETS, load_split
from lgm.heads import LGMHead
from lgm.networks import Classifier, build_model, device_of, embed, to_device
from lgm.outputs import together

_GRID = 240  # points a side of the stored decision regions
_HALF = ("vgg19",)  # networks whose matrices are stored in half precision: 40 MB instead of 80


def weights_sha256(state: dict[str, Tensor]) -> str:
    """Hash over names, shapes and bytes of all weights, in name order."""
    digest = hashlib.sha256()
    for name in sorted(state):
        array = state[name].detach().cpu().contiguous()
        digest.update(f"{name}{tuple(array.shape)}{array.dtype}".encode())
        digest.update(array.view(torch.uint8).numpy().tobytes() if array.ndim else array.numpy().tobytes())
    return digest.hexdigest()


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
        source: A name (`lgm.list_checkpoints`), or a path to ``.safetensors`` or ``.pt``. A file in the layout of
            the paper's own code (``base.N.weight``, ``lgm.centers``, ``classifier.weight``) needs no card.
        device: Where the weights go.

    Raises:
        CheckpointError: missing, damaged, of another shape, or holding anything but tensors; nothing is executed.
    """
    path = locate(source)
    state = _read_tensors(path)
    if any(name.startswith("base.") for name in state):
        model, card = _from_paper(path, state)
    else:
        card = read_card(path)
        found = weights_sha256(state)
        if found != card.weights_sha256:
            raise CheckpointError(
                f"{path}: expected weights with SHA-256 {card.weights_sha256!s:.12} (its card), found {found:.12}; "
                "restore the file or retrain"
            )
        model = _fill(build_model(card.config.model), state, path)
    model.feature_scale = torch.from_numpy(card.feature_scale)
    model = to_device(model, device)
    return model.eval().requires_grad_(False), card


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (OSError, SafetensorError, ValueError) as error:
            raise CheckpointError(
                f"{path}: expected a safetensors file, found {error}; restore the file or retrain"
            ) from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # an unpickler that reads foreign bytes may raise anything
        raise CheckpointError(
            f"{path}: expected tensors and nothing else, found something that torch will not load safely; "
            "nothing in it was executed. Save a state_dict as safetensors instead"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise CheckpointError(f"{path}: expected a state_dict (names to tensors), found {type(state).__name__}")
    return state


def _fill(model: Classifier, state: dict[str, Tensor], path: Path) -> Classifier:
    """Load the weights, or say exactly which tensor does not fit."""
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in state.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise CheckpointError(
                f"{path}: tensor {name}: expected shape {expected.get(name, 'none: no such tensor')}, "
                f"found {found.get(name, 'none: it is missing')}"
            )
    for name, value in state.items():
        if not value.isfinite().all():
            raise CheckpointError(f"{path}: tensor {name}: expected finite numbers, found NaN or infinity")
    model.load_state_dict(state)
    return model


def _from_paper(path: Path, state: dict[str, Tensor]) -> tuple[Classifier, Card]:
    """A state dict of the paper's code: the same layers under other names, and no card."""
    is_lgm = "lgm.centers" in state
    renamed = {"lgm.centers": "head.mixture.means"}
    for kind in ("weight", "bias"):
        renamed[f"classifier.{kind}"] = f"head.classifier.{kind}"
    ours = {renamed.get(name, name.replace("base.", "backbone.", 1)): value for name, value in state.items()}
    config = ModelConfig(loss="lgm" if is_lgm else "softmax")
    model = build_model(config)
    if is_lgm:  # the paper's mixture has neither: unit variance and equal priors
        own = model.state_dict()
        ours |= {name: own[name] for name in ("head.mixture.log_variance", "head.mixture.prior_logits")}
    model = _fill(model, {name: value.float() for name, value in ours.items()}, path).eval()
    card = Card(
        name=path.stem,
        config=TrainConfig(model=config),
        weights_sha256=weights_sha256(model.state_dict()),
        note="Weights in the layout of the paper's own code; training data and recipe are unknown.",
    )
    measure(model, card, [load_split("bundled")])
    return model, card


@torch.inference_mode()
def embed_split(model: Classifier, split: Split) -> Features:
    """What the network makes of a split: features, predictions and, for LGM, log-likelihoods."""
    z = embed(model, split.pixels())
    on_device = z.to(device_of(model))
    predicted = model.head.logits(on_device).argmax(-1).cpu()
    score = torch.full((len(z),), float("nan"))
    if isinstance(model.head, LGMHead):
        score = model.head.mixture.log_likelihood(on_device, split.targets().to(on_device.device)).cpu()
    labels = split.labels.astype(np.uint8)
    return Features(z.numpy(), labels, predicted.numpy().astype(np.uint8), score.numpy())


def measure(model: Classifier, card: Card, splits: list[Split]) -> FeatureMap:
    """Embed the splits, and write accuracy, feature range and centre distance into the card.

    ``splits`` must contain the held-out one of the card's dataset: the feature range is its, so that it is the same
    everywhere.
    """
    embedded = {split.name: embed_split(model, split) for split in splits}
    card.accuracy |= {name: float((f.predicted == f.labels).mean()) for name, f in embedded.items()}
    card.data_sha256 |= {split.name: split.sha256 for split in splits}
    reference = embedded[DATASETS[card.config.dataset].held_out]
    card.feature_min = [float(v) for v in reference.z.min(0)]
    card.feature_max = [float(v) for v in reference.z.max(0)]
    card.check_span()
    card.versions = {name: version(name) for name in ("torch", "torchvision", "numpy")}
    if isinstance(model.head, LGMHead):
        means = model.head.mixture.means.detach().cpu().numpy()
        peak = model.head.mixture.peak().detach().cpu().numpy()
        card.closest_centers = model.head.mixture.closest_centers()
    else:
        classes = range(card.config.model.n_classes)
        means = np.stack([reference.z[reference.labels == k].mean(0) for k in classes])
        peak = np.full(len(means), np.nan, np.float32)
    return FeatureMap(embedded, means, peak, *_decision_regions(model, [f.z for f in embedded.values()]))


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
