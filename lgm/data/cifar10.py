"""CIFAR-10, from torchvision's folder or from one NumPy archive, checked against the official images."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from lgm.data.base import HELD_OUT, DataError, Dataset, OnFile, Split, UnreadableError, class_subset, open_data
from lgm.utils.files import is_readable
from lgm.utils.paths import data_folder

_BATCHES = ("batches.meta", *(f"data_batch_{k}" for k in range(1, 6)), "test_batch")  # torchvision wants all of them
_FIX = "add --download to the command, or set LGM_DATA to a folder that has it"
# `Split.sha256` of the official training set, and of the first so many images of the official test set: an archive may
# hold fewer than all 10,000.
_TRAIN_SHA256 = "1e91790dbaf241617ca1f29a9aba08eb9a62df84cc90676b47edd05ad2ab3c94"
_TEST_SHA256 = "2c7f1e2769a741f695dfd5f74aa4a4ef08a7d20b9ec8576214dabab76c75c784"
_TEST_KNOWN = 1_000


def _folder() -> Path:
    return data_folder() / "cifar-10-batches-py"


def _archive() -> Path:
    return data_folder() / "cifar10.npz"


def _has_batches() -> bool:
    return all(is_readable(_folder() / name) for name in _BATCHES)


def _load(name: str) -> Split:
    if name == "test":
        return _official("test")
    start, stop = (HELD_OUT, None) if name == "train" else (0, HELD_OUT)
    return class_subset(_official("train"), name, start, stop)


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
        raise _absence()
    try:
        # Opened here, because np.load leaves a damaged zip file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return arrays[f"{name}_images"], arrays[f"{name}_labels"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path}: expected the arrays {name}_images and {name}_labels, found {error}; it is truncated, corrupted "
            f"or another file: {_FIX}"
        ) from error


def _absence() -> DataError:
    """Why there is neither the archive nor torchvision's folder to read."""
    batch = next(_folder() / name for name in _BATCHES if not is_readable(_folder() / name))
    for path in (_archive(), batch):
        try:
            open_data(path, _FIX).close()
        except UnreadableError as error:
            return error
        except DataError:
            continue
    return DataError(f"{_archive()} is missing, and so is {batch}; {_FIX}")


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
    },
    train_size=45_000,
    held_out="held-out",
    clean=("test", "held-out"),
    load=_load,
    at_hand=lambda _: _has_batches() or is_readable(_archive()),
    download=_download,
    download_size="170 MB",
)
