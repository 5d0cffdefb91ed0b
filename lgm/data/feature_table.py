"""Features that some network has computed, registered with their labels and without their images."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lgm.data.base import DataError
from lgm.data.feature_files import read_feature_file
from lgm.data.scan import ImageFile, OnImage, Scan, Skipped

_CHUNK = 4096  # rows between two words on progress


class FeatureTable(NamedTuple):
    """Rows that have a label.

    Attributes:
        z: (N, D) float32.
        claims: (N,) object: name of each row's class.
        paths: (N,) object: what each row is called.
    """

    z: np.ndarray
    claims: np.ndarray
    paths: np.ndarray


def scan_features(path: Path, on_image: OnImage | None = None) -> tuple[Scan, int]:
    """The rows of a file of features, hashed one by one, and how many features D each has.

    Raises:
        DataError: see `lgm.data.feature_files.read_feature_file`; no row has a label.
        InterruptedError: ``on_image`` said False.
    """
    z, labels, called = read_feature_file(path)
    found: list[ImageFile] = []
    skipped: list[Skipped] = []
    for start in range(0, len(z), _CHUNK):
        for at, row in enumerate(z[start : start + _CHUNK], start):
            if not labels.names[at]:
                skipped.append(Skipped(called[at], "has no label"))
            else:
                digest = hashlib.sha256(row.tobytes()).hexdigest()
                found.append(ImageFile(called[at], labels.names[at], digest, 0, 0, grey=False, split=labels.splits[at]))
        if on_image and on_image(min(start + _CHUNK, len(z)), len(z)) is False:
            raise InterruptedError("stopped; nothing is registered")
    if not found:
        raise DataError(f"{path}: labels: no row has one")
    return Scan(tuple(found), tuple(skipped), labels.classes), z.shape[1]


def read_table(path: Path) -> FeatureTable:
    """All rows that have a label.

    Raises:
        DataError: see `lgm.data.feature_files.read_feature_file`.
    """
    z, labels, called = read_feature_file(path)
    named = labels.names != ""
    return FeatureTable(z[named], labels.names[named], called[named])
