"""What a folder, or a list of paths and labels, holds: images by class, and what is left out and why."""

import csv
import hashlib
import os
import stat
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lgm.data.base import DataError
from lgm.data.image_files import ImageFileError, read_content, read_image
from lgm.utils.files import reason
from lgm.utils.threads import usable_cores

OnImage = Callable[[int, int], bool | None]  # (files looked at, files in all); returning False asks to stop
# What systems put into folders: neither an image nor worth a word.
LITTER = {"Thumbs.db", "desktop.ini", "__MACOSX"}
_AHEAD = 256  # files that are read before the first of them is asked for: memory stays bounded


# Names of a folder, or of a cell, that say what an image is for, and the split that each means.
SPLITS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    **dict.fromkeys(("val", "valid", "validation", "dev", "held-out", "heldout", "held_out", "holdout"), "held-out"),
}
_IN_NO_CLASS = "in no class: it lies beside the classes' folders"


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One image of a dataset.

    Attributes:
        path: From the folder, with "/".
        label: Name of its class.
        sha256: Of the file, in hex.
        width: Pixels, once turned as EXIF says.
        height: Likewise.
        grey: Whether it has no colour.
        split: "train", "test" or "held-out", where the folder or list says so; else "".
    """

    path: str
    label: str
    sha256: str
    width: int
    height: int
    grey: bool
    split: str = ""


@dataclass(frozen=True)
class Skipped:
    """A file that is no image of the dataset, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Scan:
    """All that was found.

    Attributes:
        images: In the order of their paths.
        skipped: Likewise.
        classes: In the order of their labels.
    """

    images: tuple[ImageFile, ...]
    skipped: tuple[Skipped, ...]
    classes: tuple[str, ...]

    def duplicates(self) -> list[tuple[ImageFile, ...]]:
        """Files of the same content in more than one class: often a wrong label, and what no filter can decide."""
        same: dict[str, list[ImageFile]] = defaultdict(list)
        for image in self.images:
            same[image.sha256].append(image)
        return [tuple(files) for files in same.values() if len({file.label for file in files}) > 1]


@dataclass(frozen=True, slots=True)
class _Found:
    """A file that may be an image: where, of which class, of which split."""

    path: str
    label: str
    split: str = ""


def scan_folder(root: Path, on_image: OnImage | None = None) -> Scan:
    """The images of a folder with a sub-folder a class, as `torchvision.datasets.ImageFolder` has it, at any depth.

    Where all sub-folders are called as splits are (`SPLITS`) and hold folders themselves, those are the classes, and
    each image keeps the split that it lies in. Links are followed, each folder once. Hidden files are passed over.

    Raises:
        DataError: it is no folder, cannot be listed, or holds no image in any sub-folder.
        InterruptedError: ``on_image`` said False.
    """
    if not root.is_dir():
        raise DataError(f"{root}: expected a folder with one sub-folder a class, which this is not")
    files: list[_Found] = []
    skipped: list[Skipped] = []
    above = 1 if _is_split(root) else 0  # folders between the root and the classes
    for path in _walk(root, root, {_identity(root)}, skipped):
        relative = path.relative_to(root)
        if len(relative.parts) <= above + 1:
            skipped.append(Skipped(relative.as_posix(), _IN_NO_CLASS))
        else:
            split = SPLITS[relative.parts[0].lower()] if above else ""
            files.append(_Found(relative.as_posix(), sys.intern(relative.parts[above]), split))
    return _read(root, files, skipped, on_image)


def scan_list(table: Path, on_image: OnImage | None = None) -> Scan:
    """The images of a CSV file with the columns ``path``, relative to where it lies, ``label``, and at will ``split``.

    Raises:
        DataError: it cannot be read, lacks a column, or names a split that is none of `SPLITS`.
        InterruptedError: ``on_image`` said False.
    """
    files: list[_Found] = []
    skipped: list[Skipped] = []
    try:
        with table.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            rows = csv.DictReader(file)
            missing = {"path", "label"} - set(rows.fieldnames or ())
            if missing:
                raise DataError(
                    f"{table}: expected the columns path and label in its first line, found "
                    f"{', '.join(rows.fieldnames or ()) or 'nothing'}"
                )
            for row in rows:
                path, label, split = (row.get(name) or "" for name in ("path", "label", "split"))
                if not label.strip():
                    skipped.append(Skipped(path, "has no label"))
                else:
                    files.append(_Found(path, sys.intern(label.strip()), split_named(f"{table}: {path}: split", split)))
    except (OSError, csv.Error) as error:
        raise DataError(f"{table}: cannot be read ({reason(error)})") from error
    if not files and not skipped:
        raise DataError(f"{table}: expected a row an image below its first line, found none")
    return _read(table.parent, files, skipped, on_image)


