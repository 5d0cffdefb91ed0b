"""What the images of a registered dataset claim, as arrays: a million of them take little memory."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lgm.data.store import read_columns, read_registration


@dataclass(frozen=True)
class ImageTable:
    """Images of a dataset and the classes that they claim.

    Attributes:
        dataset: Its name.
        is_images: Whether they are images; False for features without images.
        root: What the paths start from.
        classes: Names of the dataset's classes.
        paths: (N,) text.
        labels: (N,) int32, positions in ``classes``.
        sha256: (N,) 32 bytes each, of the files' content; NumPy drops zeros at the end.
    """

    dataset: str
    is_images: bool
    root: Path
    classes: tuple[str, ...]
    paths: np.ndarray
    labels: np.ndarray
    sha256: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, chosen: np.ndarray) -> "ImageTable":
        """Those at these positions, or where a mask is true."""
        return replace(self, paths=self.paths[chosen], labels=self.labels[chosen], sha256=self.sha256[chosen])

    @property
    def claims(self) -> np.ndarray:
        """(N,) names of the claimed classes."""
        return np.array(self.classes, object)[self.labels]

    def count(self, chosen: np.ndarray | slice = slice(None)) -> dict[str, int]:
        """How many of the images claim each class, by its name; those that none claims are left out."""
        counts = np.bincount(self.labels[chosen], minlength=len(self.classes))
        return {name: int(n) for name, n in sorted(zip(self.classes, counts, strict=True)) if n}

    def numbers(self, names: tuple[str, ...]) -> np.ndarray:
        """(N,) int64 positions of the claimed classes among these names, which hold all of them."""
        numbers = {name: number for number, name in enumerate(names)}
        return np.array([numbers[name] for name in self.classes], np.int64)[self.labels]

    def shared_with(self, other: "ImageTable") -> np.ndarray:
        """(N,) bool: files whose content ``other`` holds too."""
        return np.isin(self.sha256, other.sha256)


def read_table(name: str) -> ImageTable:
    """All images of a registered dataset, by path.

    Raises:
        DataError: there is none of this name, or its table is damaged.
    """
    about, columns = read_registration(name), read_columns(name)
    numbers = {label: number for number, label in enumerate(about.classes)}
    labels = np.array([numbers[label] for label in columns.labels], np.int32)
    is_images = about.kind != "features"
    return ImageTable(name, is_images, about.root, about.classes, columns.paths, labels, columns.sha256.view("S32"))
