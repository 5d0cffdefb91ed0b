"""Images in a NumPy archive (.npz): its arrays ``images`` and ``labels``, read a few rows at a time."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from lgm.data.base import DataError
from lgm.data.image_files import LARGEST_IMAGE, fit_to
from lgm.data.labels import read_labels
from lgm.data.npz_rows import Rows
from lgm.data.pixels import pixel_scale
from lgm.data.scan import ImageFile, OnImage, Scan, Skipped

MOST_ROWS = 10_000_000  # a compressed archive of a megabyte may declare billions
_CHUNK = 2**24  # bytes that are read at a time, or one row
_ROW = re.compile(r"(.+\.npz)/([0-9]{6,})", re.IGNORECASE | re.DOTALL)


class ArrayImages:
    """Array ``images`` of an archive, as bytes with the channels last; a context manager.

    Attributes:
        shape: (H, W, C) of an image; C is 1 or 3.
        are_bytes: Whether they are stored as bytes.
    """

    def __init__(self, path: Path) -> None:
        """Read the header.

        Raises:
            DataError: no archive, no such array, or one of another shape or type.
        """
        self._rows = Rows(path, "images")
        try:
            self._move = _channel_axis(path, self._rows)
        except DataError:
            self._rows.close()
            raise
        self.are_bytes = self._rows.dtype == np.uint8
        first, second, *third = self._rows.shape[1:]
        self.shape = (first, second, *(third or [1])) if self._move != 1 else (second, *third, first)

    def __enter__(self) -> "ArrayImages":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._rows)

    def close(self) -> None:
        """Close the archive."""
        self._rows.close()

    def read(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, H, W, C) uint8; pixels in [0, 1] are rounded to 8 bits.

        Raises:
            DataError: the archive is damaged, or holds pixels beyond [0, 1].
        """
        rows = self._rows.read(start, stop)
        if not self.are_bytes:
            low, high = float(rows.min(initial=0)), float(rows.max(initial=0))
            try:
                pixel_scale(rows.dtype.newbyteorder("=").name, low, high)
            except ValueError as error:
                raise DataError(f"{self._rows.path}: rows {start:,} to {stop - 1:,}: {error}") from error
            rows = np.rint(255 * rows.astype(np.float32)).astype(np.uint8)
        return rows[..., None] if self._move is None else np.moveaxis(rows, self._move, -1)


def scan_arrays(path: Path, on_image: OnImage | None = None) -> Scan:
    """The images of an archive with the arrays ``images`` and ``labels``, and at will ``classes`` and ``split``.

    ``images`` is (N, H, W), (N, H, W, C) or (N, C, H, W), bytes or floating point in [0, 1]; ``labels`` is (N,), names
    or whole numbers, which count ``classes`` from 0 if there are any. A row's path is ``archive.npz/000123``, its hash
    that of its pixels.

    Raises:
        DataError: it does not read, or an array is not as said.
        InterruptedError: ``on_image`` said False.
    """
    found: list[ImageFile] = []
    skipped: list[Skipped] = []
    brightest = 0
    with ArrayImages(path) as images:
        labels = read_labels(path, len(images))
        for start, pixels in _chunks(images):
            brightest = max(brightest, int(pixels.max(initial=0)))
            for at, (row, grey) in enumerate(zip(pixels, _are_grey(pixels), strict=True), start):
                name = row_path(path, at)
                if not labels.names[at]:
                    skipped.append(Skipped(name, "has no label"))
                else:
                    height, width = row.shape[:2]
                    digest = hashlib.sha256(row.tobytes()).hexdigest()
                    found.append(
                        ImageFile(name, labels.names[at], digest, width, height, bool(grey), labels.splits[at])
                    )
            if on_image and on_image(start + len(pixels), len(images)) is False:
                raise InterruptedError("stopped; nothing is registered")
        if not found:
            raise DataError(f"{path}: labels: no row has one")
        if images.are_bytes and brightest == 1:
            raise DataError(f"{path}: images: expected bytes 0..255, got none that exceeds 1; save images * 255")
    return Scan(tuple(found), tuple(skipped), labels.classes)


def row_path(path: Path, row: int) -> str:
    """What a row of an archive is called, where a file would have its path."""
    return f"{path.name}/{row:06}"


def row_of(root: Path, path: str) -> tuple[Path, int] | None:
    """The archive and the row that such a path means; None if it is that of a file."""
    found = _ROW.fullmatch(path)
    return (root / found[1], int(found[2])) if found and (root / found[1]).is_file() else None


def as_picture(pixels: np.ndarray) -> Image.Image:
    """(H, W, C) bytes as a picture in mode "L" where it is grey and "RGB" where it is not."""
    grey = bool(_are_grey(pixels[None])[0])
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if grey else pixels))


def fit_rows(pixels: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """(n, H, W, C) uint8 as a network takes them, (n, *shape); those that have its shape already are only turned."""
    if (pixels.shape[3], *pixels.shape[1:3]) == shape:
        return pixels.transpose(0, 3, 1, 2).copy()  # torch wants what may be written to
    return np.stack([fit_to(as_picture(image), shape) for image in pixels])


def read_rows(path: Path, rows: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """(n, *shape) uint8: these rows of an archive, in their order, through which is gone once.

    Raises:
        DataError: it does not read any more, or has fewer rows.
    """
    found = np.empty((len(rows), *shape), np.uint8)
    order = np.argsort(rows, kind="stable")
    with ArrayImages(path) as images:
        if len(rows) and rows.max() >= len(images):
            raise DataError(f"{path}: row {rows.max():,} is asked for, and it has {len(images):,}; it has changed")
        for start, pixels in _chunks(images):
            here = order[slice(*np.searchsorted(rows[order], (start, start + len(pixels))))]
            if len(here):
                found[here] = fit_rows(pixels[rows[here] - start], shape)
    return found


def _chunks(images: ArrayImages) -> Iterator[tuple[int, np.ndarray]]:
    height, width, channels = images.shape
    size = max(1, _CHUNK // (8 * height * width * channels))
    for start in range(0, len(images), size):
        yield start, images.read(start, min(start + size, len(images)))


def _are_grey(pixels: np.ndarray) -> np.ndarray:
    """(N,) bool of (N, H, W, C)."""
    return (pixels == pixels[..., :1]).all(axis=(1, 2, 3))


def _channel_axis(path: Path, rows: Rows) -> int | None:
    """Where the channels are; None if there is no axis of them."""
    shape, what = rows.shape, f"{path}: images"
    if rows.dtype.kind != "f" and rows.dtype != np.uint8:
        raise DataError(f"{what}: expected bytes (uint8) or floating point in [0, 1], found {rows.dtype}; convert them")
    if not 0 < len(rows) <= MOST_ROWS:
        raise DataError(f"{what}: expected 1 to {MOST_ROWS:,} images, found {len(rows):,}")
    axis = None if len(shape) == 3 else 3 if shape[-1:] in ((1,), (3,)) else 1
    if len(shape) not in (3, 4) or (axis is not None and shape[axis] not in (1, 3)):
        raise DataError(f"{what}: expected (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 or 3 channels, found {shape}")
    if not 0 < np.prod(shape[1:], dtype=float) <= 3 * LARGEST_IMAGE:
        raise DataError(f"{what}: expected images of at most {LARGEST_IMAGE:,} pixels, found {shape[1:]}")
    return axis
