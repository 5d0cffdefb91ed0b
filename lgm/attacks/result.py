"""The record of crafted poisons: everything about each one, lossless on disk, readable without torch."""

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from lgm.attacks.references import dataset_of, find, hashes, where_they_are
from lgm.data.pixels import to_pixels
from lgm.models.card import CheckpointError, card_path, open_checked
from lgm.models.registry import locate, read_card
from lgm.utils.files import reason
from lgm.utils.io import write_atomically
from lgm.utils.json import to_json


@dataclass(frozen=True)
class Poisons:
    """N poisons and how each came about. Arrays are NumPy; F is the number of recorded frames.

    Attributes:
        images: (N, C, H, W) float32 poisons, pixels in [0, 1].
        base_images, target_images: (N, C, H, W) uint8 images b and t of eq. (1), see `bases` and `targets`; None if
            they are not on this machine, as a file does not hold those of every dataset.
        base_index, target_index: (N,) positions in the split they were drawn from.
        labels: (N,) uint8 claimed labels: the class of the base.
        target_labels: (N,) uint8 classes of the targets.
        predicted: (N,) uint8 classes the crafting network sees in the poisons.
        z, target_z: (N, D) features of poisons and targets.
        score: (N,) log p(f(x) | claimed label) in nats; NaN for softmax networks.
        collision: (N,) first term of eq. (1): squared distance of rescaled features to the target's.
        perturbation: (N,) squared L2 distance to the base, the second term before beta.
        linf: (N,) largest change of a single pixel, in [0, 1].
        beta: (N,) trade-off of each poison.
        iterations: (N,) iterations used until convergence or the limit.
        path_iteration: (F,) iterations at which frames were recorded.
        path: (N, F, D) features on the way.
        path_objective: (N, F, 2) collision and perturbation on the way.
        path_score: (N, F) log p(f(x) | claimed label) in nats on the way; NaN for softmax networks.
        path_predicted: (N, F) uint8 classes that the network sees on the way.
        path_images: (N, F, C, H, W) uint8 images on the way, rounded to 8 bits; only the poisons of one pair have
            them: others have (N, 0, C, H, W).
        manifest: Model and its hash, split and its hash, seed, configuration, versions.
    """

    images: np.ndarray
    base_images: np.ndarray | None
    target_images: np.ndarray | None
    base_index: np.ndarray
    target_index: np.ndarray
    labels: np.ndarray
    target_labels: np.ndarray
    predicted: np.ndarray
    z: np.ndarray
    target_z: np.ndarray
    score: np.ndarray
    collision: np.ndarray
    perturbation: np.ndarray
    linf: np.ndarray
    beta: np.ndarray
    iterations: np.ndarray
    path_iteration: np.ndarray
    path: np.ndarray
    path_objective: np.ndarray
    path_score: np.ndarray
    path_predicted: np.ndarray
    path_images: np.ndarray
    manifest: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: np.ndarray) -> "Poisons":
        """The poisons at these positions, in this order."""
        shared = {"path_iteration": self.path_iteration, "manifest": self.manifest}
        rows = {name: getattr(self, name) for name in _ARRAYS if name not in shared}
        chosen: Any = {name: None if row is None else row[index] for name, row in rows.items()}
        return Poisons(**chosen, **shared)

    @staticmethod
    def concatenate(parts: "list[Poisons]") -> "Poisons":
        """All poisons of these parts, which were crafted by the same configuration."""
        shared = {"path_iteration": parts[0].path_iteration, "manifest": parts[0].manifest}
        rows = {name: [getattr(part, name) for part in parts] for name in _ARRAYS if name not in shared}
        known = {name: not any(row is None for row in group) for name, group in rows.items()}
        joined: Any = {name: np.concatenate(group) if known[name] else None for name, group in rows.items()}
        return Poisons(**joined, **shared)

    @property
    def has_pairs(self) -> bool:
        """Whether `bases` and `targets` are on this machine."""
        return self.base_images is not None and self.target_images is not None

    @property
    def bases(self) -> np.ndarray:
        """(N, C, H, W) uint8 images b of eq. (1). Raises AbsentImagesError."""
        return _present(self.base_images, self.manifest)

    @property
    def targets(self) -> np.ndarray:
        """(N, C, H, W) uint8 images t of eq. (1). Raises AbsentImagesError."""
        return _present(self.target_images, self.manifest)

    @property
    def collided(self) -> np.ndarray:
        """(N,) bool: the network predicts the target's class, so the poison can do its work."""
        return self.predicted == self.target_labels

    @property
    def objective(self) -> np.ndarray:
        """(N,) value of eq. (1)."""
        return self.collision + self.beta * self.perturbation

    @property
    def l2(self) -> np.ndarray:
        """(N,) L2 distance to the base, pixels in [0, 1]."""
        return np.sqrt(self.perturbation)

    def save(self, path: Path) -> None:
        """Write all arrays and the manifest, bit for bit, whole or not at all.

        Base and target images of a dataset that may not be copied are named by position and hash, and found again by
        `read_poisons`.

        Raises:
            AbsentImagesError: of another dataset, and not on this machine.
            SaveError: it cannot be written.
        """
        arrays = {name: getattr(self, name) for name in _ARRAYS if name not in _PAIRS}
        dataset = dataset_of(self.manifest)
        for name, file_name in _PAIRS.items():
            if dataset is None or dataset.may_be_copied:
                arrays[file_name] = _present(getattr(self, name), self.manifest)
            else:
                arrays[_HASHES[name]] = hashes(_present(getattr(self, name), self.manifest))
        # One entry: the library writes several in any order, and the same poisons are to give the same bytes.
        metadata = {"manifest": to_json({"format": FORMAT, **self.manifest})}
        content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, metadata)
        write_atomically(Path(path), lambda part: part.write_bytes(content))


