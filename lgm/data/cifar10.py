"""CIFAR-10, from torchvision's folder or from one NumPy archive, checked against the official images.

The first twenty images of its test set come with a package, foolbox, whose code is never imported for them.
"""

import importlib.metadata
import zipfile
import zlib
from functools import cache
from pathlib import Path

import numpy as np

from lgm.data.base import HELD_OUT, DataError, Dataset, OnFile, Split, UnreadableError, class_subset, open_data
from lgm.data.image_files import ImageFileError, fit_to, read_content, read_image
from lgm.utils.files import is_readable
from lgm.utils.paths import data_folder

_BATCHES = ("batches.meta", *(f"data_batch_{k}" for k in range(1, 6)), "test_batch")  # torchvision wants all of them
_FIX = "add --download to the command, or set LGM_DATA to a folder that has it"
# `Split.sha256` of the official training set, and of the first so many images of the official test set: an archive may
# hold fewer than all 10,000.
_TRAIN_SHA256 = "1e91790dbaf241617ca1f29a9aba08eb9a62df84cc90676b47edd05ad2ab3c94"
_TEST_SHA256 = "2c7f1e2769a741f695dfd5f74aa4a4ef08a7d20b9ec8576214dabab76c75c784"
_TEST_KNOWN = 1_000
_BUNDLED = 20  # images of the official test set, its first, as PNG in foolbox's wheel
_BUNDLED_SHA256 = "b92d7dfc28e661b1596e3d7ebe6f560c66a9676dedcd6a2ff31e2db87b29688e"


def _folder() -> Path:
    return data_folder() / "cifar-10-batches-py"


def _archive() -> Path:
    return data_folder() / "cifar10.npz"


def _has_batches() -> bool:
    return all(is_readable(_folder() / name) for name in _BATCHES)


def _load(name: str) -> Split:
    if name == "bundled":
        return _bundled()
    if name == "test":
        return _official("test")
    start, stop = (HELD_OUT, None) if name == "train" else (0, HELD_OUT)
    return class_subset(_official("train"), name, start, stop)


@cache
def _bundled_files() -> list[Path]:
    """The PNGs, by their position in the test set; none if the package is not installed."""
    try:
        listed = importlib.metadata.files("foolbox") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    found = [Path(str(file.locate())) for file in listed if file.match("foolbox/data/cifar10_*_*.png")]
    return sorted(path for path in found if is_readable(path))  # named by position and label, each of two digits


def _bundled() -> Split:
    fix = "install the package foolbox==3.3.4, which has them"
    files = _bundled_files()
    if len(files) != _BUNDLED:
        raise DataError(f"bundled: expected the first {_BUNDLED} test images of CIFAR-10, found {len(files)}; {fix}")
    try:
        images = np.stack([fit_to(read_image(read_content(path)), CIFAR10.shape) for path in files])
        labels = np.array([int(path.stem.split("_")[2]) for path in files])
    except (ImageFileError, ValueError) as error:
        raise DataError(f"{files[0].parent}: expected images of CIFAR-10, found {error}; {fix}") from error
    split = Split("bundled", images, labels, "cifar10")
    if split.sha256 != _BUNDLED_SHA256:
        raise DataError(
            f"{files[0].parent}: expected the official images, which have SHA-256 {_BUNDLED_SHA256:.12}, found "
            f"{split.sha256:.12}; {fix}"
        )
    return split


def _at_hand(name: str) -> bool:
    if name == "bundled":
        return len(_bundled_files()) == _BUNDLED
    return _has_batches() or is_readable(_archive())


def _official(name: str) -> Split:
    """All of the official training set ("train"), or what is there of the test set ("test")."""
    found = _read_batches(train=name == "train") if _has_batches() else _read_archive(name)
    source = _folder() if _has_batches() else _archive()
    images, labels = found
    if images.dtype != np.uint8 or images.shape[1:] != (32, 32, 3) or labels.shape != images.shape[:1]:
        raise DataError(
            f"{source}: {name}_images and {name}_labels: expected (N, 32, 32, 3) bytes and N labels, found "
            f"{images.shape} {images.dtype} and {labels.shape}; {_FIX}"
        )
    split = Split(name, np.ascontiguousarray(images.transpose(0, 3, 1, 2)), labels.astype(np.int64), "cifar10")
    known, expected = (split, _TRAIN_SHA256) if name == "train" else (split[:_TEST_KNOWN], _TEST_SHA256)
    if known.sha256 != expected:
        raise DataError(
            f"{source}: {name}_images: expected the official images, of which the first {len(known):,} have SHA-256 "
            f"{expected:.12}, found {known.sha256:.12}; {_FIX}"
        )
    return split


def _read_batches(*, train: bool) -> tuple[np.ndarray, np.ndarray]:
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import calculate_md5

    for name, expected in [*CIFAR10.train_list, *CIFAR10.test_list, (CIFAR10.meta["filename"], CIFAR10.meta["md5"])]:
        found = calculate_md5(_folder() / name)
        if found != expected:
            raise DataError(f"{_folder() / name} is corrupted: expected MD5 {expected}, found {found}; {_FIX}")
    cifar = CIFAR10(str(data_folder()), train=train)
    return cifar.data, np.asarray(cifar.targets)


def _read_archive(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The two arrays of one set; the others stay unread."""
    path = _archive()
    if not is_readable(path):
        raise _absence(name)
    try:
        # Opened here, because np.load leaves a damaged zip file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return arrays[f"{name}_images"], arrays[f"{name}_labels"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path}: expected the arrays {name}_images and {name}_labels, found {error}; it is truncated, corrupted "
            f"or another file: {_FIX}"
        ) from error


def _absence(split: str) -> DataError:
    """Why there is neither the archive nor torchvision's folder to read."""
    batch = next(_folder() / name for name in _BATCHES if not is_readable(_folder() / name))
    for path in (_archive(), batch):
        try:
            open_data(path, _FIX).close()
        except UnreadableError as error:
            return error
        except DataError:
            continue
    few = f", or take bundled, its first {_BUNDLED} images" if split == "test" else ""
    return DataError(f"{_archive()} is missing, and so is {batch}; {_FIX}{few}")


def _download(on_file: OnFile | None = None) -> None:
    """Fetch the official archive, unless the files are there; called only when the user asks."""
    from torchvision.datasets import CIFAR10

    say = on_file or (lambda done, total, name: None)
    say(0, 1, CIFAR10.filename)
    try:
        CIFAR10(str(data_folder()), download=True)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"{CIFAR10.filename}: could not be fetched ({error}); unpack it into {data_folder()} by hand"
        ) from error
    (data_folder() / CIFAR10.filename).unlink(missing_ok=True)
    say(1, 1, "")


CIFAR10 = Dataset(
    name="cifar10",
    title="CIFAR-10",
    shape=(3, 32, 32),
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    splits={
        "train": "D_C: the official training set without the first 500 of each class (45,000)",
        "test": "the official test set (10,000, or the first of them that the data folder has)",
        "held-out": "the first 500 of each class of the official training set (5,000)",
        "bundled": "the first of the official test set, which come with the packages (20)",
    },
    train_size=45_000,
    held_out="held-out",
    clean=("test", "held-out"),
    load=_load,
    at_hand=_at_hand,
    first_of={"test": "bundled"},
    may_be_copied=False,
    download=_download,
    download_size="170 MB",
)
