"""A folder of poisons as PNGs of 8 bits, with a table: written for other programs, and read from them."""

import contextlib
import csv
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lgm.attacks.export import as_files
from lgm.attacks.result import Poisons
from lgm.data.base import DataError
from lgm.data.image_files import ImageFileError, fit_to, read_content, read_image
from lgm.data.pixels import Shape
from lgm.data.scan import scan_folder
from lgm.models.card import CheckpointError
from lgm.utils.files import LARGEST, reason
from lgm.utils.outputs import writing_errors

if TYPE_CHECKING:
    from lgm.models.classifier import Classifier

TABLE = "poisons.csv"  # what makes a folder one of poisons
_PICTURES = "poisons"


@dataclass(frozen=True)
class PoisonFolder:
    """What a folder holds.

    Attributes:
        images: (N, C, H, W) uint8.
        labels: (N,) int64 claimed labels.
        collided: (N,) bool, of the images as the table has it, rounded if it says so; None if it does not say.
        manifest: How they were made, {} if nothing says so.
    """

    images: np.ndarray
    labels: np.ndarray
    collided: np.ndarray | None
    manifest: dict[str, Any]


def write_folder(poisons: Poisons, classes: tuple[str, ...], path: Path, model: "Classifier | None" = None) -> None:
    """Write what `lgm.attacks.export.as_files` gives, in the place of poisons that are there; other files stay.

    Raises:
        SaveError: it cannot be written; then what was there is as it was.
    """
    files = as_files(poisons, classes, model)
    with writing_errors(path):
        there = path.is_dir()
        path.mkdir(parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryDirectory(prefix=".poisons.", suffix=".part", dir=path) as name:
                place = Path(name)
                (place / _PICTURES).mkdir()
                for file, content in files.items():
                    (place / file).write_bytes(content)
                if (path / _PICTURES).exists():
                    os.rename(path / _PICTURES, place / "before")
                os.rename(place / _PICTURES, path / _PICTURES)
                for file in files:
                    if "/" not in file:
                        os.replace(place / file, path / file)
        except OSError:
            if not there:
                with contextlib.suppress(OSError):  # it is not empty
                    path.rmdir()
            raise


def read_folder(path: Path, shape: Shape, classes: tuple[str, ...]) -> PoisonFolder:
    """Images and the labels that they claim.

    Args:
        path: A folder with ``poisons.csv``, which has the columns ``file`` and ``claimed_label``, or ``path`` and
            ``label``; or with a sub-folder a class.
        shape: (C, H, W) that the images have; they are not scaled.
        classes: Names of the labels; a label may be its number instead.

    Raises:
        CheckpointError: an image or the table does not read, or an image has another shape or a label no class.
    """
    try:
        rows = _rows(path) if (path / TABLE).is_file() else _by_class(path)
        if not rows:
            raise ValueError("no poison")
        if len(rows) * int(np.prod(shape)) > LARGEST:
            raise ValueError(f"{len(rows):,} images (at most {LARGEST / 2**30:g} GiB are read)")
        images = np.stack([_image(path, file, shape) for file, _, _ in rows])
        labels = np.array([_label(label, classes) for _, label, _ in rows], np.int64)
    except (ValueError, OSError, DataError, csv.Error) as error:
        raise CheckpointError(
            f"{path}: expected PNGs with {TABLE}, or a sub-folder a class, found {reason(error)}"
        ) from error
    said = {"yes": True, "no": False}
    collided = np.array([said[collides] for *_, collides in rows]) if all(row[2] in said for row in rows) else None
    return PoisonFolder(images, labels, collided, _manifest(path))


def _rows(path: Path) -> list[tuple[str, str, str]]:
    """File, claimed label and whether it collides, of each row of the table."""
    with (path / TABLE).open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        table = csv.DictReader(file)
        head = set(table.fieldnames or ())
        columns = [
            next((name for name in names if name in head), "")
            for names in (("file", "path"), ("claimed_label", "label"), ("collides_8_bit", "collides"))
        ]
        if not all(columns[:2]):
            raise ValueError(
                f"{TABLE} without the columns file and claimed_label: {', '.join(sorted(head)) or 'empty'}"
            )
        rows = [tuple(row.get(column) or "" for column in columns) for row in table]
    return rows  # type: ignore[bad-return] of three columns


def _by_class(path: Path) -> list[tuple[str, str, str]]:
    found = scan_folder(path)
    if found.skipped:
        raise ValueError(f"{found.skipped[0].path}: {found.skipped[0].reason}")
    return [(image.path, image.label, "") for image in found.images]


def _image(path: Path, file: str, shape: Shape) -> np.ndarray:
    channels, height, width = shape
    try:
        image = read_image(read_content(path / file))
    except ImageFileError as error:
        raise ValueError(f"{file}: {error}") from error
    if image.size != (width, height) or (channels == 1 and image.mode != "L"):
        kind, wanted = ("grey" if grey else "colour" for grey in (image.mode == "L", channels == 1))
        raise ValueError(
            f"{file}: {image.width} x {image.height} pixels in {kind}, where the network takes {width} x {height} in "
            f"{wanted}"
        )
    return fit_to(image, shape)


def _label(name: str, classes: tuple[str, ...]) -> int:
    if name in classes:
        return classes.index(name)
    if name.isascii() and name.isdigit() and len(name) < 10 and int(name) < len(classes):
        return int(name)
    raise ValueError(f"the label {name!r:.60}, which is none of {', '.join(classes):.200}")


def _manifest(path: Path) -> dict[str, Any]:
    """What says how they were made; a file of that name from elsewhere may be anything."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        found = json.loads((path / "poisons.json").read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}
