"""Poisons to be scored, and labelled images from elsewhere, of which neither base nor target is known."""

import json
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from lgm.attacks.poison_folder import read_folder
from lgm.attacks.result import Poisons, read_poisons
from lgm.data.pixels import Shape, channels_first, to_labels, to_pixels
from lgm.models.card import CheckpointError, open_checked
from lgm.utils.files import LARGEST, members, reason

# What the two arrays are called, likeliest first; arr_0 and arr_1 is what np.savez calls arrays without a name.
_IMAGES = ("images", "x", "data", "arr_0")
_LABELS = ("labels", "y", "targets", "arr_1")
_OWN = {"bases", "targets", "target_labels"}  # arrays that only a file made by `craft` has, all of them
_MORE = {"predicted", "target_labels", "config"}  # arrays of an .npz that `lgm.attacks.export.arrays` has made
_EXPECTED = "expected poisons made by `python -m lgm craft`, or images and labels in a .npz or .safetensors file"


@dataclass(frozen=True)
class LabelledImages:
    """Images of which little is known but the labels that they claim.

    Attributes:
        images: (N, C, H, W) float32, pixels in [0, 1].
        labels: (N,) uint8 claimed labels.
        collided: (N,) bool, where the file says it; None where nobody knows.
        manifest: How they came about; empty where nobody knows.
    """

    images: np.ndarray
    labels: np.ndarray
    collided: np.ndarray | None = None
    manifest: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)


def read_suspects(path: Path, shape: Shape, classes: tuple[str, ...]) -> Poisons | LabelledImages:
    """Poisons from a file made here or elsewhere.

    Args:
        path: Made by `craft`; or a ``.npz`` or ``.safetensors`` with images and labels, in any order of axes and any
            type that leave no doubt about what is meant; or a folder of images (`lgm.attacks.poison_folder`).
        shape: (C, H, W) of the network's images.
        classes: Names of the K labels; numbers are in ``0..K-1``.

    Raises:
        CheckpointError: missing, damaged, another kind of file, or arrays that cannot be read in one way only. Nothing
            in the file is executed.
    """
    if path.is_dir():
        folder = read_folder(path, shape, classes)
        pixels = to_pixels(folder.images, shape)
        return LabelledImages(pixels, folder.labels.astype(np.uint8), folder.collided, folder.manifest)
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
        images, labels, more = _arrays(path, head)
    except (OSError, SafetensorError, ValueError, TypeError, EOFError, MemoryError) as error:
        raise CheckpointError(f"{path}: {_EXPECTED}, found {reason(error)}") from error
    except (zipfile.BadZipFile, zlib.error) as error:
        raise CheckpointError(f"{path}: {_EXPECTED}, found a damaged archive: {error}") from error
    try:
        pixels = to_pixels(channels_first(images, shape), shape)
        if not len(pixels):
            raise ValueError("images: expected at least one, got none")
        return LabelledImages(
            pixels, to_labels(labels, len(classes), len(pixels)).astype(np.uint8), **_said(more, len(pixels))
        )
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _said(more: dict[str, np.ndarray], count: int) -> dict[str, Any]:
    """What the arrays of `lgm.attacks.export.arrays` say beside images and labels; nothing for those of others."""
    if set(more) != _MORE or any(more[name].shape != (count,) for name in ("predicted", "target_labels")):
        return {}
    try:
        manifest = json.loads(str(more["config"]))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(manifest, dict):
        return {}
    return {"collided": more["predicted"] == more["target_labels"], "manifest": manifest}


def _arrays(path: Path, head: bytes) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Images and labels as they are in the file, and what else there is in one of `lgm.attacks.export.arrays`."""
    if head[8:9] == b"{":
        with safe_open(path, "np") as file:
            image_name, label_name = _pick(list(file.keys()))
            return file.get_tensor(image_name), file.get_tensor(label_name), {}
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
        more = {name: file[name] for name in _MORE} if set(file.keys()) >= _MORE else {}
        return file[image_name], file[label_name], more


def _pick(names: list[str]) -> tuple[str, str]:
    """Which of the arrays are images and labels; ValueError if it cannot be known."""
    lower = {name.lower(): name for name in names}
    found = [next((lower[name] for name in wanted if name in lower), None) for wanted in (_IMAGES, _LABELS)]
    if None in found:
        missing = " and ".join(what for what, name in zip(("images", "labels"), found, strict=True) if name is None)
        listed = ", ".join(names[:6]) or "no arrays"
        raise ValueError(f"no {missing} among {listed}; call the arrays images and labels")
    return found[0], found[1]  # type: ignore[bad-return] neither is None
