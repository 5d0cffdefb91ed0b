"""Registered datasets as `Dataset`s: their splits, and their images in memory."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from lgm.data.arrays import read_rows
from lgm.data.base import DataError, Dataset, OnFile, Split
from lgm.data.image_files import ImageFileError, fit_to, read_content, read_image
from lgm.data.pixels import Shape
from lgm.data.scan import ImageFile
from lgm.data.store import Registration, read_images, read_registration
from lgm.utils.threads import usable_cores

ALL = "all"  # the split that is every image
HELD_OUT, TEST, TRAIN = "held-out", "test", "train"
OWN_SPLITS = (TRAIN, TEST, HELD_OUT, ALL)
_SHARES = {HELD_OUT: 0.2, TEST: 0.2}  # of each class; the rest is trained on
_MOST_CLASSES = 256  # labels of images in memory are bytes
_MEMORY = 0.5  # share of the free memory that images may fill: what is computed from them needs room too


def own_dataset(name: str) -> Dataset:
    """A registered dataset.

    Its splits are those of its folders, ``train``, ``test`` and ``held-out``, where it has them; what is missing of
    these is drawn from ``train``, a fifth of each class, by the hash of each file and the seed of the registration. So
    files of the same content and class are in one split, and a file that is added moves few of the others.

    Raises:
        DataError: there is none of this name, it is features alone, or it has more classes than labels in memory can
            name.
    """
    found = read_registration(name)
    if len(found.classes) > _MOST_CLASSES:
        raise DataError(
            f"{name}: expected at most {_MOST_CLASSES} classes, got {len(found.classes):,}; `lgm filter` takes more"
        )
    if found.kind == "features":
        raise DataError(f"{name}: holds features, not images; `lgm filter {name} --score gaussian` takes them")
    splits = split_files(found, read_images(name))
    sizes = {split: len(files) for split, files in splits.items()}
    return Dataset(
        name=name,
        title=name,
        shape=found.shape,
        classes=found.classes,
        splits={
            TRAIN: f"what is trained on ({sizes[TRAIN]:,})",
            TEST: f"clean images to fine-tune on ({sizes[TEST]:,})",
            HELD_OUT: f"images that nothing is trained on ({sizes[HELD_OUT]:,})",
            ALL: f"every image ({found.images:,})",
        },
        train_size=sizes[TRAIN],
        held_out=HELD_OUT,
        clean=(TEST, HELD_OUT),
        load=partial(load_own, name),
        at_hand=lambda split: found.root.exists(),
        download=partial(_nothing_to_download, name),
        download_size="nothing: it is your own",
        digest=_digest(found, splits),
    )


def split_files(found: Registration, files: Sequence[ImageFile]) -> dict[str, list[ImageFile]]:
    """The files of each split, by path. A class with one image is trained on; one with two has none to fine-tune on."""
    splits: dict[str, list[ImageFile]] = {TRAIN: [], TEST: [], HELD_OUT: []}
    by_class: dict[str, list[ImageFile]] = defaultdict(list)
    for file in files:
        if file.split in (TEST, HELD_OUT):
            splits[file.split].append(file)
        else:
            by_class[file.label].append(file)
    drawn = [split for split in (HELD_OUT, TEST) if split not in found.splits]
    for mine in by_class.values():
        mine.sort(key=lambda file: (_rank(found.seed, file), file.path))
        start = 0
        for split in drawn:
            stop = _end(mine, start, round(_SHARES[split] * len(mine)))
            splits[split] += mine[start:stop]
            start = stop
        splits[TRAIN] += mine[start:]
    return {split: sorted(chosen, key=lambda file: file.path) for split, chosen in splits.items()}


def _digest(found: Registration, splits: dict[str, list[ImageFile]]) -> str:
    digest = hashlib.sha256(f"{found.shape}".encode())
    for split, files in sorted(splits.items()):
        for file in files:
            digest.update(f"\0{split}\0{file.path}\0{file.label}\0{file.sha256}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _rank(seed: int, file: ImageFile) -> str:
    return hashlib.sha256(f"{seed} {file.sha256}".encode()).hexdigest()


def _end(files: list[ImageFile], start: int, count: int) -> int:
    """Where a split that begins at ``start`` ends: after ``count`` files, one at least if one is left for training.

    Files of the same content follow each other, and stay together.
    """
    stop = start + max(count, 1)
    if stop >= len(files):
        return start
    while stop < len(files) and files[stop].sha256 == files[stop - 1].sha256:
        stop += 1
    return stop


def load_own(name: str, split: str, shape: Shape | None = None) -> Split:
    """The images of a split, scaled to the registered shape or to another one.

    Raises:
        DataError: the split is empty, a file does not read any more, or the images do not fit into memory.
    """
    found, files = read_registration(name), read_images(name)
    chosen = list(files) if split == ALL else split_files(found, files)[split]
    if not chosen:
        raise DataError(
            f"{name}: no image in {split!r}, as no class has enough of them; add images, or folders {split}/CLASS"
        )
    numbers = {label: number for number, label in enumerate(found.classes)}
    shape = shape or found.shape
    _require_memory(name, len(chosen), shape)
    read = _read_rows if found.kind == "arrays" else _read_files
    labels = np.array([numbers[file.label] for file in chosen], np.int64)
    return Split(split, read(found, chosen, shape), labels, name)


def _read_rows(found: Registration, chosen: Sequence[ImageFile], shape: Shape) -> np.ndarray:
    """Images of an archive."""
    return read_rows(Path(found.source), np.array([int(file.path.rpartition("/")[2]) for file in chosen]), shape)


def _read_files(found: Registration, chosen: Sequence[ImageFile], shape: Shape) -> np.ndarray:
    """Images of files, as many at a time as there are cores: decoding leaves Python to other threads."""
    images = np.empty((len(chosen), *shape), np.uint8)

    def read(position: int) -> None:
        path = found.root / chosen[position].path
        try:
            images[position] = fit_to(read_image(read_content(path)), shape)
        except ImageFileError as error:
            raise DataError(
                f"{path}: {error}; `lgm data check {found.name}` lists all, `lgm data add --force` leaves it out"
            ) from error

    with ThreadPoolExecutor(usable_cores()) as pool:
        for _ in pool.map(read, range(len(chosen))):
            pass
    return images


def _require_memory(name: str, count: int, shape: Shape) -> None:
    import psutil

    needed, free = count * int(np.prod(shape)), psutil.virtual_memory().available
    if needed > _MEMORY * free:
        raise DataError(
            f"{name}: {count:,} images of {shape[2]} x {shape[1]} pixels take {needed / 2**30:.1f} GiB, and "
            f"{free / 2**30:.1f} GiB of memory are free; register it with a smaller --size (`lgm filter` takes any "
            "number)"
        )


def _nothing_to_download(name: str, on_file: OnFile | None = None) -> None:
    del on_file
    raise DataError(f"download: {name} is a dataset of your own, which no server has; leave --download out")