class AbsentImagesError(CheckpointError):
    """Base and target of poisons are asked for, and this machine does not have them."""


FORMAT = 2  # 1 had no linf, and all images; it is read still
_ARRAYS = [item.name for item in fields(Poisons) if item.name != "manifest"]
_PAIRS = {"base_images": "bases", "target_images": "targets"}  # what they are called in a file
_POSITIONS = {"base_images": "base_index", "target_images": "target_index"}
_HASHES = {"base_images": "base_sha256", "target_images": "target_sha256"}
_BYTES = (
    *(*_PAIRS.values(), *_HASHES.values()),
    *("labels", "target_labels", "predicted", "path_predicted", "path_images"),
)
_WHOLE = ("base_index", "target_index", "iterations", "path_iteration")


def read_poisons(path: str | Path) -> Poisons:
    """Poisons from a file made by `craft`; numbers of another width than ours are cast.

    Raises:
        CheckpointError: missing, damaged, not a file of poisons, or of a later format.
    """
    path = Path(path)
    try:
        open_checked(path)
        with safe_open(path, framework="numpy") as file:
            manifest = json.loads((file.metadata() or {}).get("manifest", "{}"))
            if not isinstance(manifest, dict):
                raise ValueError(f"a manifest of type {type(manifest).__name__}")
            names = _names(manifest.pop("format", 1), set(file.keys()))
            arrays = {name: _typed(name, file.get_tensor(name)) for name in names}
        lengths = {name: len(array) for name, array in arrays.items() if name != "path_iteration"}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"arrays of several lengths, {lengths}")
        return _with_pairs(arrays, manifest)
    except (OSError, SafetensorError, ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: expected poisons made by `python -m lgm craft`, found {reason(error)}; craft them anew"
        ) from error


def _names(found: Any, held: set[str]) -> list[str]:
    """Of the arrays to read from a file of this format, which holds these."""
    own = [name for name in _ARRAYS if name not in _PAIRS]
    if found == 1:
        return [name for name in own if name != "linf"] + list(_PAIRS.values())
    if found != FORMAT:
        raise ValueError(f"format {found!r:.20}, where {FORMAT} is the newest that this version of lgm reads")
    return own + [_HASHES[name] if _HASHES[name] in held else file_name for name, file_name in _PAIRS.items()]