def _is_split(root: Path) -> bool:
    """Whether the sub-folders are splits that hold the classes, and not classes."""
    folders = _sub_folders(root)
    return bool(folders) and all(folder.name.lower() in SPLITS and _sub_folders(folder) for folder in folders)


def _sub_folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [folder / entry.name for entry in entries if entry.is_dir() and not _is_litter(entry.name)]
    except OSError:  # `_walk` says why
        return []


def split_named(where: str, cell: str) -> str:
    """The split that a name means, "" for none. Raises DataError, which begins with ``where``, if nobody knows it."""
    name = cell.strip().lower()
    if name and name not in SPLITS:
        raise DataError(f"{where}: expected train, test, held-out or nothing, got {cell!r:.60}")
    return SPLITS[name] if name else ""


def _read(root: Path, files: list[_Found], skipped: list[Skipped], on_image: OnImage | None) -> Scan:
    images: list[ImageFile] = []
    for done, found in enumerate(_side_by_side(root, files), 1):
        (images if isinstance(found, ImageFile) else skipped).append(found)  # type: ignore[arg-type]
        if on_image and on_image(done, len(files)) is False:
            raise InterruptedError("stopped; nothing is registered")
    if not images:
        raise DataError(f"{root}: no image in any class; {_first_reasons(skipped)}")
    by_path = lambda entry: entry.path  # noqa: E731
    classes = tuple(sorted({image.label for image in images}))
    return Scan(tuple(sorted(images, key=by_path)), tuple(sorted(skipped, key=by_path)), classes)


def _side_by_side(root: Path, files: list[_Found]) -> Iterator[ImageFile | Skipped]:
    """Decoding leaves Python to other threads, so as many files are read at a time as there are cores."""
    with ThreadPoolExecutor(usable_cores()) as pool:
        for first in range(0, len(files), _AHEAD):
            chunk = files[first : first + _AHEAD]
            yield from pool.map(lambda file: look_at(root, file.path, file.label, file.split), chunk)


def look_at(root: Path, path: str, label: str, split: str = "") -> ImageFile | Skipped:
    """Read one image."""
    try:
        content = read_content(root / path)
        image = read_image(content)
    except ImageFileError as error:
        return Skipped(path, str(error))
    digest = hashlib.sha256(content).hexdigest()
    return ImageFile(path, label, digest, *image.size, grey=image.mode == "L", split=split)


def _is_litter(name: str) -> bool:
    return name.startswith(".") or name in LITTER


def _walk(folder: Path, root: Path, seen: set[tuple[int, int]], skipped: list[Skipped]) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        skipped.append(Skipped(folder.relative_to(root).as_posix(), f"cannot be listed: {reason(error)}"))
        return
    for entry in entries:
        path = folder / entry.name
        if _is_litter(entry.name):
            continue
        try:
            is_folder = stat.S_ISDIR(path.stat().st_mode)
        except OSError:  # a link to nothing, or in a loop: what reads files says so
            is_folder = False
        if not is_folder:
            yield path
        elif (identity := _identity(path)) in seen:
            skipped.append(Skipped(path.relative_to(root).as_posix(), "a link to a folder that is read already"))
        else:
            seen.add(identity)
            yield from _walk(path, root, seen, skipped)


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _first_reasons(skipped: list[Skipped]) -> str:
    if not skipped:
        return "expected one sub-folder a class, with image files in it"
    shown = "; ".join(f"{entry.path}: {entry.reason}" for entry in skipped[:3])
    return f"{len(skipped)} files were skipped ({shown}{'; ...' if len(skipped) > 3 else ''})"
