"""Images of a registered dataset, read while a network works on those before: memory holds a few batches."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lgm.data.arrays import ArrayImages, as_picture, row_of
from lgm.data.base import DataError
from lgm.data.image_files import ImageFileError, fit_to, read_content, read_image

Item = tuple[int, Tensor]  # position, or -1, and pixels (C, H, W) uint8


class FileImages(Dataset[Item]):
    """Files as (position, pixels (C, H, W) uint8); a file that has become unreadable since is (-1, zeros)."""

    def __init__(self, root: Path, paths: Sequence[str], shape: tuple[int, int, int]) -> None:
        self.root, self.paths, self.shape = root, paths, shape

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Item:
        try:
            return index, torch.from_numpy(fit_to(read_image(read_content(self.root / self.paths[index])), self.shape))
        except ImageFileError:
            return -1, torch.zeros(self.shape, dtype=torch.uint8)

    def close(self) -> None:
        """Nothing stays open."""


class RowImages(FileImages):
    """Rows of an archive likewise. Each process opens it for itself, as one that is open has one position in it."""

    _images: ArrayImages | None = None
    _is_damaged = False

    def __getitem__(self, index: int) -> Item:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[Item]:
        """A batch. Rows that lie one behind the other are read at once."""
        rows = [int(self.paths[index].rpartition("/")[2]) for index in indices]
        ends = [at for at in range(1, len(rows) + 1) if at == len(rows) or rows[at] != rows[at - 1] + 1]
        starts = [0, *ends[:-1]]
        return [
            item for start, end in zip(starts, ends, strict=True) for item in self._run(indices[start:end], rows[start])
        ]

    def _run(self, indices: list[int], row: int) -> list[Item]:
        """Rows from this one on. Once the archive has turned out to be damaged, what is left of it is not tried."""
        try:
            if self._is_damaged:
                raise DataError("damaged")
            if self._images is None:
                self._images = ArrayImages(self.root / self.paths[indices[0]].rpartition("/")[0])
            pixels = self._images.read(row, row + len(indices))
        except DataError:
            self._is_damaged = True
            return [(-1, torch.zeros(self.shape, dtype=torch.uint8))] * len(indices)
        return list(zip(indices, torch.from_numpy(_fit_rows(pixels, self.shape)), strict=True))

    def close(self) -> None:
        """Close the archive, if this process has opened it."""
        if self._images:
            self._images.close()
        self._images = None


def batches(
    root: Path, paths: Sequence[str], shape: tuple[int, int, int], batch_size: int = 256, workers: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Positions (n,) and pixels (n, C, H, W) uint8 of all images that read, in their order.

    Args:
        root: What the paths start from.
        paths: Of the files, relative, or of an archive's rows (`lgm.data.arrays.row_path`).
        shape: (C, H, W) that images are scaled to.
        batch_size: Images at a time.
        workers: Processes that read; 0: this one does, in between.
    """
    images = (RowImages if paths and row_of(root, paths[0]) else FileImages)(root, paths, shape)
    loader = DataLoader(images, batch_size, num_workers=workers, persistent_workers=False)
    with contextlib.closing(images):
        for positions, pixels in loader:
            readable = positions >= 0
            yield positions[readable], pixels[readable]


def _fit_rows(pixels: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """(n, H, W, C) uint8 as (n, *shape); those that have it already are only turned."""
    if (pixels.shape[3], *pixels.shape[1:3]) == shape:
        return pixels.transpose(0, 3, 1, 2).copy()  # torch wants what may be written to
    return np.stack([fit_to(as_picture(image), shape) for image in pixels])
