"""What lies beside the weights and reads without torch: a model's card and its embedded features."""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from lgm.config import TrainConfig
from lgm.data import home, write_atomically
from lgm.intervals import to_json

SHIPPED = Path(__file__).resolve().parent.parent / "checkpoints"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class CheckpointError(Exception):
    """A checkpoint that cannot be used; the message names the file, what was expected, what was found, the fix."""


@dataclass(kw_only=True)
class Card:
    """Where a model comes from and what it can do; `<name>.json` beside `<name>.safetensors`.

    Attributes:
        name: What `load_checkpoint` finds it by.
        config: The training run that made it.
        weights_sha256: Hash of the weights as they are stored, checked on loading.
        data_sha256: Hash of each split used, by name.
        accuracy: Share of images classified correctly in [0, 1], by split.
        feature_min, feature_max: Range of each feature over the dataset's held-out split, (D,); gives s of the
            objective.
        closest_centers: Smallest distance between class means, in sigmas; None for softmax.
        history: One record per epoch.
        versions: Of the libraries that made it.
        note: Anything a reader must know, such as a foreign origin.
    """

    name: str
    config: TrainConfig
    weights_sha256: str
    data_sha256: dict[str, str] = field(default_factory=dict)
    accuracy: dict[str, float] = field(default_factory=dict)
    feature_min: list[float] = field(default_factory=list)
    feature_max: list[float] = field(default_factory=list)
    closest_centers: float | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    note: str = ""

    @property
    def feature_scale(self) -> np.ndarray:
        """S of the objective, (D,): multiplies features so that the held-out images span a length of 2."""
        span = np.asarray(self.feature_max) - np.asarray(self.feature_min)
        return (2 / np.maximum(span, 1e-12)).astype(np.float32)


def user_folder() -> Path:
    """Where models that the user trains or uploads are kept."""
    return home() / "checkpoints"


def check_name(name: str) -> str:
    """The name itself, or CheckpointError if it could not be a file name everywhere."""
    if not _NAME.fullmatch(name):
        raise CheckpointError(
            f"name {name!r}: expected 1 to 64 letters, digits, - or _, starting with a letter or digit"
        )
    return name


def locate(source: str | Path) -> Path:
    """The weights file of a checkpoint given by name (shipped ones first) or by path.

    Raises:
        CheckpointError: there is none.
    """
    path = Path(source)
    if path.suffix in (".safetensors", ".pt", ".pth"):
        if path.is_file():
            return path
        raise CheckpointError(f"{path}: no such file")
    check_name(str(source))
    for folder in (SHIPPED, user_folder()):
        if (folder / f"{source}.safetensors").is_file():
            return folder / f"{source}.safetensors"
    have = ", ".join(list_checkpoints()) or "none"
    raise CheckpointError(f"no checkpoint named {source!r} (there are: {have}); train one: python -m lgm train --help")


def list_checkpoints() -> list[str]:
    """Names of all usable checkpoints, shipped ones first."""
    found: dict[str, None] = {}
    for folder in (SHIPPED, user_folder()):
        cards = sorted(folder.glob("*.json"), key=lambda card: card.stem)
        found.update({card.stem: None for card in cards if card.with_suffix(".safetensors").is_file()})
    return list(found)


def read_card(source: str | Path) -> Card:
    """The card of a checkpoint.

    Raises:
        CheckpointError: it is missing or does not read as a card.
    """
    path = locate(source).with_suffix(".json")
    try:
        values = json.loads(path.read_text())
        card = Card(**{**values, "config": TrainConfig.from_dict(values["config"])})
        _check_range(card)
        return card
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: the card is missing; it belongs beside the weights") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path}: expected a model card in JSON, found {error}; restore or retrain it") from error


def _check_range(card: Card) -> None:
    """Without a usable feature range the objective would silently be another one."""
    n_dim = card.config.model.n_dim
    if card.feature_scale.shape != (n_dim,) or not np.isfinite(card.feature_scale).all():
        raise ValueError(f"feature_min {card.feature_min} and feature_max {card.feature_max}, not {n_dim} numbers each")


def write_card(card: Card, folder: Path) -> None:
    """Put `<name>.json` into place, whole or not at all."""
    values = {**asdict(card), "config": card.config.to_dict()}
    text = to_json(values, indent=1) + "\n"
    write_atomically(folder / f"{card.name}.json", lambda path: path.write_text(text))


@dataclass(frozen=True)
class Features:
    """A split as a network sees it.

    Attributes:
        z: (N, D) float32 features.
        labels: (N,) uint8.
        predicted: (N,) uint8 classes by the network's own head.
        score: (N,) float32 log p(z | label) in nats; NaN for softmax, which has no density.
    """

    z: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    score: np.ndarray


@dataclass(frozen=True)
class FeatureMap:
    """All that a plot of the feature space needs, without the network.

    Attributes:
        splits: By name.
        means: (K, D) class means (LGM), or the mean feature of each class on the held-out split (softmax).
        peak: (K,) log-density at each mean in nats; NaN for softmax.
        regions: (G, G) uint8 class predicted at each grid point, row = second feature; empty unless D = 2.
        extent: (4,) left, right, bottom, top of the grid.
    """

    splits: dict[str, Features]
    means: np.ndarray
    peak: np.ndarray
    regions: np.ndarray
    extent: np.ndarray


def write_features(name: str, features: FeatureMap, folder: Path) -> None:
    """Put `<name>.features.safetensors` into place."""
    arrays = {key: value for key, value in vars(features).items() if key != "splits"}
    for split, values in features.splits.items():
        arrays |= {f"{split}.{key}": value for key, value in vars(values).items()}
    arrays = {key: np.ascontiguousarray(value) for key, value in arrays.items()}
    write_atomically(folder / f"{name}.features.safetensors", lambda path: save_file(arrays, path))


def read_features(source: str | Path) -> FeatureMap:
    """The embedded features of a checkpoint.

    Raises:
        CheckpointError: missing or damaged.
    """
    weights = locate(source)
    path = weights.with_name(f"{weights.stem}.features.safetensors")
    try:
        arrays = load_file(path)
        splits = _names(arrays)
        return FeatureMap(
            {split: Features(*(arrays[f"{split}.{key}"] for key in Features.__annotations__)) for split in splits},
            *(arrays[key] for key in ("means", "peak", "regions", "extent")),
        )
    except (OSError, SafetensorError, KeyError) as error:
        raise CheckpointError(
            f"{path}: expected embedded features, found {error}; restore the file or train the model anew"
        ) from error


def _names(keys: Iterable[str]) -> list[str]:
    return sorted({key.rsplit(".", 1)[0] for key in keys if key.endswith(".z")})


def read_gaussians(path: Path, prefix: str = "") -> tuple[np.ndarray | None, np.ndarray | None]:
    """Means and standard deviations of the class Gaussians, (K, D) each, from weights on disk; None for softmax."""
    with safe_open(path, "np") as file:
        names = set(file.keys())
        return gaussians(lambda name: file.get_tensor(prefix + name) if prefix + name in names else None)


def gaussians(tensor: Callable[[str], np.ndarray | None]) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The same from a network's tensors by name."""
    means, log_variance = tensor("head.mixture.means"), tensor("head.mixture.log_variance")
    return means, None if log_variance is None else np.exp(log_variance / 2)
