"""What all datasets share. Images are bytes here and become pixels in [0, 1] at the network's door.

torch is imported only where it is needed: it costs two seconds, and a page's first paint does not need it.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from lgm.utils.files import reason

if TYPE_CHECKING:
    from torch import Tensor


OnFile = Callable[[int, int, str], None]  # (files done, files in all, file name)
# Names that mean something to commands, of datasets and of splits: no dataset of the user's own has one of them.
RESERVED = frozenset(
    [
        "mnist",
        "fashion-mnist",
        "cifar10",
        "train",
        "test",
        "held-out",
        "all",
        "none",
        "bundled",
        "bundled-train",
        "bundled-val",
    ]
)
HELD_OUT = 500  # the first so many of each class of a training set are trained on by nobody


class DataError(Exception):
    """Data that is missing, truncated or corrupted; the message names the file and the fix."""


class UnreadableError(DataError):
    """Data that may well be there, but that this account may not read."""


@dataclass(frozen=True)
class Split:
    """Images and their labels.

    Attributes:
        name: A key of its dataset's ``splits``.
        images: (N, C, H, W) uint8.
        labels: (N,) int64.
        dataset: Name of the dataset.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    dataset: str = "mnist"

    def __post_init__(self) -> None:
        images, labels = np.asarray(self.images), np.asarray(self.labels)
        if images.ndim != 4 or images.dtype != np.uint8:
            raise ValueError(
                f"images: expected bytes (uint8) of shape (N, C, H, W), got {images.dtype} {images.shape}; of pixels "
                "in [0, 1], take (255 * images).round().astype(np.uint8)"
            )
        if labels.shape != images.shape[:1] or labels.dtype.kind not in "ui":
            raise ValueError(
                f"labels: expected one whole number per image ({len(images)}), got {labels.dtype} {labels.shape}"
            )
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "labels", labels.astype(np.int64, copy=False))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: np.ndarray | slice) -> "Split":
        """The images at these positions, in this order."""
        return replace(self, images=self.images[index], labels=self.labels[index])

    @cached_property
    def sha256(self) -> str:
        """Hash of images and labels, so that a card can say what a model was trained on."""
        digest = hashlib.sha256(self.images.tobytes())
        digest.update(self.labels.astype(np.uint8).tobytes())
        return digest.hexdigest()

    def pixels(self, index: "np.ndarray | Tensor | slice" = slice(None)) -> "Tensor":
        """(N, C, H, W) float32 in [0, 1]."""
        import torch

        return torch.from_numpy(self.images[index]).float().div_(255)

    def targets(self, index: "np.ndarray | Tensor | slice" = slice(None)) -> "Tensor":
        """(N,) int64 labels."""
        import torch

        return torch.from_numpy(self.labels[index])


@dataclass(frozen=True)
class Dataset:
    """What there is to know of a dataset before any of it is read.

    Attributes:
        name: In `lgm.data.registry`.
        title: As people write it.
        shape: (C, H, W) of an image.
        classes: Name of each class, by label.
        splits: What each split is, by name; ``train`` and ``test`` are among them.
        train_size: Images in ``train``.
        held_out: The split that nothing is trained on: it validates a run, gives the feature range, and calibrates.
        clean: Splits that may serve as clean fine-tuning data D_f, best first.
        load: Reads one of the splits. Raises DataError for files that are missing, truncated or corrupted.
        at_hand: Whether the files of a split are on this machine; says nothing of their content.
        download: Fetches the files that are missing or damaged. Raises DataError if that does not work.
        download_size: How much that is, for people.
        digest: SHA-256 of what is registered, of images, labels and splits; "" for those that come with the program.
        first_of: Splits of which the first images, in their order, are a split of their own that comes with the
            packages; and which.
        may_be_copied: Whether files of poisons hold the images that they were made of; else positions and hashes.
    """

    name: str
    title: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    splits: dict[str, str]
    train_size: int
    held_out: str
    clean: tuple[str, ...]
    load: Callable[[str], Split]
    at_hand: Callable[[str], bool]
    download: Callable[[OnFile | None], None]
    download_size: str
    digest: str = ""
    first_of: dict[str, str] = field(default_factory=dict)
    may_be_copied: bool = True

    def at_hand_of(self, split: str) -> str | None:
        """The split whose images are those of ``split``, or the first of them; None if this machine has neither."""
        return next((name for name in (split, self.first_of.get(split)) if name and self.at_hand(name)), None)

    def brief(self, split: str) -> str:
        """What a split is, without its size; its name if there is no such split, as poisons may come from elsewhere."""
        return self.splits.get(split, split).split(" (")[0]


def open_data(path: Path, fix: str) -> BinaryIO:
    """A file of a dataset, opened for reading.

    Raises:
        DataError: it is not there; ``fix`` says what to do then.
        UnreadableError: it cannot be read, or nobody may look whether it is there.
    """
    try:
        return path.open("rb")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{path} is missing; {fix}") from error
    except OSError as error:
        raise UnreadableError(
            f"{path} cannot be read ({reason(error)}); ask its owner for access, or set LGM_DATA to another folder"
        ) from error


def per_class(labels: np.ndarray, start: int, stop: int | None) -> np.ndarray:
    """Positions of the ``start``-th to ``stop``-th image of each class, ascending."""
    chosen = [np.flatnonzero(labels == k)[start:stop] for k in np.unique(labels)]
    return np.sort(np.concatenate(chosen))


def class_subset(split: Split, name: str, start: int, stop: int | None) -> Split:
    """The ``start``-th to ``stop``-th image of each class, under a name of their own."""
    return replace(split[per_class(split.labels, start, stop)], name=name)
