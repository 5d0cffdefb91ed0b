"""Images that a file of poisons names by position and hash, where it is not to hold them."""

import hashlib
from typing import Any

import numpy as np

from lgm.data.base import DataError, Dataset
from lgm.data.registry import DATASETS


def hashes(images: np.ndarray) -> np.ndarray:
    """(N, 32) bytes: SHA-256 of each of N images (C, H, W) uint8."""
    digests = [hashlib.sha256(image.tobytes()).digest() for image in images]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(len(images), 32)


def dataset_of(manifest: dict[str, Any]) -> Dataset | None:
    """The dataset that poisons were made of, if it comes with the program and their manifest names it."""
    name = manifest.get("dataset")
    return DATASETS.get(name) if isinstance(name, str) else None


def find(manifest: dict[str, Any], positions: np.ndarray, known: np.ndarray) -> np.ndarray | None:
    """(N, C, H, W) uint8: images at these positions of the split that a manifest names, None unless all are at hand.

    Args:
        manifest: Of the poisons.
        positions: (N,) in the split.
        known: (N, 32) their `hashes`: images of other content are none of them.
    """
    dataset, split = dataset_of(manifest), manifest.get("split")
    if dataset is None or split not in dataset.splits:
        return None
    for name in (dataset.first_of.get(split), split):  # the few that come with the packages are read at once
        if name is None or not dataset.at_hand(name):
            continue
        try:
            images = dataset.load(name).images
        except DataError:  # damaged, or another file: whoever needs the split itself is told so
            continue
        if positions.min(initial=0) >= 0 and positions.max(initial=0) < len(images):
            found = images[positions]
            if np.array_equal(hashes(found), known):
                return found
    return None


def where_they_are(manifest: dict[str, Any]) -> str:
    """Where absent images would come from, in a sentence for people."""
    dataset = dataset_of(manifest)
    if dataset is None:
        return "Base and target of these poisons are images that this machine does not have."
    return (
        f"Base and target of these poisons are images of {dataset.title}, {dataset.brief(manifest.get('split', ''))}, "
        "which this machine does not have: add --download to a command, or set LGM_DATA to a folder that has them."
    )
