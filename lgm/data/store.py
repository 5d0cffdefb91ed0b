"""Datasets of the user's own, registered by name: what was found where. Images stay where they are."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

import numpy as np

from lgm.data.arrays import scan_arrays
from lgm.data.base import RESERVED, DataError
from lgm.data.feature_files import SUFFIXES
from lgm.data.feature_table import FeatureTable, read_table, scan_features
from lgm.data.npz_rows import names
from lgm.data.scan import ImageFile, OnImage, Scan, Skipped, look_at, scan_folder, scan_list
from lgm.utils.codec import DecodeError, decode
from lgm.utils.files import reason
from lgm.utils.json import to_json
from lgm.utils.outputs import reserved, together
from lgm.utils.paths import home
from lgm.utils.tables import Record, read_records, write_records

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_SMALL = 64  # pixels a side: up to here images keep their size, as those of MNIST and CIFAR-10
_PHOTO = 224  # what networks pre-trained on ImageNet take
LEAST_CLASSES = 2
Kind = Literal["folder", "list", "arrays", "features"]
FORMAT = 2  # 1 had no splits; it is read still


@dataclass(frozen=True)
class Registration:
    """What there is to know of a dataset before its images are read.

    Attributes:
        name: What commands and pages call it.
        source: The folder or file, as an absolute path.
        kind: What that is: a folder with one a class, a CSV file of paths and labels, an archive of arrays, or a file
            of features without images.
        classes: Names, in the order of their labels 0, 1, ...
        shape: (C, H, W) that images are scaled to; (D, 1, 1) for D features.
        images: How many there are.
        added: The day, as ISO 8601 has it.
        splits: Those that its images are given in, of "train", "held-out" and "test"; the others are drawn.
        seed: By which they are.
        format: Of this file.
    """

    name: str
    source: str
    kind: Kind
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    images: int
    added: str
    splits: tuple[str, ...] = ()
    seed: int = 1
    format: int = FORMAT

    @property
    def root(self) -> Path:
        """What the paths of its images start from."""
        return Path(self.source) if self.kind == "folder" else Path(self.source).parent


def register(
    name: str,
    source: Path,
    *,
    size: int | None = None,
    colour: bool = False,
    seed: int = 1,
    replace: bool = False,
    on_image: OnImage | None = None,
) -> tuple[Registration, Scan]:
    """Look at all images, or rows of features, of a source, and keep under a name what was found.

    Args:
        name: Lower-case letters, digits, "-" and "_".
        source: A folder or a CSV file (`lgm.data.scan`), an ``.npz`` of images (`lgm.data.arrays`), or features
            (`lgm.data.feature_files`).
        size: Pixels a side that images are scaled to; None: their own if all are small and alike, else 224.
        colour: Whether images are taken in colour where all are grey, as networks trained on ImageNet take them.
        seed: Of the splits that are not given; see `lgm.data.own`.
        replace: Whether a dataset of that name may be registered anew.
        on_image: Called as (files looked at, files in all); returning False stops, and nothing is registered.

    Raises:
        DataError: a name that cannot be used, or a source without images of two classes.
        SaveError: the registration cannot be written, or another process is about to write one of this name.
        InterruptedError: stopped.
    """
    check_name(name, replace=replace)
    with reserved(_folder(name) / "about.json"):
        check_name(name, replace=replace)  # another process may have registered it since
        return _register(name, source.absolute(), on_image, size=size, colour=colour, seed=seed)


def _register(
    name: str, source: Path, on_image: OnImage | None, *, size: int | None, colour: bool, seed: int
) -> tuple[Registration, Scan]:
    kind, found, dims = _scan(source, on_image)
    if len(found.classes) < LEAST_CLASSES:
        only = found.classes[0]
        raise DataError(f"{source}: expected images of at least {LEAST_CLASSES} classes, found those of {only!r}")
    channels = 1 if not colour and all(image.grey for image in found.images) else 3
    side = size or _usual_side(found)
    shape = (dims, 1, 1) if dims else (channels, side, side)
    count, today = len(found.images), date.today().isoformat()
    made = Registration(name, str(source), kind, found.classes, shape, count, today, _splits(found), seed)
    with together(_folder(name) / "about.json") as place:
        write_records(place / "images.csv", ImageFile, found.images)
        write_records(place / "skipped.csv", Skipped, found.skipped)
        (place / "about.json").write_text(to_json(made, indent=1), encoding="utf-8")
    return made, found


def check_name(name: str, *, replace: bool = False) -> None:
    """Raise DataError unless a dataset may be registered under this name."""
    if not _NAME.fullmatch(name):
        raise DataError(f"name: expected up to 64 of a-z, 0-9, - and _, beginning with a letter or digit, got {name!r}")
    if name in RESERVED:
        raise DataError(f"name: {name} has a meaning already; choose another one")
    if not replace and name in registered():
        raise DataError(f"name: {name} is registered already; choose another one, or add --force to look at it anew")


def registered() -> list[str]:
    """Names of all datasets of the user's own, sorted."""
    return sorted(path.parent.name for path in (home() / "datasets").glob("*/about.json"))


def read_registration(name: str) -> Registration:
    """What is known of a dataset.

    Raises:
        DataError: there is none of this name, or its file is damaged.
    """
    path = _folder(name) / "about.json"
    try:
        found = decode(Registration, json.loads(path.read_text(encoding="utf-8")))
        if not 1 <= found.format <= FORMAT:
            raise ValueError(f"format {found.format}, where {FORMAT} is the newest known")
        return found
    except FileNotFoundError as error:
        known = ", ".join(registered()) or "none yet"
        raise DataError(f"data: no dataset {name!r} is registered ({known}); see `lgm data add`") from error
    except (OSError, DecodeError, ValueError) as error:
        raise DataError(f"{path}: expected what `lgm data add` writes, found {reason(error)}; add it anew") from error


