"""What all datasets share. Images are bytes here and become pixels in [0, 1] at the network's door.

torch is imported only where it is needed: it costs two seconds, and a page's first paint does not need it.
"""

import errno
import hashlib
import os
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import platformdirs

from lgm.files import reason

if TYPE_CHECKING:
    from torch import Tensor

OnFile = Callable[[int, int, str], None]  # (files done, files in all, file name)
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
        name: As in `lgm.config.DATASET_NAMES`.
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

    def brief(self, split: str) -> str:
        """What a split is, without its size; its name if there is no such split, as poisons may come from elsewhere."""
        return self.splits.get(split, split).split(" (")[0]


def home() -> Path:
    """Where the program keeps its own files: ``$LGM_HOME``, else the user's cache folder."""
    if chosen := os.environ.get("LGM_HOME"):
        return Path(os.path.expanduser(chosen))
    try:
        return Path(platformdirs.user_cache_dir("lgm", appauthor=False))
    except RuntimeError:  # an account without a home folder, as containers have it
        return Path(os.environ.get("TMPDIR") or "/tmp", f"lgm-{os.getuid()}")


def data_folder() -> Path:
    """Where datasets lie: ``$LGM_DATA``, else a folder in the user's cache."""
    return Path(os.path.expanduser(os.environ.get("LGM_DATA", "")) or home() / "data")


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


def part(split: Split, name: str, start: int, stop: int | None) -> Split:
    """The ``start``-th to ``stop``-th image of each class, under a name of their own."""
    return replace(split[per_class(split.labels, start, stop)], name=name)


class SaveError(OSError):
    """A file that cannot be written; the message names it, and says why and what to do."""


def cannot_write(path: Path, error: OSError) -> SaveError:
    """What to raise for a file that the system refuses to write."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    why = error.strerror or str(error)
    return SaveError(f"{path}: cannot be written ({why}); {'make room, or ' if full else ''}choose another place")


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary neighbour, then move it into place: a reader never sees half a file.

    ``write`` is to open the neighbour itself: then the file has the mode that the umask asks for, which `save_file` of
    safetensors ignores. A link is followed, not replaced.

    Raises:
        SaveError: it cannot be written; what was there before is still there.
    """
    path = Path(os.path.realpath(path))
    part = path.with_name(part_name(path.name, f"{os.getpid()}-{threading.get_ident()}"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(part)
            with part.open("r+b") as file:
                os.fsync(file.fileno())  # a disk that is full may say so only now
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def part_name(name: str, writer: str) -> str:
    """Of the temporary neighbour; threads of one server may write the same file, so each ``writer`` has its own."""
    return f".{name}.{writer}.part"


def unreadable(path: Path) -> str | None:
    """Why a file that is there cannot be read, and what to do; None if it can be, or is not there.

    To ask before safetensors does, for which a file that it may not read is "no such file".
    """
    try:
        with path.open("rb"):
            return None
    except PermissionError:
        pass
    except OSError:
        return None
    closed = path  # or the folder on the way to it that this account may not enter
    while not os.access(closed.parent, os.X_OK) and closed != closed.parent:
        closed = closed.parent
    found = closed.stat()
    try:
        owner = closed.owner()
    except KeyError:  # an account of another machine or container
        owner = f"user {found.st_uid}"
    wanted = "r" if closed == path else "rx"
    return (
        f"{path}: cannot be read (Permission denied): {'it' if closed == path else closed} belongs to {owner}, and its "
        f"mode is {stat.filemode(found.st_mode)}; ask for `chmod a+{wanted} {closed}`, or use a copy of your own"
    )
