"""Labelled images from elsewhere, to be scored: neither base nor target is known."""

import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from lgm.attacks.result import Poisons, read_poisons
from lgm.data.pixels import Shape, channels_first, to_labels, to_pixels
from lgm.models.card import CheckpointError, open_checked
from lgm.utils.files import LARGEST, members, reason

# What the two arrays are called, likeliest first; arr_0 and arr_1 is what np.savez calls arrays without a name.
_IMAGES = ("images", "x", "data", "arr_0")
_LABELS = ("labels", "y", "targets", "arr_1")
_OWN = {"bases", "targets", "target_labels"}  # arrays that only a file made by `craft` has, all of them
_EXPECTED = "expected poisons made by `python -m lgm craft`, or images and labels in a .npz or .safetensors file"


@dataclass(frozen=True)
class LabelledImages:
    """Images of which nothing is known but the labels that they claim.

    Attributes:
        images: (N, C, H, W) float32, pixels in [0, 1].
        labels: (N,) uint8 claimed labels.
        collided: None, for without targets nobody knows.
        manifest: Empty, as nobody knows how they came about.
    """

    images: np.ndarray
    labels: np.ndarray
    collided: None = None
    manifest: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)


def read_suspects(path: Path, shape: Shape, n_classes: int) -> Poisons | LabelledImages:
    """Poisons from a file made here or elsewhere.

    Args:
        path: Made by `craft`; or a ``.npz`` or ``.safetensors`` with images and labels, in any order of axes and any
            type that leave no doubt about what is meant.
        shape: (C, H, W) of the network's images.
        n_classes: Labels are in ``0..K-1``.

    Raises:
        CheckpointError: missing, damaged, another kind of file, or arrays that cannot be read in one way only. Nothing
            in the file is executed.
    """
    try:
        head = open_checked(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"{path.stat().st_size / 2**30:.1f} GiB (at most {LARGEST / 2**30:g} are read)")
        if head[8:9] == b"{":
            with safe_open(path, "np") as file:
                names = set(file.keys())
            if names >= _OWN:
                return read_poisons(path)
        images, labels = _arrays(path, head)
    except (OSError, SafetensorError, ValueError, TypeError, EOFError, MemoryError) as error:
        raise CheckpointError(f"{path}: {_EXPECTED}, found {reason(error)}") from error
    except (zipfile.BadZipFile, zlib.error) as error:
        raise CheckpointError(f"{path}: {_EXPECTED}, found a damaged archive: {error}") from error
    try:
        pixels = to_pixels(channels_first(images, shape), shape)
        if not len(pixels):
            raise ValueError("images: expected at least one, got none")
        return LabelledImages(pixels, to_labels(labels, n_classes, len(pixels)).astype(np.uint8))
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _arrays(path: Path, head: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels as they are in the file."""
    if head[8:9] == b"{":
        with safe_open(path, "np") as file:
            image_name, label_name = _pick(list(file.keys()))
            return file.get_tensor(image_name), file.get_tensor(label_name)
    if head.startswith(b"\x93NUMPY"):
        raise ValueError(
            "images alone; a filter judges an image by the label that it claims: "
            "np.savez('poisons.npz', images=images, labels=labels)"
        )
    if not members(path):
        raise ValueError("another kind of file" if head else "an empty file")
    # Opened here, because np.load leaves a damaged zip file open.
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        image_name, label_name = _pick(list(file.keys()))
        return file[image_name], file[label_name]


def _pick(names: list[str]) -> tuple[str, str]:
    """Which of the arrays are images and labels; ValueError if it cannot be known."""
    lower = {name.lower(): name for name in names}
    found = [next((lower[name] for name in wanted if name in lower), None) for wanted in (_IMAGES, _LABELS)]
    if None in found:
        missing = " and ".join(what for what, name in zip(("images", "labels"), found, strict=True) if name is None)
        listed = ", ".join(names[:6]) or "no arrays"
        raise ValueError(f"no {missing} among {listed}; call the arrays images and labels")
    return found[0], found[1]  # type: ignore[bad-return] neither is None