def read_images(name: str) -> tuple[ImageFile, ...]:
    """All images of a dataset, by path.

    Raises:
        DataError: there is none of this name, or its table is damaged.
    """
    return tuple(_read_table(name, "images.csv", ImageFile))


@dataclass(frozen=True)
class Columns:
    """All images of a dataset, a column each: a third of the memory of as many `ImageFile`.

    Attributes:
        paths, labels, splits: (N,) object, text; labels and splits are the same few objects again and again.
        sha256: (N,) bytes of 32.
    """

    paths: np.ndarray
    labels: np.ndarray
    splits: np.ndarray
    sha256: np.ndarray


def read_columns(name: str) -> Columns:
    """The same as `read_images`, for datasets of millions. Raises DataError as it does."""
    count = read_registration(name).images
    paths, labels, splits = (np.empty(count, object) for _ in range(3))
    hashes, same, at = np.empty(count, "V32"), {}, -1
    for at, image in enumerate(_read_table(name, "images.csv", ImageFile)):
        if at < count:
            paths[at], hashes[at] = image.path, bytes.fromhex(image.sha256)
            labels[at], splits[at] = same.setdefault(image.label, image.label), image.split
    if at + 1 != count:
        raise DataError(
            f"{_folder(name) / 'images.csv'}: expected {count:,} images, found {at + 1:,}; add the dataset anew"
        )
    return Columns(paths, labels, splits, hashes)


def read_feature_table(name: str) -> FeatureTable:
    """Features (N, D), claimed classes and names of the rows of a dataset of features.

    Raises:
        DataError: no such dataset, one of images, or its file does not read any more or holds other rows.
    """
    known = read_registration(name)
    if known.kind != "features":
        raise DataError(f"data: {name} holds images, not features; name a network that sees them (--model)")
    table = read_table(Path(known.source))
    if (table.z.shape[1], len(table.z)) != (known.shape[0], known.images) or set(table.claims) != set(known.classes):
        raise DataError(f"{known.source}: has changed since {name} was registered; `lgm data add {name} ... --force`")
    return table


def read_skipped(name: str) -> tuple[Skipped, ...]:
    """Files that are no images of a dataset, and why. Raises DataError as `read_images` does."""
    return tuple(_read_table(name, "skipped.csv", Skipped))


def _read_table(name: str, file: str, kind: type[Record]) -> Iterator[Record]:
    path = _folder(name) / file
    try:
        yield from read_records(path, kind)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({reason(error)}); add the dataset anew") from error


@dataclass(frozen=True)
class Changes:
    """What differs from what was registered: paths of each kind."""

    missing: tuple[str, ...]
    changed: tuple[str, ...]
    unreadable: tuple[Skipped, ...]


def check(name: str, on_image: OnImage | None = None) -> Changes:
    """Read all images of a dataset again.

    Raises:
        DataError: see `read_registration` and `read_images`; a file of arrays or features that does not read any more.
    """
    known = read_registration(name)
    if known.kind in ("arrays", "features"):
        again = {image.path: image.sha256 for image in _scan(Path(known.source), on_image)[1].images}
        images = read_images(name)
        gone = tuple(image.path for image in images if image.path not in again)
        other = tuple(image.path for image in images if again.get(image.path, image.sha256) != image.sha256)
        return Changes(gone, other, ())
    root, missing, changed, unreadable = known.root, [], [], []
    images = read_images(name)
    for done, image in enumerate(images, 1):
        found = look_at(root, image.path, image.label)
        if not (root / image.path).exists():
            missing.append(image.path)
        elif isinstance(found, Skipped):
            unreadable.append(found)
        elif found.sha256 != image.sha256:
            changed.append(image.path)
        if on_image:
            on_image(done, len(images))
    return Changes(tuple(missing), tuple(changed), tuple(unreadable))


def per_class(found: Scan) -> dict[str, int]:
    """How many images each class has, by its name."""
    return dict(sorted(Counter(image.label for image in found.images).items()))


def _folder(name: str) -> Path:
    """Where a registration lies. Raises DataError for what is no name, so that none leads elsewhere."""
    if not _NAME.fullmatch(name):
        raise DataError(f"data: expected the name of a registered dataset, got {name!r}")
    return home() / "datasets" / name


def _scan(source: Path, on_image: OnImage | None) -> tuple[Kind, Scan, int | None]:
    """What kind of source it is, what it holds, and of features how many each row has."""
    suffix = source.suffix.lower()
    if source.is_dir():
        return "folder", scan_folder(source, on_image), None
    if suffix == ".npz" and not {"images", "features"} & set(held := names(source)):
        raise DataError(f"{source}: expected arrays images and labels, or features and labels, found {', '.join(held)}")
    if suffix == ".npz" and "images" in held:
        return "arrays", scan_arrays(source, on_image), None
    if suffix == ".npz" or suffix in SUFFIXES:
        return "features", *scan_features(source, on_image)
    return "list", scan_list(source, on_image), None


def _usual_side(found: Scan) -> int:
    sizes = {(image.width, image.height) for image in found.images}
    width, height = next(iter(sizes))
    return width if len(sizes) == 1 and width == height <= _SMALL else _PHOTO


def _splits(found: Scan) -> tuple[str, ...]:
    """Those that occur, in the order in which they are used."""
    given = {image.split for image in found.images}
    return tuple(split for split in ("train", "held-out", "test") if split in given)