def _with_pairs(arrays: dict[str, np.ndarray], manifest: dict[str, Any]) -> Poisons:
    """Arrays of a file, with the images that it names found, if this machine has them."""
    pairs: dict[str, Any] = {}
    for name, file_name in _PAIRS.items():
        known = arrays.pop(_HASHES[name], None)
        pairs[name] = arrays.pop(file_name, None) if known is None else find(manifest, arrays[_POSITIONS[name]], known)
    if (bases := pairs["base_images"]) is not None and "linf" not in arrays:  # of format 1, which holds all images
        arrays["linf"] = largest_change(arrays["images"], bases)
    return Poisons(**arrays, **pairs, manifest=manifest)


def largest_change(images: np.ndarray, bases: np.ndarray) -> np.ndarray:
    """(N,) L-infinity distance of float32 pixels in [0, 1] to bytes."""
    return np.abs(images - bases.astype(np.float32) / 255).max(axis=(1, 2, 3))


def squared_change(images: np.ndarray, bases: np.ndarray) -> np.ndarray:
    """(N,) squared L2 distance of float32 pixels in [0, 1] to bytes."""
    return np.square(images - bases.astype(np.float32) / 255).sum(axis=(1, 2, 3))


def _present(images: np.ndarray | None, manifest: dict[str, Any]) -> np.ndarray:
    if images is None:
        raise AbsentImagesError(where_they_are(manifest))
    return images


def _typed(name: str, array: np.ndarray) -> np.ndarray:
    """An array of the type that its field has; ValueError where that would change a number's meaning."""
    if name == "images":
        if array.ndim != 4:
            raise ValueError(f"images: expected shape (N, C, H, W), got {array.shape}")
        return to_pixels(array, array.shape[1:])
    if name in _BYTES:
        wanted, fits = np.uint8, array.dtype.kind in "ui" and array.min(initial=0) >= 0 and array.max(initial=0) < 256
    elif name in _WHOLE:
        wanted, fits = np.int64, array.dtype.kind in "ui"
    else:
        wanted, fits = np.float32, array.dtype.kind == "f"
    if not fits or not array.ndim:
        raise ValueError(f"{name}: expected {np.dtype(wanted)} for each poison, got {array.dtype} {array.shape}")
    return array.astype(wanted, copy=False)


def read_shipped_poisons(source: str | Path, kind: str = "poisons") -> Poisons:
    """Poisons that lie beside a checkpoint: many ("poisons"), or one pair over all betas ("example").

    Raises:
        NoPoisonsError: this checkpoint has none yet.
        CheckpointError: they do not read, or were crafted on other weights.
    """
    weights = locate(source)
    path = weights.with_name(f"{card_path(weights).stem}.{kind}.safetensors")
    if not path.exists():
        raise NoPoisonsError(
            f"No poisons have been crafted on {weights.stem} yet. The Detect page crafts some for its visitor; to keep "
            f"some beside the network: python -m lgm craft {source} --out {path}"
        )
    poisons = read_poisons(path)
    expected, found = read_card(source).weights_sha256, poisons.manifest.get("weights_sha256", "")
    if found != expected:
        raise CheckpointError(
            f"{path}: expected poisons crafted on the weights {expected[:12]}, found {found[:12] or 'no hash'}; "
            "craft them anew: python -m lgm craft --help"
        )
    return poisons


class NoPoisonsError(CheckpointError):
    """A network on which no poisons have been crafted yet: nothing is wrong with it."""


def check_count(count: int, images: int, name: str = "poisons") -> None:
    """Raise ValueError, which names what is counted, unless ``count`` bases can be drawn from so many images."""
    if not 1 <= count <= images:
        raise ValueError(f"{name}: expected 1..{images} (one base image each), got {count}")


def pick_pairs(labels: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random (base, target) pairs of different classes.

    Args:
        labels: (N,) classes of the data to draw from.
        count: How many; each image is a base at most once, a target any number of times.
        seed: The same seed gives the same pairs.

    Returns:
        Two (count,) arrays of positions.

    Raises:
        ValueError: more poisons than images, fewer than 1, or only one class.
    """
    check_count(count, len(labels))
    if len(np.unique(labels)) < 2:
        raise ValueError("labels: expected at least two classes, got one")
    rng = np.random.default_rng(seed)
    bases = rng.permutation(len(labels))[:count]
    targets = rng.integers(len(labels), size=count)
    while (same := labels[bases] == labels[targets]).any():
        targets[same] = rng.integers(len(labels), size=int(same.sum()))
    return bases, targets
