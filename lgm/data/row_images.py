"""Rows of an archive as a network takes them, read a batch at a time."""

import os
import threading
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lgm.data.arrays import ArrayImages, fit_rows
from lgm.data.base import DataError

Item = tuple[int, Tensor]  # position, or -1 where a row does not read any more, and pixels (C, H, W) uint8


class RowImages(Dataset[Item]):
    """Rows as (position, pixels); several threads and processes may read them at a time.

    Each opens the archive for itself: an open one is at one row, and what is compressed reads well forwards only.
    """

    def __init__(self, root: Path, paths: Sequence[str], shape: tuple[int, int, int]) -> None:
        """Rows of one archive, as `lgm.data.arrays.row_path` names them, from ``root``, scaled to ``shape``."""
        self.root, self.paths, self.shape = root, paths, shape
        self._open: dict[tuple[int, int], ArrayImages] = {}  # by process and thread
        self._is_damaged = False

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Item:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[Item]:
        """A batch. Rows that lie one behind the other are read at once."""
        rows = [int(self.paths[index].rpartition("/")[2]) for index in indices]
        ends = [at for at in range(1, len(rows) + 1) if at == len(rows) or rows[at] != rows[at - 1] + 1]
        items: list[Item] = []
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            items += self._run(indices[start:end], rows[start])
        return items

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_open": {}}

    def __del__(self) -> None:
        for images in self._open.values():
            images.close()

    def _run(self, indices: list[int], row: int) -> list[Item]:
        """Rows from this one on. Once the archive has turned out to be damaged, what is left of it is not tried."""
        try:
            if self._is_damaged:
                raise DataError("damaged")
            pixels = self._images(indices[0]).read(row, row + len(indices))
        except DataError:
            self._is_damaged = True
            return [(-1, torch.zeros(self.shape, dtype=torch.uint8))] * len(indices)
        return list(zip(indices, torch.from_numpy(fit_rows(pixels, self.shape)), strict=True))

    def _images(self, index: int) -> ArrayImages:
        """The archive, as this thread has opened it. Raises DataError if it does not read any more."""
        reader = os.getpid(), threading.get_ident()
        if reader not in self._open:
            self._open[reader] = ArrayImages(self.root / self.paths[index].rpartition("/")[0])
        return self._open[reader]
