"""Embedded features beside the weights: splits as a network sees them, read without torch."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from lgm.data.registry import held_out_of
from lgm.models.card import Card, CheckpointError, card_path, tensor_shapes
from lgm.models.registry import locate
from lgm.utils.files import reason
from lgm.utils.io import write_atomically


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
    write_atomically(folder / f"{name}.features.safetensors", lambda path: path.write_bytes(save(arrays)))


def read_features(source: str | Path) -> FeatureMap:
    """The embedded features of a checkpoint.

    Raises:
        CheckpointError: missing or damaged.
    """
    weights = locate(source)
    path = features_path(weights)
    check_features(path)
    try:
        arrays = load_file(path)
        splits = _names(arrays)
        return FeatureMap(
            {split: Features(*(arrays[f"{split}.{key}"] for key in Features.__annotations__)) for split in splits},
            *(arrays[key] for key in ("means", "peak", "regions", "extent")),
        )
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path}: expected embedded features, found {reason(error)}; {_FEATURES_FIX}") from error


_FEATURES_FIX = "restore the file or train the model anew"


def features_path(weights: Path) -> Path:
    """Where the embedded features of these weights lie."""
    return weights.with_name(f"{card_path(weights).stem}.features.safetensors")


def check_features(path: Path, card: Card | None = None) -> None:
    """Raise CheckpointError unless the head of a file is that of embedded features, of the card's model if given."""
    shapes = tensor_shapes(path, "embedded features", _FEATURES_FIX)
    n_classes, n_dim = (*shapes.get("means", ()), 0, 0)[:2]
    wrong = [name for name, shape in (("peak", (n_classes,)), ("extent", (4,))) if shapes.get(name) != shape]
    wrong += [name for name in ("means", "regions") if len(shapes.get(name, ())) != 2]
    for split in (splits := _names(shapes)):
        n = shapes[f"{split}.z"][0] if shapes[f"{split}.z"] else 0
        expected = {"z": (n, n_dim), "labels": (n,), "predicted": (n,), "score": (n,)}
        wrong += [f"{split}.{key}" for key, shape in expected.items() if not n or shapes.get(f"{split}.{key}") != shape]
    if card is not None:
        wrong += ["means"] if (n_classes, n_dim) != (card.config.model.n_classes, card.config.model.n_dim) else []
        held_out = held_out_of(card.config.dataset)
        wrong += [] if held_out in splits else [f"{held_out}.z"]
    if wrong or not splits:
        raise CheckpointError(
            f"{path}: expected embedded features, found none, or of another shape, under "
            f"{', '.join(dict.fromkeys(wrong)) or 'any split'}; {_FEATURES_FIX}"
        )


def _names(keys: Iterable[str]) -> list[str]:
    return sorted({key.rsplit(".", 1)[0] for key in keys if key.endswith(".z")})


def read_gaussians(path: Path, prefix: str = "") -> tuple[np.ndarray | None, np.ndarray | None]:
    """Means and standard deviations of the class Gaussians, (K, D) each, from weights on disk; None for softmax."""
    names = tensor_shapes(path, "a safetensors file", "restore the file or retrain")
    with safe_open(path, "np") as file:
        return gaussians(lambda name: file.get_tensor(prefix + name) if prefix + name in names else None)


def gaussians(tensor: Callable[[str], np.ndarray | None]) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The same from a network's tensors by name."""
    means, log_variance = tensor("head.mixture.means"), tensor("head.mixture.log_variance")
    return means, None if log_variance is None else np.exp(log_variance / 2)
